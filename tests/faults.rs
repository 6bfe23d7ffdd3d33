//! What breaks echo servers, brought about over the wire. `docs/faults.md` says
//! which test stands for which fault.
#![cfg(target_os = "linux")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::load::{Machine, quantile_of};
use common::serve::{
    PROMPT, counter, failed_accepts, has_signal, limit_descriptors, memory, pipe_ends,
    processor_time, serve, serve_after, serve_again, stop, stop_cleanly, suspend, tcp_memory,
};
use common::{
    Over, Program, connect, connect_narrow, expect, expect_end, fill, full_duplex, keyed, reset,
    round_trip, wait_until,
};
use echopool::base::open_files::raise_open_files;
use echopool::base::signals::on_signal;
use fastrand::Rng;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

const MIB: usize = 1 << 20;

/// What a shell does first to have a server that copies, because it has no pipes.
const NO_PIPES: &str = "ulimit -n 100";

#[test]
fn descriptors_that_ran_out_cost_no_processor_and_are_used_as_soon_as_they_are_free() {
    const WATCHED: u32 = 2;

    let machine = Machine::watch();
    let (mut program, address) = serve(&["--workers", "1"]);
    let (mut shares, mut waits) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        limit_descriptors(&program, 30);
        let mut clients: Vec<_> = (0..40).map(|_| connect(address)).collect();
        program.wait_for("could not accept");
        let (start, used) = (Instant::now(), processor_time(&program));
        let failed = failed_accepts(&program);
        for _ in 0..WATCHED {
            program.wait_for("could not accept");
        }
        let seconds = start.elapsed().as_secs_f64();
        shares.push((processor_time(&program) - used).as_secs_f64() / seconds);
        let rate = (failed_accepts(&program) - failed) as f64 / seconds;
        assert!(rate <= 20.0, "{rate} attempts a second");
        limit_descriptors(&program, 1000);
        let start = Instant::now();
        clients.iter_mut().for_each(|c| round_trip(c, b"hello"));
        waits.push(start.elapsed());
    }
    // Where others empty the caches, waiting costs several times as much.
    assert!(
        shares.iter().any(|share| *share < 0.02),
        "{shares:?} of a processor"
    );
    // Where others have the processor for long, it takes longer.
    let least = waits.iter().min().unwrap();
    let most = Duration::from_millis(250) + machine.delay();
    assert!(*least <= most, "{waits:?}");
    stop_cleanly(program);
}

#[test]
fn a_broken_pipe_signal_is_ignored() {
    let (program, address) = serve(&[]);
    assert!(has_signal(program.child.id(), "SigIgn", Signal::PIPE));
    program.signal(Signal::PIPE);
    round_trip(&mut connect(address), b"still there");
    stop_cleanly(program);
}

#[test]
fn a_reset_anywhere_in_a_stream_ends_that_connection_and_leaves_none_of_its_bytes() {
    for before in ["true", NO_PIPES] {
        let (program, address) = serve_after(before, &["--workers", "1"]);
        let mut steady = connect(address);
        let mut random = Rng::with_seed(9);
        for key in 0..150 {
            let mut client = connect(address);
            let sent = random.usize(1..300_000);
            client.write_all(&keyed(key, 0, sent)).unwrap();
            expect(&mut client, key, 0, random.usize(0..sent));
            reset(client);
            let next = connect(address);
            round_trip(&mut steady, &keyed(1_000, 0, random.usize(1..5_000)));
            full_duplex(next, 2_000 + key, random.usize(1..200_000));
        }
        let program = stop_cleanly(program);
        assert!(program.logged("worker 0: exited ok, 301 connections"));
        assert!(!program.logged("ERROR"), "{:#?}", program.log);
    }
}

#[test]
fn a_half_close_behind_8_mib_comes_back_behind_8_mib_through_pipes_and_copied() {
    for (before, pipes) in [("true", true), (NO_PIPES, false)] {
        let (program, address) = serve_after(before, &["--workers", "1"]);
        let ends = pipe_ends(&program);
        full_duplex(connect(address), 7, 8 * MIB);
        assert_eq!(pipe_ends(&program) > ends, pipes, "{before}");
        stop_cleanly(program);
    }
}

#[test]
fn segments_of_one_byte_in_a_stream_fill_a_pipe_and_come_back_in_order() {
    const STREAM: usize = 4 * MIB;
    const BURST: usize = 100_000;
    const SEGMENTS: usize = 2_000;

    let (program, address) = serve(&["--workers", "1"]);
    let ends = pipe_ends(&program);
    let mut clients = [connect(address), connect(address)];
    // Until the kernel's windows are wide enough for all that is to come.
    for (key, client) in clients.iter().enumerate() {
        let mut sending = client.try_clone().unwrap();
        let sender =
            thread::spawn(move || sending.write_all(&keyed(key as u64, 0, STREAM)).unwrap());
        expect(&mut client.try_clone().unwrap(), key as u64, 0, STREAM);
        sender.join().unwrap();
    }
    // All of it waits for the server at once: a burst, which makes it use a pipe,
    // and then segments. In turn, since those of one client alone lie side by side
    // in memory and would take one place in the pipe.
    program.signal(Signal::STOP);
    for (key, client) in clients.iter_mut().enumerate() {
        client.write_all(&keyed(key as u64, STREAM, BURST)).unwrap();
    }
    let streams = [0, 1].map(|key| keyed(key, STREAM + BURST, SEGMENTS));
    for at in 0..SEGMENTS {
        for (client, stream) in clients.iter_mut().zip(&streams) {
            client.write_all(&stream[at..=at]).unwrap();
        }
    }
    program.signal(Signal::CONT);
    for (key, client) in clients.iter_mut().enumerate() {
        expect(client, key as u64, STREAM, BURST + SEGMENTS);
        round_trip(client, b"and it goes on");
    }
    assert!(pipe_ends(&program) > ends, "no pipe was used");
    stop_cleanly(program);
}

/// Sends bursts as long as what the server does at once, a little more and a
/// little less, and takes back a part of what is under way after each.
fn change_pace(mut client: TcpStream, key: u64) {
    const SIZES: [usize; 5] = [1, 16 << 10, 64 << 10, 128 << 10, 256 << 10];
    /// What the kernel holds for a client at the least.
    const UNDER_WAY: usize = 300_000;

    let mut random = Rng::with_seed(key);
    let (mut sent, mut back) = (0, 0);
    for _ in 0..200 {
        let size = random.choice(SIZES).unwrap() + random.usize(0..3) - 1;
        let late = (sent + size).saturating_sub(back + UNDER_WAY);
        let early = random.usize(0..=sent - back);
        let take = late.max(early * random.usize(0..2));
        expect(&mut client, key, back, take);
        back += take;
        client.write_all(&keyed(key, sent, size)).unwrap();
        sent += size;
    }
    client.shutdown(Shutdown::Write).unwrap();
    expect(&mut client, key, back, sent - back);
    expect_end(&mut client);
}

#[test]
fn a_stream_that_changes_its_pace_keeps_its_order() {
    for before in ["true", NO_PIPES] {
        let (program, address) = serve_after(before, &["--workers", "1"]);
        thread::scope(|scope| {
            for key in 0..4 {
                scope.spawn(move || change_pace(connect(address), key));
            }
        });
        stop_cleanly(program);
    }
}

#[test]
fn thousands_of_clients_wait_in_the_queue_of_a_server_that_is_held_up() {
    /// A client that a full queue drops would try again after a second.
    const AT_ONCE: Duration = Duration::from_millis(900);

    let count = raise_open_files().saturating_sub(1500).min(4_000);
    let (program, address) = serve(&[]);
    program.signal(Signal::STOP);
    let clients = (0..count).map(|_| TcpStream::connect_timeout(&address, AT_ONCE).unwrap());
    let mut clients: Vec<_> = clients.collect();
    program.signal(Signal::CONT);
    clients.iter_mut().for_each(|c| round_trip(c, b"hello"));
    stop_cleanly(program);
}

/// Connects, echoes and leaves until `done`, whichever server listens. Counts the echoes.
fn churn(address: SocketAddr, done: &AtomicBool, echoes: &AtomicU64) {
    while !done.load(Ordering::SeqCst) {
        let visit = || {
            let mut client = TcpStream::connect_timeout(&address, common::DEADLINE)?;
            client.write_all(b"hello")?;
            client.read_exact(&mut [0; 5])
        };
        match visit() {
            Ok(()) => drop(echoes.fetch_add(1, Ordering::SeqCst)),
            // No server listens at the moment.
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[test]
fn a_restart_under_load_listens_again_within_a_second() {
    let machine = Machine::watch();
    let (mut program, address) = serve(&[]);
    let (done, echoes) = (AtomicBool::new(false), AtomicU64::new(0));
    let served_again = || {
        let before = echoes.load(Ordering::SeqCst);
        wait_until("clients to be served", || {
            echoes.load(Ordering::SeqCst) > before + 100
        });
    };
    thread::scope(|scope| {
        let _over = Over(&done);
        for _ in 0..8 {
            scope.spawn(|| churn(address, &done, &echoes));
        }
        served_again();
        let mut waits = Vec::new();
        for _ in 0..5 {
            // The server closes these first, so that its side is in TIME_WAIT.
            let mut idle: Vec<_> = (0..20).map(|_| connect(address)).collect();
            idle.iter_mut().for_each(|c| round_trip(c, b"hello"));
            let (code, _) = stop(&mut program, Signal::TERM);
            assert_eq!(code, Some(0), "{:#?}", program.log);
            drop(idle);
            let start = Instant::now();
            program = serve_again(address, &[]);
            waits.push(start.elapsed());
            served_again();
        }
        let longest = waits.iter().max().unwrap();
        let most = Duration::from_secs(1) + machine.delay();
        assert!(*longest < most, "{waits:?}");
    });
    stop_cleanly(program);
}

#[test]
fn the_grace_period_is_kept_to_a_tenth_of_a_second() {
    const GRACE: Duration = Duration::from_millis(500);

    let machine = Machine::watch();
    let over: Vec<_> = (0..3)
        .map(|_| {
            let (mut program, address) = serve(&["--grace", "500ms"]);
            let mut stuck = connect_narrow(address);
            fill(&mut stuck, 1);
            let (code, time) = stop(&mut program, Signal::TERM);
            assert_eq!(code, Some(3), "{:#?}", program.log);
            time.checked_sub(GRACE).expect("cut before its time")
        })
        .collect();
    // Where others have the processor for long, it takes longer.
    let least = over.iter().min().unwrap();
    let most = Duration::from_millis(100) + machine.delay();
    assert!(*least <= most, "{over:?}");
}

#[test]
fn two_signals_at_once_are_two() {
    let (mut program, address) = serve(&["--grace", "60s"]);
    let mut stuck = connect_narrow(address);
    fill(&mut stuck, 1);
    program.signal(Signal::TERM);
    let (code, time) = stop(&mut program, Signal::INT);
    assert_eq!(code, Some(130), "{:#?}", program.log);
    assert!(time < PROMPT, "{time:?}");
}

#[test]
fn a_process_that_handles_signals_already_gets_an_error() {
    // An interrupt still ends this test.
    on_signal(|| false).unwrap();
    let error = on_signal(|| true).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("could not watch for signals: "), "{text}");
}

/// A client whose own buffers take as little as the kernel allows.
fn connect_small(address: SocketAddr) -> TcpStream {
    const BUFFER: usize = 4096;

    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    socket.set_send_buffer_size(BUFFER).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// Sends what the kernel takes at this moment. Returns how many bytes that were.
fn send_some(mut client: &TcpStream, most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        match client.write(&[7; 64 * 1024][..(most - sent).min(64 * 1024)]) {
            Ok(bytes) => sent += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
    sent
}

/// The 99th percentile of the round trips of one client.
fn slow_round_trip(client: &mut TcpStream) -> Duration {
    let times = (0..500).map(|_| {
        let start = Instant::now();
        round_trip(client, b"a message");
        start.elapsed()
    });
    quantile_of(&times.collect::<Vec<_>>(), 0.99)
}

#[test]
fn a_thousand_clients_that_never_read_cost_little_memory_and_no_other_client() {
    const CLIENTS: usize = 1000;
    let options = ["--workers", "1", "--socket-buffer", "48KiB"];
    assert!(raise_open_files() > CLIENTS + 100);
    let (program, address) = serve(&options);
    let (unburdened, elsewhere) = serve(&options);
    let mut reading = connect(address);
    for _ in 0..100 {
        round_trip(&mut reading, &[7; 30_000]);
    }
    let pid = program.child.id();
    let pressures = counter("TCPMemoryPressures");
    let (resident, tcp) = (memory(pid), tcp_memory());
    let clients: Vec<_> = (0..CLIENTS).map(|_| connect_small(address)).collect();
    // So that the last read of each is cut at another offset.
    for (index, client) in clients.iter().enumerate() {
        send_some(client, index * 49);
    }
    // The server finds as much of each as can wait, until it reads no more of any.
    let mut idle = 0;
    while idle < 5 {
        suspend(&program);
        let sent: usize = clients.iter().map(|c| send_some(c, MIB)).sum();
        idle = if sent == 0 { idle + 1 } else { 0 };
        program.signal(Signal::CONT);
        round_trip(&mut reading, b"one that takes its bytes");
    }
    let resident = memory(pid).saturating_sub(resident);
    assert!(resident < 16 << 20, "{resident} bytes in the server");
    // What others on this machine have of it comes and goes.
    wait_until("TCP to have less than 300 MiB more", || {
        tcp_memory() < tcp + 300 * MIB
    });
    assert_eq!(counter("TCPMemoryPressures"), pressures);
    let mut other = connect(elsewhere);
    let mut times = Vec::new();
    wait_until(
        "a time in which others wait no longer than elsewhere",
        || {
            times.push((slow_round_trip(&mut reading), slow_round_trip(&mut other)));
            let (here, there) = times[times.len() - 1];
            here <= 2 * there
        },
    );
    round_trip(&mut connect(address), b"a new one");
    stop_cleanly(unburdened);
    drop(clients);
    stop_cleanly(program);
}

/// Has a server log that a client came, and so all that it did before. Returns how
/// many lines there are by then.
fn mark_log(program: &mut Program, address: SocketAddr) -> usize {
    let client = connect(address);
    program.wait_for(&format!("{} connected", client.local_addr().unwrap()));
    program.log.len()
}

/// The reads in the lines of a server's log: the client's port, and how many bytes.
fn reads(log: &[String]) -> Vec<(u16, usize)> {
    let read = |line: &String| {
        let (_, rest) = line.split_once("client 127.0.0.1:")?;
        let (port, rest) = rest.split_once(": ")?;
        let bytes = rest
            .strip_suffix(" bytes read")
            .or(rest.strip_suffix(" byte read"))?;
        Some((port.parse().unwrap(), bytes.parse().unwrap()))
    };
    log.iter().filter_map(read).collect()
}

#[test]
fn the_neighbours_of_streams_have_their_turns_while_much_of_these_waits() {
    const STREAM: usize = 4 * MIB;
    const NEIGHBOURS: usize = 50;
    /// The most that a stream has of one turn while messages are about.
    const TURN: usize = 256 * 1024;
    /// The same once no neighbour has sent for a while, as on a busy machine.
    const ALONE: usize = MIB;
    /// How often each neighbour sends more as soon as it has its echo.
    const ROUNDS: usize = 6;
    const TRIES: usize = 20;

    let (mut program, address) = serve(&["--workers", "1", "-vv"]);
    let port = |client: &TcpStream| client.local_addr().unwrap().port();
    let mut streams: Vec<_> = (0..4).map(|_| connect(address)).collect();
    // Until the kernel's windows are wide enough for all that is to wait.
    for stream in &mut streams {
        let mut sending = stream.try_clone().unwrap();
        let sender = thread::spawn(move || sending.write_all(&keyed(1, 0, STREAM)).unwrap());
        expect(stream, 1, 0, STREAM);
        sender.join().unwrap();
    }
    let mut neighbours: Vec<_> = (0..NEIGHBOURS).map(|_| connect(address)).collect();
    neighbours.iter_mut().for_each(|c| round_trip(c, b"hello"));
    let mut most = 0;
    for _ in 0..TRIES {
        let start = mark_log(&mut program, address);
        suspend(&program);
        let sent = streams.iter().map(|stream| {
            stream.set_nonblocking(true).unwrap();
            let sent = send_some(stream, STREAM / 2);
            stream.set_nonblocking(false).unwrap();
            sent
        });
        let sent: Vec<_> = sent.collect();
        let send = |mut client: &TcpStream| client.write_all(b"x").unwrap();
        neighbours.iter().for_each(send);
        program.signal(Signal::CONT);
        for _ in 0..ROUNDS {
            for client in &mut neighbours {
                client.read_exact(&mut [0]).unwrap();
                send(client);
            }
        }
        neighbours
            .iter_mut()
            .for_each(|c| c.read_exact(&mut [0]).unwrap());
        for (stream, sent) in streams.iter_mut().zip(sent) {
            stream.read_exact(&mut vec![0; sent]).unwrap();
        }
        let end = mark_log(&mut program, address);
        let reads = reads(&program.log[start..end]);
        let is_stream = |&(of, _): &(u16, usize)| streams.iter().any(|s| port(s) == of);
        let last = reads.iter().rposition(is_stream).unwrap();
        let served = reads[..last].iter().filter(|read| !is_stream(read));
        most = most.max(served.count());
        let turns = reads.iter().filter(|read| is_stream(read));
        let longest = turns.map(|read| read.1).max().unwrap();
        assert!(longest <= ALONE, "{longest} bytes in one turn");
        // Those that waited are all read before a stream has its second turn.
        let others = reads
            .iter()
            .enumerate()
            .filter(|(_, read)| !is_stream(read));
        let (waited, _) = others.take(NEIGHBOURS).last().unwrap();
        for stream in &streams {
            let its = reads[..waited].iter().filter(|read| read.0 == port(stream));
            let bytes: usize = its.map(|read| read.1).sum();
            assert!(bytes <= TURN, "{bytes} bytes of a stream came first");
        }
    }
    // How many more depends on how soon this thread sends them. But if bytes that come
    // meanwhile had no turn, it would be never more than those that waited.
    assert!(most > NEIGHBOURS, "{most} turns beside streams");
    stop_cleanly(program);
}
