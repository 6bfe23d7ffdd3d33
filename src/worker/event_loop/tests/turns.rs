//! Whatever clients do, every byte comes back, and streams have whole turns.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::classes::SHORT;
use super::*;
use crate::worker::slices::Stream;

/// How many bytes a turn has in this test: three slices.
const TENURE: usize = 3 * SHORT;

/// So few that a turn has one phase of messages, and one slice behind it.
const PEERS: usize = 5;

/// Byte `offset` of what client `id` sends.
fn pattern(id: usize, offset: usize) -> u8 {
    ((offset / 251) ^ offset ^ (id << 5)) as u8
}

/// A client that sends and receives now and then.
struct Peer {
    socket: std::net::TcpStream,
    key: usize,
    id: usize,
    sent: usize,
    received: usize,
}

impl Peer {
    /// Sends up to so many bytes.
    fn send(&mut self, most: usize) {
        let bytes: Vec<u8> = (self.sent..self.sent + most)
            .map(|offset| pattern(self.id, offset))
            .collect();
        self.sent += self.socket.write(&bytes).unwrap_or(0);
    }

    /// Receives up to so many bytes and compares them.
    fn receive(&mut self, most: usize) {
        let mut block = vec![0; most];
        let length = self.socket.read(&mut block).unwrap_or(0);
        for &byte in &block[..length] {
            assert_eq!(byte, pattern(self.id, self.received), "of {}", self.id);
            self.received += 1;
        }
    }
}

/// What happened in all cases together.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Turns that went on while others waited, and that ended since they were whole.
    kept: usize,
    whole: usize,
    /// Streams that had pending output when their slice began.
    flushed: usize,
    /// Streams that closed while they had the turn or waited for it.
    closed: usize,
    /// Keys that were used again.
    reused: usize,
}

/// A worker and its clients, of which some stream.
struct Scene {
    rig: Rig,
    peers: Vec<Peer>,
    admitted: usize,
    /// The stream that had the last slice, and how many bytes it has moved in its turn;
    /// `None` if it did not wait before that slice.
    turn: Option<(Stream, Option<usize>)>,
    /// For each stream that waits, how many bytes others have moved in the meantime.
    waits: HashMap<Stream, HashMap<Stream, usize>>,
    seen: Seen,
}

impl Scene {
    fn new(pipes: usize) -> Self {
        let mut rig = Rig::with_short_slices();
        rig.worker.pipes = Pipes::new(pipes);
        rig.worker.slices.tenure = TENURE;
        let mut scene = Self {
            rig,
            peers: Vec::new(),
            admitted: 0,
            turn: None,
            waits: HashMap::new(),
            seen: Seen::default(),
        };
        for _ in 0..PEERS {
            let peer = scene.admit();
            scene.peers.push(peer);
        }
        scene
    }

    /// A new client. Every second one is blocked early when it does not read.
    fn admit(&mut self) -> Peer {
        let (socket, key) = self.rig.admit();
        socket.set_nonblocking(true).unwrap();
        let id = self.admitted;
        if id.is_multiple_of(2) {
            let ours = self.rig.worker.connections.clients[key].conn.transport();
            SockRef::from(ours).set_send_buffer_size(SHORT).unwrap();
        }
        self.admitted += 1;
        Peer {
            socket,
            key,
            id,
            sent: 0,
            received: 0,
        }
    }

    /// A client closes its socket, whatever is under way, and another one comes.
    fn replace(&mut self, place: usize) {
        let old = self.peers.remove(place);
        let stream = self.stream(old.key);
        self.seen.closed += usize::from(self.waiting().contains(&stream));
        drop(old.socket);
        wait_until(|| {
            self.turn();
            !self.is_connected(stream)
        });
        let next = self.admit();
        self.seen.reused += usize::from(next.key == old.key);
        self.peers.insert(place, next);
    }

    fn stream(&self, key: usize) -> Stream {
        (key, self.rig.worker.connections.clients[key].opened)
    }

    fn is_connected(&self, (key, opened): Stream) -> bool {
        let client = self.rig.worker.connections.clients.get(key);
        client.is_some_and(|client| client.opened == opened)
    }

    /// The streams that wait for their turns, the next one first.
    fn waiting(&self) -> Vec<Stream> {
        let keys = self.rig.worker.connections.ready.streams();
        keys.into_iter().map(|key| self.stream(key)).collect()
    }

    /// How many bytes a client was sent, and how many are pending.
    fn progress(&self, key: usize) -> (usize, usize) {
        let conn = &self.rig.worker.connections.clients[key].conn;
        (conn.sent() as usize, conn.pending_bytes())
    }

    /// The worker takes a turn, in which the first of the streams that wait has a slice.
    fn turn(&mut self) {
        let waiting = self.waiting();
        let Some(&stream) = waiting.first() else {
            self.rig.turn();
            self.turn = self.rig.worker.slices.last().map(|last| (last, None));
            return;
        };
        let (sent_before, pending_before) = self.progress(stream.0);
        self.rig.turn();
        if !self.is_connected(stream) {
            self.turn = None;
            self.waits.remove(&stream);
            return;
        }
        let (sent, pending) = self.progress(stream.0);
        let flushed = pending_before.min(sent - sent_before);
        let received = sent + pending - sent_before - pending_before;
        let moved = flushed + received;
        assert!(moved <= SHORT, "{moved} bytes in a slice");
        self.seen.flushed += usize::from(flushed > 0);
        self.check_turn(stream, moved, &waiting[1..]);
        self.check_waits(stream, moved, &waiting[1..]);
    }

    /// Who has the next slice: the same stream until its turn is whole.
    fn check_turn(&mut self, stream: Stream, moved: usize, others: &[Stream]) {
        let before = match self.turn {
            Some((last, bytes)) if last == stream => bytes,
            _ => Some(0),
        };
        let bytes = before.map(|bytes| bytes + moved);
        let keeps = moved > 0 && bytes.is_none_or(|bytes| bytes < TENURE);
        self.turn = Some((stream, if keeps { bytes } else { Some(0) }));
        let waiting = self.waiting();
        let place = waiting.iter().position(|&other| other == stream);
        let (Some(place), Some(bytes)) = (place, bytes) else {
            return;
        };
        if keeps {
            assert_eq!(place, 0, "its turn is not whole: {bytes} bytes");
            self.seen.kept += usize::from(!others.is_empty());
        } else {
            assert!(place >= others.len(), "its turn is over: {bytes} bytes");
            self.seen.whole += usize::from(moved > 0 && !others.is_empty());
        }
    }

    /// While one waits, no other has more than one turn.
    fn check_waits(&mut self, stream: Stream, moved: usize, others: &[Stream]) {
        let waiting = self.waiting();
        self.waits.retain(|waits, _| others.contains(waits));
        for other in others.iter().filter(|other| waiting.contains(other)) {
            let bytes = self.waits.entry(*other).or_default().entry(stream);
            let bytes = bytes.or_default();
            *bytes += moved;
            assert!(*bytes < TENURE + SHORT, "{bytes} while another one waits");
        }
    }

    fn step(&mut self, (place, kind, bytes): (usize, u8, usize)) {
        match kind {
            0..3 => self.peers[place].send(bytes),
            3 | 4 => self.peers[place].receive(bytes),
            5 => self.peers[place].send(1 + bytes % 100),
            // So long that its class is forgotten.
            6 => {
                let key = self.peers[place].key;
                self.rig.worker.connections.clients[key].streams_until = 0;
            }
            7 => self.replace(place),
            _ => self.turn(),
        }
    }

    /// All that was sent comes back.
    fn finish(&mut self) {
        wait_until(|| {
            self.turn();
            for peer in &mut self.peers {
                peer.receive(SHORT);
            }
            self.peers.iter().all(|peer| peer.received == peer.sent)
        });
    }
}

#[test]
fn every_byte_comes_back_in_whole_turns_whoever_pauses_or_closes_or_does_not_read() {
    let seen = std::cell::Cell::new(Seen::default());
    let step = (0..PEERS, 0..16_u8, 1..6 * SHORT);
    let steps = proptest::collection::vec(step, 20..200);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(32));
    let ran = runner.run(&(0..3_usize, steps), |(pipes, steps)| {
        let mut scene = Scene::new(pipes);
        scene.seen = seen.get();
        for step in steps {
            scene.step(step);
        }
        scene.finish();
        seen.set(scene.seen);
        Ok(())
    });
    ran.unwrap();
    let seen = seen.get();
    let Seen {
        kept,
        whole,
        flushed,
        closed,
        reused,
    } = seen;
    assert!(
        [kept, whole, flushed, closed, reused]
            .iter()
            .all(|&count| count > 0),
        "{seen:?}"
    );
}
