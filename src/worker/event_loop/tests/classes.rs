//! Messages and streams in one worker: who is served in which turn, counted in turns and
//! bytes.

use super::*;

/// The longest slice in these tests, in bytes: the kernel's buffers hold several.
pub(super) const SHORT: usize = NARROW_SLICE + 1024;

/// How many bytes of a stream wait at first: what shows that it streams, two slices
/// and a rest.
const WAITING: usize = LONG_MESSAGE + 2 * SHORT + 3000;

impl Rig {
    /// A worker that never sleeps and whose slices are short.
    pub(super) fn with_short_slices() -> Self {
        let mut rig = Self::new(limits());
        rig.worker.connections.context.settings.busy_poll = 3600 * SECOND;
        rig.worker.slices.most = SHORT;
        rig.worker.slices.tenure = SHORT;
        rig
    }

    /// Clients that stream and wait for their turns, all with the same number of bytes.
    fn admit_streams(&mut self, count: usize) -> Vec<Admitted> {
        let streams: Vec<_> = (0..count).map(|_| self.admit()).collect();
        for (ours, key) in &streams {
            let mut ours = ours;
            ours.write_all(&[7; WAITING]).unwrap();
            let key = *key;
            let socket = self.worker.connections.clients[key].conn.transport();
            wait_until(|| socket.peek(&mut [0; WAITING]).is_ok_and(|n| n == WAITING));
        }
        for &(_, key) in &streams {
            self.report(key);
        }
        self.serve_messages();
        for &(_, key) in &streams {
            assert_eq!(self.sent(key), LONG_MESSAGE as u64);
            assert_eq!(self.class(key), Class::Stream);
        }
        assert_eq!(self.worker.connections.ready.len(Class::Stream), count);
        streams
    }

    /// Clients that have had their answer, and stream on; what they send is discarded.
    fn admit_discarded(&mut self, count: usize) -> Vec<Admitted> {
        let streams: Vec<_> = (0..count)
            .map(|_| self.admit_to(Protocol::Counted, false))
            .collect();
        for (ours, key) in &streams {
            let mut ours = ours;
            ours.write_all(&[7; WAITING]).unwrap();
            wait_until(|| stream_has(self, *key) == WAITING);
        }
        for &(_, key) in &streams {
            self.report(key);
        }
        // What is not echoed is read in parts.
        self.serve_messages();
        self.serve_messages();
        assert_eq!(self.worker.connections.ready.len(Class::Stream), count);
        streams
    }

    pub(super) fn turn(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        self.worker.turn(&mut events).unwrap();
    }

    fn sent(&self, key: usize) -> u64 {
        self.worker.connections.clients[key].conn.sent()
    }

    /// Clients whose messages are short.
    fn admit_pingers(&mut self, count: usize) -> Vec<Admitted> {
        (0..count).map(|_| self.admit()).collect()
    }

    /// Has each of them send a message, and waits until all have arrived.
    fn send_messages(&self, pingers: &[Admitted]) {
        for (ours, _) in pingers {
            let mut ours = ours;
            ours.write_all(b"x").unwrap();
        }
        for &(_, key) in pingers {
            wait_until(|| stream_has(self, key) == 1);
        }
    }

    fn all_sent(&self, streams: &[Admitted]) -> u64 {
        streams.iter().map(|&(_, key)| self.sent(key)).sum()
    }
}

#[test]
fn a_message_waits_for_one_slice_however_many_clients_stream() {
    for count in [1, 4, 12] {
        let mut rig = Rig::with_short_slices();
        let streams = rig.admit_streams(count);
        let mut pingers: Vec<_> = (0..3).map(|_| rig.admit()).collect();
        for round in 1..=2 {
            for (ours, key) in &mut pingers {
                ours.write_all(b"x").unwrap();
                wait_until(|| stream_has(&rig, *key) == 1);
            }
            let before = rig.all_sent(&streams);
            rig.turn();
            for &(_, key) in &pingers {
                assert_eq!(rig.sent(key), round, "in the first turn after it arrived");
            }
            let moved = rig.all_sent(&streams) - before;
            assert!(moved <= SHORT as u64, "{count} streams moved {moved} bytes");
            assert!(moved > 0, "messages do not stop a stream");
        }
    }
}

#[test]
fn a_long_message_waits_for_one_slice_however_many_clients_stream() {
    for count in [1, 4, 12] {
        let mut rig = Rig::with_short_slices();
        let streams = rig.admit_streams(count);
        let (mut ours, key) = rig.admit();
        for round in 1..=2 {
            ours.write_all(&[7; LONG_MESSAGE - 1]).unwrap();
            wait_until(|| stream_has(&rig, key) == LONG_MESSAGE - 1);
            let before = rig.all_sent(&streams);
            rig.turn();
            let all = round * (LONG_MESSAGE as u64 - 1);
            assert_eq!(rig.sent(key), all, "in the first turn after it arrived");
            let moved = rig.all_sent(&streams) - before;
            assert!((1..=SHORT as u64).contains(&moved), "{moved} bytes");
            read_exactly(&ours, LONG_MESSAGE - 1);
        }
        // One that sends on waits for its turn among them.
        ours.write_all(&[7; LONG_MESSAGE + 1]).unwrap();
        wait_until(|| stream_has(&rig, key) == LONG_MESSAGE + 1);
        rig.turn();
        assert_eq!(rig.class(key), Class::Stream);
    }
}

/// So many short messages arrive for each turn.
const MANY: usize = 2 * PHASE;

#[test]
fn streams_have_a_share_in_each_turn_however_many_messages_come() {
    let mut rig = Rig::with_short_slices();
    let streams = rig.admit_streams(12);
    let pingers = rig.admit_pingers(MANY);
    let all = (streams.len() * WAITING) as u64;
    let mut turns = 0;
    while rig.all_sent(&streams) < all {
        rig.send_messages(&pingers);
        rig.turn();
        turns += 1;
        for &(_, key) in &pingers {
            assert_eq!(rig.sent(key), turns, "messages are served in each turn");
        }
    }
    // Three slices of each: with one in a turn there would be 36.
    assert!(turns <= 3, "{turns} turns");
}

#[test]
fn a_message_waits_for_one_slice_at_the_most_behind_each_phase() {
    let mut rig = Rig::with_short_slices();
    let streams = rig.admit_streams(24);
    let turns = rig.worker.phase(MANY);
    assert_eq!(turns, PHASE, "streams wait");
    for (messages, most) in [(0, 1), (3, 1), (PHASE / 2, 7), (PHASE, 15), (MANY, 15)] {
        let before: Vec<u64> = streams.iter().map(|&(_, key)| rig.sent(key)).collect();
        rig.worker.serve_streams(messages);
        let moved = |place: usize| (rig.sent(streams[place].1) - before[place]) as usize;
        let moved: Vec<usize> = (0..streams.len()).map(moved).collect();
        assert!(moved.iter().all(|&bytes| bytes <= SHORT), "{moved:?}");
        let served = moved.iter().filter(|&&bytes| bytes > 0).count();
        assert!((1..=most).contains(&served), "{messages}: {served}");
        let together: usize = moved.iter().sum();
        assert!(together <= slices::BESIDE, "{messages}: {together} bytes");
    }
    assert_eq!(
        Rig::new(limits()).worker.phase(MANY),
        MANY,
        "nobody waits for the end of the phase"
    );
}

/// Reads all that the clients are sent, until they have accepted all but pending output.
fn read_all(rig: &Rig, clients: &[Admitted]) {
    let mut block = vec![0; 256 * 1024];
    for (ours, key) in clients {
        let mut ours = ours;
        ours.set_nonblocking(true).unwrap();
        wait_until(|| {
            while let Ok(1..) = ours.read(&mut block) {}
            rig.acknowledged(*key).0 == rig.sent(*key)
        });
    }
}

#[test]
fn a_message_waits_for_one_slice_also_behind_streams_that_paused() {
    let mut rig = Rig::with_short_slices();
    rig.worker.slices.most = usize::MAX;
    rig.worker.pipes = Pipes::new(100);
    // Of some the socket has taken nearly all of the last slice.
    let mut blocked: Vec<_> = (0..24).map(|_| rig.admit_blocked()).collect();
    blocked.retain(|&(_, key)| {
        rig.worker.connections.clients[key].conn.pending_bytes() > NARROW_SLICE
    });
    let streams = &blocked[..];
    assert!(streams.len() > 12, "{} streams", streams.len());
    let (mut pinger, message) = rig.admit();
    for &(_, key) in streams {
        rig.worker.connections.clients[key].streams_until = 0;
    }
    read_all(&rig, streams);
    let before: Vec<u64> = streams.iter().map(|&(_, key)| rig.sent(key)).collect();
    pinger.write_all(b"x").unwrap();
    wait_until(|| stream_has(&rig, message) == 1);
    let mut turns = 0;
    while (0..streams.len()).any(|place| rig.sent(streams[place].1) == before[place]) {
        let sent = rig.all_sent(streams);
        rig.turn();
        turns += 1;
        assert_eq!(rig.sent(message), 1, "in the first turn after it arrived");
        let moved = rig.all_sent(streams) - sent;
        assert!(moved <= slices::BESIDE as u64, "{moved} bytes in a turn");
        read_all(&rig, streams);
        assert!(turns < 100 * streams.len(), "nobody is forgotten");
    }
}

#[test]
fn pending_output_counts_in_the_phase_that_sends_it() {
    let mut rig = Rig::with_short_slices();
    let clients: Vec<_> = (0..48).map(|_| rig.admit()).collect();
    for (ours, key) in &clients {
        let mut ours = ours;
        let socket = rig.worker.connections.clients[*key].conn.transport();
        SockRef::from(socket)
            .set_send_buffer_size(2 * LONGEST)
            .unwrap();
        wait_until(|| {
            ours.write_all(&[7; LONGEST]).unwrap();
            wait_until(|| stream_has(&rig, *key) == LONGEST);
            rig.serve(*key);
            rig.worker.connections.clients[*key].conn.has_pending()
        });
    }
    read_all(&rig, &clients);
    let before = rig.all_sent(&clients);
    for &(_, key) in &clients {
        assert_eq!(rig.class(key), Class::Message);
        rig.report(key);
    }
    let mut turns = clients.len();
    while turns > 0 {
        let before = rig.all_sent(&clients);
        turns -= rig.worker.receive_phase(turns);
        let sent = rig.all_sent(&clients) - before;
        assert!(sent <= slices::BESIDE as u64, "{sent} bytes in a phase");
        rig.worker.send_phase();
    }
    let sent = rig.all_sent(&clients) - before;
    assert!(sent > slices::BESIDE as u64, "{sent} bytes together");
}

#[test]
fn what_is_read_and_not_echoed_counts_in_the_share_of_streams() {
    let mut rig = Rig::with_short_slices();
    let streams = rig.admit_discarded(24);
    let waiting = |rig: &Rig| streams.iter().map(|&(_, key)| stream_has(rig, key)).sum();
    let (before, answered): (usize, u64) = (waiting(&rig), rig.all_sent(&streams));
    rig.worker.serve_streams(PHASE);
    let moved = before - waiting(&rig);
    assert!(moved > slices::BESIDE - SHORT, "{moved} bytes");
    assert!(moved <= slices::BESIDE, "{moved} bytes");
    assert_eq!(rig.all_sent(&streams), answered, "nothing is echoed");
}

#[test]
fn clients_in_lock_step_with_long_messages_do_not_starve_beside_many_with_short_ones() {
    const BYTES: usize = 20_000;
    const ROUND_TRIPS: u64 = 5;

    let mut rig = Rig::with_short_slices();
    let clients: Vec<_> = (0..20).map(|_| rig.admit()).collect();
    let pingers = rig.admit_pingers(MANY);
    let mut received = vec![0; clients.len()];
    let mut turns = 0;
    while clients
        .iter()
        .any(|&(_, key)| rig.sent(key) < ROUND_TRIPS * BYTES as u64)
    {
        for ((ours, key), received) in clients.iter().zip(&mut received) {
            let mut ours = ours;
            ours.set_nonblocking(true).unwrap();
            *received += ours.read(&mut [0; BYTES]).unwrap_or(0);
            let asked = ROUND_TRIPS as usize * BYTES;
            if *received as u64 == rig.sent(*key) && *received % BYTES == 0 && *received < asked {
                ours.write_all(&[7; BYTES]).unwrap();
                wait_until(|| stream_has(&rig, *key) == BYTES);
            }
        }
        rig.send_messages(&pingers);
        rig.turn();
        turns += 1;
        assert!(turns < 10 * ROUND_TRIPS, "{received:?} in {turns} turns");
    }
}

#[test]
fn streams_are_served_in_turn_by_bytes() {
    let mut rig = Rig::with_short_slices();
    let streams = rig.admit_streams(5);
    let (mut pinger, message) = rig.admit();
    let whole = (streams.len() * WAITING) as u64;
    let mut turns = 0;
    while rig.all_sent(&streams) < whole {
        let before: Vec<u64> = streams.iter().map(|&(_, key)| rig.sent(key)).collect();
        let next = *before.iter().min().unwrap();
        if turns % 2 == 0 {
            pinger.write_all(b"x").unwrap();
            wait_until(|| stream_has(&rig, message) == 1);
        }
        rig.turn();
        turns += 1;
        let moved = |place: usize| rig.sent(streams[place].1) - before[place];
        let served: Vec<usize> = (0..streams.len())
            .filter(|&place| moved(place) > 0)
            .collect();
        assert!(served.len() <= 1, "{served:?} in one turn");
        for place in served {
            assert_eq!(
                before[place], next,
                "one that had fewer bytes was passed over"
            );
            assert!(moved(place) <= SHORT as u64);
        }
        assert!(turns <= 5 * streams.len(), "nobody is forgotten");
    }
}

#[test]
fn a_stream_keeps_its_turn_for_some_slices_with_messages_between_them() {
    let mut rig = Rig::with_short_slices();
    rig.worker.slices.tenure = 2 * SHORT;
    let streams = rig.admit_streams(3);
    let (mut pinger, message) = rig.admit();
    let mut served = Vec::new();
    for round in 1..=8 {
        pinger.write_all(b"x").unwrap();
        wait_until(|| stream_has(&rig, message) == 1);
        let before: Vec<u64> = streams.iter().map(|&(_, key)| rig.sent(key)).collect();
        rig.turn();
        assert_eq!(
            rig.sent(message),
            round,
            "a message waits for a slice alone"
        );
        let has_moved = |&place: &usize| rig.sent(streams[place].1) > before[place];
        served.extend((0..streams.len()).filter(has_moved));
    }
    // Two slices of each, and the rest of the first two.
    assert_eq!(served, [0, 0, 1, 1, 2, 2, 0, 1]);
}

#[test]
fn a_stream_has_a_whole_turn_after_one_that_had_less_to_move_copied_or_not() {
    for pipes in [0, 3] {
        let mut rig = Rig::with_short_slices();
        rig.worker.pipes = Pipes::new(pipes);
        rig.worker.slices.tenure = WAITING;
        let streams = rig.admit_streams(3);
        let mut served = Vec::new();
        while rig.all_sent(&streams) < (streams.len() * WAITING) as u64 {
            let before: Vec<u64> = streams.iter().map(|&(_, key)| rig.sent(key)).collect();
            rig.turn();
            let has_moved = |&place: &usize| rig.sent(streams[place].1) > before[place];
            served.extend((0..streams.len()).filter(has_moved));
        }
        // Two slices and the rest, which is less than belongs to a turn.
        assert_eq!(served, [0, 0, 0, 1, 1, 1, 2, 2, 2], "{pipes} pipes");
    }
}
