//! What the system allows this process: files that are open (sockets, stores, what is shared or cloned), and threads.
//!
//! Where it is too little something would fail in the middle, and a library that cannot tell would end the process.

use std::thread::{self, Builder};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{Code, Error};

/// How many files a command has open at least: the runtime's, some peers', and a store's.
const FILES: u64 = 64;

/// How many threads a command has at most, but for those that it can do without: its store's, and those that read, cut and compare files.
const THREADS: usize = 12;

/// Takes what there is, and looks whether it is enough.
///
/// # Errors
/// E-IO if it is too little for any command.
pub fn take() -> Result<(), Error> {
    files()?;
    threads()
}

/// Lets this process have as many files open as the system allows.
fn files() -> Result<(), Error> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is no number.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let most = if raised.is_ok() { maximum } else { current };
    match most {
        Some(most) if most < FILES => {
            let what = format!("this process may have {most} files open, and {FILES} are needed");
            Err(Error::new(Code::Io, what)
                .hint("ulimit -n 1024 allows more, or whoever set a limit for this user"))
        }
        _ => Ok(()),
    }
}

/// Looks whether there may be as many threads: no limit alone tells, since others of this user's count as well.
fn threads() -> Result<(), Error> {
    let begun: Result<Vec<_>, _> =
        (0..THREADS).map(|_| Builder::new().spawn(thread::park)).collect();
    for thread in begun.map_err(|error| Error::threads(&error))? {
        thread.thread().unpark();
        thread.join().expect("to wait is no reason to panic");
    }
    Ok(())
}
