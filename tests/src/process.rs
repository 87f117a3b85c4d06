//! A child process, watched from outside: paused, measured, waited for.

use std::io::Read;
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked how much memory a process has.
const LOOK: Duration = Duration::from_millis(5);

/// Stops a process where it is, or lets it go on.
pub fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// Returns the most memory that a process had at any time so far, in bytes; `None` if it is over.
pub fn memory_peak(child: &Child) -> Option<u64> {
    memory_of(child, "VmHWM:")
}

/// Returns the memory that a process has now, in bytes; `None` if it is over.
pub fn memory(child: &Child) -> Option<u64> {
    memory_of(child, "VmRSS:")
}

/// Returns the memory that a process has now and that no file is behind, in bytes; `None` if it is over.
pub fn memory_anonymous(child: &Child) -> Option<u64> {
    memory_of(child, "RssAnon:")
}

fn memory_of(child: &Child, kind: &str) -> Option<u64> {
    memory_by_id(child.id(), kind)
}

fn memory_by_id(id: u32, kind: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

/// Looks again and again how much memory a process has that no file is behind, until somebody asks.
pub struct Peak {
    over: mpsc::Sender<()>,
    thread: JoinHandle<u64>,
}

impl Peak {
    /// Begins to look.
    pub fn of(child: &Child) -> Self {
        let (over, is_over) = mpsc::channel::<()>();
        let id = child.id();
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while is_over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                most = memory_by_id(id, "RssAnon:").unwrap_or_default().max(most);
            }
            most
        });
        Self { over, thread }
    }

    /// Returns the most that it was so far, in bytes.
    pub fn most(self) -> u64 {
        drop(self.over);
        self.thread.join().expect("looking does not panic")
    }
}

/// Returns how long a process kept a processor busy so far.
pub fn processor_time(child: &Child) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = |field| fields.split(' ').nth(field).unwrap().parse::<u64>().unwrap();
    // Fields 14 and 15 of the line, in hundredths of a second.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// What became of a process, and what it took.
pub struct Ended {
    /// How it ended, and what it said.
    pub output: Output,
    /// The most memory that it had, in bytes.
    pub memory: u64,
    /// The most of it that no file is behind, as often as it was looked.
    pub anonymous: u64,
}

/// Waits for a process, whose memory is looked at; one that takes longer than this hangs.
pub fn finish(mut child: Child, limit: Duration) -> Ended {
    let until = Instant::now() + limit;
    let (mut memory, mut anonymous) = (0, 0);
    let said = [read(child.stdout.take()), read(child.stderr.take())];
    let mut hangs = false;
    while child.try_wait().unwrap().is_none() {
        memory = memory_peak(&child).unwrap_or(memory);
        anonymous = memory_anonymous(&child).unwrap_or_default().max(anonymous);
        if Instant::now() > until {
            hangs = true;
            child.kill().unwrap();
        }
        std::thread::sleep(LOOK);
    }
    let status = child.wait().unwrap();
    let [stdout, stderr] = said.map(|reader| reader.join().unwrap());
    let output = Output { status, stdout, stderr };
    assert!(!hangs, "it hangs: {output:?}");
    Ended { output, memory, anonymous }
}

/// Reads what a process says, so that it never waits for a reader.
fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        pipe.map(|mut pipe| pipe.read_to_end(&mut said)).transpose().unwrap();
        said
    })
}

/// A process that is killed unless somebody waits for its end: a test that fails leaves none behind.
pub struct Running(Option<Child>);

impl Running {
    /// Takes a child over.
    pub fn new(child: Child) -> Self {
        Self(Some(child))
    }

    /// Returns the child.
    pub fn child(&self) -> &Child {
        self.0.as_ref().expect("it was not waited for")
    }

    /// Sends it a signal, such as `-INT`.
    pub fn signal(&self, name: &str) {
        signal(self.child(), name);
    }

    /// Waits as [`finish`] does.
    pub fn finish(mut self, limit: Duration) -> Ended {
        finish(self.0.take().expect("only this takes it"), limit)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something is so; what takes longer than this never comes.
pub fn wait_until(limit: Duration, what: &str, is: impl FnMut() -> bool) {
    assert!(comes(limit, is), "{what}: it never came");
}

/// Waits until something is so, and tells whether it came to that in time.
pub fn comes(limit: Duration, mut is: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    while !is() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Sets a flag when it is dropped, so that who goes on until then ends however a test does.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
