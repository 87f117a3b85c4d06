//! What others take for the same.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::data;

/// What `cp -r` takes.
pub(crate) struct Copied {
    pub(crate) seconds: f64,
    /// Until all of it is on the disk as well.
    pub(crate) durable_seconds: f64,
}

/// Copies a folder.
pub(crate) fn copy(source: &Path, out: &Path) -> Copied {
    let started = Instant::now();
    let status = Command::new("cp").arg("-r").args([source, out]).status();
    assert!(status.is_ok_and(|status| status.success()), "cp fails");
    let seconds = started.elapsed().as_secs_f64();
    Copied { seconds, durable_seconds: seconds + flush(out) }
}

/// Returns the seconds until all that was written of a folder is on the disk.
pub(crate) fn flush(folder: &Path) -> f64 {
    let started = Instant::now();
    let folder = fs::File::open(folder).expect("it was made");
    rustix::fs::syncfs(folder).expect("the disk has room");
    started.elapsed().as_secs_f64()
}

/// Returns the seconds that one thread takes to hash all files.
pub(crate) fn hash(source: &Path) -> f64 {
    let files = data::files(source);
    let started = Instant::now();
    for file in files {
        let mut hasher = blake3::Hasher::new();
        let mut file = fs::File::open(file).expect("it was made");
        hasher.update_reader(&mut file).expect("it can be read");
        std::hint::black_box(hasher.finalize());
    }
    started.elapsed().as_secs_f64()
}

/// An rsync daemon on this computer.
pub(crate) struct Rsync {
    daemon: Child,
    port: u16,
    folder: PathBuf,
}

impl Rsync {
    /// Starts it, if rsync is installed.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let config = folder.join("rsyncd.conf");
        let text =
            format!("use chroot = no\n[data]\npath = {}\nread only = yes\n", folder.display());
        fs::write(&config, text).ok()?;
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--address", "127.0.0.1", "--port"]);
        command.arg(free.to_string()).arg("--config").arg(config);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = command.spawn().ok()?;
        let up = |_: &u32| std::net::TcpStream::connect(("127.0.0.1", free)).is_ok();
        let mut tries = (0..100).inspect(|_| thread::sleep(Duration::from_millis(50)));
        tries.find(up)?;
        Some(Self { daemon, port: free, folder: folder.to_owned() })
    }

    /// Returns the seconds that fetching a folder takes, or what differs from a copy of it.
    pub(crate) fn fetch(&self, source: &Path, out: &Path) -> f64 {
        let name = source.strip_prefix(&self.folder).expect("data lies in the folder").display();
        let from = format!("rsync://127.0.0.1:{}/data/{name}/", self.port);
        let started = Instant::now();
        let status =
            Command::new("rsync").args(["-a", "--exclude", ".dat", &from]).arg(out).status();
        assert!(status.is_ok_and(|status| status.success()), "rsync fails");
        started.elapsed().as_secs_f64()
    }
}

impl Drop for Rsync {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
