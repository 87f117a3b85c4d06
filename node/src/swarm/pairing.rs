//! Which of the connections between two peers carries their session.
//!
//! A session is one stream. Only the side that dialed a connection opens a stream on it, and only when it
//! knows of no other; so two streams exist only when both dialed at the same moment, and then the
//! connection dialed by the smaller peer id wins. Both ends reach the same answer from what they see,
//! in whatever order they see it (the test below walks through all orders).
//!
//! Invariant: at most one link is live; a session is reported ended before the next begins.
//! Elsewhere: the networking around it (`behaviour`), what one connection does (`handler`).

use std::time::{Duration, Instant};

use super::limits;

/// What we are on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    /// We dialed, so the stream is ours to open.
    Dialer,
    /// They dialed, so the stream comes from them.
    Listener,
    /// We dialed for something else than a session: the stream is ours to open if there is none, and the connection stays if there is.
    Aside,
}

/// What has to happen because of what was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action<C, S> {
    /// Open a stream on this connection.
    Open(C),
    /// This stream is the session now.
    Begin(C, S),
    /// The session on this connection is over.
    End(C),
    /// Close this connection.
    Close(C),
}

/// The connections to one peer. `C` names a connection, `S` is a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair<C, S> {
    /// Whether our id is the smaller one.
    smaller: bool,
    links: Vec<Link<C, S>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Link<C, S> {
    id: C,
    side: Side,
    since: Instant,
    stage: Stage<S>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<S> {
    /// No stream yet.
    Bare,
    /// We asked for a stream.
    Opening,
    /// They opened a stream while we were opening a better one.
    Parked(S),
    /// The session runs here.
    Live,
    /// They give us no stream here; it may serve what it was dialed for.
    Refused,
    /// We asked to close it; nothing counts any more.
    Closing,
}

impl<S> Stage<S> {
    /// Tells whether no stream is here, nor about to be.
    fn is_idle(&self) -> bool {
        matches!(self, Self::Bare | Self::Refused)
    }
}

impl<C: Copy + Eq, S> Pair<C, S> {
    pub(super) fn new(smaller: bool) -> Self {
        Self { smaller, links: Vec::new() }
    }

    /// Returns whether no connection is left.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Returns whether some connection has, or may still get, the session.
    pub(super) fn is_connected(&self) -> bool {
        self.links.iter().any(|link| !matches!(link.stage, Stage::Refused | Stage::Closing))
    }

    /// A connection stands.
    pub(super) fn handle_established(
        &mut self,
        now: Instant,
        id: C,
        side: Side,
    ) -> Vec<Action<C, S>> {
        let stage = match side {
            Side::Listener => Stage::Bare,
            Side::Aside if self.is_taken() => Stage::Bare,
            // They have a stream here or will; ours is one too many.
            Side::Dialer if self.is_taken() => Stage::Closing,
            Side::Dialer | Side::Aside if self.expects_theirs() => Stage::Bare,
            Side::Dialer | Side::Aside => Stage::Opening,
        };
        let action = match (side, &stage) {
            (_, Stage::Opening) => Some(Action::Open(id)),
            (_, Stage::Closing) => Some(Action::Close(id)),
            _ => None,
        };
        self.links.push(Link { id, side, since: now, stage });
        action.into_iter().collect()
    }

    /// The stream we asked for is open.
    pub(super) fn handle_opened(&mut self, id: C, stream: S) -> Vec<Action<C, S>> {
        match self.link(id) {
            Some(link) if matches!(link.stage, Stage::Opening) => {}
            _ => return Vec::new(),
        }
        self.begin(id, stream)
    }

    /// The stream we asked for cannot be had.
    pub(super) fn handle_open_failed(&mut self, id: C) -> Vec<Action<C, S>> {
        let mut actions = Vec::new();
        match self.link(id) {
            // A node of some table speaks other protocols, and is asked by those.
            Some(link) if link.side == Side::Aside => link.stage = Stage::Refused,
            _ => self.close(id, &mut actions),
        }
        self.promote(&mut actions);
        actions
    }

    /// They opened a stream.
    pub(super) fn handle_accepted(&mut self, id: C, stream: S) -> Vec<Action<C, S>> {
        match self.link(id) {
            // A second stream, or one on a connection where opening is our part: dropped, which resets it.
            Some(link) if link.side == Side::Listener && matches!(link.stage, Stage::Bare) => {}
            _ => return Vec::new(),
        }
        // Both of us dialed and ours is the better one. They will see it and come over. Not if ours stood for longer than it takes
        // to dial: then they dialed although it had stood with them, and so it is dead there, whatever it looks like from here.
        let since = self.link(id).map(|link| link.since);
        let at_once = |link: &Link<C, S>| {
            since.is_none_or(|since| {
                since.saturating_duration_since(link.since) <= limits::HANDSHAKE
            })
        };
        let better =
            |link: &Link<C, S>| self.smaller && link.side != Side::Listener && at_once(link);
        if self.links.iter().any(|link| better(link) && matches!(link.stage, Stage::Live)) {
            let mut actions = Vec::new();
            self.close(id, &mut actions);
            return actions;
        }
        if self.links.iter().any(|link| better(link) && matches!(link.stage, Stage::Opening)) {
            if let Some(link) = self.link(id) {
                link.stage = Stage::Parked(stream);
            }
            return Vec::new();
        }
        // They open only what they believe to be the only one: an older session of theirs is dead.
        self.begin(id, stream)
    }

    /// A connection is gone.
    pub(super) fn handle_closed(&mut self, id: C) -> Vec<Action<C, S>> {
        let mut actions = Vec::new();
        if let Some(at) = self.links.iter().position(|link| link.id == id) {
            let link = self.links.remove(at);
            if matches!(link.stage, Stage::Live) {
                actions.push(Action::End(id));
            }
        }
        self.promote(&mut actions);
        actions
    }

    /// Our own side let go of the session's stream.
    pub(super) fn handle_dropped(&mut self, id: C) -> Vec<Action<C, S>> {
        let mut actions = Vec::new();
        if matches!(self.link(id), Some(link) if matches!(link.stage, Stage::Live)) {
            self.close(id, &mut actions);
            self.promote(&mut actions);
        }
        actions
    }

    /// Closes connections that stood without a stream for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant, limit: Duration) -> Vec<Action<C, S>> {
        let late = |link: &&Link<C, S>| {
            link.stage.is_idle() && now.saturating_duration_since(link.since) >= limit
        };
        let late: Vec<C> = self.links.iter().filter(late).map(|link| link.id).collect();
        let mut actions = Vec::new();
        for id in late {
            self.close(id, &mut actions);
        }
        self.promote(&mut actions);
        actions
    }

    /// Returns since when the oldest connection without a stream stands.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let idle = self.links.iter().filter(|link| link.stage.is_idle());
        idle.map(|link| link.since).min()
    }

    fn begin(&mut self, id: C, stream: S) -> Vec<Action<C, S>> {
        let mut actions = Vec::new();
        // A bare link that they dialed stays: it costs a slot until they or the deadline end it. So does one for something else.
        let surplus = |link: &&Link<C, S>| {
            link.id != id && !(link.side != Side::Dialer && link.stage.is_idle())
        };
        let surplus: Vec<C> = self.links.iter().filter(surplus).map(|link| link.id).collect();
        for other in surplus {
            self.close(other, &mut actions);
        }
        if let Some(link) = self.link(id) {
            link.stage = Stage::Live;
        }
        actions.push(Action::Begin(id, stream));
        actions
    }

    fn close(&mut self, id: C, actions: &mut Vec<Action<C, S>>) {
        let Some(link) = self.link(id) else { return };
        match std::mem::replace(&mut link.stage, Stage::Closing) {
            Stage::Closing => {}
            Stage::Live => actions.extend([Action::End(id), Action::Close(id)]),
            _ => actions.push(Action::Close(id)),
        }
    }

    /// Finds another way when the one in use is gone.
    fn promote(&mut self, actions: &mut Vec<Action<C, S>>) {
        let in_use = |link: &Link<C, S>| matches!(link.stage, Stage::Live | Stage::Opening);
        if self.links.iter().any(in_use) {
            return;
        }
        for link in &mut self.links {
            if matches!(link.stage, Stage::Parked(_))
                && let Stage::Parked(stream) = std::mem::replace(&mut link.stage, Stage::Live)
            {
                actions.push(Action::Begin(link.id, stream));
                return;
            }
        }
        if self.expects_theirs() {
            return;
        }
        let ours = |link: &&mut Link<C, S>| {
            link.side != Side::Listener && matches!(link.stage, Stage::Bare)
        };
        if let Some(link) = self.links.iter_mut().find(ours) {
            link.stage = Stage::Opening;
            actions.push(Action::Open(link.id));
        }
    }

    fn link(&mut self, id: C) -> Option<&mut Link<C, S>> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    fn is_taken(&self) -> bool {
        let taken = |link: &Link<C, S>| {
            matches!(link.stage, Stage::Live | Stage::Opening | Stage::Parked(_))
        };
        self.links.iter().any(taken)
    }

    /// They are the smaller one and dialed too: their stream will come, and would win.
    fn expects_theirs(&self) -> bool {
        let theirs =
            |link: &Link<C, S>| link.side == Side::Listener && matches!(link.stage, Stage::Bare);
        !self.smaller && self.links.iter().any(theirs)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use super::*;

    /// What travels on a connection, in order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Sent {
        Established,
        Stream,
        Agreed,
        Close,
    }

    /// Two peers and the connections they dial; peer 0 has the smaller id.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct World {
        pairs: [Pair<u8, u8>; 2],
        /// Per peer and connection: what will arrive there.
        wires: [[VecDeque<Sent>; 3]; 2],
        dialed_by: [Option<usize>; 3],
        /// Which connections were dialed for something else, one bit each.
        aside: u8,
        sessions: [Option<u8>; 2],
        closed: [[bool; 3]; 2],
    }

    impl World {
        fn new(now: Instant, dialers: &[usize], aside: u8) -> Self {
            let mut world = Self {
                pairs: [Pair::new(true), Pair::new(false)],
                wires: Default::default(),
                dialed_by: [None; 3],
                aside,
                sessions: [None; 2],
                closed: [[false; 3]; 2],
            };
            let _ = now;
            for (id, &dialer) in dialers.iter().enumerate() {
                world.dialed_by[id] = Some(dialer);
                world.wires[0][id].push_back(Sent::Established);
                world.wires[1][id].push_back(Sent::Established);
            }
            world
        }

        fn deliver(&mut self, now: Instant, peer: usize, id: usize) {
            let Some(sent) = self.wires[peer][id].pop_front() else { return };
            if self.closed[peer][id] {
                return;
            }
            let name = u8::try_from(id).unwrap();
            let pair = &mut self.pairs[peer];
            let actions = match sent {
                Sent::Established => {
                    let ours = self.dialed_by[id] == Some(peer);
                    let side = match (ours, self.aside >> id & 1) {
                        (false, _) => Side::Listener,
                        (true, 0) => Side::Dialer,
                        (true, _) => Side::Aside,
                    };
                    pair.handle_established(now, name, side)
                }
                Sent::Stream => {
                    self.wires[1 - peer][id].push_back(Sent::Agreed);
                    pair.handle_accepted(name, name)
                }
                Sent::Agreed => pair.handle_opened(name, name),
                Sent::Close => {
                    self.closed[peer][id] = true;
                    pair.handle_closed(name)
                }
            };
            self.act(peer, actions);
        }

        fn act(&mut self, peer: usize, actions: Vec<Action<u8, u8>>) {
            for action in actions {
                match action {
                    Action::Open(id) => {
                        self.wires[1 - peer][usize::from(id)].push_back(Sent::Stream);
                    }
                    Action::Begin(id, _) => {
                        assert_eq!(self.sessions[peer].replace(id), None, "two sessions at once");
                    }
                    Action::End(id) => assert_eq!(self.sessions[peer].take(), Some(id)),
                    Action::Close(id) => {
                        self.wires[1 - peer][usize::from(id)].push_back(Sent::Close);
                        self.closed[peer][usize::from(id)] = true;
                        let more = self.pairs[peer].handle_closed(id);
                        self.act(peer, more);
                    }
                }
            }
        }
    }

    /// Walks through every order in which two peers can see the connections the dialers made, whatever each was made for.
    fn every_order_ends_in_one_session(dialers: &[usize]) -> usize {
        (0..1 << dialers.len()).map(|aside| every_order(dialers, aside)).sum()
    }

    fn every_order(dialers: &[usize], aside: u8) -> usize {
        let now = Instant::now();
        let mut seen = HashSet::new();
        let mut open = vec![World::new(now, dialers, aside)];
        let mut ends = 0;
        while let Some(world) = open.pop() {
            let mut idle = true;
            for peer in 0..2 {
                for id in 0..3 {
                    if !world.wires[peer][id].is_empty() {
                        idle = false;
                        let mut next = world.clone();
                        next.deliver(now, peer, id);
                        if seen.insert(next.clone()) {
                            open.push(next);
                        }
                    }
                }
            }
            if idle {
                ends += 1;
                assert!(world.sessions[0].is_some(), "no session left");
                assert_eq!(world.sessions[0], world.sessions[1], "two different sessions");
            }
        }
        ends
    }

    #[test]
    fn one_dial_ends_in_one_session() {
        assert!(every_order_ends_in_one_session(&[0]) > 0);
        assert!(every_order_ends_in_one_session(&[1]) > 0);
    }

    #[test]
    fn two_dials_at_once_end_in_one_session_in_every_order() {
        assert!(every_order_ends_in_one_session(&[0, 1]) > 0);
    }

    #[test]
    fn a_peer_that_dials_twice_ends_in_one_session_in_every_order() {
        assert!(every_order_ends_in_one_session(&[0, 0]) > 0);
        assert!(every_order_ends_in_one_session(&[1, 1]) > 0);
    }

    #[test]
    fn three_dials_at_once_end_in_one_session_in_every_order() {
        assert!(every_order_ends_in_one_session(&[0, 1, 0]) > 0);
        assert!(every_order_ends_in_one_session(&[0, 1, 1]) > 0);
    }

    #[test]
    fn a_connection_for_something_else_is_left_alone_and_used_when_there_is_no_other() {
        let now = Instant::now();
        let mut pair: Pair<u8, char> = Pair::new(true);
        assert_eq!(pair.handle_established(now, 0, Side::Dialer), [Action::Open(0)]);
        assert_eq!(pair.handle_opened(0, 'a'), [Action::Begin(0, 'a')]);
        assert_eq!(pair.handle_established(now, 1, Side::Aside), []);
        assert_eq!(pair.handle_established(now, 2, Side::Dialer), [Action::Close(2)]);
        assert_eq!(pair.handle_closed(0), [Action::End(0), Action::Open(1)]);
    }

    #[test]
    fn who_gives_no_stream_may_serve_what_it_was_dialed_for_until_its_time_is_over() {
        let (now, limit) = (Instant::now(), Duration::from_secs(30));
        let mut pair: Pair<u8, char> = Pair::new(true);
        assert_eq!(pair.handle_established(now, 0, Side::Aside), [Action::Open(0)]);
        assert_eq!(pair.handle_open_failed(0), [], "it is not asked again");
        assert!(!pair.is_connected(), "another connection may have what this one has not");
        assert_eq!(pair.waiting_since(), Some(now));
        assert_eq!(pair.handle_timeout(now + limit, limit), [Action::Close(0)]);
        // Whom we dialed for a session is of no use without it.
        let mut pair: Pair<u8, char> = Pair::new(true);
        assert_eq!(pair.handle_established(now, 0, Side::Dialer), [Action::Open(0)]);
        assert_eq!(pair.handle_open_failed(0), [Action::Close(0)]);
    }

    #[test]
    fn a_parked_stream_takes_over_when_the_better_one_fails() {
        let now = Instant::now();
        let mut pair: Pair<u8, char> = Pair::new(true);
        assert_eq!(pair.handle_established(now, 0, Side::Dialer), [Action::Open(0)]);
        assert_eq!(pair.handle_established(now, 1, Side::Listener), []);
        assert_eq!(pair.handle_accepted(1, 'b'), []);
        assert_eq!(pair.handle_open_failed(0), [Action::Close(0), Action::Begin(1, 'b')]);
    }

    #[test]
    fn a_peer_that_dials_anew_replaces_its_dead_session() {
        let now = Instant::now();
        let mut pair: Pair<u8, char> = Pair::new(true);
        pair.handle_established(now, 0, Side::Listener);
        assert_eq!(pair.handle_accepted(0, 'a'), [Action::Begin(0, 'a')]);
        pair.handle_established(now, 1, Side::Listener);
        let actions = pair.handle_accepted(1, 'b');
        assert_eq!(actions, [Action::End(0), Action::Close(0), Action::Begin(1, 'b')]);
    }

    #[test]
    fn who_dials_long_after_our_dial_knows_nothing_of_it_any_more() {
        let start = Instant::now();
        for (late, right) in [
            (Duration::ZERO, vec![Action::Close(1)]),
            (limits::HANDSHAKE, vec![Action::Close(1)]),
            (
                limits::HANDSHAKE + Duration::from_secs(1),
                vec![Action::End(0), Action::Close(0), Action::Begin(1, ())],
            ),
        ] {
            let mut pair: Pair<u8, ()> = Pair::new(true);
            pair.handle_established(start, 0, Side::Dialer);
            pair.handle_opened(0, ());
            pair.handle_established(start + late, 1, Side::Listener);
            assert_eq!(pair.handle_accepted(1, ()), right, "{late:?}");
        }
    }

    #[test]
    fn a_connection_without_a_stream_is_closed_after_its_time() {
        let now = Instant::now();
        let limit = Duration::from_secs(30);
        let mut pair: Pair<u8, char> = Pair::new(true);
        pair.handle_established(now, 0, Side::Listener);
        assert_eq!(pair.handle_timeout(now + limit / 2, limit), []);
        assert_eq!(pair.handle_timeout(now + limit, limit), [Action::Close(0)]);
        assert!(!pair.is_connected());
    }

    #[test]
    fn a_second_stream_on_one_connection_is_refused() {
        let now = Instant::now();
        let mut pair: Pair<u8, char> = Pair::new(true);
        pair.handle_established(now, 0, Side::Listener);
        pair.handle_accepted(0, 'a');
        assert_eq!(pair.handle_accepted(0, 'b'), []);
    }
}
