//! An address that stands for another one.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

/// Passes whoever connects on to a port of this computer, after a while.
pub struct Relay {
    port: u16,
    to: Arc<AtomicU16>,
}

impl Relay {
    /// Stands for an address as `--peer` takes it.
    pub fn new(address: &str, after: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = Arc::new(AtomicU16::new(port_of(address)));
        let now = to.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                thread::sleep(after);
                // Nobody may be there at the moment.
                let far = TcpStream::connect(("127.0.0.1", now.load(Ordering::SeqCst)));
                far.into_iter().for_each(|far| pass(&near, &far));
            }
        });
        Self { port, to }
    }

    /// Stands for another address from now on.
    pub fn turn_to(&self, address: &str) {
        self.to.store(port_of(address), Ordering::SeqCst);
    }

    /// Returns the address for `--peer`.
    pub fn address(&self) -> String {
        format!("/ip4/127.0.0.1/tcp/{}", self.port)
    }
}

fn port_of(address: &str) -> u16 {
    address.split('/').nth(4).unwrap().parse().unwrap()
}

fn pass(near: &TcpStream, far: &TcpStream) {
    for (from, to) in [(near, far), (far, near)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            // Either may go first, and then the other does.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
