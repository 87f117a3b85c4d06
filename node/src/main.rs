//! The `datnode` binary.

use std::process::ExitCode;
use std::time::Duration;

use datnode::cli::output::Out;
use datnode::cli::{Cli, Stop, allowed, interrupt, mistake, parse};
use datnode::error::Error;

/// How long work in the background may take to notice that the command is over, and stores to make durable what they have.
const SHUTDOWN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    mistake::end_on_panic();
    let (ended, out) = match parse(std::env::args_os()) {
        Ok(cli) => {
            let out = Out::new(&cli.global);
            (run(cli, &out), out)
        }
        Err(Stop::Show(text)) => {
            let out = Out::plain(false);
            (out.data(text.as_bytes()), out)
        }
        Err(Stop::Mistake { error, json }) => (Err(error), Out::plain(json)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.exit())
        }
    }
}

fn run(cli: Cli, out: &Out) -> Result<(), Error> {
    allowed::take()?;
    if let Some(dir) = &cli.global.dir {
        std::env::set_current_dir(dir).map_err(|error| Error::io("open", dir, &error))?;
    }
    datnode::cli::log::start(&cli.global, out)?;
    interrupt::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start", std::path::Path::new("the runtime"), &error))?;
    let ended = runtime.block_on(datnode::commands::run(cli, out));
    // An import that was told to stop does so at the next file; it must not keep the user waiting.
    runtime.shutdown_timeout(SHUTDOWN);
    let ended = ended.and(datnode::engine::wait_for_stores(SHUTDOWN));
    interrupt::set_back();
    if let Err(error) = &ended {
        tracing::info!(code = error.code().name(), message = error.message(), "ended");
    }
    ended
}
