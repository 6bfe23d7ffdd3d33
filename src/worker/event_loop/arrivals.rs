//! How a client arrives: from the hand-over, through the PROXY header where a load balancer
//! sends one, to the first byte that is served.

use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::Worker;
use crate::base::address::canonical;
use crate::base::error::cause;
use crate::base::units;
use crate::worker::client::Client;
use crate::worker::conn::Conn;
use crate::worker::context::HandOver;
use crate::worker::eviction::Reason;
use crate::worker::proxy_header::Header;
use crate::worker::stalls::Watch;

impl Worker {
    pub(super) fn admit(&mut self, hand_over: HandOver) {
        let HandOver { accepted, guard } = hand_over;
        let (peer, protocol) = (accepted.peer, accepted.protocol);
        log::debug!(
            "client {peer} connected to {protocol}, worker {}",
            self.connections.context.id
        );
        let mut stream = TcpStream::from_std(accepted.stream);
        let entry = self.connections.clients.vacant_entry();
        let registry = self.poller.registry();
        if let Err(error) = registry.register(&mut stream, Token(entry.key()), interest()) {
            if let Some(suppressed) = self.failure_throttle.admit(self.connections.now) {
                log::error!(
                    "client {peer} closed: could not watch its socket: {} \
                     ({} since the last such line)",
                    cause(&error),
                    units::plain_count(suppressed, "failure", "failures")
                );
            }
            return;
        }
        let key = entry.key();
        let conn = match accepted.behind_proxy {
            true => Conn::behind_proxy(stream, protocol, self.connections.now),
            false => Conn::new(stream, protocol, self.connections.now),
        };
        entry.insert(Client {
            conn,
            peer,
            opened: accepted.at,
            until: None,
            deadline: None,
            watch: Watch::None,
            queued: None,
            streams_until: 0,
            since_rest: 0,
            source_guard: accepted.source_guard,
            _guard: guard,
        });
        match accepted.behind_proxy {
            true => self
                .connections
                .allow(key, self.connections.context.settings.limits.header),
            false => self.start(key, peer),
        }
    }

    /// Begins to serve a client, whose address is `peer`.
    fn start(&mut self, key: usize, peer: SocketAddr) {
        self.connections.context.metrics.counters.connections.add(1);
        let tells_tcp = self.connections.context.settings.whoami_tcp;
        let client = &mut self.connections.clients[key];
        client.peer = peer;
        client.conn.start(peer, tells_tcp);
        if client.conn.has_pending() {
            self.connections.enqueue(key);
        }
        self.connections.arm(key);
    }

    /// Applies the PROXY header that a load balancer sent ahead of the client's bytes.
    pub(super) fn apply_header(&mut self, key: usize, header: Header) {
        let proxy = self.connections.clients[key].peer;
        let (peer, sources) = match header {
            Header::Client(peer) => (
                canonical(peer),
                self.connections.context.settings.sources.as_ref(),
            ),
            // All such connections share the load balancer's address, so the limit on
            // clients a source does not apply.
            Header::Unnamed => (proxy, None),
            Header::Malformed(fault) => {
                return self.connections.refuse(
                    key,
                    Reason::Header,
                    format_args!("refused: {fault}"),
                );
            }
        };
        match sources.map(|sources| sources.admit(peer)).transpose() {
            Ok(source_guard) => self.connections.clients[key].source_guard = source_guard,
            Err(refused) => {
                self.connections.clients[key].peer = peer;
                return self
                    .connections
                    .refuse(key, Reason::Source, format_args!("{refused}"));
            }
        }
        log::debug!("client {peer} came through {proxy}");
        self.connections.clients[key].until = None;
        self.start(key, peer);
    }
}

/// Both directions from the start: an edge-triggered interest costs nothing while the
/// readiness does not change. Urgent data is included because reads stop at its mark.
fn interest() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let both = both | Interest::PRIORITY;
    both
}
