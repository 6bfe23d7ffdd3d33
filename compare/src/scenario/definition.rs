//! One case: what the clients do, how many there are, and what it is called.

use std::time::Duration;

use crate::load::datagram::flow::Shape;
use crate::load::times::Times;
use crate::server::definition::{BUSY, FLOOR, LOOP, SPLICE_FLOORS, Server};
use crate::server::running::START_TIME;
use crate::server::transport::Transport;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every client has one message of so many bytes on its way.
    PingPong(usize),
    /// Every client sends and receives as fast as it can.
    Stream,
    /// Every client has one message echoed and makes room for the next one.
    Churn,
    /// Every client has had one message echoed and is silent.
    Idle,
    /// All clients ping, then with a firehose beside them.
    Firehose,
    /// The first client sends a small message now and then; then the others stream
    /// beside it.
    Sparse,
    /// Every client sends the next datagram when one is back.
    Datagrams(Shape),
    /// All clients ping over TCP, then with a flood of datagrams beside them.
    Flood,
    /// Most clients ping with datagrams, then with the others beside them, which stream.
    DatagramPingers,
    /// All clients together send so many datagrams a second, as many as [`LOOP`] answers
    /// without a loss; 0 until that is known.
    Paced(u32),
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in options and results.
    pub name: &'static str,
    /// What the clients do.
    pub kind: Kind,
    /// How many there are.
    pub clients: usize,
    /// Threads that the server is to serve with.
    pub workers: usize,
    /// Threads of the load.
    pub load_threads: usize,
    /// Whether it belongs to the quick run.
    pub quick: bool,
}

/// Bytes of a small message.
pub const SMALL: usize = 64;

/// Bytes of a large one.
pub const LARGE: usize = 16 * 1024;

/// Connections of a churn that are open at any time.
pub const SLOTS: usize = 32;

/// The same for a load that is to saturate the server.
pub const MANY_SLOTS: usize = 256;

/// From one message of a sparse pinger to the next: long enough for a server that
/// would rather wait for more work to do so.
pub const SPARSE: Duration = Duration::from_millis(2);

/// One small datagram at a time.
pub const ONE: Shape = Shape {
    size: SMALL,
    depth: 1,
    trains: false,
};

/// Datagrams of a flow that are in flight, where it is more than one.
pub const DEEP: usize = 16;

/// Bytes of a datagram that fills a packet on most paths: the least MTU of IPv6 less headers,
/// as QUIC takes it.
pub const PACKET: usize = 1_200;

/// Flows of a flood.
pub const FLOOD_FLOWS: usize = 16;

/// Streams beside clients with datagrams.
pub const STREAMS: usize = 16;

/// How long a server has to put its memory in order.
pub const SETTLE_MEMORY: Duration = Duration::from_millis(100);

impl Scenario {
    /// One sentence about it.
    #[must_use]
    pub fn describe(&self) -> String {
        let clients = self.clients;
        match self.kind {
            Kind::PingPong(size) => format!(
                "Ping-pong: {clients} client(s), each with one message of {size} bytes on its way."
            ),
            Kind::Stream => format!(
                "Streaming: {clients} client(s) write and read the echo, as fast as they can."
            ),
            Kind::Churn => format!(
                "Churn: {clients} clients at once connect, have 64 bytes echoed and close, \
                 again and again{}.",
                match self.load_threads {
                    1 => String::new(),
                    threads => format!(", by {threads} threads of the load"),
                }
            ),
            Kind::Idle => {
                format!("Idle: {clients} clients have had 64 bytes echoed and are silent.")
            }
            Kind::Firehose => format!(
                "Firehose: {clients} clients ping with 64 bytes, alone and beside one that \
                 streams."
            ),
            Kind::Sparse => format!(
                "Sparse pinger: 1 client sends 64 bytes every {} ms, alone and beside {} that \
                 stream.",
                SPARSE.as_millis(),
                clients - 1
            ),
            Kind::Datagrams(shape) => describe_datagrams(clients, shape),
            Kind::Flood => format!(
                "Flood: {clients} clients ping with {SMALL} bytes over TCP, alone and beside \
                 {FLOOD_FLOWS} flows of datagrams that do not wait for their echoes."
            ),
            Kind::DatagramPingers => format!(
                "Datagrams beside streams: {} flows with one datagram of {SMALL} bytes on its \
                 way, alone and beside {STREAMS} clients that stream over TCP.",
                clients - STREAMS
            ),
            Kind::Paced(0) => format!(
                "Loss: {clients} flows together send datagrams of {SMALL} bytes, as many a \
                 second as {LOOP} answers without a loss; echoes are not waited for."
            ),
            Kind::Paced(rate) => format!(
                "Loss: {clients} flows together send {rate} datagrams of {SMALL} bytes a \
                 second, as many as {LOOP} answered without a loss; echoes are not waited for."
            ),
        }
    }

    /// What its clients speak.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self.kind {
            Kind::Datagrams(_) | Kind::Paced(_) => Transport::Udp,
            Kind::Flood | Kind::DatagramPingers => Transport::Both,
            _ => Transport::Tcp,
        }
    }

    /// How many of its clients stream.
    #[must_use]
    pub const fn streams(&self) -> usize {
        match self.kind {
            Kind::Stream => self.clients,
            Kind::Firehose => 1,
            Kind::Sparse => self.clients - 1,
            Kind::DatagramPingers => STREAMS,
            Kind::PingPong(_) | Kind::Churn | Kind::Idle => 0,
            Kind::Datagrams(_) | Kind::Flood | Kind::Paced(_) => 0,
        }
    }

    /// Whether a server has no part in it although it could have: polling is for
    /// the latency of one client, and each floor is one for messages or for streams.
    #[must_use]
    pub fn excludes(&self, server: &Server) -> bool {
        if !server.speaks(self.transport()) {
            return true;
        }
        match server.name {
            BUSY => !["ping-64-1", "udp-64-1"].contains(&self.name),
            FLOOR => self.streams() > 0,
            name => SPLICE_FLOORS.contains(&name) && self.kind != Kind::Stream,
        }
    }

    /// The longest that one round takes, whatever the server does: starting it and
    /// running the load once, and where the load only counts bytes, the same before
    /// with the one that compares them. Connecting counts as one message: the
    /// kernel connects clients that a server does not accept.
    #[must_use]
    pub fn longest(&self, times: Times) -> Duration {
        let once = times.warm_up + times.measure;
        let timeout = times.timeout(self.clients);
        let load = match self.kind {
            // All that is on its way is awaited after the warm-up and at the end.
            Kind::PingPong(_) | Kind::Stream | Kind::Churn => once + 3 * timeout,
            Kind::Idle => 3 * SETTLE_MEMORY + 4 * timeout,
            Kind::Firehose | Kind::Sparse => 2 * once,
            Kind::Flood | Kind::DatagramPingers => 2 * once + timeout,
            Kind::Datagrams(_) | Kind::Paced(_) => once + 3 * timeout,
        };
        let verifying = match self.streams() {
            0 => Duration::ZERO,
            _ => START_TIME + times.measure / 2 + 3 * timeout,
        };
        verifying + START_TIME + load
    }
}

fn describe_datagrams(flows: usize, shape: Shape) -> String {
    let Shape {
        size,
        depth,
        trains,
    } = shape;
    let how = match trains {
        true => {
            ", all sent at once when all are back (UDP_SEGMENT), and received at once (UDP_GRO)"
        }
        false => "",
    };
    format!("Datagrams: {flows} flow(s), each with {depth} of {size} bytes on their way{how}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::list::SERVERS;

    fn server(name: &str) -> &'static Server {
        SERVERS.iter().find(|server| server.name == name).unwrap()
    }

    const STREAM: Scenario = Scenario {
        name: "stream",
        kind: Kind::Stream,
        clients: 4,
        workers: 1,
        load_threads: 1,
        quick: false,
    };

    #[test]
    fn a_floor_takes_part_where_it_is_one() {
        let messages = Scenario {
            kind: Kind::PingPong(SMALL),
            ..STREAM
        };
        assert!(STREAM.excludes(server(FLOOR)) && !messages.excludes(server(FLOOR)));
        for floor in SPLICE_FLOORS.map(server) {
            assert!(!STREAM.excludes(floor) && messages.excludes(floor));
        }
    }

    #[test]
    fn a_server_takes_part_where_it_speaks_what_clients_do() {
        let all = |kind| {
            let scenario = Scenario { kind, ..STREAM };
            let servers = SERVERS.iter().filter(move |one| !scenario.excludes(one));
            servers.map(|server| server.name).collect::<Vec<_>>()
        };
        let tcp = all(Kind::PingPong(SMALL));
        assert!(tcp.contains(&"socat") && !tcp.contains(&LOOP), "{tcp:?}");
        let udp = all(Kind::Datagrams(ONE));
        assert!(udp.contains(&LOOP) && !udp.contains(&"socat"), "{udp:?}");
        // Of all servers echopool alone serves both at once.
        assert_eq!(all(Kind::Flood), ["echopool", "baseline"]);
        assert!(tcp.contains(&"echopool") && udp.contains(&"echopool"));
    }

    #[test]
    fn a_churn_says_how_many_threads_make_it() {
        let churn = |load_threads| Scenario {
            kind: Kind::Churn,
            load_threads,
            ..STREAM
        };
        assert!(churn(1).describe().ends_with("again and again."));
        assert!(churn(4).describe().ends_with(", by 4 threads of the load."));
    }
}
