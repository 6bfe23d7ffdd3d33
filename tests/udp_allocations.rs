//! Datagrams are answered without an allocation: a flood costs the allocator nothing.
#![cfg(target_os = "linux")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};

use echopool::server::{Config, DatagramListener, DatagramProtocol, Server, Stop};

/// The system's allocator, which counts what it is asked for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: each call is the system allocator's own, with the arguments that it was given.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many of these are sent before the next are received.
const AT_ONCE: usize = 16;

/// Has each client exchange so many batches, without an allocation of its own.
fn exchange(clients: &[UdpSocket], batches: usize, bytes: &[u8]) {
    let mut answer = [0; 2000];
    for _ in 0..batches {
        for client in clients {
            for _ in 0..AT_ONCE {
                client.send(bytes).unwrap();
            }
            for _ in 0..AT_ONCE {
                assert_eq!(client.recv(&mut answer).unwrap(), bytes.len());
            }
        }
    }
}

fn clients(server: SocketAddr) -> Vec<UdpSocket> {
    let connected = |_| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server).unwrap();
        client.set_read_timeout(Some(common::DEADLINE)).unwrap();
        client
    };
    (0..4).map(connected).collect()
}

#[test]
fn an_answer_needs_no_allocation() {
    for protocol in [DatagramProtocol::Echo, DatagramProtocol::Stamp] {
        let address = "127.0.0.1:0".parse().unwrap();
        let listeners = DatagramListener::bind(protocol, &address, 2, 1 << 20).unwrap();
        let server = listeners[0].address();
        let config = Config {
            workers: 2,
            udp_rate: None,
            ..Config::default()
        };
        let running = Server::start_with(Vec::new(), listeners, &config).unwrap();
        let stop = Stop::new();
        let running = std::thread::spawn({
            let stop = stop.clone();
            move || running.run(&stop).unwrap()
        });
        let clients = clients(server);
        // What grows to its size does so first.
        exchange(&clients, 50, &[7; 1200]);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        exchange(&clients, 500, &[7; 1200]);
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        stop.request();
        let counts = running.join().unwrap().workers;
        let answered: u64 = counts.iter().map(|worker| worker.datagrams.answered).sum();
        assert_eq!(answered, 4 * 550 * AT_ONCE as u64);
        // 32,000 datagrams. The main thread and the test's own now and then need one.
        assert!(allocations < 100, "{allocations} for {protocol:?}");
    }
}
