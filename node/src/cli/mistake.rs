//! What a mistake in this program comes to: the process ends.
//!
//! A thread or task that panicked leaves others waiting for it, or for a lock that it held; so the first panic anywhere ends all of
//! them at once. Stores are safe at any moment, and whoever starts processes again (`node/contrib`) sees that one failed.

use std::panic::{set_hook, take_hook};
use std::process::exit;

use super::interrupt;

/// The exit code after a panic, which Rust programs have in common.
pub const EXIT: i32 = 101;

/// Ends the process at the first panic, wherever it is, after it was reported.
pub fn end_on_panic() {
    let report = take_hook();
    set_hook(Box::new(move |what| {
        interrupt::set_back();
        report(what);
        exit(EXIT);
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    const NAME: &str = "cli::mistake::tests::a_task_that_panics_ends_the_process";
    const CHILD: &str = "DATNODE_TEST_PANICS";

    #[test]
    fn a_task_that_panics_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            end_on_panic();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // The runtime catches it, and nobody asks what became of the task.
            drop(runtime.spawn(async { panic!("a mistake") }));
            runtime.block_on(tokio::task::yield_now());
            loop {
                thread::park();
            }
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(EXIT));
        assert!(String::from_utf8_lossy(&output.stderr).contains("a mistake"));
    }
}
