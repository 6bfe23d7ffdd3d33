//! The servers there are, how each is started and what it can't do.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use echopool::bench::source::Source;

/// Threads of the blocking pool: it serves no more clients than that.
const POOL_THREADS: &str = "64";
const POOL_CLIENTS: usize = 64;

/// A process a client: more take minutes to fork.
const MOST_PROCESSES: usize = 1_000;

/// The same for programs that also execute another one, or have limits of their own.
const MOST_PROGRAMS: usize = 100;

/// What is the same for all servers of a run, and where their parts lie.
#[derive(Clone, Debug)]
pub struct Options {
    /// The echopool binary.
    pub echopool: PathBuf,
    /// Another build of it, which is measured as a rival.
    pub baseline: Option<PathBuf>,
    /// The rivals' receive buffer in bytes.
    pub buffer: usize,
    /// The folder of the rivals written in Rust.
    pub programs: PathBuf,
    /// A folder for what is built or written in passing.
    pub work: PathBuf,
}

/// How a server is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// echopool, with these further options.
    Echopool(&'static [&'static str]),
    /// Another echopool.
    Baseline,
    /// A rival written in Rust, by the name of its binary.
    Rust(&'static str),
    /// The blocking pool, with its own number of threads.
    Pool,
    /// `fork.c`.
    C,
    /// `echo.go`, in this mode.
    Go(&'static str),
    Socat,
    Ncat,
    Xinetd,
}

/// One server to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its name in options and tables.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    kind: Kind,
    /// Clients that it serves at once.
    pub most_clients: usize,
    /// Threads that it can be told to have; with 0 their number has no meaning to it.
    pub most_threads: usize,
}

const fn server(name: &'static str, kind: Kind, about: &'static str) -> Server {
    Server {
        name,
        about,
        kind,
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

/// The name of what all are compared with.
pub const ECHOPOOL: &str = "echopool";

/// The name of what does less than a server and is therefore no rival.
pub const FLOOR: &str = "floor";

/// echopool with its workers polling before they sleep.
pub const BUSY: &str = "echopool-busy";

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
        "baseline",
        Kind::Baseline,
        "another build of echopool, given by --baseline",
    ),
    Server {
        most_threads: 1,
        ..server(
            FLOOR,
            Kind::Rust("rival-floor"),
            "one thread, epoll, recv and send in phases, nothing else",
        )
    },
    Server {
        most_threads: 1,
        ..server(
            "tokio-current",
            Kind::Rust("rival-tokio-current"),
            "tokio, current-thread runtime",
        )
    },
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
    forking("fork", Kind::C, MOST_PROCESSES, "C, a process a client"),
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
];

impl Server {
    /// Whether echopool is to be compared with it: not itself, and not the floor.
    #[must_use]
    pub fn is_rival(&self) -> bool {
        self.name != FLOOR && !matches!(self.kind, Kind::Echopool(_) | Kind::Baseline)
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
            Kind::Pool => {
                let words = [&port, POOL_THREADS, &buffer];
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

fn present(path: &Path) -> io::Result<()> {
    match path.is_file() {
        true => Ok(()),
        false => Err(io::Error::other(format!("there is no {}", path.display()))),
    }
}

/// Whether `echopool serve` has the option that `extra` begins with.
fn serve_knows(echopool: &Path, extra: &[&str]) -> io::Result<()> {
    present(echopool)?;
    let Some(option) = extra.first() else {
        return Ok(());
    };
    let help = Command::new(echopool).args(["serve", "--help"]).output()?;
    match String::from_utf8_lossy(&help.stdout).contains(option) {
        true => Ok(()),
        false => Err(io::Error::other(format!("this build has no {option}"))),
    }
}

/// Whether a program is in one of the folders of `PATH`.
fn installed(program: &str) -> io::Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    match env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        true => Ok(()),
        false => Err(io::Error::other(format!("{program} is not installed"))),
    }
}

/// Runs `compiler arguments… OUTPUT SOURCE`.
fn build(
    compiler: &str,
    arguments: &[&str],
    options: &Options,
    output: &str,
    source: &str,
) -> io::Result<()> {
    installed(compiler)?;
    let built = Command::new(compiler)
        .args(arguments)
        .arg(options.work.join(output))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
        .output()?;
    if built.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&built.stderr);
    let line = error.lines().last().unwrap_or_default();
    Err(io::Error::other(format!(
        "{compiler} could not build it: {line}"
    )))
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
    fn no_two_servers_have_one_name() {
        let mut names: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SERVERS.len());
    }
}
