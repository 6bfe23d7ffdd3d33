//! The table's paths of datagrams: how each is made, what plain sockets must see of it, and
//! what `echopool check --udp` must say of it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::claims::{Claim, Refusal};
use crate::common::bad_datagrams as bad;
use crate::common::datagrams::doubling;
use crate::datagram_claims::Datagrams;
use crate::made::{Routed, Server, datagrams_on_the_same_host, host};
use crate::middlebox::{self as nft, Direction};
use crate::path::Path;
use crate::relay::Treatment;

/// The most that a check of a broken path takes, and of a healthy one: on one host, through a
/// router, and with a long round trip or loss.
pub(crate) const BROKEN: Duration = Duration::from_secs(45);
const QUICK: Duration = Duration::from_secs(5);
pub(crate) const LONG: Duration = Duration::from_secs(15);

/// All, the broken ones first.
pub(crate) fn paths() -> Vec<Path> {
    let mut paths = unreachable();
    paths.extend(sizes());
    paths.extend(flows());
    paths.extend(losses());
    paths.extend(marks());
    paths.extend(servers());
    paths.extend(healthy());
    paths
}

pub(crate) fn routed() -> Routed {
    Routed::default().udp()
}

pub(crate) const fn is(claim: Datagrams) -> Claim {
    Claim::Datagrams(claim)
}

pub(crate) const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A path through a router.
pub(crate) fn through(name: &'static str, what: &'static str, way: Routed) -> Path {
    Path::new(name, what, BROKEN, move || way.make()).options("--udp")
}

/// A path to a server on the client's host.
pub(crate) fn to(
    name: &'static str,
    what: &'static str,
    server: impl Fn() -> SocketAddr + Copy + Send + Sync + 'static,
) -> Path {
    let start = move || Server::new(server(), ());
    Path::new(name, what, BROKEN, move || host(start)).options("--udp")
}

fn unreachable() -> Vec<Path> {
    let answer = |verdict| routed().rules(nft::answer_datagrams(verdict));
    let fails = |refusal| is(Datagrams::Refused(refusal));
    vec![
        through(
            "udp-refused",
            "nobody has the port",
            routed().without_listener(),
        )
        .cause(&["refused"])
        .is("icmp", &["port unreachable"])
        .claim(fails(Refusal::Refused)),
        through("udp-dropped", "nft drops datagrams", answer("drop"))
            .cause(&["no-answer"])
            .claim(fails(Refusal::Unanswered)),
        // Of host unreachable a plain socket would not hear.
        through(
            "udp-prohibited",
            "nft answers with ICMP administratively prohibited",
            answer("reject with icmp type admin-prohibited"),
        )
        .cause(&["unreachable"])
        .is("icmp", &["communication administratively prohibited"])
        .claim(fails(Refusal::Prohibited)),
        through(
            "udp-prohibited-v6",
            "nft answers with ICMPv6 administratively prohibited, by IPv6",
            answer("reject with icmpv6 type admin-prohibited").by_v6(),
        )
        .cause(&["unreachable"])
        .is("icmp", &["administratively prohibited"])
        .claim(fails(Refusal::Prohibited)),
    ]
}

fn sizes() -> Vec<Path> {
    let hole = |name, what, way: Routed, bytes: u16, direction: &'static [&'static str]| {
        through(name, what, way)
            .cause(&["mtu"])
            .within("packet_bytes", bytes.into(), bytes.into())
            .is("direction", direction)
            .claim(is(Datagrams::Packet(bytes.into())))
    };
    let above = |bytes, direction| routed().rules(nft::lose_above(bytes, direction));
    vec![
        hole(
            "udp-hole-1280",
            "nft drops packets above 1,280 bytes",
            above(1280, Direction::Both),
            1280,
            &["to-server", "both"],
        ),
        hole(
            "udp-hole-1400-to-server",
            "nft drops packets above 1,400 bytes to the server",
            above(1400, Direction::ToServer),
            1400,
            &["to-server"],
        ),
        // The server may have got what is too long, and not have answered it.
        hole(
            "udp-hole-1399-to-client",
            "nft drops packets above 1,399 bytes to the client",
            above(1399, Direction::ToClient),
            1399,
            &["to-client"],
        )
        .at_least_likely(),
        hole(
            "udp-hole-1300-v6",
            "nft drops packets above 1,300 bytes to the client, by IPv6",
            above(1300, Direction::ToClient).by_v6(),
            1300,
            &["to-client"],
        )
        .at_least_likely(),
        through(
            "udp-hole-behind-firewall",
            "nft drops packets above 1,400 bytes to the server, and answers for its closed ports",
            routed()
                .rules(nft::answer_closed_ports())
                .rules(nft::lose_above(1400, Direction::ToServer)),
        )
        .cause(&["mtu"])
        .at_least_likely()
        .within("packet_bytes", 1400.0, 1400.0)
        .lacks("direction")
        .claim(is(Datagrams::Packet(1400))),
        through(
            "udp-fragments",
            "nft drops fragments",
            routed().rules(nft::lose_fragments()),
        )
        .cause(&["fragments-dropped"])
        .within("datagram_bytes", 1472.0, 1472.0)
        .claim(is(Datagrams::Echoes(1472)))
        .claim(is(Datagrams::Loses(1473))),
        through(
            "udp-fragments-v6",
            "nft drops fragments, by IPv6",
            routed().by_v6().rules(nft::lose_fragments()),
        )
        .cause(&["fragments-dropped"])
        .within("datagram_bytes", 1452.0, 1452.0)
        .claim(is(Datagrams::Echoes(1452)))
        .claim(is(Datagrams::Loses(1453))),
        through(
            "udp-fragments-narrow",
            "nft drops fragments, and the MTU is 1,280 bytes with ICMP",
            routed().narrow(1280).rules(nft::lose_fragments()),
        )
        .cause(&["fragments-dropped"])
        .within("datagram_bytes", 1252.0, 1252.0)
        .claim(is(Datagrams::Echoes(1252)))
        .claim(is(Datagrams::Loses(1253))),
    ]
}

fn flows() -> Vec<Path> {
    vec![
        through(
            "udp-ports",
            "nft drops an eighth of the source ports",
            routed().rules(nft::lose_ports(3)),
        )
        .cause(&["port-loses"])
        .within("of", 32.0, 32.0)
        .has("ports")
        .claim(is(Datagrams::Deaf(3))),
        through(
            "udp-idle-2s",
            "nft forgets source ports after 2 s of silence",
            routed().rules(nft::forget_ports(2)),
        )
        .options("--udp --idle 4s")
        .cause(&["idle-limit"])
        .within("alive_s", 1.0, 2.05)
        .within("dead_s", 1.95, 3.0)
        .claim(is(Datagrams::Idles {
            alive: ms(1000),
            dead: ms(3000),
        })),
        to(
            "udp-lives-2s",
            "a server answers each socket for 2 s",
            || bad::living_for(ms(2000)),
        )
        .options("--udp --idle 4s")
        .cause(&["lifetime-limit"])
        .within("seconds", 1.5, 3.0)
        .claim(is(Datagrams::Idles {
            alive: ms(1000),
            dead: ms(2500),
        })),
    ]
}

fn losses() -> Vec<Path> {
    let share = |every, lost, late, more| {
        is(Datagrams::Share {
            every,
            lost,
            late,
            more,
        })
    };
    let none = (0.0, 0.0);
    let reorders = Treatment {
        delay: ms(2),
        reordered: 100,
        late: ms(3),
        ..Treatment::default()
    };
    let duplicates = Treatment {
        duplicated: 50,
        ..Treatment::default()
    };
    vec![
        through(
            "udp-rate-50",
            "nft passes 50 datagrams a second, after a burst of 20",
            routed().rules(nft::limit_datagrams(50, 20)),
        )
        .cause(&["rate-limit"])
        .within("per_s", 40.0, 60.0)
        .claim(share(ms(5), (50.0, 85.0), none, none))
        .claim(is(Datagrams::Echoes(64)))
        .alone(),
        through(
            "udp-rate-200",
            "nft passes 200 datagrams a second, after a burst of 50",
            routed().rules(nft::limit_datagrams(200, 50)),
        )
        .cause(&["rate-limit"])
        .within("per_s", 170.0, 230.0)
        .claim(share(ms(1), (20.0, 75.0), none, none))
        .alone(),
        through(
            "udp-loss-10",
            "nft drops 10 packets in 100 to the client",
            routed().rules(nft::lose_at_random(100, Direction::ToClient)),
        )
        .cause(&["loss"])
        .within("percent", 5.0, 16.0)
        .claim(share(ms(3), (4.0, 17.0), none, none))
        .alone(),
        through(
            "udp-reorders",
            "10 packets in 100 come 3 ms late",
            routed().relayed(reorders),
        )
        .cause(&["reordered"])
        .within("percent", 1.0, 80.0)
        .claim(share(ms(1), (0.0, 5.0), (2.0, 40.0), none))
        .alone(),
        through(
            "udp-duplicates",
            "5 packets in 100 come twice",
            routed().relayed(duplicates),
        )
        .cause(&["duplicates"])
        .within("percent", 2.0, 25.0)
        .claim(share(ms(2), (0.0, 3.0), (0.0, 3.0), (3.0, 25.0)))
        .alone(),
    ]
}

fn marks() -> Vec<Path> {
    vec![
        through(
            "udp-dscp",
            "nft sets DSCP to 0",
            routed().rules(nft::bleach_dscp()),
        )
        .cause(&["marks-bleached"])
        .is("what", &["dscp"])
        .claim(is(Datagrams::Marked(0x02))),
        through(
            "udp-ecn",
            "nft clears ECN",
            routed().rules(nft::bleach_ecn()),
        )
        .cause(&["marks-bleached"])
        .is("what", &["ecn"])
        .claim(is(Datagrams::Marked(0xb8))),
        through(
            "udp-ecn-and-hole",
            "nft clears ECN, and drops packets above 1,350 bytes",
            routed().rules(nft::bleach_ecn().and(nft::lose_above(1350, Direction::Both))),
        )
        .cause(&["marks-bleached"])
        .is("what", &["ecn"])
        .cause(&["mtu"])
        .within("packet_bytes", 1350.0, 1350.0)
        .claim(is(Datagrams::Marked(0xb8)))
        .claim(is(Datagrams::Packet(1350))),
    ]
}

fn servers() -> Vec<Path> {
    vec![
        to("udp-elsewhere", "a server answers from 127.0.0.2", || {
            bad::answering_from_another_address().0
        })
        .cause(&["wrong-address"])
        .has("asked")
        .has("seen")
        .claim(is(Datagrams::Elsewhere)),
        to(
            "udp-seven-bit",
            "a server carries seven bits of each byte",
            bad::seven_bit,
        )
        .cause(&["bytes-changed"])
        .is("how", &["seven-bit"])
        .claim(is(Datagrams::Becomes {
            sent: b"h\xe9",
            got: b"hi",
        })),
        to("udp-cut", "a server has a buffer of 2,048 bytes", || {
            bad::cutting(2048)
        })
        .cause(&["bytes-changed"])
        .is("how", &["cut"])
        .within("bytes", 2048.0, 2048.0)
        .claim(is(Datagrams::Becomes {
            sent: &[7; 3000],
            got: &[7; 2048],
        })),
        to(
            "udp-short",
            "a server drops what has more than 4,000 bytes",
            || bad::up_to(4000),
        )
        .cause(&["size-limit"])
        .within("datagram_bytes", 4000.0, 4000.0)
        .claim(is(Datagrams::Loses(4001))),
        to("udp-other", "a server speaks another protocol", || {
            bad::speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        })
        .cause(&["not-an-echo"])
        .has("first_bytes")
        .claim(is(Datagrams::Becomes {
            sent: b"hello",
            got: b"HTTP/1.1 400 Bad Request\r\n\r\n",
        })),
        to(
            "udp-twice",
            "a server sends everything back twice",
            doubling,
        )
        .cause(&["duplicates"])
        .within("percent", 95.0, 100.0)
        .claim(is(Datagrams::Share {
            every: ms(2),
            lost: (0.0, 2.0),
            late: (0.0, 2.0),
            more: (90.0, 100.0),
        })),
        to(
            "udp-reversing",
            "a server answers bursts in reverse",
            bad::reversing,
        )
        .cause(&["reordered"])
        .within("percent", 25.0, 100.0)
        .claim(is(Datagrams::Share {
            every: ms(0),
            lost: (0.0, 30.0),
            late: (20.0, 100.0),
            more: (0.0, 0.0),
        })),
    ]
}

fn healthy() -> Vec<Path> {
    let echoes = |path: Path, bound| {
        path.claim(is(Datagrams::Echoes(65_507)))
            .claim(is(Datagrams::Marked(0xba)))
            .passes_within(bound)
    };
    let far = Treatment {
        delay: ms(100),
        ..Treatment::default()
    };
    let jitter = Treatment {
        delay: ms(20),
        jitter: ms(20),
        reordered: 1,
        late: ms(3),
        ..Treatment::default()
    };
    let plain = Path::new(
        "udp-plain",
        "our server on the same host",
        QUICK,
        datagrams_on_the_same_host,
    );
    vec![
        echoes(plain.options("--udp"), QUICK),
        echoes(through("udp-routed", "a router", routed()), LONG),
        echoes(
            through("udp-routed-v6", "a router, by IPv6", routed().by_v6()),
            LONG,
        ),
        echoes(
            through(
                "udp-narrow-1280",
                "an MTU of 1,280 bytes with ICMP",
                routed().narrow(1280),
            ),
            LONG,
        ),
        echoes(
            through("udp-translated", "nft translates the address", {
                routed().rules(nft::translate())
            }),
            LONG,
        ),
        through(
            "udp-far-200ms",
            "a round trip of 200 ms",
            routed().relayed(far),
        )
        .claim(is(Datagrams::Echoes(1200)))
        .passes_within(LONG),
        through(
            "udp-jitter",
            "20 to 40 ms each way, and 1 packet in 1,000 comes behind later ones",
            routed().relayed(jitter),
        )
        .claim(is(Datagrams::Echoes(1200)))
        .passes_within(LONG),
        through(
            "udp-loss-1",
            "nft drops 1 packet in 100",
            routed().rules(nft::lose_at_random(10, Direction::Both)),
        )
        .claim(is(Datagrams::Echoes(1200)))
        .passes_within(LONG),
    ]
}
