//! The `datnode` binary.

use std::process::ExitCode;

use datnode::cli::output::Out;
use datnode::cli::{Cli, Stop, parse};
use datnode::error::Error;

fn main() -> ExitCode {
    let (ended, out) = match parse(std::env::args_os()) {
        Ok(cli) => {
            let out =
                Out { json: cli.global.json, quiet: cli.global.quiet, verbose: cli.global.verbose };
            log(out.verbose);
            (run(cli, &out), out)
        }
        Err(stop) => stopped(stop),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.exit())
        }
    }
}

/// Shows what was asked for instead of a command, or gives what is wrong with the words.
fn stopped(stop: Stop) -> (Result<(), Error>, Out) {
    let out = |json| Out { json, quiet: false, verbose: 0 };
    match stop {
        Stop::Show(text) => (out(false).data(text.as_bytes()), out(false)),
        Stop::Mistake { error, json } => (Err(error), out(json)),
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
