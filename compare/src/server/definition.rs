//! One server: how it is started, and what it can not do.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use echopool::bench::source::Source;

use super::options::Options;
use super::programs::{build, installed, present, serve_knows};

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
    /// `fork.c`.
    C,
    /// `echo.go`, in this mode.
    Go(&'static str),
    /// The program of that name.
    Socat,
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
            Kind::C => {
                let arguments = ["-O2", "-Wall", "-Wextra", "-o"];
                build("gcc", &arguments, options, "fork", "rivals/fork.c")
            }
            Kind::Go(_) => build("go", &["build", "-o"], options, "go-echo", "rivals/echo.go"),
            Kind::Socat => installed("socat"),
            Kind::Ncat => installed("ncat"),
            Kind::Xinetd => installed("xinetd"),
        }
    }

    /// The command that serves on `port` of 127.0.0.1 with so many workers.
    ///
    /// # Errors
    /// A file that it needs could not be written.
    pub fn command(&self, options: &Options, port: u16, workers: usize) -> io::Result<Command> {
        let address = format!("127.0.0.1:{port}");
        let (port, threads) = (port.to_string(), workers.to_string());
        let buffer = options.buffer.to_string();
        let serve = ["serve", "-q", "--echo", &address, "--workers", &threads];
        let mut command = match self.kind {
            Kind::Echopool(extra) => command(&options.echopool, &[&serve, extra].concat()),
            Kind::Baseline => command(options.baseline.as_deref().unwrap_or("".as_ref()), &serve),
            Kind::Rust(program) => {
                let words = [port.as_str(), &threads, &buffer];
                command(&options.programs.join(program), &words)
            }
            Kind::Floor => {
                let words = [port.as_str(), &threads, &buffer];
                command(&options.programs.join("rival-floor"), &words)
            }
            Kind::Splice(pipe) => {
                let words = [port.as_str(), &threads, &pipe.to_string()];
                command(&options.programs.join("rival-splice"), &words)
            }
            Kind::Pool => {
                let threads = POOL_THREADS.to_string();
                let words = [port.as_str(), &threads, &buffer];
                command(&options.programs.join("rival-thread-pool"), &words)
            }
            Kind::C => command(&options.work.join("fork"), &[&port, &threads, &buffer]),
            Kind::Go(mode) => command(&options.work.join("go-echo"), &[&port, &buffer, mode]),
            Kind::Socat => {
                let options = "bind=127.0.0.1,reuseaddr,nodelay,fork,backlog=4096";
                let listen = format!("TCP4-LISTEN:{port},{options}");
                command("socat".as_ref(), &["-b", &buffer, &listen, "PIPE"])
            }
            Kind::Ncat => {
                let words = [
                    "-l",
                    "-k",
                    "-e",
                    "/bin/cat",
                    "-m",
                    "1000",
                    "127.0.0.1",
                    &port,
                ];
                command("ncat".as_ref(), &words)
            }
            Kind::Xinetd => xinetd(&options.work, &port)?,
        };
        // Two rivals take the number of threads from the environment.
        command.envs([("SMOL_THREADS", &threads), ("GOMAXPROCS", &threads)]);
        Ok(command)
    }
}

fn command(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

fn xinetd(folder: &Path, port: &str) -> io::Result<Command> {
    let file = folder.join("xinetd.conf");
    fs::write(&file, xinetd_conf(port))?;
    let mut command = command("xinetd".as_ref(), &["-dontfork", "-filelog", "/dev/null"]);
    command.arg("-pidfile").arg(folder.join("xinetd.pid"));
    command.arg("-f").arg(file);
    Ok(command)
}

/// xinetd's own echo without its usual limits, and without libwrap, which looks up
/// names of clients. Each brace has a line of its own, or xinetd overlooks the section.
fn xinetd_conf(port: &str) -> String {
    format!(
        "defaults\n{{\n instances = UNLIMITED\n per_source = UNLIMITED\n cps = 1000000 1\n}}\n\
         service echo\n{{\n type = INTERNAL UNLISTED\n id = echo-stream\n socket_type = stream\n \
         protocol = tcp\n port = {port}\n bind = 127.0.0.1\n wait = no\n user = nobody\n \
         flags = NODELAY NOLIBWRAP\n disable = no\n}}\n"
    )
}
