//! Networks of namespaces: a client's, a router's and a server's.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use crate::common::network::Namespace;
use crate::relay::{self, Relay};

/// The server's addresses in a [`Network`]; of the ranges kept for documentation.
pub(crate) const SERVER_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(crate) const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);

/// The router's interface towards the client, and the one towards the server.
pub(crate) const CLIENT_SIDE: &str = "r0";
pub(crate) const SERVER_SIDE: &str = "r1";

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
