//! A path that was made: where the client runs, what it connects to, and what has to
//! live meanwhile.

use std::net::{IpAddr, SocketAddr};

use crate::common::Program;
use crate::common::network::Namespace;
use crate::middlebox::Rules;
use crate::namespaces::{Network, bound, server_ip};
use crate::proxies::Software;
use crate::relay::{Relay, Treatment};
pub(crate) use crate::server::Server;

/// Where it is.
pub(crate) enum Place {
    /// All on one host.
    Host(Namespace),
    /// With a router between.
    Network(Network),
}

/// A path, until dropped. Servers and proxies go before their network.
pub(crate) struct Made {
    pub(crate) address: SocketAddr,
    _servers: Vec<Server>,
    place: Place,
}

impl Made {
    /// Where the client runs.
    pub(crate) fn client(&self) -> &Namespace {
        match &self.place {
            Place::Host(host) => host,
            Place::Network(network) => &network.client,
        }
    }

    /// The network, of a path that has one.
    ///
    /// # Panics
    /// On a path within one host.
    pub(crate) fn network(&self) -> &Network {
        match &self.place {
            Place::Host(_) => panic!("a path within one host has no router"),
            Place::Network(network) => network,
        }
    }
}

/// The path that another would be with nothing the matter.
///
/// # Errors
/// What this machine can't do.
pub(crate) fn unbroken(like: &Made, options: &str) -> Result<Made, String> {
    let is_udp = options.contains("--udp");
    if matches!(like.place, Place::Host(_)) {
        return match is_udp {
            true => datagrams_on_the_same_host(),
            false => on_the_same_host(),
        };
    }
    let mut way = Routed::default();
    if is_udp {
        way = way.udp();
    }
    if like.address.is_ipv6() {
        way = way.by_v6();
    }
    if options.contains("--whoami") {
        way = way.whoami();
    }
    way.make()
}

/// A host on which that server runs.
///
/// # Errors
/// What this machine can't do.
pub(crate) fn host(start: impl FnOnce() -> Server + Send) -> Result<Made, String> {
    let namespace = Namespace::new().map_err(|error| format!("network namespace: {error}"))?;
    let server = namespace.run(start);
    Ok(Made {
        address: server.address,
        _servers: vec![server],
        place: Place::Host(namespace),
    })
}

/// A host on which our server runs.
///
/// # Errors
/// What this machine can't do.
pub(crate) fn on_the_same_host() -> Result<Made, String> {
    ours_on_the_same_host("echo")
}

/// A host on which our server answers datagrams.
///
/// # Errors
/// What this machine can't do.
pub(crate) fn datagrams_on_the_same_host() -> Result<Made, String> {
    ours_on_the_same_host("udp")
}

fn ours_on_the_same_host(protocol: &str) -> Result<Made, String> {
    let namespace = Namespace::new().map_err(|error| format!("network namespace: {error}"))?;
    let echo = echopool(&namespace, protocol, [127, 0, 0, 1].into(), &[]);
    Ok(Made {
        address: echo.address,
        _servers: vec![echo],
        place: Place::Host(namespace),
    })
}

/// A host on which our server runs, with a proxy before it.
///
/// # Errors
/// What this machine can't do.
pub(crate) fn proxied(proxy: &Software) -> Result<Made, String> {
    let namespace = Namespace::new().map_err(|error| format!("network namespace: {error}"))?;
    let protocol = match proxy {
        Software::SocatOfDatagrams => "udp",
        _ => "echo",
    };
    let echo = echopool(&namespace, protocol, [127, 0, 0, 1].into(), &[]);
    let proxy = proxy.start(&namespace, echo.address)?;
    Ok(Made {
        address: proxy.address,
        _servers: vec![proxy, echo],
        place: Place::Host(namespace),
    })
}

/// Starts our server with one listener.
fn echopool(place: &Namespace, protocol: &str, ip: IpAddr, options: &[&str]) -> Server {
    let mut command = bound(env!("CARGO_BIN_EXE_echopool"));
    let address = SocketAddr::new(ip, 0).to_string();
    command.args([
        "serve",
        "--workers",
        "2",
        &format!("--{protocol}"),
        &address,
    ]);
    command.args(options);
    let mut program: Program = place.start(command);
    let address = program.wait_for_listener(protocol);
    Server::new(address, program)
}

/// A client and a server with a router between, and what that does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routed {
    is_v6: bool,
    protocol: Option<&'static str>,
    relay: Option<Treatment>,
    rules: Option<Rules>,
    narrow: Option<u16>,
    kbit: Option<u32>,
    queue: Option<u32>,
    ecn: bool,
    server: Option<fn(IpAddr) -> Server>,
    without_dsack: bool,
    serve: &'static [&'static str],
    port: Option<u16>,
}

impl Routed {
    /// By IPv6.
    pub(crate) fn by_v6(mut self) -> Self {
        self.is_v6 = true;
        self
    }

    /// With the listener that tells a client its address.
    pub(crate) fn whoami(mut self) -> Self {
        self.protocol = Some("whoami");
        self
    }

    /// With the listener for datagrams.
    pub(crate) fn udp(mut self) -> Self {
        self.protocol = Some("udp");
        self
    }

    pub(crate) fn relayed(mut self, treatment: Treatment) -> Self {
        self.relay = Some(treatment);
        self
    }

    pub(crate) fn rules(mut self, rules: Rules) -> Self {
        self.rules = Some(match self.rules.take() {
            Some(before) => before.and(rules),
            None => rules,
        });
        self
    }

    /// With packets of at most so many bytes, of which ICMP tells.
    pub(crate) fn narrow(mut self, bytes: u16) -> Self {
        self.narrow = Some(bytes);
        self
    }

    /// At so many kbit/s each way.
    pub(crate) fn shaped(mut self, kbit: u32) -> Self {
        self.kbit = Some(kbit);
        self
    }

    /// With a queue of so many bytes where it is slow, and not of 200 ms.
    pub(crate) fn queue(mut self, bytes: u32) -> Self {
        self.queue = Some(bytes);
        self
    }

    /// To that server, and not to ours.
    pub(crate) fn served_by(mut self, server: fn(IpAddr) -> Server) -> Self {
        self.server = Some(server);
        self
    }

    /// With congestion notification asked for by the client.
    pub(crate) fn ecn(mut self) -> Self {
        self.ecn = true;
        self
    }

    /// With these options of our server.
    pub(crate) fn serving(mut self, options: &'static [&'static str]) -> Self {
        self.serve = options;
        self
    }

    /// To a server whose system does not tell of what came twice (RFC 2883).
    pub(crate) fn without_dsack(mut self) -> Self {
        self.without_dsack = true;
        self
    }

    /// To a port on which nobody listens.
    pub(crate) fn without_listener(mut self) -> Self {
        self.port = Some(9);
        self
    }

    /// # Errors
    /// What this machine can't do.
    pub(crate) fn make(&self) -> Result<Made, String> {
        let network = Network::new(self.relay.map(Relay))?;
        if let Some(bytes) = self.narrow {
            network.narrow(bytes);
        }
        if let Some(kbit) = self.kbit {
            network.shape(kbit, self.queue)?;
        }
        if let Some(rules) = &self.rules {
            rules.apply(&network)?;
        }
        if self.ecn {
            network.client.set(&[("ipv4/tcp_ecn", "1")]);
        }
        if self.without_dsack {
            network.server.set(&[("ipv4/tcp_dsack", "0")]);
        }
        let ip = server_ip(self.is_v6);
        let server = match self.server {
            Some(start) => network.server.run(|| start(ip)),
            None => {
                let protocol = self.protocol.unwrap_or("echo");
                echopool(&network.server, protocol, ip, self.serve)
            }
        };
        let mut address = server.address;
        if let Some(port) = self.port {
            address.set_port(port);
        }
        Ok(Made {
            address,
            _servers: vec![server],
            place: Place::Network(network),
        })
    }
}
