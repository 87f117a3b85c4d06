//! Every number the transport is bound by, each with its reason.
//!
//! Elsewhere: what a frame may hold (`datnode_proto::limits`), what a peer may ask (`datnode_proto`).

use std::time::Duration;

/// Connections in all. Far below the usual 1,024 descriptors of a process, which the store needs too.
pub const CONNECTIONS: u32 = 256;

/// Connections that strangers dialed. The rest stays free for our own dials and for those whom we know, so that a flood of
/// strangers cannot keep us from the peers we want.
pub const CONNECTIONS_INBOUND: u32 = 144;

/// Connections beyond that for peers who dialed us and are known: with whom there was a drive in common.
pub const CONNECTIONS_KNOWN: u32 = 48;

/// Connections in all of a node that is there for others. An idle one takes some 100 KiB.
pub const PUBLIC_CONNECTIONS: u32 = 1_024;

/// Connections that strangers dialed, of such a node.
pub const PUBLIC_CONNECTIONS_INBOUND: u32 = 768;

/// Those beyond that of peers who are known.
pub const PUBLIC_CONNECTIONS_KNOWN: u32 = 128;

/// Handshakes at once that others began. A handshake costs a signature and about 100 KiB.
pub const PENDING_INBOUND: u32 = 64;

/// Handshakes beyond that from addresses where peers were that are known.
pub const PENDING_KNOWN: u32 = 16;

/// Peers that are known at once; who was here last stays.
pub const KNOWN_PEERS: usize = 1_024;

/// Handshakes at once that we began; further dials wait for their turn.
pub const PENDING_OUTBOUND: u32 = 64;

/// Connections of one peer: both sides may dial at once, and each may still hold one that died
/// without a word. The rule of one session closes the surplus.
pub const CONNECTIONS_PER_PEER: u32 = 4;

/// Inbound connections of one IPv4 /24 or IPv6 /48; loopback is exempt. Addresses of one network
/// are cheap to have, so they share.
pub const CONNECTIONS_PER_SUBNET: usize = 16;

/// Streams of one connection. We use one, identify and ping a few more; each may hold 256 KiB unread.
pub const STREAMS_PER_CONNECTION: u32 = 16;

/// What the streams of a connection may hold unread together: the most credit a peer has with us, and as much for the rest.
/// Yamux wants at least 256 KiB for each stream.
pub const UNREAD_PER_CONNECTION: usize = 32 << 20;

/// What the streams of all connections over TCP may hold unread together, in bytes: two such connections' most, or a fast one beside what
/// many hold that wait for their turn.
pub const UNREAD_ALL: usize = 64 << 20;

/// What a connection may hold unread however much the others hold: a frame of common size.
pub const UNREAD_FREE: usize = 64 << 10;

/// What one stream, and all streams of a connection over QUIC may hold unread, in bytes: 80 Mbit/s over 100 ms. The library's are 10 and 15 MB,
/// and it does not let them shrink while there are many connections.
pub const QUIC_UNREAD: (u32, u32) = (1 << 20, 1 << 20);

/// Which part of all connections may be over QUIC: so together these may hold unread what those over TCP may, [`UNREAD_ALL`]; those of a
/// public node four times that.
pub const QUIC_SHARE: usize = 4;

/// The most bytes of a stream in one frame: a block of common size. Larger ones cost more than they save.
pub const STREAM_FRAME: usize = 64 << 10;

/// What waits for the socket to make one write of many small ones, a frame of a stream and what is around it; and what is read
/// from it at a time.
pub const SOCKET_BUFFER: usize = 128 << 10;

/// How long the system may take to say which addresses a listener has. It does so at once; without a network, never.
pub const LISTENING: Duration = Duration::from_secs(1);

/// From the first packet to an authenticated connection. Five round trips of a second each.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// From opening our stream to the agreement on its protocol.
pub const STREAM_OPENING: Duration = Duration::from_secs(10);

/// How long a connection may stand without its stream.
pub const WITHOUT_STREAM: Duration = Duration::from_secs(30);

/// When the library itself drops a connection nobody uses: after ours above would have.
pub const IDLE: Duration = Duration::from_secs(120);

/// Pause between two pings of a connection.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How long a ping may take. It waits behind what the kernel has queued of a bulk transfer, which is
/// 4 MB at 1 Mbit/s in the worst case. Two in a row end the connection.
pub const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// How long QUIC waits for any packet. TCP hears of a killed process at once, QUIC only by this.
pub const QUIC_IDLE_MS: u32 = 15_000;

/// Pause after which QUIC shows that it lives; several fit into [`QUIC_IDLE_MS`].
pub const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long the second choice of a peer's addresses waits for the first.
pub const NEXT_ADDRESSES_AFTER: Duration = Duration::from_secs(2);

/// First pause before a lost peer is dialed again; it doubles with each failure.
pub const REDIAL_FIRST: Duration = Duration::from_millis(250);

/// Longest pause before a lost peer is dialed again.
pub const REDIAL_MAX: Duration = Duration::from_secs(10);

/// The same for what mDNS found: it may speak other protocols alone, and is heard of again when it comes back.
pub const REDIAL_LAN_MAX: Duration = Duration::from_secs(60);

/// The same for a peer of some other time, who may never come back.
pub const REDIAL_REMEMBERED_MAX: Duration = Duration::from_secs(600);

/// Pause between two mDNS queries, after the first few. The library's 5 minutes are long for who waits.
pub const LAN_QUERY_INTERVAL: Duration = Duration::from_secs(60);

/// Peers that mDNS found. A quarter of [`TARGETS`]: the rest is for those whom somebody asked for.
pub const LAN_PEERS: usize = 256;

/// Dials at once to peers that mDNS found. They may be made up, so they leave most of [`PENDING_OUTBOUND`] to others.
pub const LAN_DIALS: usize = 16;

/// Peers that mDNS found to be connected to at once; a quarter of [`CONNECTIONS`].
pub const LAN_CONNECTIONS: usize = 64;

/// Addresses that the library may have heard of by mDNS; it has no limit of its own. Beyond it begins anew.
pub const LAN_RECORDS: usize = 4_096;

/// The same for nodes that lead into the DHT: they are few, and wanted for as long as we run.
pub const REDIAL_BOOTSTRAP_MAX: Duration = Duration::from_secs(60);

/// The same for whom the DHT named: anybody can have themselves named there.
pub const REDIAL_DHT_MAX: Duration = Duration::from_secs(300);

/// How long such a node is left alone once there is nothing more to say: it has no place for everybody at once.
pub const BOOTSTRAP_REST: Duration = Duration::from_secs(600);

/// Nodes that lead into the DHT and are kept: besides the user tickets name some, each of which learns of all our drives.
pub const BOOTSTRAP_PEERS: usize = 64;

/// Nodes that lead into the DHT, were lost, and are waited for.
pub const WAYS_LOST: usize = BOOTSTRAP_PEERS;

/// Dials at once to peers that the DHT named, as [`LAN_DIALS`].
pub const DHT_DIALS: usize = 16;

/// Peers that the DHT named to be connected to at once; a quarter of [`CONNECTIONS`].
pub const DHT_CONNECTIONS: usize = 64;

/// Bytes of a discovery key, which is what records are about.
pub const DHT_KEY_BYTES: usize = 32;

/// Bytes of an address in a record, as of one in a ticket.
pub const DHT_ADDRESS_BYTES: usize = 256;

/// Places where it is told who has a drive, one in each quarter of the ids. To hide a drive takes a crowd of nodes around each.
pub const DHT_PLACES: u8 = 4;

/// How long the next place waits before it is asked as well: the first one has mostly answered by then.
pub const DHT_NEXT_PLACE: Duration = Duration::from_millis(500);

/// Records that are kept of others: 16 MiB at 1 KiB each, of which most take a quarter.
pub const DHT_RECORDS: usize = 16_384;

/// Records of one peer: those of 32 drives, all places of which may be ours where nodes are few.
pub const DHT_RECORDS_PER_PEER: usize = 32 * DHT_PLACES as usize;

/// Records that came from one IPv4 /24 or IPv6 /48: it takes eight networks to fill the store.
pub const DHT_RECORDS_PER_SUBNET: usize = DHT_RECORDS / 8;

/// Records of one key: more peers of a drive than anybody dials at once.
pub const DHT_RECORDS_PER_KEY: usize = 32;

/// Records that this node itself announces, of 1,024 drives; nothing that others send takes from it.
pub const DHT_RECORDS_OWN: usize = 1_024 * DHT_PLACES as usize;

/// Places looked at or announced: twice those that may be announced.
pub const DHT_TASKS: usize = 2 * DHT_RECORDS_OWN;

/// Queries at once: two drives, all places of each. Each asks up to 20 nodes.
pub const DHT_QUERIES: usize = 8;

/// Nodes at the end of a lookup: those closest to its place that answer, of which as many as this are told who has a drive.
pub const DHT_CLOSEST: usize = 20;

/// How many of these count of one IPv4 /16 or IPv6 /32. So to be all that is found at a place takes nodes in ten networks.
pub const DHT_CLOSEST_PER_NETWORK: usize = 2;

/// How many answers of one network a lookup listens to: a few on the way, and those at its end. Who answers with somebody closer
/// again and again comes to an end by it.
pub const DHT_ANSWERS_PER_NETWORK: usize = 12;

/// Nodes that a lookup asks at once.
pub const DHT_ASKS: usize = 5;

/// How long it waits for an answer before it asks somebody else as well.
pub const DHT_SLOW: Duration = Duration::from_secs(1);

/// How long an answer may take, from the first packet to a node.
pub const DHT_ASK: Duration = Duration::from_secs(5);

/// Dials under way, of all kinds, beyond which no lookup begins another: the rest of [`PENDING_OUTBOUND`] is for peers.
pub const DHT_ASKS_PENDING: u32 = 40;

/// Nodes that a lookup hears of. Each answer names 20 at most.
pub const DHT_NODES: usize = 2_048;

/// Nodes that an answer may name, and peers of a drive; as many as the library does.
pub const DHT_NAMES: usize = 20;

/// Bytes of an answer, as the library limits them.
pub const DHT_ANSWER_BYTES: usize = 16 << 10;

/// Peers of a drive that are dialed at once as nodes of one network name them; more of them once the lookup is over.
pub const DHT_FOUND_AT_ONCE: usize = 8;

/// Nodes in a bucket of the table, as in the library.
pub const DHT_BUCKET: usize = 20;

/// Pause before drives are announced anew when a node of a small table is gone: others mostly go with it.
pub const DHT_LOST: Duration = Duration::from_secs(10);

/// How long a lookup may take; those who answer do so within a second or two.
pub const DHT_QUERY: Duration = Duration::from_secs(20);

/// How long a record is kept without news. Whoever left is dialed in vain so long at most.
pub const DHT_RECORD_TTL: Duration = Duration::from_secs(6 * 3_600);

/// Pause between two announcements of a drive where no more than [`DHT_ALONE`] nodes are known: if these begin anew with nothing, so long
/// nobody finds it at most.
pub const DHT_ANNOUNCE_ALONE: Duration = Duration::from_secs(2 * 60);

/// As many nodes may well begin anew at the same time, being one person's.
pub const DHT_ALONE: usize = 3;

/// Pause between two announcements of a drive, where there are few: so long it cannot be found at most if all leave who knew of it.
pub const DHT_ANNOUNCE_FEW: Duration = Duration::from_secs(15 * 60);

/// What each place at which something is announced adds to that, beyond that time: no more than one lookup in so long.
pub const DHT_ANNOUNCE_EACH: Duration = Duration::from_millis(1_750);

/// Pause between two announcements of a drive, where there are many: one may be lost, and a second, before the record is.
pub const DHT_ANNOUNCE: Duration = Duration::from_secs(2 * 3_600);

/// First pause before a drive's peers are looked for again; each is half as long again as the one before, so that whoever began to offer
/// it after some time is found after half of that again.
pub const DHT_PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The most that it grows to.
pub const DHT_PAUSE_MAX: Duration = Duration::from_secs(600);

/// Peers that the DHT named. A quarter of [`TARGETS`], as with mDNS.
pub const DHT_PEERS: usize = 256;

/// Peers of a drive that one answer may name; an honest one names no more than 20.
pub const DHT_FOUND: usize = 64;

/// Peers that other peers of a drive named.
pub const EXCHANGE_PEERS: usize = 128;

/// Peers among them at one IP: whoever names a victim again and again has us dial it no oftener than this. Loopback is exempt.
pub const EXCHANGE_PER_IP: usize = 4;

/// Dials at once to peers that other peers named.
pub const EXCHANGE_DIALS: usize = 8;

/// Peers that others named to be connected to at once.
pub const EXCHANGE_CONNECTIONS: usize = 16;

/// What peers said of others that waits to be looked at; more is forgotten.
pub const EXCHANGE_QUEUED: usize = 64;

/// How often one that strangers named is dialed in vain before it is left until it is named again.
pub const DHT_FAILURES: u32 = 3;

/// [`DHT_PAUSE_FIRST`] of the public IPFS DHT, which others pay for.
pub const IPFS_PAUSE_FIRST: Duration = Duration::from_secs(60);

/// [`DHT_PAUSE_MAX`] of it.
pub const IPFS_PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// [`DHT_QUERIES`] of it: the nodes that one asks stay connected for a while, and speak nothing else that we want.
pub const IPFS_QUERIES: usize = 1;

/// [`DHT_ANNOUNCE`] of it: its nodes keep records for two days.
pub const IPFS_ANNOUNCE: Duration = Duration::from_secs(12 * 3_600);

/// How long a peer that nobody asked for may stay connected without a drive in common.
pub const IDLE_PEER: Duration = Duration::from_secs(30);

/// How long a connection through a relay may stand: what it takes to find a direct way three times.
pub const RELAYED: Duration = Duration::from_secs(40);

/// Relays through which a node can be reached at once that cannot be reached itself.
pub const RELAYS: usize = 2;

/// Relays that are known; those that come later are not needed.
pub const RELAYS_KNOWN: usize = 16;

/// Pause before a relay that refused is asked again.
pub const RELAY_RETRY: Duration = Duration::from_secs(60);

/// How long it is waited whether a node can be reached itself before it asks a relay: an address is tried out within
/// [`PROBE_INTERVAL`] and two round trips. Where that takes longer, a place at a relay is given up again.
pub const REACH_CHECK: Duration = Duration::from_secs(3);

/// How often it is looked whether there are addresses to be tried out. The library's 5 s are long for who waits to be told.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after which a node that nobody reaches has its addresses tried out again: its router may have learned to let others in.
pub const PROBE_AGAIN: Duration = Duration::from_secs(120);

/// Nodes that are dialed to try them.
pub const PROBERS: usize = 2;

/// Addresses that others saw us at and that are tried out, in all: they may say anything.
pub const CANDIDATES: usize = 32;

/// Nodes whose word counts for what is told of our NAT: two are enough, if they are honest.
pub const WITNESSES: usize = 16;

/// How long a router is searched for by UPnP. Those that are there answer within three seconds, as they are asked to.
pub const ROUTER_SEARCH: Duration = Duration::from_millis(3_500);

/// Routers that are listened to in a search: anybody on the local network can say that they are some.
pub const ROUTERS: usize = 8;

/// How long a router may take for one answer, from dialing it.
pub const ROUTER_ANSWER: Duration = Duration::from_secs(3);

/// Bytes of an answer of a router; a description of one takes a tenth of it.
pub const ROUTER_ANSWER_LEN: usize = 64 << 10;

/// How long a router is asked to let others in; half-way it is asked again.
pub const ROUTER_LEASE: Duration = Duration::from_secs(3_600);

/// Pause after which a router is searched for again that was not there or let nobody in: its owner may have seen to it.
pub const ROUTER_AGAIN: Duration = Duration::from_secs(600);

/// Pause after which the names that lead here are resolved anew: so long an address that moved is told at most.
pub const NAMES_AGAIN: Duration = Duration::from_secs(120);

/// The same where one of them stood for nothing.
pub const NAMES_RETRY: Duration = Duration::from_secs(10);

/// Addresses that a name may stand for.
pub const NAMES_ADDRESSES: usize = 8;

/// Places that we give to others who cannot be reached, once we can.
pub const RELAY_PLACES: usize = 128;

/// Connections at once that are relayed.
pub const RELAY_CIRCUITS: usize = 32;

/// How long one of them may stand.
pub const RELAY_CIRCUIT: Duration = Duration::from_secs(120);

/// How many bytes it may carry each way: handshakes and addresses, never a drive.
pub const RELAY_BYTES: u64 = 128 << 10;

/// A session that lived this long was a good one: the pauses start again from the first.
pub const REDIAL_RESET_AFTER: Duration = Duration::from_secs(5);

/// Peers we dial or keep. A ticket and its swarm name a few dozen.
pub const TARGETS: usize = 1_024;

/// Addresses of one peer.
pub const ADDRESSES_PER_TARGET: usize = 16;

/// Commands a caller may have waiting.
pub const COMMANDS_QUEUED: usize = 256;

/// Events the caller has not taken yet. When they are this many the swarm takes no new connections
/// and no new streams; nothing is dropped.
pub const EVENTS_QUEUED: usize = 256;

/// Handshakes that strangers of one host may begin at once: those of a household behind one router.
pub const HOST_HANDSHAKES: u32 = 32;

/// A host may begin one more in each such time.
pub const HOST_HANDSHAKE_EVERY: Duration = Duration::from_millis(100);

/// The same for the strangers of all hosts together: as many as a public node has places for comes within seconds.
pub const HANDSHAKES: u32 = 256;

/// One takes half a millisecond of a processor, so that they take a twentieth of one at most.
pub const HANDSHAKE_EVERY: Duration = Duration::from_millis(10);

/// How often the protocol may be broken from a host until strangers from there are turned away: several may live there.
pub const HOST_FAULTS: u32 = 16;

/// Streams that a peer may open at once, one after the other: requests of a few queries of the DHT beside those of every connection.
pub const STREAMS_AT_ONCE: u32 = 64;

/// It may open one more in each such time.
pub const STREAM_EVERY: Duration = Duration::from_millis(250);

/// What goes beyond is taken one after the other, one in each such time for all peers together: a stream takes some 25 µs of a
/// processor, so that these take a twentieth of one.
pub const STREAM_TURN: Duration = Duration::from_micros(500);

/// How many protocols may be proposed in vain on a connection or a stream: whoever has several for one purpose proposes them in turn.
pub const REFUSALS: u32 = 8;

/// How long a peer that broke the protocol gets no further stream; doubled each time.
pub const SHUN_FIRST: Duration = Duration::from_secs(1);

/// The most that it is doubled to.
pub const SHUN_MAX: Duration = Duration::from_secs(60);

/// How long behind such a pause it still counts for the next one.
pub const SHUN_FORGET: Duration = Duration::from_secs(600);

/// How many such peers are remembered, and how many such hosts: more than there can be connections in that time from a few networks.
pub const SHUNNED: usize = 1_024;

/// How long a goodbye may take.
pub const CLOSING: Duration = Duration::from_secs(1);

/// Read buffer of a stream. Frames smaller than this share a read; larger payloads are read past it,
/// so that they are copied once.
pub const READ_BUFFER: usize = 16 * 1024;

/// Write buffer of a stream: what is gathered before it is handed to the transport.
pub const WRITE_BUFFER: usize = 64 * 1024;

/// Payloads up to this size are gathered with their neighbours. Longer ones go to the transport as they are: a copy
/// less, and pieces of the transport's own size.
pub const WRITE_COPIED: usize = 16 * 1024;

/// How long a peer may neither send a byte of a frame it began nor take one of ours.
pub const FRAME_STALL: Duration = Duration::from_secs(30);

/// How many bytes of a frame that was begun have to come in that time, unless it is whole: 1 KiB/s. Who sends less of a large one would make
/// us keep room for it for days.
pub const FRAME_PROGRESS: usize = 30 << 10;

/// The longest payload for which there is always room: a chunk of a drive is no longer.
pub const FRAME_FREE: usize = 128 << 10;

/// What longer payloads may take together while they come, in bytes: one each of 32 peers. The others wait for their turn.
pub const FRAMES_ALL: usize = 32 << 20;

const _: () = assert!(CONNECTIONS_INBOUND + CONNECTIONS_KNOWN < CONNECTIONS);
const _: () = assert!(CONNECTIONS as usize / QUIC_SHARE * QUIC_UNREAD.1 as usize <= UNREAD_ALL);
const _: () = assert!(LAN_PEERS < TARGETS && LAN_PEERS * ADDRESSES_PER_TARGET <= LAN_RECORDS);
const _: () = assert!(PUBLIC_CONNECTIONS_INBOUND + PUBLIC_CONNECTIONS_KNOWN < PUBLIC_CONNECTIONS);
const _: () =
    assert!(DHT_CONNECTIONS + LAN_CONNECTIONS + EXCHANGE_CONNECTIONS < CONNECTIONS as usize);
const _: () = assert!(DHT_ANNOUNCE.as_secs() * 3 <= DHT_RECORD_TTL.as_secs());
const _: () = assert!(WRITE_COPIED < WRITE_BUFFER);
