//! Each message in each state of a session: those that may come are listed, and every other one is a fault.

use bytes::Bytes;
use datnode_feed::{
    Accusation, Bitfield, BlockIndex, NodeIndex, PublicKey, SecretKey, UpgradeProof, leaf,
};
use datnode_proto::capability::tag;
use datnode_proto::limits::CREDIT_START;
use datnode_proto::wire::{Channel, Hello, Message, Wanted};
use datnode_proto::{
    Binding, Class, Contact, Fault, FeedId, Job, Replica, Replicator, RequestId, Target, Want,
};

use crate::victim::{CHANNEL, FEED, NOW, PEER, Victim, have, head, key, request};

/// Under which number the peer opens what is not opened yet.
const OTHER: Channel = Channel(8);
/// A feed that the peer knows as well, and under which number it opened it.
const NEIGHBOUR: (FeedId, Channel) = (FeedId(1), Channel(9));

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// They are connected.
    Met,
    /// The peer greeted us.
    Greeted,
    /// It opened a feed that it does not know.
    Refused,
    /// It opened the feed, as we did.
    Live,
    /// It was asked for a block.
    Asked,
    /// It sent that.
    Answered,
    /// The block it sent is kept.
    Kept,
    /// It closed the feed.
    Closed,
}

const STATES: [State; 8] = [
    State::Met,
    State::Greeted,
    State::Refused,
    State::Live,
    State::Asked,
    State::Answered,
    State::Kept,
    State::Closed,
];

/// Returns what may come; nothing of it harms us.
fn legal(state: State) -> Vec<&'static str> {
    // Answers to what we withdrew cross that on their way, so that refusals may come at any time.
    let live = [
        "open of nothing",
        "close",
        "have",
        "upgrade",
        "accuse",
        "request for blocks",
        "request for bytes",
        "request for leaves",
        "cancel",
        "missing",
        "elsewhere",
        "credit",
    ];
    match state {
        State::Met => vec!["hello"],
        State::Greeted | State::Refused | State::Closed => {
            vec!["open", "open again", "open of nothing", "credit"]
        }
        State::Live | State::Answered | State::Kept => live.to_vec(),
        State::Asked => [&live[..], &["block"]].concat(),
    }
}

/// Returns what else may be said, and what is wrong with it.
fn fault(state: State, name: &str) -> Fault {
    match name {
        "hello" => Fault::Unexpected("hello"),
        _ if state == State::Met => Fault::Unexpected("message before hello"),
        "open again" => Fault::Unexpected("second open of a channel"),
        "request beyond its length" if is_live(state) => {
            Fault::Unexpected("request beyond its length")
        }
        "block of another feed" => Fault::Unexpected("block nobody asked for"),
        "open" => Fault::Unexpected("second open of a feed"),
        "block" | "block of another request" if is_live(state) => {
            Fault::Unexpected("block nobody asked for")
        }
        "leaves" if is_live(state) => Fault::Unexpected("leaves nobody asked for"),
        "peers" if is_live(state) => Fault::Unexpected("peers"),
        _ => Fault::UnknownChannel,
    }
}

const fn is_live(state: State) -> bool {
    matches!(state, State::Live | State::Asked | State::Answered | State::Kept)
}

fn open(channel: Channel, key: &PublicKey) -> Message {
    let nonce = [0; 16];
    Message::Open { channel, nonce, tag: *tag(key, b"them", b"us", &nonce).as_bytes() }
}

fn hello() -> Message {
    let (version_min, version_max, agent) = (1, 1, String::new());
    Message::Hello(Hello { version_min, version_max, features: 0, agent, credit: CREDIT_START })
}

fn neighbour() -> PublicKey {
    SecretKey::from_bytes([2; 32]).public()
}

/// The block that is asked for, and its bytes.
const BLOCK: u64 = 3;

fn block(channel: Channel, id: RequestId) -> Message {
    Message::Block { channel, id, block: BlockIndex(BLOCK), siblings: vec![] }
}

/// Returns a session that is so far, and the request that the peer has or had, if any.
fn session(state: State) -> (Victim, RequestId) {
    let mut replicator = Replicator::new([0; 32]);
    for (feed, key) in [(FEED, key()), (NEIGHBOUR.0, neighbour())] {
        let (class, head, have) = (Class::Content, Some(head(100)), Bitfield::new());
        replicator.add_feed(feed, Replica { key, class, head, have, accusation: None });
    }
    let binding = Binding { ours: b"us".into(), theirs: b"them".into() };
    replicator.handle_connected(NOW, PEER, binding);
    let mut victim = Victim { replicator };
    victim.drain();
    if state == State::Met {
        return (victim, RequestId(0));
    }
    victim.tell(&hello());
    match state {
        State::Met | State::Greeted => {}
        State::Refused => {
            victim.tell(&Message::Open { channel: CHANNEL, nonce: [0; 16], tag: [0; 32] })
        }
        State::Live | State::Asked | State::Answered | State::Kept | State::Closed => {
            victim.tell(&open(CHANNEL, &key()));
        }
    }
    victim.tell(&open(NEIGHBOUR.1, &neighbour()));
    victim.drain();
    let mut id = RequestId(0);
    if matches!(state, State::Asked | State::Answered | State::Kept) {
        victim.tell(&have(100, vec![BLOCK..BLOCK + 1], vec![]));
        victim.replicator.want(FEED, Want::new(Target::Blocks(vec![BLOCK..BLOCK + 1])));
        id = victim.ask();
    }
    if matches!(state, State::Answered | State::Kept) {
        victim.tell_with(&block(CHANNEL, id), Bytes::from_static(b"bytes"));
    }
    if state == State::Kept {
        assert_eq!(victim.store(0), 1);
    }
    if state == State::Closed {
        victim.tell(&Message::Close { channel: CHANNEL });
    }
    victim.drain();
    assert_eq!(victim.fault(), None, "{state:?}");
    (victim, id)
}

/// Returns everything that can be said, by name.
fn messages(id: RequestId) -> Vec<(&'static str, Message)> {
    let channel = CHANNEL;
    let blocks = || vec![BLOCK..BLOCK + 1];
    let peaks = vec![leaf(b"peak")];
    let accusation = Accusation { shorter: head(1), longer: head(1), peaks, nodes: vec![] };
    let proof = UpgradeProof { from: 100, head: head(101), nodes: vec![] };
    let (leaves, siblings) = (vec![leaf(b"leaf")], vec![]);
    let contacts = vec![Contact { peer: b"friend".into(), addresses: vec![b"here".into()] }];
    vec![
        ("hello", hello()),
        ("open", open(OTHER, &key())),
        ("open again", open(CHANNEL, &key())),
        ("open of nothing", Message::Open { channel: OTHER, nonce: [0; 16], tag: [0; 32] }),
        ("reject of nothing", Message::Reject { channel: Channel(1_000) }),
        ("close", Message::Close { channel }),
        ("have", have(100, blocks(), vec![])),
        ("upgrade", Message::Upgrade { channel, proof }),
        ("accuse", Message::Accuse { channel, accusation: Box::new(accusation) }),
        ("peers", Message::Peers { channel, contacts }),
        ("request for blocks", request(9, 100, Wanted::Blocks(blocks()))),
        ("request beyond its length", request(9, 3, Wanted::Blocks(blocks()))),
        ("request for bytes", request(9, 100, Wanted::Bytes(0..1))),
        ("request for leaves", request(9, 100, Wanted::Leaves(NodeIndex(0)))),
        ("cancel", Message::Cancel { channel, id: RequestId(9), blocks: vec![] }),
        ("missing", Message::Missing { channel, id, blocks: blocks() }),
        ("elsewhere", Message::Elsewhere { channel, id, blocks: blocks() }),
        ("block", block(channel, id)),
        ("block of another request", block(channel, RequestId(1 << 40))),
        ("block of another feed", block(NEIGHBOUR.1, id)),
        ("leaves", Message::Leaves { channel, id, leaves, siblings }),
        ("credit", Message::Credit { total: u64::MAX }),
    ]
}

#[test]
fn each_message_in_each_state_is_listed_or_a_fault_and_only_what_was_asked_for_is_kept() {
    for state in STATES {
        let legal = legal(state);
        let names: Vec<_> = messages(RequestId(0)).into_iter().map(|(name, _)| name).collect();
        assert!(legal.iter().all(|name| names.contains(name)), "{state:?}: {legal:?}");
        for name in names {
            let (mut victim, id) = session(state);
            let said = messages(id).into_iter().find(|(other, _)| *other == name);
            let (_, message) = said.expect("it is in the list");
            let payload = match &message {
                Message::Block { .. } => Bytes::from_static(b"bytes"),
                _ => Bytes::new(),
            };
            victim.tell_with(&message, payload);
            let expected = (!legal.contains(&name)).then(|| fault(state, name));
            assert_eq!(victim.fault(), expected, "{name} in {state:?}");
            let stored = std::iter::from_fn(|| victim.replicator.poll_job())
                .filter(|job| matches!(job, Job::Store { .. }))
                .count();
            let before = usize::from(state == State::Answered);
            let kept = before + usize::from(state == State::Asked && name == "block");
            assert_eq!(stored, kept, "{name} in {state:?}");
            if expected.is_some() {
                // Whatever follows is not looked at.
                victim.tell(&message);
                assert_eq!(victim.fault(), None, "{name} in {state:?}");
                assert_eq!(victim.replicator.poll_job(), None, "{name} in {state:?}");
            }
        }
    }
}
