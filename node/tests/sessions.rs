//! Sessions over pipes in memory: who is turned away.

use std::time::Duration;

use datnode::engine::{About, Ended, Hub};
use datnode::pool::Pool;
use datnode::swarm::frames::FrameReader;
use datnode_proto::Binding;
use datnode_proto::wire::{Channel, Frame, Hello, Message, encode};
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(60);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(HANGS, test).await.expect("it hangs") })
}

fn bytes(message: &Message) -> Vec<u8> {
    let frame = Frame { header: encode(message), payload: bytes::Bytes::new() };
    [&frame.prefix(), &frame.header[..]].concat()
}

fn hello() -> Vec<u8> {
    let (version_min, version_max, features, agent) = (1, 1, 0, String::new());
    bytes(&Message::Hello(Hello { version_min, version_max, features, agent, credit: 0 }))
}

/// Begins a session of a peer of this name.
fn connect(hub: &Hub, name: &str, pipe: usize) -> (DuplexStream, JoinHandle<Ended>) {
    let (near, far) = duplex(pipe);
    let (hub, theirs) = (hub.clone(), name.as_bytes().to_vec());
    let session = tokio::spawn(async move {
        let (read, write) = tokio::io::split(far);
        let about = About {
            name: String::from("peer"),
            address: String::from("pipe"),
            punched: false,
            is_local: false,
        };
        hub.replicate(read, write, Binding { ours: b"us".to_vec(), theirs }, about).await
    });
    (near, session)
}

/// Tells whether a session of this name is greeted.
async fn is_greeted(hub: &Hub, name: &str) -> bool {
    let (near, _) = connect(hub, name, 1_000);
    FrameReader::new(near, Pool::default()).read().await.unwrap().is_some()
}

#[test]
fn whoever_breaks_the_protocol_gets_no_stream_for_a_while() {
    run(async {
        let (hub, driver) = Hub::new([0; 32]);
        tokio::spawn(driver);
        let reject = bytes(&Message::Reject { channel: Channel(9) });
        for (name, wrong) in [("a", vec![255; 8]), ("b", hello()), ("c", reject)] {
            assert!(is_greeted(&hub, name).await);
            let (mut near, session) = connect(&hub, name, 1_000);
            near.write_all(&[hello(), wrong].concat()).await.unwrap();
            assert!(matches!(session.await.unwrap(), Ended::Fault(_)), "{name}");
            assert!(!is_greeted(&hub, name).await, "{name} is turned away");
            assert!(is_greeted(&hub, "another").await);
        }
    });
}
