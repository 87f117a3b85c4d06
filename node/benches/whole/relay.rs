//! Passes a connection on, and counts its bytes: all that goes over the wire, both ways.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A port of this computer that stands for another one, until the process ends.
pub(crate) struct Relay {
    port: u16,
    passed: Arc<AtomicU64>,
}

impl Relay {
    pub(crate) fn new(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let passed = Arc::new(AtomicU64::new(0));
        let counter = passed.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect((Ipv4Addr::LOCALHOST, to)))
                else {
                    continue;
                };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let ends = from.try_clone().and_then(|from| Ok((from, to.try_clone()?)));
                    let ((from, to), passed) =
                        (ends.expect("descriptors are left"), counter.clone());
                    thread::spawn(move || pass(from, to, &passed));
                }
            }
        });
        Self { port, passed }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many bytes went through it.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, passed: &AtomicU64) {
    let mut piece = vec![0; 256 << 10];
    while let Ok(len @ 1..) = from.read(&mut piece) {
        passed.fetch_add(len as u64, Ordering::Relaxed);
        if to.write_all(&piece[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
