//! A terminal of its own for a process: what it shows is read, keys are pressed, and it can be made narrower.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::process::{comes, wait_until};

/// Longer than anything takes to be shown.
const LIMIT: Duration = Duration::from_secs(60);

/// A process in its terminal; it is killed when this is dropped.
pub struct Pty {
    /// The process.
    pub child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Pty {
    /// Starts a command as the only one in a terminal of so many columns. All its streams are the terminal.
    pub fn start(command: &Command, columns: u16) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        resize(&terminal, columns);
        let screen = || File::options().read(true).write(true).open(&name).unwrap();
        // The terminal becomes that of a session of its own, as a shell has it.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        session.current_dir(command.get_current_dir().unwrap()).env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            session.env(name, value.unwrap_or_default());
        }
        session.stdin(screen()).stdout(screen()).stderr(screen());
        let child = session.spawn().unwrap();
        drop(session);
        let terminal = File::from(terminal);
        let (keys, mut output) = (terminal.try_clone().unwrap(), terminal);
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = shown.clone();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading ends with an error once nobody has the other side open.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                sink.lock().unwrap().extend(&buffer[..count]);
            }
        });
        Self { child, keys, shown, reader }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the width.
    pub fn resize(&self, columns: u16) {
        resize(&self.keys, columns);
    }

    /// Tells whether what is typed shows.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.keys).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Returns what was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until something is shown, behind what was shown up to `from`; returns all that was shown.
    pub fn wait_for(&self, from: usize, what: &str) -> String {
        let found = || self.shown().get(from..).is_some_and(|shown| shown.contains(what));
        assert!(comes(LIMIT, found), "it never came: {what:?} in {:?}", self.shown());
        self.shown()
    }

    /// Waits until the process ends and all that it showed was read, and returns its code.
    pub fn end(&mut self) -> i32 {
        wait_until(LIMIT, "the end", || self.child.try_wait().unwrap().is_some());
        wait_until(LIMIT, "what it showed last", || self.reader.is_finished());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

fn resize(terminal: impl std::os::fd::AsFd, columns: u16) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
