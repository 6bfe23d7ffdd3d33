//! Network namespaces without names, which the kernel removes with the last process
//! that has them open: a client's, a router's and a server's, or one host's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::common::Program;
use crate::relay::{self, Relay};
use crate::sys;

/// The server's addresses in a [`Network`]; of the ranges kept for documentation.
pub(crate) const SERVER_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(crate) const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);

/// The router's interface towards the client, and the one towards the server.
pub(crate) const CLIENT_SIDE: &str = "r0";
pub(crate) const SERVER_SIDE: &str = "r1";

/// What has to be run by one thread that lives as long as its namespace.
type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with its loopback up.
pub(crate) struct Namespace {
    handle: File,
    /// The thread that starts processes: the kernel ends them when it ends.
    starter: Sender<Job>,
}

impl Namespace {
    /// # Errors
    /// Where this user may not make any, or not change its settings.
    pub(crate) fn new() -> io::Result<Self> {
        let (starter, jobs) = channel::<Job>();
        let (sender, handle) = channel();
        thread::spawn(move || {
            let handle = sys::leave_network().and_then(|()| File::open("/proc/thread-self/ns/net"));
            let worked = handle.is_ok();
            let _ = sender.send(handle);
            if worked {
                jobs.iter().for_each(|job| job());
            }
        });
        let handle = handle.recv().expect("the thread answers")?;
        let namespace = Self { handle, starter };
        namespace.ip("link set lo up");
        // An address is there at once, and not after a second of looking for another host
        // that has it.
        namespace.try_set("ipv6/conf/default/accept_dad", "0")?;
        Ok(namespace)
    }

    /// Where programs find it.
    fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.handle.as_raw_fd()
        )
    }

    /// Runs it on a thread in this namespace. Threads that it starts stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.handle.as_fd(), network).expect("to enter it");
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts a program in it, with its standard error captured.
    pub(crate) fn start(&self, command: Command) -> Program {
        let (sender, started) = channel();
        let job = move || drop(sender.send(Program::spawn(command)));
        self.starter.send(Box::new(job)).expect("the thread lives");
        started.recv().expect("the program starts")
    }

    /// Sets kernel parameters, named as below `/proc/sys/net`.
    pub(crate) fn set(&self, parameters: &[(&str, &str)]) {
        for (name, value) in parameters {
            let set = self.try_set(name, value);
            set.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    fn try_set(&self, name: &str, value: &str) -> io::Result<()> {
        let file = format!("/proc/sys/net/{name}");
        let set = self.run(|| fs::write(&file, value));
        set.map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))
    }

    /// Runs lines of `ip -batch`, all of which must work.
    pub(crate) fn ip(&self, lines: &str) {
        let done = self.feed(&["ip", "-batch", "-"], lines);
        done.unwrap_or_else(|error| panic!("{error}: {lines}"));
    }

    /// Runs a program to its end with that input. Returns its output.
    ///
    /// # Errors
    /// What it said, if it could not be run or failed.
    pub(crate) fn feed(&self, words: &[&str], input: &str) -> Result<String, String> {
        let name = words[0];
        self.run(|| {
            let mut command = Command::new(name);
            command.args(&words[1..]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.stderr(Stdio::piped());
            let child = command.spawn();
            let mut child = child.map_err(|error| format!("could not run {name}: {error}"))?;
            let mut stdin = child.stdin.take().expect("a pipe");
            // One that fails early does not take all of it.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            let output = child
                .wait_with_output()
                .map_err(|error| error.to_string())?;
            match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                false => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    Err(format!("{name} failed: {}", said.trim()))
                }
            }
        })
    }
}

/// A command that the kernel kills when the thread that starts it ends, whatever ends
/// that: nothing outlives the laboratory.
pub(crate) fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// A client and a server, with a router between them.
pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) router: Namespace,
    pub(crate) server: Namespace,
    /// What carries packets between client and router, if it is no plain cable.
    _relay: Option<relay::Running>,
}

impl Network {
    /// With a plain cable from client to router, or a relay.
    ///
    /// # Errors
    /// Where this user or this kernel can't.
    pub(crate) fn new(relay: Option<Relay>) -> Result<Self, String> {
        let namespace = || Namespace::new().map_err(|error| format!("network namespace: {error}"));
        let (client, router, server) = (namespace()?, namespace()?, namespace()?);
        let running = match relay {
            None => {
                cable(&router, CLIENT_SIDE, &client, "c0");
                None
            }
            Some(relay) => Some(relay.start(&client, "c0", &router, CLIENT_SIDE)?),
        };
        cable(&router, SERVER_SIDE, &server, "s0");
        let forwarding = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];
        router.set(&forwarding);
        router.ip(&format!(
            "addr add 192.0.2.1/24 dev {CLIENT_SIDE}\n\
             addr add 198.51.100.1/24 dev {SERVER_SIDE}\n\
             addr add 2001:db8:1::1/64 dev {CLIENT_SIDE} nodad\n\
             addr add 2001:db8:2::1/64 dev {SERVER_SIDE} nodad\n\
             link set {CLIENT_SIDE} up\nlink set {SERVER_SIDE} up\n"
        ));
        // What most systems have, whatever this one prefers; a namespace may not choose it
        // for all its connections.
        let known = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
        let algorithm = match known.unwrap_or_default().contains("cubic") {
            true => "congctl cubic",
            false => "",
        };
        for (host, device, four, six) in [
            (&client, "c0", "192.0.2", "2001:db8:1"),
            (&server, "s0", "198.51.100", "2001:db8:2"),
        ] {
            host.ip(&format!(
                "addr add {four}.2/24 dev {device}\naddr add {six}::2/64 dev {device} nodad\n\
                 link set {device} up\nroute add default via {four}.1 {algorithm}\n\
                 route add ::/0 via {six}::1 dev {device} {algorithm}\n"
            ));
        }
        Ok(Self {
            client,
            router,
            server,
            _relay: running,
        })
    }

    /// Makes the way through the router as narrow as a tunnel's, of `bytes` a packet. It
    /// tells the senders by ICMP.
    pub(crate) fn narrow(&self, bytes: u16) {
        self.router.ip(&format!(
            "route replace 192.0.2.2/32 dev {CLIENT_SIDE} mtu lock {bytes}\n\
             route replace 198.51.100.2/32 dev {SERVER_SIDE} mtu lock {bytes}\n\
             route replace 2001:db8:1::2/128 dev {CLIENT_SIDE} mtu lock {bytes}\n\
             route replace 2001:db8:2::2/128 dev {SERVER_SIDE} mtu lock {bytes}\n"
        ));
    }

    /// Bounds what the router sends each way, in kbit/s, with a queue of so many bytes or else
    /// of 200 ms.
    ///
    /// # Errors
    /// Where the kernel has no token bucket.
    pub(crate) fn shape(&self, kbit: u32, queue: Option<u32>) -> Result<(), String> {
        let queue = match queue {
            Some(bytes) => format!("burst 1600 limit {bytes}"),
            None => "burst 16kb latency 200ms".into(),
        };
        for device in [CLIENT_SIDE, SERVER_SIDE] {
            let words = format!("tc qdisc add dev {device} root tbf rate {kbit}kbit {queue}");
            self.router
                .feed(&words.split(' ').collect::<Vec<_>>(), "")?;
        }
        Ok(())
    }
}

/// Joins two namespaces. Neither end joins packets into larger ones, so that a router
/// between sees what a real one sees.
fn cable(one: &Namespace, name: &str, other: &Namespace, peer: &str) {
    let path = other.path();
    one.ip(&format!(
        "link add {name} type veth peer name {peer} netns {path}\n\
         link set {name} gso_max_segs 1\n"
    ));
    other.ip(&format!("link set {peer} gso_max_segs 1"));
}

/// The server's address in that family.
pub(crate) fn server_ip(is_v6: bool) -> IpAddr {
    match is_v6 {
        true => SERVER_V6.into(),
        false => SERVER_V4.into(),
    }
}
