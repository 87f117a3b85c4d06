//! Peers that mean harm, over real sockets, against the built binary: the work is done, or ends with the right code.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use datnode_tests::hostile::{Hostile, Line};
use datnode_tests::{User, assert_exit, finish, write};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(300);

/// Speaks a newer protocol only.
async fn newer(mut line: Line) {
    let _ = line.hello(2, 3).await;
    line.until_gone().await;
}

#[test]
fn a_peer_that_speaks_a_newer_protocol_only_is_named() {
    let user = User::new();
    write(&user.path("source"), b"a", b"hello");
    let link = user.share(&user.path("source"), &[]).link().to_owned();
    let peer = Hostile::listen(newer);
    let reader = User::new();
    let clone = ["clone", &link, "copy", "--wait", "2s", "--peer", peer.address()];
    let output = reader.run(clone);
    assert_exit(&output, 1);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error[E-VERSION]: the other side speaks a newer protocol"), "{said}");
    assert!(said.contains("it speaks version 2, this program speaks 1"), "{said}");
    let output = reader.run(["--json"].into_iter().chain(clone));
    assert_exit(&output, 1);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["code"], &error["exit"]), (&"E-VERSION".into(), &1.into()));
    assert_eq!((&error["theirs"], &error["ours"]), (&"2".into(), &"1".into()));
    assert!(peer.sessions() >= 2);
}

/// Comes and goes.
async fn fleeting(mut line: Line) {
    let _ = line.hello(1, 1).await;
    let _ = line.receive().await;
}

#[test]
fn peers_that_come_and_go_keep_nobody_waiting() {
    let user = User::new();
    write(&user.path("source"), b"a", b"hello");
    let link = user.share(&user.path("source"), &[]).link().to_owned();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = format!("/ip4/127.0.0.1/tcp/{port}");
    let peers: Vec<_> = (0..3).map(|_| Hostile::attack(&target, fleeting)).collect();
    let reader = User::new();
    let (port, wait) = (port.to_string(), ["--wait", "2s"]);
    let clone = ["clone", &link, "copy", "--port", &port].into_iter().chain(wait);
    let child = reader.command(clone).stderr(Stdio::piped()).spawn().unwrap();
    assert_exit(&finish(child, HANGS), 5);
    let sessions: u64 = peers.iter().map(Hostile::sessions).sum();
    assert!(sessions > 10, "only {sessions} sessions");
}
