//! Hears what is said to everybody on the local network (mDNS) and prints each packet as a list of numbers.
//!
//! It is a program, so that it can be run in a network of its own; its argument is its address there.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use datnode_tests::network::MDNS;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).and_then(|address| address.parse().ok());
    let address: Ipv4Addr = address.expect("the first argument is an address");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, MDNS.port()))?;
    socket.join_multicast_v4(MDNS.ip(), &address)?;
    println!("[]");
    let mut packet = [0; 1 << 16];
    loop {
        let len = socket.recv(&mut packet)?;
        println!("{:?}", &packet[..len]);
    }
}
