//! What a process takes, as the system tells.

use std::fs;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// What a process has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// In seconds of all its threads.
    pub(crate) cpu_seconds: f64,
    /// In bytes.
    pub(crate) anonymous_peak: u64,
}

/// Watches a process until it ends.
pub(crate) struct Watch {
    pid: u32,
    peak: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn new(child: &Child) -> Self {
        let (pid, peak) = (child.id(), Arc::new(AtomicU64::new(0)));
        let seen = peak.clone();
        thread::spawn(move || {
            while let Some(now) = anonymous(pid) {
                seen.fetch_max(now, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { pid, peak }
    }

    /// Returns what the process took so far; until it was waited for, also when it has ended.
    pub(crate) fn usage(&self) -> Usage {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // Fields 14 and 15, in hundredths of a second: proc_pid_stat(5).
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let anonymous_peak = self.peak.load(Ordering::Relaxed);
        Usage { cpu_seconds: ticks as f64 / 100.0, anonymous_peak }
    }

    /// Waits until the process has ended, but leaves it to be asked.
    pub(crate) fn ended(&self) {
        let pid = Pid::from_raw(self.pid as i32).expect("a process has a number");
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), options).expect("it is our child");
    }
}

/// Returns the anonymous memory of a process, in bytes; none once it has ended.
fn anonymous(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}
