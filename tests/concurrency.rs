//! Many clients at once on a few workers.

mod common;

// The module puts the word into every test's path, where `cargo test concurrency` looks.
mod concurrency {
    use std::io::{self, Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use socket2::SockRef;

    use crate::common::{
        Over, Server, connect, connect_narrow, expect, expect_end, fill, full_duplex, keyed,
        read_to_end, reset, round_trip,
    };

    const MIB: usize = 1 << 20;

    /// Runs `client` for every key of `keys`, each on a thread of its own.
    fn at_once(keys: std::ops::Range<u64>, client: impl Fn(u64) + Sync) {
        thread::scope(|scope| {
            for key in keys {
                let client = &client;
                scope.spawn(move || client(key));
            }
        });
    }

    #[test]
    fn more_clients_than_workers_are_served_while_all_stay_connected() {
        for workers in [1, 2] {
            let server = Server::with_workers(workers);
            let mut clients: Vec<_> = (0..300).map(|_| connect(server.echo)).collect();
            for round in 0..3 {
                for (key, client) in clients.iter_mut().enumerate() {
                    round_trip(client, &keyed(key as u64, round * 100, 100));
                }
            }
            let report = server.stop();
            assert_eq!((report.connections(), report.bytes()), (300, 90_000));
        }
    }

    #[test]
    fn two_thousand_clients_on_two_workers_are_served_and_spread_evenly() {
        let server = Server::with_workers(2);
        let mut clients: Vec<_> = (0..2000).map(|_| connect(server.echo)).collect();
        for (key, client) in clients.iter_mut().enumerate() {
            client.write_all(&keyed(key as u64, 0, 500)).unwrap();
        }
        // The last comes first, so no client's echo waits for an earlier one to be read.
        for (key, client) in clients.iter_mut().enumerate().rev() {
            expect(client, key as u64, 0, 500);
        }
        let report = server.stop();
        let spread: Vec<_> = report.workers.iter().map(|w| w.connections).collect();
        assert_eq!(spread, [1000, 1000]);
        assert_eq!(report.bytes(), 1_000_000);
        assert_eq!(report.cut(), 0);
    }

    #[test]
    fn the_clients_of_four_workers_are_spread_evenly() {
        let server = Server::with_workers(4);
        let mut clients: Vec<_> = (0..402).map(|_| connect(server.echo)).collect();
        clients.iter_mut().for_each(|c| round_trip(c, b"here"));
        let report = server.stop();
        let each = report.workers.iter().map(|worker| worker.connections);
        let (least, most) = (each.clone().min().unwrap(), each.clone().max().unwrap());
        assert!(
            (least, most) == (100, 101) && each.sum::<u64>() == 402,
            "{report:?}"
        );
    }

    /// 25 clients with bytes of every one on the way at any time, in pieces of
    /// every size, which come back in other portions than they were sent.
    fn interleave(address: SocketAddr, group: u64) {
        let key = |index: usize| group * 100 + index as u64;
        let mut clients: Vec<_> = (0..25).map(|_| (connect(address), 0, 0)).collect();
        for round in 0..40 {
            for (index, (client, sent, _)) in clients.iter_mut().enumerate() {
                let length = 1 + (round * 577 + index * 131) % 4096;
                client.write_all(&keyed(key(index), *sent, length)).unwrap();
                *sent += length;
            }
            for (index, (client, sent, back)) in clients.iter_mut().enumerate() {
                let length = (*sent - *back) * 2 / 3;
                expect(client, key(index), *back, length);
                *back += length;
            }
        }
        for (index, (mut client, sent, back)) in clients.into_iter().enumerate() {
            client.shutdown(Shutdown::Write).unwrap();
            expect(&mut client, key(index), back, sent - back);
            expect_end(&mut client);
        }
    }

    #[test]
    fn hundreds_of_interleaved_clients_each_get_their_own_bytes() {
        for workers in [1, 2] {
            let server = Server::with_workers(workers);
            at_once(0..12, |group| interleave(server.echo, group));
            assert_eq!(server.stop().connections(), 300);
        }
    }

    #[test]
    fn thirty_two_clients_stream_eight_mib_each_full_duplex() {
        let server = Server::with_workers(2);
        at_once(0..32, |key| {
            full_duplex(connect(server.echo), key, 8 * MIB);
        });
        let report = server.stop();
        assert_eq!(report.bytes(), 32 * 8 * MIB as u64);
        assert_eq!(report.cut(), 0);
    }

    #[test]
    fn a_client_that_never_reads_disturbs_no_other_and_later_gets_every_byte() {
        let server = Server::with_workers(1);
        let mut stuck: Vec<_> = (0..3).map(|_| connect_narrow(server.echo)).collect();
        let taken: Vec<_> = stuck.iter_mut().map(|client| fill(client, 7)).collect();
        at_once(100..120, |key| {
            let mut client = connect(server.echo);
            for round in 0..50 {
                round_trip(&mut client, &keyed(key, round * 1000, 1000));
            }
            full_duplex(client, key, MIB);
        });
        for (mut client, taken) in stuck.into_iter().zip(taken) {
            client.shutdown(Shutdown::Write).unwrap();
            expect(&mut client, 7, 0, taken);
            expect_end(&mut client);
        }
        assert_eq!(server.stop().connections(), 23);
    }

    #[test]
    fn a_client_that_never_stops_sending_leaves_its_neighbours_their_turns() {
        let server = Server::with_workers(1);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _over = Over(&done);
            for _ in 0..4 {
                scope.spawn(|| stream_until(&done, connect(server.echo)));
            }
            let mut clients: Vec<_> = (0..50).map(|_| connect(server.echo)).collect();
            for round in 0..20 {
                for (key, client) in clients.iter_mut().enumerate() {
                    round_trip(client, &keyed(1000 + key as u64, round * 64, 64));
                }
            }
        });
        assert!(server.stop().all_well());
    }

    /// Sends without a pause while it reads, and checks that as much comes back.
    fn stream_until(done: &AtomicBool, mut stream: TcpStream) {
        let mut sending = stream.try_clone().unwrap();
        thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let chunk = [0x55; 64 * 1024];
                let mut sent = 0;
                while !done.load(Ordering::SeqCst) {
                    sending.write_all(&chunk).unwrap();
                    sent += chunk.len() as u64;
                }
                sending.shutdown(Shutdown::Write).unwrap();
                sent
            });
            let back = io::copy(&mut stream, &mut io::sink()).unwrap();
            assert_eq!(back, sender.join().unwrap());
        });
    }

    /// Connects and resets at one of several moments.
    fn come_and_reset(address: SocketAddr, moment: u64) {
        let mut client = connect(address);
        let junk = [0xAA; 100_000];
        match moment % 6 {
            0 => {}
            1 => client.write_all(&junk[..1]).unwrap(),
            2 => client.write_all(&junk).unwrap(),
            3 => {
                client.write_all(&junk[..1000]).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            }
            4 => round_trip(&mut client, &junk[..5000]),
            _ => {
                client.write_all(&junk).unwrap();
                client.read_exact(&mut [0; 10]).unwrap();
            }
        }
        reset(client);
    }

    #[test]
    fn a_storm_of_resets_disturbs_no_steady_client() {
        let server = Server::with_workers(2);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _over = Over(&done);
            for key in 0..8 {
                let (address, done) = (server.echo, &done);
                scope.spawn(move || {
                    let mut client = connect(address);
                    let mut at = 0;
                    while !done.load(Ordering::SeqCst) {
                        round_trip(&mut client, &keyed(key, at, 3000));
                        at += 3000;
                    }
                    full_duplex(client, key, MIB);
                });
            }
            at_once(0..4, |thread| {
                (0..600).for_each(|n| come_and_reset(server.echo, thread + n));
            });
        });
        // And clients that come after it find no leftover of it.
        at_once(50..60, |key| {
            full_duplex(connect(server.echo), key, 100_000)
        });
        let report = server.stop();
        assert!(report.all_well() && report.cut() == 0, "{report:?}");
    }

    #[test]
    fn both_protocols_are_served_at_once() {
        for workers in [1, 2] {
            let server = Server::with_workers(workers);
            at_once(0..20, |key| {
                let mut steady = connect(server.echo);
                for round in 0..20 {
                    round_trip(&mut steady, &keyed(key, round * 700, 700));
                    let mut counted = connect(server.counted);
                    let text = format!("client {key} in round {round}");
                    counted.write_all(text.as_bytes()).unwrap();
                    round_trip(&mut steady, b"between its text and its NUL");
                    counted.write_all(&[0]).unwrap();
                    let answer = format!("{} : {text}\0", text.len());
                    assert_eq!(read_to_end(&mut counted), answer.as_bytes());
                }
            });
            assert_eq!(server.stop().connections(), 20 + 400);
        }
    }

    #[test]
    fn segments_of_one_byte_come_back_in_order() {
        let server = Server::with_workers(1);
        at_once(0..4, |key| {
            let mut client = connect(server.echo);
            let bytes = keyed(key, 0, 3000);
            for byte in bytes.chunks(1) {
                client.write_all(byte).unwrap();
            }
            client.shutdown(Shutdown::Write).unwrap();
            assert!(read_to_end(&mut client) == bytes);
        });
        assert_eq!(server.stop().bytes(), 12_000);
    }

    #[test]
    fn every_byte_value_comes_back_unchanged() {
        let server = Server::with_workers(1);
        let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        round_trip(&mut connect(server.echo), &bytes);
    }

    #[test]
    fn all_that_came_before_a_half_close_goes_back_before_the_end() {
        let server = Server::with_workers(2);
        full_duplex(connect(server.echo), 1, 8 * MIB);
        at_once(0..8, |thread| {
            for key in thread * 100..thread * 100 + 40 {
                let mut client = connect(server.echo);
                let length = 1 + (key as usize * 37) % 20_000;
                client.write_all(&keyed(key, 0, length)).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                expect(&mut client, key, 0, length);
                expect_end(&mut client);
            }
        });
        assert_eq!(server.stop().connections(), 1 + 8 * 40);
    }

    #[test]
    fn a_half_close_that_comes_while_echo_is_pending_loses_none_of_it() {
        const STEP: usize = 40_000;

        let server = Server::with_workers(2);
        // The longest of these are more than the kernel holds for a client that does not read.
        for group in 0..10 {
            let key = |index| group * 12 + index;
            let mut clients: Vec<_> = (0..12).map(|_| connect_narrow(server.echo)).collect();
            for (index, client) in clients.iter_mut().enumerate() {
                let length = (1 + key(index)) * STEP;
                client
                    .write_all(&keyed(key(index) as u64, 0, length))
                    .unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            }
            // Both workers have seen to them once they have served others.
            for _ in 0..4 {
                round_trip(&mut connect(server.echo), b"hello");
            }
            for (index, client) in clients.iter_mut().enumerate() {
                expect(client, key(index) as u64, 0, (1 + key(index)) * STEP);
                expect_end(client);
            }
        }
        assert!(server.stop().all_well());
    }

    #[test]
    fn a_half_close_with_nothing_sent_gets_the_end_and_nothing_else() {
        let server = Server::with_workers(1);
        let mut clients: Vec<_> = (0..50).map(|_| connect(server.echo)).collect();
        for client in &clients {
            client.shutdown(Shutdown::Write).unwrap();
        }
        clients.iter_mut().for_each(expect_end);
        let report = server.stop();
        assert_eq!((report.connections(), report.bytes()), (50, 0));
    }

    #[test]
    fn urgent_data_comes_back_in_line_and_holds_nothing_up() {
        let server = Server::with_workers(1);
        for round in 0..50 {
            let mut client = connect(server.echo);
            let urgent = |bytes: &[u8]| {
                assert_eq!(
                    SockRef::from(&client).send_out_of_band(bytes).unwrap(),
                    bytes.len()
                );
            };
            let mut sending = client.try_clone().unwrap();
            if round % 2 == 0 {
                sending.write_all(b"before ").unwrap();
            }
            urgent(b"urgent!");
            sending.write_all(b" between ").unwrap();
            urgent(b"?");
            urgent(b"!");
            sending.write_all(b" after").unwrap();
            let want: &[u8] = match round % 2 {
                0 => b"before urgent! between ?! after",
                _ => b"urgent! between ?! after",
            };
            let mut echo = vec![0; want.len()];
            client.read_exact(&mut echo).unwrap();
            assert_eq!(echo, want);
            // Nothing of it is left to hold up what comes later, nor the end.
            round_trip(&mut client, &keyed(round, 0, 100_000));
            assert_eq!(SockRef::from(&client).send_out_of_band(b"last").unwrap(), 4);
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&mut client), b"last");
        }
        assert!(server.stop().all_well());
    }
}
