//! The servers that misbehave on purpose: that they do, as a plain socket sees it.
#![cfg(unix)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::faulty::{Leave, Meddling, Restarting, Timed, crumbling, nagling, narrow, swapping};
use common::load::{measured, quantile_of};
use common::{connect, full_duplex, keyed, round_trip};

const SIZE: usize = 64;

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long each of some messages took, one after another.
fn round_trips(stream: &mut TcpStream, count: usize) -> Vec<Duration> {
    let times = (0..count).map(|number| {
        let start = Instant::now();
        round_trip(stream, &keyed(1, number * SIZE, SIZE));
        start.elapsed()
    });
    times.collect()
}

#[test]
fn a_known_delay_is_kept_and_measured_by_the_servers_own_clock() {
    measured(|machine| {
        let delay = Duration::from_millis(2);
        let server = Timed::start(SIZE, move |_, received| Some(received + delay));
        let mut stream = connect(server.server.address);
        let seen = round_trips(&mut stream, 100);
        let room = machine.delay() + Duration::from_millis(1);
        let (least, most) = server.round_trips(room);
        assert_eq!((least.len(), most.len()), (100, 100));
        for part in [0.5, 0.9] {
            let [least, seen, most] = [&least, &seen, &most].map(|of| quantile_of(of, part));
            assert!(least >= delay, "{least:?}");
            assert!(
                (least..=most).contains(&seen),
                "{least:?} {seen:?} {most:?}"
            );
        }
    });
}

#[test]
fn a_stall_is_200_ms_of_each_second() {
    measured(|machine| {
        let server = Timed::stalling(SIZE);
        let mut stream = connect(server.server.address);
        let until = Instant::now() + Duration::from_secs(2);
        let mut seen = Vec::new();
        while Instant::now() < until {
            seen.extend(round_trips(&mut stream, 1));
        }
        let stalls: Vec<_> = seen.iter().filter(|time| time.as_millis() > 100).collect();
        assert!((2..=3).contains(&stalls.len()), "{stalls:?}");
        let longest = millis(**stalls.iter().max().unwrap());
        assert!(longest >= 190.0, "{stalls:?}");
        assert!(longest < 220.0 + machine.delay_ms(), "{stalls:?}");
    });
}

#[test]
fn one_at_a_time_is_a_known_rate() {
    measured(|machine| {
        let service = Duration::from_millis(1);
        let server = Timed::serving_one_at_a_time(SIZE, service);
        let mut stream = connect(server.server.address);
        let start = Instant::now();
        round_trip(&mut stream, &keyed(1, 0, 500 * SIZE));
        let took = millis(start.elapsed());
        assert!(took >= 500.0, "{took} ms");
        assert!(took < 520.0 + machine.delay_ms(), "{took} ms");
    });
}

#[test]
fn nagles_algorithm_meets_a_delayed_acknowledgement() {
    measured(|machine| {
        let server = nagling(SIZE);
        let mut stream = connect(server.address);
        // The first acknowledgements of a connection are not delayed.
        let seen = round_trips(&mut stream, 40);
        let typical = millis(quantile_of(&seen, 0.75));
        assert!(typical >= 38.0, "{seen:?}");
        assert!(typical < 48.0 + machine.delay_ms(), "{seen:?}");
    });
}

#[test]
fn damage_is_done_at_the_given_offset() {
    let sent = keyed(1, 0, 1000);
    let came = |server: &Meddling, length: usize| {
        let mut stream = connect(server.server.address);
        stream.write_all(&sent).unwrap();
        let mut came = vec![0; length];
        stream.read_exact(&mut came).unwrap();
        came
    };
    let flipping = Meddling::start(500, 1, |bytes| bytes[0] ^= 1);
    let mut flipped = sent.clone();
    flipped[500] ^= 1;
    assert!(came(&flipping, 1000) == flipped);
    assert_eq!(flipping.place(), Some(500));

    let dropping = Meddling::start(64, 64, Vec::clear);
    assert!(came(&dropping, 936) == [&sent[..64], &sent[128..]].concat());
    assert_eq!(dropping.place(), Some(64));

    let doubling = Meddling::start(100, 1, |bytes| bytes.push(bytes[0]));
    assert!(came(&doubling, 1001) == [&sent[..=100], &sent[100..]].concat());
    assert_eq!(doubling.place(), Some(101));
}

#[test]
fn two_clients_get_each_others_message_once() {
    let server = swapping(SIZE, 1);
    let address = server.address;
    let clients = [1, 2].map(|key| {
        std::thread::spawn(move || {
            let mut stream = connect(address);
            round_trip(&mut stream, &keyed(key, 0, SIZE));
            stream.write_all(&keyed(key, SIZE, SIZE)).unwrap();
            let mut others = vec![0; SIZE];
            stream.read_exact(&mut others).unwrap();
            assert!(others == keyed(3 - key, SIZE, SIZE));
            round_trip(&mut stream, &keyed(key, 2 * SIZE, SIZE));
        })
    });
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn small_segments_and_small_buffers_are_an_echo_all_the_same() {
    for server in [crumbling(), narrow()] {
        full_duplex(connect(server.address), 1, 200_000);
    }
}

#[test]
fn a_server_goes_away_and_comes_back() {
    let place = Restarting::new(1);
    for leave in [Leave::Close, Leave::Reset, Leave::Close] {
        let life = place.start(SIZE);
        let mut stream = connect(place.address);
        round_trip(&mut stream, &keyed(1, 0, SIZE));
        life.wait_for_echoes();
        let ending = std::thread::spawn(move || life.end(leave));
        // What it no longer answers.
        let mut last = Ok(0);
        for _ in 0..1000 {
            stream.write_all(&keyed(1, 0, SIZE)).unwrap();
            last = stream.read(&mut [0; SIZE]);
            if !matches!(last, Ok(SIZE)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        match leave {
            Leave::Close => assert_eq!(last.unwrap(), 0),
            Leave::Reset => assert_eq!(last.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
        ending.join().unwrap();
        let refused = TcpStream::connect(place.address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
