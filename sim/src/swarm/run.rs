//! What happens in a swarm, one thing after the other: frames leave, arrive and are taken, and timers fire.
//!
//! Whatever a host is told may give it something to do and to say. It is *settled* then: its jobs are done, and those whom it may
//! concern are asked for frames, as far as their send buffers have room.

use std::cmp::Reverse;
use std::time::Duration;

use datnode_proto::{Concern, Frame, Instant, PeerId};

use super::line::End;
use super::log::Way;
use super::{Event, Swarm, other};
use crate::HostId;

impl Swarm {
    /// Runs until nothing happens any more, or `until`; then it is that time.
    pub fn run(&mut self, until: Instant) {
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Lets one thing happen; tells whether there was one before `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        let Some(Reverse((at, _, event))) = self.queue.peek().copied() else { return false };
        if at > until {
            return false;
        }
        self.queue.pop();
        self.now = at;
        self.events += 1;
        match event {
            Event::Sent(host) => self.sent(host),
            Event::Arrive(peer) => self.arrive(peer),
            Event::Land(peer) => self.land(peer),
            Event::Turn(peer) => self.take_landed(peer),
            Event::Wake(host) => self.wake(host),
            Event::Resume(host) => self.send_next(host),
        }
        true
    }

    fn end(&mut self, peer: PeerId) -> Option<&mut End> {
        self.ends[peer.0 as usize].as_mut()
    }

    /// A frame left: the next one may.
    fn sent(&mut self, id: HostId) {
        let Some((peer, took)) = self.ups[id.0].sending.take() else { return };
        let up = &mut self.ups[id.0];
        // It may have been cut meanwhile.
        let Some(end) = self.ends[peer.0 as usize].as_mut() else { return self.send_next(id) };
        let was_full = !end.has_room(up);
        if let Some(frame) = end.pop(up, peer) {
            let at = self.now + end.latency;
            self.hosts[id.0].count_out(&frame);
            if let Some(end) = self.end(other(peer)) {
                end.await_frame(frame, took);
            }
            self.push(at, Event::Arrive(other(peer)));
        }
        // Where there was room already, there was nothing to say.
        if was_full {
            self.hosts[id.0].due.insert(peer);
            self.settle(id);
        } else {
            self.send_next(id);
        }
    }

    fn arrive(&mut self, peer: PeerId) {
        let Some(end) = self.ends[peer.0 as usize].as_mut() else { return };
        let Some(at) = end.arrive(self.now, &mut self.downs[end.host.0]) else { return };
        if at > self.now { self.push(at, Event::Land(peer)) } else { self.land(peer) }
    }

    /// A frame came in, behind those that wait.
    fn land(&mut self, peer: PeerId) {
        let Some(end) = self.end(peer) else { return };
        end.land();
        if end.landed.len() == 1 {
            self.take_landed(peer);
        }
    }

    /// Takes what came in, as far as it is its turn.
    fn take_landed(&mut self, peer: PeerId) {
        loop {
            let Some(end) = self.ends[peer.0 as usize].as_mut() else { return };
            let turn = self.hosts[end.host.0].replicator.next_frame_at(peer);
            if turn > self.now && !end.landed.is_empty() {
                return self.push(turn, Event::Turn(peer));
            }
            let Some(frame) = end.landed.pop_front() else { return };
            let host = end.host;
            self.take(host, peer, frame);
        }
    }

    fn take(&mut self, id: HostId, peer: PeerId, frame: Frame) {
        self.frames += 1;
        self.trace.update(&self.now.0.to_le_bytes()).update(&peer.0.to_le_bytes());
        self.trace.update(&frame.header);
        if let Some(log) = &mut self.log {
            log.note(self.now, id, peer, Way::Came, &frame);
        }
        let host = &mut self.hosts[id.0];
        host.count_in(&frame);
        let Frame { header, payload } = frame;
        match host.replicator.handle_frame(self.now, peer, &header, payload) {
            Concern::Sender => drop(host.due.insert(peer)),
            Concern::Everyone => host.all_due(),
        }
        self.settle(id);
    }

    fn wake(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        // Another one was set since.
        if host.woken != Some(self.now) {
            return;
        }
        host.woken = None;
        host.replicator.handle_timeout(self.now);
        host.all_due();
        self.settle(id);
    }

    /// Lets a host do its jobs and say what it can, until it has nothing more to do.
    pub(super) fn settle(&mut self, id: HostId) {
        self.hosts[id.0].work(self.now);
        while !self.hosts[id.0].due.is_empty() {
            for peer in std::mem::take(&mut self.hosts[id.0].due) {
                self.fill(id, peer);
            }
            // Asking for a frame may lead to a job, and the job to a frame.
            self.hosts[id.0].work(self.now);
        }
        while let Some(peer) = self.hosts[id.0].faulted.pop() {
            self.cut(peer);
        }
        self.send_next(id);
        self.set_timer(id);
    }

    /// Fills the send buffer of a connection.
    fn fill(&mut self, id: HostId, peer: PeerId) {
        let (host, up) = (&mut self.hosts[id.0], &mut self.ups[id.0]);
        let Some(end) = self.ends[peer.0 as usize].as_mut() else { return };
        while end.has_room(up)
            && let Some(frame) = host.replicator.poll_transmit(self.now, peer)
        {
            if let Some(log) = &mut self.log {
                log.note(self.now, id, peer, Way::Left, &frame);
            }
            end.push(frame, up, peer);
        }
    }

    /// Begins to send the next frame, if the line is free.
    fn send_next(&mut self, id: HostId) {
        let up = &mut self.ups[id.0];
        let Some(peer) = up.next(self.now) else { return };
        let Some(frame) = self.ends[peer.0 as usize].as_ref().and_then(End::first) else { return };
        let at = self.now + up.begin(peer, frame);
        self.push(at, Event::Sent(id));
    }

    fn set_timer(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        let Some(due) = host.replicator.poll_timeout() else { return };
        let at = due.max(self.now + Duration::from_micros(1));
        if host.woken.is_none_or(|woken| woken > at) {
            host.woken = Some(at);
            self.push(at, Event::Wake(id));
        }
    }

    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, event)));
    }
}
