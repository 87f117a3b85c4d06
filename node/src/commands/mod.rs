//! The commands: each opens what it needs, says what it does, and ends with a result or an error.

mod cat;
mod clone;
mod context;
mod doubted;
mod dry_run;
mod left_out;
mod log;
mod ls;
mod missing;
mod recover;
mod scene;
mod share;
mod status;
mod verify;

use crate::cli::output::Out;
use crate::cli::{Cli, Command};
use crate::error::{Code, Error};

/// Runs a command line.
///
/// # Errors
/// Whatever the command meets; the error knows the exit code.
pub async fn run(cli: Cli, out: &Out) -> Result<(), Error> {
    let limit = cli.global.timeout.0;
    let command = dispatch(cli, out);
    match limit {
        None => command.await,
        Some(limit) => {
            let ended = tokio::time::timeout(limit, command).await;
            ended.unwrap_or_else(|_| Err(Error::timeout(limit, out.is_doing())))
        }
    }
}

async fn dispatch(cli: Cli, out: &Out) -> Result<(), Error> {
    match cli.command {
        Command::Share(args) => share::run(args, out).await,
        Command::Clone(args) => stoppable(clone::run(args, out)).await,
        Command::Ls(args) => stoppable(ls::run(args, out)).await,
        Command::Cat(args) => stoppable(cat::run(args, out)).await,
        Command::Log(args) => stoppable(log::run(args, out)).await,
        Command::Verify(args) => stoppable(verify::run(args, out)).await,
        Command::Recover(args) => stoppable(recover::run(args, out)).await,
        Command::Status(args) => stoppable(status::run(args, out)).await,
        Command::Help { topic } => help(topic.as_deref(), out),
    }
}

/// Ends a command when the user or the system asks for it.
async fn stoppable(command: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::select! {
        ended = command => ended,
        () = context::asked_to_stop() => Err(Error::interrupted().hint("run the same command again to go on")),
    }
}

fn help(topic: Option<&str>, out: &Out) -> Result<(), Error> {
    let mut command = crate::cli::command();
    let text = match topic {
        None => command.render_long_help().to_string(),
        Some(topic) => match Code::from_name(topic) {
            Some(code) => {
                format!("{} (exit {})\n\n{}\n", code.name(), code.exit(), code.explanation())
            }
            None => {
                let unknown = || {
                    Error::usage(format!("there is no help on {topic}"))
                        .hint("datnode help lists the commands")
                };
                let found = command.find_subcommand_mut(topic).ok_or_else(unknown)?;
                found.render_long_help().to_string()
            }
        },
    };
    out.data(text.as_bytes())
}
