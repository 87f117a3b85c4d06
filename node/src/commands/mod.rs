//! The commands: each opens what it needs, says what it does, and ends with a result or an error.

mod cat;
mod changes;
mod checkout;
mod choose;
mod clear;
mod clone;
mod completions;
mod config;
mod confirm;
mod content;
mod context;
mod diff;
mod doctor;
mod doubted;
mod dry_run;
mod du;
mod edit;
mod filter;
mod follow;
mod held;
mod ignored;
mod init;
mod keys;
mod left_out;
mod link;
mod live;
mod log;
mod ls;
mod metrics;
mod mirror;
mod missing;
mod node;
mod peers;
mod pipe;
mod publish;
mod purge;
mod reached;
mod recover;
mod scene;
mod serving;
mod share;
mod shared;
mod stat;
mod status;
mod sync;
mod tag;
mod tally;
mod value;
mod verify;
mod working;
mod writing;

use std::pin::pin;

use futures::FutureExt as _;
use serde_json::json;

use self::context::blocking;
pub(crate) use self::mirror::history::History;
use crate::cli::escape;
use crate::cli::interrupt::asked_to_stop;
use crate::cli::output::Out;
use crate::cli::topics::{TOPICS, page};
use crate::cli::{Cli, Command};
use crate::error::{Code, Error, nearest};

/// Runs a command line.
///
/// # Errors
/// Whatever the command meets; the error knows the exit code.
pub async fn run(cli: Cli, out: &Out) -> Result<(), Error> {
    cli.warnings.iter().for_each(|warning| out.warn(warning));
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
        Command::Share(args) if args.dry_run => stoppable(share::run(args, out)).await,
        Command::Share(args) => share::run(args, out).await,
        Command::Clone(args) => clone::run(args, out).await,
        Command::Pull(args) => clone::pull(args, out).await,
        Command::Checkout(args) => stoppable(checkout::run(args, out)).await,
        Command::Sync(args) => sync::run(args, out).await,
        Command::Mirror(args) => mirror::run(args, out).await,
        Command::Node(args) => node::run(args, out).await,
        Command::Include(args) => stoppable(choose::run(args, choose::List::Include, out)).await,
        Command::Exclude(args) => stoppable(choose::run(args, choose::List::Exclude, out)).await,
        Command::Init(args) => stoppable(async { init::run(&args, out) }).await,
        Command::Link(args) => stoppable(link::run(args, out)).await,
        Command::Ls(args) => stoppable(ls::run(args, out)).await,
        Command::Stat(args) => stoppable(stat::run(args, out)).await,
        Command::Du(args) => stoppable(du::run(args, out)).await,
        Command::Put(args) => stoppable(edit::put(args, out)).await,
        Command::Rm(args) => stoppable(edit::rm(args, out)).await,
        Command::Mv(args) => stoppable(edit::mv(args, out)).await,
        Command::Tag(args) => stoppable(tag::run(args, out)).await,
        Command::Doctor(args) => stoppable(doctor::run(args, out)).await,
        Command::Peers(args) => stoppable(peers::run(args, out)).await,
        Command::Pipe(args) => stoppable(pipe::run(args, out)).await,
        Command::Publish(args) => stoppable(publish::run(args, out)).await,
        Command::Keys(args) => {
            let out = out.clone();
            stoppable(blocking(move || keys::run(args, &out))).await
        }
        Command::Ignored(args) => ignored::run(&args, out),
        Command::Config(args) => stoppable(config::run(args, &cli.global, out)).await,
        Command::Completions(args) => completions::run(args.shell, out),
        Command::GenMan { folder } => completions::manual(&folder, out),
        Command::Cat(args) => stoppable(cat::run(args, out)).await,
        Command::Log(args) => stoppable(log::run(args, out)).await,
        Command::Changes(args) => stoppable(changes::run(args, out)).await,
        Command::Diff(args) => stoppable(diff::run(args, out)).await,
        Command::Verify(args) => stoppable(verify::run(args, out)).await,
        Command::Clear(args) => stoppable(clear::run(args, cli.global.yes, out)).await,
        Command::Purge(args) => stoppable(purge::run(args, cli.global.yes, out)).await,
        Command::Recover(args) => stoppable(recover::run(args, out)).await,
        Command::Status(args) => stoppable(status::run(args, out)).await,
        Command::Version => version(out),
        Command::Help { words } => help(&words, out),
    }
}

/// Ends a command when the user or the system asks for it.
async fn stoppable<T>(command: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut command = pin!(command);
    let interrupted = || Err(Error::interrupted().hint("run the same command again to go on"));
    tokio::select! {
        biased;
        ended = &mut command => ended,
        // A command that has an end of its own for that comes to it, even if it was asked after it had looked.
        () = asked_to_stop() => command.now_or_never().unwrap_or_else(interrupted),
    }
}

fn version(out: &Out) -> Result<(), Error> {
    let version = env!("CARGO_PKG_VERSION");
    match out.json {
        true => out.record(&json!({ "version": version })),
        false => out.data(format!("datnode {version}\n").as_bytes()),
    }
}

fn help(words: &[String], out: &Out) -> Result<(), Error> {
    let mut command = crate::cli::command();
    // Usage then begins with the name of the program.
    command.build();
    let [topic, ..] = words else {
        return out.data(command.render_long_help().to_string().as_bytes());
    };
    let mut pages = Vec::new();
    if let Some(code) = Code::from_name(topic) {
        pages.push(format!("{} (exit {})\n\n{}\n", code.name(), code.exit(), code.explanation()));
    }
    let found = words.iter().try_fold(&mut command, |at, word| at.find_subcommand_mut(word));
    pages.extend(found.map(|found| found.render_long_help().to_string()));
    if words.len() == 1 {
        pages.extend(page(topic));
    }
    if pages.is_empty() {
        let names = TOPICS.iter().map(|(name, _)| name.as_bytes().to_vec());
        let near = nearest(topic.as_bytes(), names);
        let shown = escape::text(&words.join(" "));
        let error = Error::usage(format!("there is no help on {shown}"));
        let near = near.first().map(|near| format!("did you mean {}?", escape::bytes(near)));
        let error = near.into_iter().fold(error, Error::hint);
        return Err(error.hint("datnode help lists commands and topics"));
    }
    out.data(pages.join("\n\n").as_bytes())
}
