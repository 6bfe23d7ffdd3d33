//! All servers, echopool first.

use super::definition::{
    BASELINE, BUSY, ECHOPOOL, FLOOR, Kind, LOOP, POOL_THREADS, SPLICE_FLOORS, Server,
};
use super::transport::Transport;

/// A thread of the blocking pool serves one client.
const POOL_CLIENTS: usize = POOL_THREADS;

/// A process a client: more take minutes to fork.
const MOST_PROCESSES: usize = 1_000;

/// The same for programs that also execute another one, or have limits of their own.
const MOST_PROGRAMS: usize = 100;

const fn server(name: &'static str, kind: Kind, about: &'static str) -> Server {
    Server {
        name,
        about,
        kind,
        transport: match kind {
            Kind::Echopool(_) | Kind::Baseline => Transport::Both,
            _ => Transport::Tcp,
        },
        most_clients: usize::MAX,
        most_threads: usize::MAX,
    }
}

const fn forking(name: &'static str, kind: Kind, most: usize, about: &'static str) -> Server {
    Server {
        most_clients: most,
        most_threads: 0,
        ..server(name, kind, about)
    }
}

const fn datagrams(server: Server) -> Server {
    Server {
        transport: Transport::Udp,
        ..server
    }
}

/// One that has one thread.
const fn single(server: Server) -> Server {
    Server {
        most_threads: 1,
        ..server
    }
}

/// All servers, echopool first.
pub const SERVERS: &[Server] = &[
    server(
        ECHOPOOL,
        Kind::Echopool(&[]),
        "echopool with its default options",
    ),
    server(
        BUSY,
        Kind::Echopool(&["--busy-poll", "50us"]),
        "echopool with --busy-poll 50us",
    ),
    server(
        BASELINE,
        Kind::Baseline,
        "another build of echopool, given by --baseline",
    ),
    single(server(
        FLOOR,
        Kind::Floor,
        "one thread, epoll, recv and send in phases, nothing else",
    )),
    single(server(
        SPLICE_FLOORS[0],
        Kind::Splice(64 * 1024),
        "one thread, epoll, splice until nothing moves, a pipe of 64 KiB a client",
    )),
    single(server(
        SPLICE_FLOORS[1],
        Kind::Splice(1024 * 1024),
        "the same with pipes of 1 MiB",
    )),
    single(server(
        "tokio-current",
        Kind::Rust("rival-tokio-current"),
        "tokio, current-thread runtime",
    )),
    server(
        "tokio-multi",
        Kind::Rust("rival-tokio-multi"),
        "tokio, multi-thread runtime",
    ),
    server(
        "mio",
        Kind::Rust("rival-mio"),
        "a mio loop a thread, one event at a time",
    ),
    server(
        "monoio",
        Kind::Rust("rival-monoio"),
        "monoio on io_uring, a runtime a thread",
    ),
    server("smol", Kind::Rust("rival-smol"), "smol's global executor"),
    server(
        "go",
        Kind::Go("loop"),
        "Go, a goroutine a client, Read and Write",
    ),
    server(
        "go-copy",
        Kind::Go("copy"),
        "Go, a goroutine a client, io.Copy",
    ),
    Server {
        most_threads: 0,
        ..server(
            "threads",
            Kind::Rust("rival-threads"),
            "std, a thread a client",
        )
    },
    Server {
        most_clients: POOL_CLIENTS,
        most_threads: 0,
        ..server(
            "thread-pool",
            Kind::Pool,
            "std, 64 blocking threads, each with one client at a time",
        )
    },
    forking(
        "fork",
        Kind::C("fork"),
        MOST_PROCESSES,
        "C, a process a client",
    ),
    forking(
        "xinetd",
        Kind::Xinetd,
        MOST_PROGRAMS,
        "xinetd's internal echo, a process a client",
    ),
    forking(
        "socat",
        Kind::Socat,
        MOST_PROGRAMS,
        "socat TCP-LISTEN,fork PIPE",
    ),
    forking("ncat", Kind::Ncat, MOST_PROGRAMS, "ncat -k -e /bin/cat"),
    datagrams(single(server(
        LOOP,
        Kind::C("udp"),
        "C, one thread, recvfrom and sendto",
    ))),
    datagrams(single(server(
        "udp-c-batch",
        Kind::C("udp-batch"),
        "C, one thread, recvmmsg and sendmmsg, up to 64 datagrams a call, IP_PKTINFO",
    ))),
    datagrams(single(server(
        "udp-tokio-current",
        Kind::Rust("rival-udp-tokio-current"),
        "tokio, current-thread runtime, one task for datagrams",
    ))),
    datagrams(server(
        "udp-tokio-multi",
        Kind::Rust("rival-udp-tokio-multi"),
        "tokio, multi-thread runtime, a task a thread for datagrams",
    )),
    datagrams(server(
        "udp-go",
        Kind::GoDatagrams,
        "Go, a goroutine a thread for datagrams",
    )),
    datagrams(forking(
        "udp-socat",
        Kind::SocatDatagrams,
        MOST_PROGRAMS,
        "socat UDP-RECVFROM,fork PIPE, a process a datagram",
    )),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Server {
        SERVERS.iter().find(|server| server.name == name).unwrap()
    }

    #[test]
    fn a_server_says_what_it_cannot_do() {
        assert_eq!(named(ECHOPOOL).unable(18_000, 2), None);
        assert_eq!(named("thread-pool").unable(64, 2), None);
        assert_eq!(
            named("thread-pool").unable(65, 1).unwrap(),
            "65 clients are too many, it takes 64"
        );
        assert_eq!(named(FLOOR).unable(1, 2).unwrap(), "it has one thread only");
    }

    #[test]
    fn floors_are_no_rivals() {
        for name in [FLOOR, SPLICE_FLOORS[0], SPLICE_FLOORS[1], ECHOPOOL, BUSY] {
            assert!(!named(name).is_rival(), "{name}");
        }
        assert!(named("go-copy").is_rival());
    }

    #[test]
    fn no_two_servers_have_one_name() {
        let mut names: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SERVERS.len());
    }
}
