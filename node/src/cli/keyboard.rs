//! Single keys from a terminal, without waiting for the end of a line.
//!
//! Only where this process has the terminal for itself: one in the background is stopped when it touches it. What was set is set back
//! when this is dropped.

use std::io::{IsTerminal as _, stdin};
use std::thread;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The keyboard of this process.
#[derive(Debug)]
pub struct Keyboard {
    keys: UnboundedReceiver<u8>,
    before: Termios,
}

impl Keyboard {
    /// Listens to keys; none if there is no terminal, or it is not ours.
    pub fn open() -> Option<Self> {
        let ours = |group| group == rustix::process::getpgrp();
        if !stdin().is_terminal() || !rustix::termios::tcgetpgrp(stdin()).is_ok_and(ours) {
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
        // It waits for keys until the process ends, whoever still listens.
        let listen = move || {
            let mut key = [0];
            while matches!(rustix::io::read(stdin(), &mut key), Ok(1)) {
                if pressed.send(key[0]).is_err() {
                    return;
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
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
