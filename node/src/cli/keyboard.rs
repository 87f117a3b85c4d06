//! Single keys from a terminal, without waiting for the end of a line.
//!
//! Only where this process has the terminal for itself: one in the background is stopped when it touches it. What was set is set back
//! when this is dropped.

use std::io::{IsTerminal as _, stdin};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long the end of listening may go unnoticed.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The keyboard of this process.
#[derive(Debug)]
pub struct Keyboard {
    keys: UnboundedReceiver<u8>,
    before: Termios,
}

impl Keyboard {
    /// Listens to keys; none if there is no terminal, or it is not ours.
    pub fn open() -> Option<Self> {
        if !stdin().is_terminal() || !is_ours() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut modes = before.clone();
        // Ctrl-C stays a signal.
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Now, &modes).ok()?;
        let (pressed, keys) = unbounded_channel();
        let listen = move || {
            let mut key = [0];
            while !pressed.is_closed() {
                // Who was sent to the background and reads would be stopped.
                let stdin = stdin();
                let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&MOMENT));
                if !matches!(ready, Ok(1..)) {
                    continue;
                }
                if !is_ours() {
                    thread::sleep(Duration::from_millis(200));
                    continue;
                }
                match rustix::io::read(&stdin, &mut key) {
                    Ok(1) => drop(pressed.send(key[0])),
                    _ => return,
                }
            }
        };
        let _ = thread::Builder::new().name("keyboard".into()).spawn(listen);
        Some(Self { keys, before })
    }

    /// Waits for a key; for ever when there are no more.
    pub async fn next(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        if is_ours() {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
        }
    }
}

/// Tells whether the terminal is this process's: the shell has not sent it to the background.
fn is_ours() -> bool {
    rustix::termios::tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}
