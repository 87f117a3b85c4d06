//! How many files this process may have open: sockets, stores, and what is shared or cloned.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{Code, Error};

/// What a command needs: the runtime, a node with some peers, and a store. Below it something would fail in the middle, and a library
/// that cannot tell would end the process.
const LEAST: u64 = 64;

/// Lets this process have as many open as the system allows.
///
/// # Errors
/// E-IO if that is too few for any command.
pub fn take() -> Result<(), Error> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is no number.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let most = if raised.is_ok() { maximum } else { current };
    match most {
        Some(most) if most < LEAST => {
            let what = format!("this process may have {most} files open, and {LEAST} are needed");
            Err(Error::new(Code::Io, what)
                .hint("ulimit -n 1024 allows more, or whoever set a limit for this user"))
        }
        _ => Ok(()),
    }
}
