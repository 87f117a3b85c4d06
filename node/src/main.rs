//! The `datnode` binary.

use std::process::ExitCode;

use clap::Parser as _;
use datnode::cli::Cli;
use datnode::cli::output::Out;
use datnode::error::Error;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Clap's own exit codes: 0 for help, 2 for a mistake.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let out = Out { json: cli.global.json, quiet: cli.global.quiet, verbose: cli.global.verbose };
    log(out.verbose);
    let ended = run(cli, &out);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.exit())
        }
    }
}

fn run(cli: Cli, out: &Out) -> Result<(), Error> {
    if let Some(dir) = &cli.global.dir {
        std::env::set_current_dir(dir).map_err(|error| Error::io("open", dir, &error))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start", std::path::Path::new("the runtime"), &error))?;
    runtime.block_on(datnode::commands::run(cli, out))
}

fn log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = match verbose {
        0 | 1 => "error",
        2 => "datnode=info",
        _ => "datnode=debug,datnode_proto=debug",
    };
    let filter = EnvFilter::try_from_env("DATNODE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
