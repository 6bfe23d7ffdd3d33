//! Many clients at once on a few workers.

mod common;

// The module puts the word into every test's path, where `cargo test concurrency` looks.
mod concurrency {
    use crate::common::{Server, connect, keyed, round_trip};

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
}
