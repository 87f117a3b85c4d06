//! Strangers, who do not know a feed's key: they hear the same whether it is here or not, and nothing that tells of it.

use bytes::Bytes;
use datnode_feed::{Bitfield, Hash, Head, PublicKey, SecretKey, SignedHead};
use datnode_proto::capability::tag;
use datnode_proto::wire::{Channel, Hello, Message, Wanted, decode, encode};
use datnode_proto::{Binding, Class, Event, Fault, FeedId, PeerId, Replica, Replicator};

use crate::victim::{NOW, PEER, have, request};

/// The number under which a stranger opens the feed.
const THEIRS: Channel = Channel(7);
const LENGTH: u64 = 100;
/// What only the signed head of the feed says.
const ROOT: [u8; 32] = [0xc5; 32];

fn key(seed: u8) -> PublicKey {
    SecretKey::from_bytes([seed; 32]).public()
}

/// A node that holds all of one feed.
fn node(seed: u8) -> Replicator {
    let mut node = Replicator::new([9; 32]);
    let head =
        Head { fork: 0, length: LENGTH, byte_length: LENGTH, root: Hash(ROOT), ancestor: None };
    let head = Some(SignedHead::sign(head, &SecretKey::from_bytes([seed; 32])));
    let have: Bitfield = [0..LENGTH].into_iter().collect();
    let replica = Replica { key: key(seed), class: Class::Content, head, have, accusation: None };
    node.add_feed(FeedId(0), replica);
    node
}

/// Lets somebody connect who goes by a name, and greets.
fn meet(node: &mut Replicator, peer: PeerId, name: &[u8]) {
    node.handle_connected(NOW, peer, Binding { ours: b"us".into(), theirs: name.into() });
    let (version_min, version_max, features, agent) = (1, 1, u64::MAX, String::new());
    let hello = Hello { version_min, version_max, features, agent, credit: u64::MAX };
    tell(node, peer, &Message::Hello(hello));
}

fn tell(node: &mut Replicator, peer: PeerId, message: &Message) {
    node.handle_frame(NOW, peer, &encode(message), Bytes::new());
}

/// Returns all frames for somebody, as they are on the stream.
fn frames(node: &mut Replicator, peer: PeerId) -> Vec<(Message, Vec<u8>)> {
    let frames = std::iter::from_fn(|| node.poll_transmit(NOW, peer));
    let read = frames.map(|frame| {
        let message = decode(&frame.header, &frame.payload).expect("we send what can be read");
        (message, [&frame.header[..], &frame.payload].concat())
    });
    read.collect()
}

/// What a stranger hears and makes happen who shows a tag, with what is drawn at random left out.
fn shown(seed: u8, nonce: [u8; 16], tag: [u8; 32]) -> (Vec<Message>, Vec<Event>, bool) {
    let mut node = node(seed);
    meet(&mut node, PEER, b"them");
    let mut heard = frames(&mut node, PEER);
    tell(&mut node, PEER, &Message::Open { channel: THEIRS, nonce, tag });
    heard.extend(frames(&mut node, PEER));
    let told = heard.into_iter().map(|(message, _)| match message {
        Message::Open { channel, .. } => Message::Open { channel, nonce: [0; 16], tag: [0; 32] },
        other => other,
    });
    let events = std::iter::from_fn(|| node.poll_event()).collect();
    (told.collect(), events, node.poll_job().is_some())
}

#[test]
fn a_tag_that_proves_nothing_is_answered_like_one_for_a_feed_that_is_not_here() {
    let (here, nonce) = (key(1), [3; 16]);
    let mut owner = node(1);
    meet(&mut owner, PEER, b"them");
    let opens = frames(&mut owner, PEER).into_iter().find_map(|(message, _)| match message {
        Message::Open { nonce, tag, .. } => Some((nonce, tag)),
        _ => None,
    });
    let of = |key: &PublicKey, sender: &[u8], receiver: &[u8]| {
        (nonce, *tag(key, sender, receiver, &nonce).as_bytes())
    };
    let right = of(&here, b"them", b"us");
    for (name, (nonce, tag)) in [
        ("made up", (nonce, [7; 32])),
        ("our own, reflected", opens.expect("we open what we have")),
        ("somebody's for us, passed on", of(&here, b"friend", b"us")),
        ("somebody's for them, passed on", of(&here, b"friend", b"them")),
        ("theirs for somebody else", of(&here, b"them", b"friend")),
        ("with another nonce", ([4; 16], right.1)),
        ("for another feed", of(&key(2), b"them", b"us")),
    ] {
        let heard = shown(1, nonce, tag);
        assert_eq!(heard, shown(3, nonce, tag), "{name}");
        assert_eq!(heard.0.last(), Some(&Message::Reject { channel: THEIRS }), "{name}");
        assert!(heard.1.is_empty() && !heard.2, "{name}");
    }
    // Who knows the key is told apart.
    let heard = shown(1, right.0, right.1);
    assert_ne!(heard, shown(3, right.0, right.1));
    assert!(heard.1.iter().any(|event| matches!(event, Event::Opened { .. })));
}

#[test]
fn nothing_that_is_said_to_strangers_tells_of_the_feed() {
    let (key, mut node) = (key(1), node(1));
    let secrets = [*key.as_bytes(), key.discovery().0, ROOT];
    let holds = |bytes: &[u8], secret: &[u8; 32]| bytes.windows(32).any(|part| part == secret);
    let mut count = 0;
    for peer in (10..510).map(PeerId) {
        meet(&mut node, peer, &peer.0.to_be_bytes());
        let mut said = Vec::new();
        for number in 0..20 {
            let (nonce, tag) = ([number; 16], [number; 32]);
            tell(&mut node, peer, &Message::Open { channel: Channel(number.into()), nonce, tag });
            said.extend(frames(&mut node, peer));
        }
        for (message, bytes) in &said {
            assert!(
                matches!(
                    message,
                    Message::Hello(_) | Message::Open { .. } | Message::Reject { .. }
                ),
                "{message:?}"
            );
            assert!(!secrets.iter().any(|secret| holds(bytes, secret)), "{message:?}");
        }
        count += said.len();
        // Nothing can be asked about what was not opened.
        let ask = [request(1, LENGTH, Wanted::Blocks(vec![0..1])), have(LENGTH, vec![], vec![])];
        tell(&mut node, peer, &ask[usize::from(count % 2 == 0)]);
        let fault = std::iter::from_fn(|| node.poll_event()).find_map(|event| match event {
            Event::Fault { fault, .. } => Some(fault),
            _ => None,
        });
        assert_eq!(fault, Some(Fault::UnknownChannel));
    }
    assert!(count > 10_000, "{count} frames");
    // Who knows the key hears of the head, and even then neither key is said.
    meet(&mut node, PEER, b"friend");
    let (nonce, channel) = ([3; 16], THEIRS);
    let tag = *tag(&key, b"friend", b"us", &nonce).as_bytes();
    tell(&mut node, PEER, &Message::Open { channel, nonce, tag });
    let said: Vec<u8> = frames(&mut node, PEER).into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert_eq!(secrets.map(|secret| holds(&said, &secret)), [false, false, true]);
}
