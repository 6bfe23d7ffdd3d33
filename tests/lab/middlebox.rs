//! What firewalls, tunnels and address translators do to connections, as nft rules of
//! the router between client and server.

use crate::namespaces::{CLIENT_SIDE, Network, SERVER_SIDE};

/// The packets that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
    Both,
}

impl Direction {
    fn matches(self) -> String {
        match self {
            Self::ToServer => format!("iifname {CLIENT_SIDE} "),
            Self::ToClient => format!("iifname {SERVER_SIDE} "),
            Self::Both => String::new(),
        }
    }
}

/// How a connection is denied or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Reset,
    Silence,
    Icmp,
}

impl By {
    fn verdict(self) -> &'static str {
        match self {
            Self::Reset => "reject with tcp reset",
            Self::Silence => "drop",
            Self::Icmp => "reject with icmpx type admin-prohibited",
        }
    }
}

/// A first packet of a connection.
const SYN: &str = "tcp flags & (syn | ack) == syn";

/// Rules of the forward chain, and kernel parameters that they need.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    forward: Vec<String>,
    others: String,
    parameters: Vec<(&'static str, String)>,
}

impl Rules {
    fn rule(rule: impl Into<String>) -> Self {
        Self {
            forward: vec![rule.into()],
            ..Self::default()
        }
    }

    /// Both, these first.
    pub(crate) fn and(mut self, more: Self) -> Self {
        self.forward.extend(more.forward);
        self.others += &more.others;
        self.parameters.extend(more.parameters);
        self
    }

    /// Puts them into the router.
    ///
    /// # Errors
    /// What nft said where there is none, or the kernel lacks one of them.
    ///
    /// # Panics
    /// On rules that no kernel has.
    pub(crate) fn apply(&self, network: &Network) -> Result<(), String> {
        // Connection tracking, and its parameters, are there once a rule wants it.
        let rules = self.forward.join("\n");
        let text = format!(
            "table inet middlebox {{ chain forward {{\n\
             type filter hook forward priority 0;\n{rules}\n}}\n{}\n}}",
            self.others
        );
        let done = network.router.feed(&["nft", "-f", "-"], &text);
        if let Err(said) = done {
            assert!(!said.contains("syntax error"), "{said}: {text}");
            return Err(said);
        }
        let parameters = self.parameters.iter();
        let parameters: Vec<_> = parameters
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        network.router.set(&parameters);
        Ok(())
    }
}

/// Loses packets above that size, as IP counts it, without a word.
pub(crate) fn lose_above(bytes: u16, direction: Direction) -> Rules {
    let of = direction.matches();
    Rules::rule(format!("{of}meta length > {bytes} counter drop"))
}

/// Has the ends agree on segments of at most that size.
pub(crate) fn clamp_mss(bytes: u16) -> Rules {
    Rules::rule(format!(
        "tcp flags syn tcp option maxseg size > {bytes} tcp option maxseg size set {bytes}"
    ))
}

/// Loses so many packets in 1,000 at random.
pub(crate) fn lose_at_random(in_1000: u16, direction: Direction) -> Rules {
    let of = direction.matches();
    Rules::rule(format!("{of}numgen random mod 1000 < {in_1000} drop"))
}

/// Loses all that a client sends behind the handshake, as a firewall does that has not seen
/// the server's part of it: packets with data, which are longer than what has only options.
pub(crate) fn lose_behind_handshake() -> Rules {
    let of = Direction::ToServer.matches();
    Rules::rule(format!(
        "{of}tcp flags & syn == 0 meta length > 52 counter drop"
    ))
}

/// Loses a client's packets whose content begins so.
pub(crate) fn lose_content(begin: [u8; 4]) -> Rules {
    let of = Direction::ToServer.matches();
    let begin = u32::from_be_bytes(begin);
    Rules::rule(format!(
        "{of}meta l4proto tcp @ih,0,32 {begin:#010x} counter drop"
    ))
}

/// Loses the end of a client's side.
pub(crate) fn lose_fins() -> Rules {
    let of = Direction::ToServer.matches();
    Rules::rule(format!("{of}tcp flags & fin == fin counter drop"))
}

/// Which bytes of a connection count for a quota: those of the IP packets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    FromClient,
    BothWays,
}

/// Ends each connection after so many bytes.
pub(crate) fn quota(bytes: u64, counted: Counted, by: By) -> Rules {
    let above = match counted {
        Counted::FromClient => format!("ct original bytes > {bytes}"),
        Counted::BothWays => format!("ct bytes > {bytes}"),
    };
    let mut rules = match by {
        By::Silence | By::Icmp => Rules::rule(format!("{above} {}", by.verdict())),
        // A reject tells only who sent the packet: the first one beyond the quota that goes
        // to the client becomes a RST itself, as of a firewall that tells both.
        By::Reset => Rules::rule(format!(
            "{}{above} ct mark 0 ct mark set 1 tcp flags set rst | ack accept\n\
             ct mark 1 reject with tcp reset",
            Direction::ToClient.matches()
        )),
    };
    rules.parameters = vec![("netfilter/nf_conntrack_acct", "1".into())];
    rules
}

/// Lets so many connections be open at once.
pub(crate) fn limit_connections(number: u32, by: By) -> Rules {
    let verdict = by.verdict();
    Rules::rule(format!("{SYN} ct count over {number} {verdict}"))
}

/// Lets so many connections a second begin; the others' SYNs are lost.
pub(crate) fn limit_connects(per_s: u32, burst: u32) -> Rules {
    Rules::rule(format!(
        "{SYN} limit rate over {per_s}/second burst {burst} packets drop"
    ))
}

/// Lets so many connections begin, and none for a day then, like what bans a client.
pub(crate) fn ban_after(number: u32, by: By) -> Rules {
    let verdict = by.verdict();
    Rules::rule(format!(
        "{SYN} limit rate over 1/day burst {number} packets {verdict}"
    ))
}

/// Drops all of a client for some seconds once it begins more than so many connections a second,
/// after as many at once: a dynamic set, as those that keep password guessers out.
pub(crate) fn ban_above(per_s: u32, seconds: u32) -> Rules {
    let of = Direction::ToServer.matches();
    let mut rules = Rules::rule(format!(
        "{of}ip saddr @banned drop\n\
         {of}{SYN} limit rate over {per_s}/second burst {per_s} packets \
         add @banned {{ ip saddr }} drop"
    ));
    rules.others =
        format!("set banned {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}\n");
    rules
}

/// Forgets connections that are silent for so long. Packets of an unknown one are lost, or
/// answered with a reset.
pub(crate) fn forget(seconds: u32, by: By) -> Rules {
    let unknown = match by {
        By::Silence | By::Icmp => "ct state invalid drop",
        By::Reset => "ct state invalid reject with tcp reset",
    };
    let mut rules = Rules::rule(unknown);
    rules.parameters = vec![
        (
            "netfilter/nf_conntrack_tcp_timeout_established",
            seconds.to_string(),
        ),
        // By default it would take a connection up again in the middle.
        ("netfilter/nf_conntrack_tcp_loose", "0".into()),
        ("netfilter/nf_conntrack_tcp_be_liberal", "1".into()),
    ];
    rules
}

/// Takes options out of every segment: `sack-perm`, `window`, `timestamp`.
pub(crate) fn strip(options: &[&str]) -> Rules {
    let rules = options
        .iter()
        .map(|name| format!("reset tcp option {name}"));
    Rules {
        forward: rules.collect(),
        ..Rules::default()
    }
}

/// Takes congestion marks, and that they are understood, out of the IP header.
pub(crate) fn bleach_ecn() -> Rules {
    Rules::rule("ip ecn set not-ect").and(Rules::rule("ip6 ecn set not-ect"))
}

/// Loses segments with urgent data.
pub(crate) fn lose_urgent() -> Rules {
    Rules::rule("tcp flags & urg == urg drop")
}

/// Takes the mark off urgent data, which stays in its place.
pub(crate) fn clear_urgent() -> Rules {
    Rules::rule("tcp flags & urg == urg tcp flags set psh | ack tcp urgptr set 0")
}

/// Answers the first packet of each connection in a way of its choice: `drop`, `reject
/// with icmpx ...`.
pub(crate) fn answer_connects(verdict: &str) -> Rules {
    Rules::rule(format!("{SYN} {verdict}"))
}

/// Has clients seen under the router's own address.
pub(crate) fn translate() -> Rules {
    Rules {
        others: format!(
            "chain nat {{ type nat hook postrouting priority 100; \
             oifname {SERVER_SIDE} masquerade; }}"
        ),
        ..Rules::default()
    }
}

/// Answers datagrams in a way of its choice: `drop`, `reject with icmpx ...`.
pub(crate) fn answer_datagrams(verdict: &str) -> Rules {
    let of = Direction::ToServer.matches();
    Rules::rule(format!("{of}meta l4proto udp {verdict}"))
}

/// Answers datagrams to ports that are hardly ever open, in the place of their host.
pub(crate) fn answer_closed_ports() -> Rules {
    let of = Direction::ToServer.matches();
    Rules::rule(format!(
        "{of}udp dport 33434-33534 reject with icmpx type port-unreachable"
    ))
}

/// Loses every fragment.
pub(crate) fn lose_fragments() -> Rules {
    Rules::rule("ip frag-off & 0x3fff != 0 drop").and(Rules::rule("exthdr frag exists drop"))
}

/// Loses what comes from source ports with this remainder of eight. Where a port would be,
/// fragments but the first have content.
pub(crate) fn lose_ports(remainder: u16) -> Rules {
    let of = Direction::ToServer.matches();
    Rules::rule(format!(
        "{of}ip frag-off & 0x1fff == 0 udp sport & 7 == {remainder} drop"
    ))
}

/// Loses half of what comes from source ports with this remainder of eight.
pub(crate) fn lose_half_of_ports(remainder: u16) -> Rules {
    let of = Direction::ToServer.matches();
    Rules::rule(format!(
        "{of}ip frag-off & 0x1fff == 0 udp sport & 7 == {remainder} numgen random mod 2 == 0 drop"
    ))
}

/// Lets so many datagrams a second through.
pub(crate) fn limit_datagrams(per_s: u32, burst: u32) -> Rules {
    answer_datagrams(&format!(
        "limit rate over {per_s}/second burst {burst} packets drop"
    ))
}

/// Sets DSCP to 0, and keeps ECN.
pub(crate) fn bleach_dscp() -> Rules {
    Rules::rule("ip dscp set cs0").and(Rules::rule("ip6 dscp set cs0"))
}

/// Forgets source ports that are silent for so long, and loses what they send then.
pub(crate) fn forget_ports(seconds: u32) -> Rules {
    let of = Direction::ToServer.matches();
    let mut rules = Rules::rule(format!(
        "{of}udp sport @known update @known {{ udp sport }} accept\n\
         {of}udp sport @ever drop\n\
         {of}meta l4proto udp add @known {{ udp sport }} add @ever {{ udp sport }} accept"
    ));
    let set = |name, seconds| {
        format!("set {name} {{ type inet_service; flags dynamic,timeout; timeout {seconds}s; }}\n")
    };
    rules.others = set("known", seconds) + &set("ever", 600);
    rules
}

/// Loses datagrams for which that holds on their way to the server.
pub(crate) fn lose_datagrams(matching: &str) -> Rules {
    let of = Direction::ToServer.matches();
    Rules::rule(format!("{of}meta l4proto udp {matching} drop"))
}

/// Loses all datagrams of a source for so long once it sends more than so many a second.
pub(crate) fn ban_fast(per_s: u32, burst: u32, seconds: u32) -> Rules {
    let of = Direction::ToServer.matches();
    let mut rules = Rules::rule(format!(
        "{of}meta l4proto udp ip saddr @banned drop\n\
         {of}meta l4proto udp limit rate over {per_s}/second burst {burst} packets \
         add @banned {{ ip saddr }} drop"
    ));
    rules.others =
        format!("set banned {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}\n");
    rules
}

/// Carries the first so many source ports, and loses what others send.
pub(crate) fn limit_flows(number: u32) -> Rules {
    let of = Direction::ToServer.matches();
    let mut rules = Rules::rule(format!(
        "{of}ip frag-off & 0x1fff != 0 accept\n\
         {of}udp sport @known accept\n\
         {of}meta l4proto udp add @known {{ udp sport }} accept\n\
         {of}meta l4proto udp drop"
    ));
    rules.others = format!("set known {{ type inet_service; flags dynamic; size {number}; }}\n");
    rules
}

/// Loses so many in 1,000 of the packets that make connections: SYNs to the server, or what
/// answers them.
pub(crate) fn lose_handshakes(in_1000: u16, direction: Direction) -> Rules {
    let of = direction.matches();
    let which = match direction {
        Direction::ToServer => SYN,
        Direction::ToClient => "tcp flags & (syn | ack) == (syn | ack)",
        Direction::Both => "tcp flags & syn == syn",
    };
    Rules::rule(format!(
        "{of}{which} numgen random mod 1000 < {in_1000} drop"
    ))
}

/// Loses the first SYN from each source port, and passes the ones behind it, as a firewall does
/// that tells whether a client tries again.
pub(crate) fn lose_first_syns() -> Rules {
    let of = Direction::ToServer.matches();
    let mut rules = Rules::rule(format!(
        "{of}{SYN} tcp sport != @tried add @tried {{ tcp sport }} drop"
    ));
    rules.others =
        String::from("set tried { type inet_service; flags dynamic,timeout; timeout 10s; }\n");
    rules
}
