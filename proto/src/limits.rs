//! What one peer may cost us, at most. Each bound has a test or an assertion that hits it.

use core::time::Duration;

/// The protocol versions we speak, oldest and newest.
pub const VERSIONS: core::ops::RangeInclusive<u16> = 1..=1;
/// The longest header of a frame: an announcement of [`RUNS_MAX`] runs, 16 bytes each, fits.
pub const HEADER_BYTES_MAX: usize = 80 << 10;
/// The longest payload of a frame: one block.
pub const PAYLOAD_BYTES_MAX: usize = datnode_feed::limits::BLOCK_BYTES_MAX;
/// How many blocks of a feed are fetched at a time only to see how peers' shorter histories stand to ours.
pub const PROBES_MAX: usize = 8;
/// The most runs of blocks in one message; more are told in further messages.
pub const RUNS_MAX: usize = 4_096;
/// The most runs that are remembered of what a peer holds beyond our head, two megabytes of them: a mirror with holes tells
/// what it holds before its longer head can be verified.
pub const BEYOND_RUNS_MAX: usize = 65_536;
/// The most pieces, runs of full pages and pages that are partly full, that are remembered of what a peer holds below our head,
/// 13 megabytes of them. A page has 1,024 blocks, so nothing is forgotten of feeds with up to 67 million.
pub const HELD_PIECES_MAX: usize = 65_536;
/// What a run of blocks weighs in memory, in bytes.
pub const RUN_BYTES: usize = 32;
/// What a piece weighs at most: a page's bits, and its place in a map.
pub const PIECE_BYTES: usize = 200;
/// What may be remembered for a peer, in bytes, whatever is for others: 2,048 runs, more than a mirror with holes mostly has.
pub const PEER_BYTES_FREE: usize = 64 << 10;
/// What is remembered for all peers together, in bytes, beside that: a quarter of what a node may take of memory.
pub const PEERS_BYTES_MAX: usize = 64 << 20;
/// The longest name a peer may give itself, in bytes.
pub const AGENT_BYTES_MAX: usize = 128;
/// The most peers that are named in one message, each with where it is.
pub const CONTACTS_MAX: usize = 32;
/// The most addresses of one of them.
pub const CONTACT_ADDRESSES_MAX: usize = 4;
/// The longest of these, and the longest name of a peer, in bytes.
pub const CONTACT_BYTES_MAX: usize = 128;
/// How many others a stream is told of in all: more than anybody needs to be connected to.
pub const INTRODUCED_MAX: usize = 256;
/// How often it is told of some, at most.
pub const INTRODUCE_EVERY: Duration = Duration::from_secs(20);
/// How often it is looked whether there is somebody to tell it of: who joins a swarm meets many within a moment.
pub const INTRODUCE_AGAIN: Duration = Duration::from_secs(2);
/// How many such messages a peer may send in a minute: those of a few drives that we have in common.
pub const INTRODUCTIONS_MAX: u32 = 256;
/// The most feeds open with one peer.
pub const CHANNELS_MAX: usize = 1_024;
/// How often a peer may open feeds on one stream: each time, all our keys are held against its tag.
pub const OPENS_MAX: u32 = 4_096;
/// How many lengths are remembered that a feed's head passed through, the last ones: a peer that is at one of them can be
/// asked before it knows our head.
pub const PASSED_MAX: usize = 4_096;
/// The most requests a peer may have open with us.
pub const REQUESTS_MAX: usize = 512;
/// The most requests that we have open with a peer: far fewer than it takes, since withdrawn ones may be on their way to it.
pub const ASKED_MAX: usize = REQUESTS_MAX / 2;
/// The most runs in these requests together, two megabytes of them; an honest peer has [`LEASE_BLOCKS_MAX`] blocks under way.
pub const REQUEST_RUNS_MAX: usize = 131_072;
/// How many requests for bytes may wait for the store, and how many refusals for the peer to take them.
pub const QUESTIONS_MAX: usize = 512;
/// How many withdrawn requests for bytes are remembered, whose answers may be on their way.
pub const LATE_REQUESTS_MAX: usize = 1_024;
/// How many leaves a message has at most: 20 KB, a third of a common block.
pub const LEAVES_MAX: usize = 512;
/// How many requests for leaves a peer may have open with us, for each of which a message waits.
pub const LEAVES_OWED_MAX: usize = 8;
/// How many we have open with a peer.
pub const LEAVES_ASKED_MAX: usize = LEAVES_OWED_MAX / 2;
/// How many of the subtrees that are looked up are considered for a peer: the first ones.
pub const LEAVES_LOOKED_AT: usize = 64;
/// What a block takes of the byte credit beside its payload: small ones are no free work.
pub const BLOCK_COST: u64 = 256;
/// What each sibling of its proof takes besides.
pub const SIBLING_COST: u64 = 40;
/// How many of its requests a peer may see unanswered for want of the blocks, in a minute, before it is left alone.
pub const MISSING_MAX: u32 = 32;
/// How long a peer that did not have some bytes of a feed is left in peace, before it is asked again for any of those that it
/// lacked, because it told of more blocks: however many are wanted, that stays far below [`MISSING_MAX`].
pub const BYTES_AGAIN: Duration = Duration::from_secs(4);
/// How many requests for blocks that were never told to be here a peer may make in a minute: twice what [`MISSING_MAX`] leaves it.
pub const BLIND_MAX: u32 = 64;
/// The byte credit that a new peer gets; adapted to rate and round trip afterwards.
pub const CREDIT_START: u64 = 256 << 10;
/// The least byte credit: two large blocks and their company.
pub const CREDIT_MIN: u64 = 128 << 10;
/// The time for which credit is given beyond the round trip: threads and processes of both ends have to notice and take turns,
/// which on a fast and near path takes longer than the way. No urgent block waits longer for it than this.
pub const TURNAROUND: Duration = Duration::from_millis(4);
/// The most byte credit: what a gigabit holds at 100 ms.
pub const CREDIT_MAX: u64 = 16 << 20;
/// How many received bytes may wait for the store before credit is held back.
pub const BACKLOG_MAX: u64 = 8 << 20;
/// How much of its rate a peer is leased.
pub const LEASE_TIME: Duration = Duration::from_secs(2);
/// The lease is no more than such a part of a peer's share of what is missing, so that whoever is done sooner finds more to do.
pub const LEASE_PARTS: u64 = 4;
/// But for what it sends in a round trip and this.
pub const LEASE_TIME_LEAST: Duration = Duration::from_millis(100);
/// The lease, in bytes, while a peer's rate is not known.
pub const LEASE_BYTES_UNKNOWN: u64 = 1 << 20;
/// The most bytes leased to one peer.
pub const LEASE_BYTES_MAX: u64 = 256 << 20;
/// How many blocks a lease names at least.
pub const LEASE_BLOCKS_MIN: u64 = 16;
/// How many blocks are leased to one peer at most.
pub const LEASE_BLOCKS_MAX: u64 = 65_536;
/// How many answers to a peer may be under way between the store and the stream.
pub const READS_MAX: usize = 64;
/// How many bytes these may have, together; two large blocks are always allowed.
pub const READ_BYTES_MAX: u64 = 512 << 10;
/// How many bytes of them may be read beyond what the peer's credit lets go: what was read is not taken back any more.
pub const READ_AHEAD_BYTES: u64 = 128 << 10;
/// The size that a block is taken for while a feed's average is not known.
pub const BLOCK_BYTES_GUESS: u64 = 64 << 10;
/// The time for which somebody who waits for what comes next asks a peer ahead, beyond two round trips: what has a deadline is
/// leased in small portions, so that each goes to whoever delivers it soonest.
pub const LEASE_TIME_DUE: Duration = Duration::from_millis(250);
/// What is leased of it while a peer's rate is not known, in bytes.
pub const LEASE_BYTES_DUE: u64 = 512 << 10;
/// How many blocks such a lease names at least.
pub const LEASE_BLOCKS_DUE: u64 = 2;
/// How long nobody takes over what a peer owes, once it had to wait for credit that our own limit did not give.
pub const HELD_LATELY: Duration = Duration::from_secs(1);
/// What a peer that takes over blocks of another one has to gain, beside its round trip: equal peers would exchange their last
/// blocks for nothing otherwise.
pub const SWAP_GAIN: Duration = Duration::from_millis(20);
/// How many times sooner it has to be there with blocks that may be on their way already: these come twice.
pub const SWAP_TIMES: u64 = 2;
/// One of so many blocks may come twice; in a crowd whose lines are full that is what late peers are relieved for.
pub const TWICE_PART: i64 = 50;
/// How many more may, once in a while: the last ones of a download, and what somebody owes who went silent.
pub const TWICE_MAX: i64 = 16;
/// How many times longer than a block and the way take a peer is silent before it counts as late.
pub const LATE_TIMES: u64 = 3;
/// How many blocks a peer is asked for whose rate is not known when it takes over, or that sent nothing since it lost what it owed.
pub const TRIAL_BLOCKS: u64 = 2;
/// How many middles a bisection looks at for one request: what lies beyond waits for the next one.
pub const PROBES_OF_BISECTION: u64 = 16_384;
/// How often rarest first ranks the regions of a feed anew, at most.
pub const RANK_EVERY: Duration = Duration::from_millis(200);
/// How many regions a feed has at most: those of a large one are larger.
pub const REGIONS_MAX: u64 = 4_096;
/// How many it should have: in a small feed they are smaller, so that its first readers do not all begin with the same.
pub const REGIONS_MIN: u64 = 64;
/// How many runs of a request that may be answered in any order are looked through for a block that nobody else has.
pub const SPREAD_RUNS: usize = 64;
/// A peer that owes us blocks and sends none for this long loses its leases.
pub const STALL: Duration = Duration::from_secs(5);
/// The same if somebody else could send them at once; halved with each peer in a row that was waited for in vain.
pub const HURRY: Duration = Duration::from_millis(400);
/// The least that it is halved to.
pub const HURRY_MIN: Duration = Duration::from_millis(50);
/// The most that [`STALL`] becomes for a peer whose blocks are known to come that slowly: three times as long as one takes.
pub const STALL_SLOW: Duration = Duration::from_secs(60);
/// How often, at most, it is looked for somebody who could send what a peer owes, once that could have come, or sooner.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often in a row a peer loses what it owes before its proofs that end at unknown nodes are a fault.
pub const UNPROVEN_MAX: u32 = 3;
/// How long a peer that lost what it owed is asked for nothing; doubled with each loss in a row.
pub const LOSS_PAUSE: Duration = Duration::from_secs(1);
/// The most that it is doubled to; and how long a peer is asked for nothing that refused too often.
pub const STALL_PAUSE: Duration = Duration::from_secs(10);
/// How long a feed waits after our own disk failed.
pub const DISK_PAUSE: Duration = Duration::from_secs(1);
/// How many changes of what we hold are remembered of a feed, the last ones: who was not told of more than these is told all that
/// is held, and all that is not.
pub const CHANGES_MAX: usize = 4_096;
/// How often new blocks are announced to a peer, at most. In a swarm everybody asks whoever tells of a block first: sooner news
/// come from fewer, who are asked for more than they can send while others are asked for nothing.
pub const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);
/// The size of a region in rarest-first order, in bytes: disks and proofs like runs.
pub const REGION_BYTES: u64 = 4 << 20;
/// What a new stream counts as, which has its turn like what is said beyond a share: two thousand of them begin in a second.
pub const TALK_STREAM: u64 = 512;
/// What each frame of a peer counts as, in units of work; a unit takes a processor some 40 ns.
pub const TALK_FRAME: u64 = 16;
/// How many blocks of a run count as a unit, beside the one that the run counts as.
pub const TALK_BITS: u64 = 4_096;
/// What an `Open` counts as for each of our feeds, all of whose keys it is held against.
pub const TALK_OPEN: u64 = 4;
/// What a head counts as: its signature is verified, and its tree held against ours.
pub const TALK_HEAD: u64 = 2_048;
/// What a request for bytes counts as, which have to be looked for in the tree, and one for leaves.
pub const TALK_SEEK: u64 = 512;
/// What a message counts as for each peer, if others may have something to send for it: all are looked at.
pub const TALK_PEER: u64 = 8;
/// What each block that a peer took of us leaves it to say beside: credit, requests, and that it holds the block now.
pub const TALK_BLOCK: u64 = 32;
/// A peer may cause a unit of work in each such time: ten announcements a second for each of a dozen feeds, and a thousandth
/// of a processor at most.
pub const TALK_RATE: Duration = Duration::from_micros(100);
/// How much it may cause at once, in the time it would take at that rate: more than all of a feed in 65,536 pieces.
pub const TALK_AHEAD: Duration = Duration::from_secs(8);
/// What goes beyond is done one after the other, a unit in each such time, for all peers together: some twentieth of a processor.
pub const TALK_TURN: Duration = Duration::from_micros(1);
/// The least turn that a peer waits for: shorter ones would cost more than what is done in them.
pub const TALK_TURN_LEAST: Duration = Duration::from_millis(5);
/// How much may pass at once under a bandwidth limit after a rest, in the time it would take: a hundredth of what passes in ten
/// seconds, and more than timers are late.
pub const LIMIT_BURST: Duration = Duration::from_millis(100);
/// How much a peer may send or is granted at a time under a limit, in the time it takes: then others have their turn.
pub const LIMIT_TURN: Duration = Duration::from_millis(20);
/// Which part of a limit may be sent to those who ask for something urgent before it is their turn: one in so many, for all of
/// them together.
pub const LIMIT_OVERTAKING: u64 = 2;
/// How far each of them may be ahead of its share, in the time that this part takes.
pub const LIMIT_LEAD: Duration = Duration::from_secs(1);
/// How long a limit waits at most, beside a block, for what passed beyond it: that was granted when there was none, or a higher
/// one.
pub const LIMIT_DEBT: Duration = Duration::from_secs(10);
