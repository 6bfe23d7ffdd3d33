//! One server: how it is started, and what it can not do.

use std::io;

use echopool::bench::source::Source;

use super::options::Options;
use super::programs::{build, installed, present, serve_knows};
use super::transport::Transport;

/// The name of what all are compared with.
pub const ECHOPOOL: &str = "echopool";

/// The name of its other build, given by `--baseline`.
pub const BASELINE: &str = "baseline";

/// The name of the floor for messages: it does less than a server, so it is no rival.
pub const FLOOR: &str = "floor";

/// The floors for streams, one for each size of a pipe.
pub const SPLICE_FLOORS: [&str; 2] = ["floor-splice-64k", "floor-splice-1m"];

/// echopool with its workers polling before they sleep.
pub const BUSY: &str = "echopool-busy";

/// The plain loop for datagrams, with whose rate without loss echopool's loss is compared.
pub const LOOP: &str = "udp-c";

/// Threads of the blocking pool.
pub const POOL_THREADS: usize = 64;

/// How a server is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// echopool, with these further options.
    Echopool(&'static [&'static str]),
    /// Another echopool.
    Baseline,
    /// A rival written in Rust, by the name of its binary.
    Rust(&'static str),
    /// The floor for messages.
    Floor,
    /// The floor for streams, with pipes of so many bytes.
    Splice(usize),
    /// The blocking pool, with its own number of threads.
    Pool,
    /// The source of that name, written in C.
    C(&'static str),
    /// `echo.go`, in this mode.
    Go(&'static str),
    /// `udp.go`.
    GoDatagrams,
    /// The program of that name.
    Socat,
    /// The same for datagrams.
    SocatDatagrams,
    /// The program of that name.
    Ncat,
    /// The program of that name.
    Xinetd,
}

/// One server to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its name in options and tables.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// How it is started.
    pub kind: Kind,
    /// What it can be spoken to by; with [`Transport::Both`] it serves what is asked of it.
    pub transport: Transport,
    /// Clients that it serves at once.
    pub most_clients: usize,
    /// The most threads that it can be configured with; 0 if their number has no
    /// meaning to it.
    pub most_threads: usize,
}

impl Server {
    /// Whether echopool is to be compared with it: not itself, and not the floors.
    #[must_use]
    pub const fn is_rival(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Echopool(_) | Kind::Baseline | Kind::Floor | Kind::Splice(_)
        )
    }

    /// Whether clients can speak to it so.
    #[must_use]
    pub fn speaks(&self, transport: Transport) -> bool {
        [transport, Transport::Both].contains(&self.transport)
    }

    /// Why it can't take part with so many clients and workers, if so.
    #[must_use]
    pub fn unable(&self, clients: usize, workers: usize) -> Option<String> {
        if clients > self.most_clients {
            let most = self.most_clients;
            return Some(format!("{clients} clients are too many, it takes {most}"));
        }
        (workers > self.most_threads && self.most_threads > 0)
            .then(|| String::from("it has one thread only"))
    }

    /// The addresses that clients come from: many of them, for ten times the
    /// connections a minute that the ports of one allow; but one that has a name on
    /// every machine where a server asks the name server about all others.
    ///
    /// # Panics
    /// Never: all are addresses.
    #[must_use]
    pub fn sources(&self) -> Source {
        let sources = match self.kind {
            Kind::Xinetd => "127.0.0.1",
            _ => "127.0.0.1..127.0.0.200",
        };
        sources.parse().expect("they are addresses")
    }

    /// Builds what has to be built and looks whether all is there.
    ///
    /// # Errors
    /// Why it can't take part at all.
    pub fn prepare(&self, options: &Options) -> io::Result<()> {
        match self.kind {
            Kind::Echopool(extra) => serve_knows(&options.echopool, extra),
            Kind::Baseline => match &options.baseline {
                Some(path) => present(path),
                None => Err(io::Error::other("no --baseline was given")),
            },
            Kind::Rust(program) => present(&options.programs.join(program)),
            Kind::Floor => present(&options.programs.join("rival-floor")),
            Kind::Splice(_) => present(&options.programs.join("rival-splice")),
            Kind::Pool => present(&options.programs.join("rival-thread-pool")),
            Kind::C(name) => {
                let arguments = ["-O2", "-Wall", "-Wextra", "-o"];
                build(
                    "gcc",
                    &arguments,
                    options,
                    name,
                    &format!("rivals/{name}.c"),
                )
            }
            Kind::Go(_) => build("go", &["build", "-o"], options, "go-echo", "rivals/echo.go"),
            Kind::GoDatagrams => build("go", &["build", "-o"], options, "go-udp", "rivals/udp.go"),
            Kind::Socat | Kind::SocatDatagrams => installed("socat"),
            Kind::Ncat => installed("ncat"),
            Kind::Xinetd => installed("xinetd"),
        }
    }
}
