//! Ctrl-C and SIGTERM: the first asks the command to end, the second ends the process as it is.
//!
//! A thread of its own listens, so that it is heard whatever the command waits for: a pipe that nobody reads, a passphrase, a disk.
//! A command that was asked and does not end in time is ended as well: stores are safe at any moment.

use std::fs::File;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Code, Error};

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

static ASKED: OnceLock<watch::Sender<bool>> = OnceLock::new();
/// How many programs of the user have the terminal now.
static LENT: AtomicUsize = AtomicUsize::new(0);
static TERMINAL: OnceLock<Option<(File, Termios)>> = OnceLock::new();

/// Begins to listen.
///
/// # Errors
/// What the system says when there can be no thread or no handler.
pub fn listen() -> Result<(), Error> {
    let said = |error| Error::io("listen for", Path::new("Ctrl-C"), &error);
    TERMINAL.get_or_init(terminal);
    let asked = ASKED.get_or_init(|| watch::Sender::new(false));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(said)?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::open().map_err(said)?
    };
    let run = move || {
        runtime.block_on(async {
            signals.next().await;
            asked.send_replace(true);
            let _ = tokio::time::timeout(GRACE, signals.next()).await;
        });
        set_back();
        exit(Code::Interrupted.exit().into());
    };
    let started = thread::Builder::new().name("signals".into()).spawn(run);
    started.map(drop).map_err(|error| Error::threads(&error))
}

/// Waits until the user or the system asks the command to end.
pub async fn asked_to_stop() {
    let asked = ASKED.get_or_init(|| watch::Sender::new(false));
    let mut told = asked.subscribe();
    // The sender is never dropped.
    let mut told = pin!(told.wait_for(|asked| *asked));
    // Several may wait in one task: those that are not told yet see it all the same when they are looked at.
    poll_fn(|context| match *asked.borrow() {
        true => Poll::Ready(()),
        false => told.as_mut().poll(context).map(drop),
    })
    .await;
}

/// Lends the terminal to another program until this is dropped: its Ctrl-C is not ours.
#[derive(Debug)]
pub struct Lent(());

impl Lent {
    /// Lends it.
    pub fn new() -> Self {
        LENT.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Default for Lent {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        LENT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sets the terminal back to what it was in the beginning: whoever asked for a passphrase may not have come to that.
pub fn set_back() {
    if let Some(Some((terminal, modes))) = TERMINAL.get() {
        // A process in the background would be stopped.
        let ours = tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp());
        if ours {
            let _ = tcsetattr(terminal, OptionalActions::Now, modes);
        }
    }
}

fn terminal() -> Option<(File, Termios)> {
    let terminal = File::open("/dev/tty").ok()?;
    let modes = tcgetattr(&terminal).ok()?;
    Some((terminal, modes))
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn open() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal that is ours.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {
                    if LENT.load(Ordering::Relaxed) == 0 {
                        return;
                    }
                }
                _ = self.terminate.recv() => return,
            }
        }
    }
}
