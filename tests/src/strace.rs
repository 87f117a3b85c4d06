//! The shipped binary under `strace`: what it asks of the system is refused, ends it, or is written down.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{User, binary};

/// Tells whether it is here and may trace; says so once if not.
#[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
pub fn works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let trial = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
        let works = trial.is_ok_and(|status| status.success());
        if !works {
            eprintln!("skipped: strace is not here, or tracing is not permitted");
        }
        works
    })
}

/// Prepares a command of a user whose calls of some kinds go through `strace`, with options of its own.
pub fn traced(user: &User, options: &[&str], args: &[&str]) -> Command {
    let plain = user.command(args);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq"])
        .args(options)
        .arg(binary())
        .args(args)
        .current_dir(user.path(""))
        .stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

/// Prepares a command of a user that meets `harm` at the Nth of some calls.
pub fn harmed(user: &User, calls: &str, harm: &str, number: u32, args: &[&str]) -> Command {
    let (trace, inject) =
        (format!("trace={calls}"), format!("inject={calls}:{harm}:when={number}"));
    traced(user, &["-o", "/dev/null", "-e", &trace, "-e", &inject], args)
}
