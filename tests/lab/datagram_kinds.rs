//! The table's paths that lose datagrams for what they are: their marks, their bytes, how many
//! there are at once.

use crate::common::datagrams::losing_every_third;
use crate::common::lookalikes as like;
use crate::datagram_claims::Datagrams;
use crate::datagram_paths::{BROKEN, LONG, is, ms, routed, through, to};
use crate::made::proxied;
use crate::middlebox as nft;
use crate::path::Path;
use crate::proxies::Software;

pub(crate) fn paths() -> Vec<Path> {
    let mut paths = marks();
    paths.extend(content());
    paths.extend(bursts());
    paths.extend(lengths());
    paths.extend(others());
    paths.push(
        through(
            "udp-slow-link",
            "a link of 2 Mbit/s with a queue of 200 ms",
            routed().shaped(2000),
        )
        .claim(is(Datagrams::Echoes(8972)))
        .passes_within(LONG),
    );
    paths
}

fn marks() -> Vec<Path> {
    let marked = |name, what, rule: &'static str, of: &'static [&'static str]| {
        through(name, what, routed().rules(nft::lose_datagrams(rule)))
            .cause(&["marks-dropped"])
            .is("what", of)
            .claim(is(Datagrams::Echoes(65_507)))
    };
    vec![
        marked(
            "udp-dscp-dropped",
            "nft drops datagrams of EF",
            "ip dscp ef",
            &["dscp"],
        )
        .claim(is(Datagrams::Lost(0xb8))),
        marked(
            "udp-ecn-dropped",
            "nft drops datagrams of ECN",
            "ip ecn != not-ect",
            &["ecn"],
        )
        .claim(is(Datagrams::Lost(0x02))),
    ]
}

fn content() -> Vec<Path> {
    vec![
        through(
            "udp-content-begin",
            "nft drops datagrams that begin with A",
            routed().rules(nft::lose_datagrams("udp length > 8 @th,64,8 0x41")),
        )
        .cause(&["content-dropped"])
        .is("example", &["A"])
        .within("offset", 0.0, 0.0)
        .claim(is(Datagrams::Swallows(b"ABCD"))),
        to(
            "udp-content-pair",
            "a server drops what has a line's end in it",
            || like::dropping_with(*b"\r\n"),
        )
        .cause(&["content-dropped"])
        .is("example", &["\\r\\n"])
        .claim(is(Datagrams::Swallows(b"line\r\n"))),
        to("udp-empty-server", "a server drops empty datagrams", || {
            like::dropping_empty()
        })
        .cause(&["empty-dropped"])
        .claim(is(Datagrams::Loses(0)))
        .claim(is(Datagrams::Echoes(1))),
        Path::new(
            "udp-socat",
            "socat, a process for each source",
            BROKEN,
            || proxied(&Software::SocatOfDatagrams),
        )
        .options("--udp")
        .cause(&["empty-dropped"])
        .claim(is(Datagrams::Loses(0)))
        .claim(is(Datagrams::Echoes(65_507))),
        through(
            "udp-empty",
            "nft drops empty datagrams",
            routed().rules(nft::lose_datagrams("udp length 8")),
        )
        .cause(&["empty-dropped"])
        .claim(is(Datagrams::Loses(0)))
        .claim(is(Datagrams::Echoes(1))),
    ]
}

fn bursts() -> Vec<Path> {
    let share = |every, lost| {
        is(Datagrams::Share {
            every,
            lost,
            late: (0.0, 2.0),
            more: (0.0, 0.0),
        })
    };
    vec![
        through(
            "udp-burst-20",
            "nft passes 1,000 datagrams a second, and 20 at once",
            routed().rules(nft::limit_datagrams(1000, 20)),
        )
        .cause(&["burst-limit"])
        .within("datagrams", 15.0, 40.0)
        .claim(share(ms(0), (50.0, 95.0)))
        .alone(),
        through(
            "udp-banned",
            "nft bans a source for 4 s that sends more than 100 a second, after a burst of 50",
            routed().rules(nft::ban_fast(100, 50, 4)),
        )
        .cause(&["banned"])
        .within("seconds", 3.0, 4.5)
        .claim(share(ms(1), (50.0, 95.0)))
        .alone(),
        to(
            "udp-away",
            "a server answers nothing for 3 s from its 150th datagram on",
            || like::away(150, ms(3000)),
        )
        .cause(&["interrupted"])
        .claim(share(ms(5), (40.0, 60.0)))
        .alone(),
        to(
            "udp-stops",
            "a server answers nothing from its 150th datagram on",
            || like::stopping_after(150),
        )
        .cause(&["gone"])
        .at_least_likely()
        .is("ends_by", &["silence"])
        .claim(share(ms(5), (40.0, 60.0)))
        .alone(),
        through(
            "udp-ports-half",
            "nft drops half of what an eighth of the source ports send",
            routed().rules(nft::lose_half_of_ports(5)),
        )
        .cause(&["port-loses"])
        .within("percent", 25.0, 75.0)
        .has("ports")
        .claim(is(Datagrams::Partly(5))),
        through(
            "udp-flows-20",
            "nft carries 20 source ports, and no more",
            routed().rules(nft::limit_flows(20)),
        )
        .cause(&["flow-limit"])
        .within("made", 5.0, 18.0)
        .claim(is(Datagrams::Flows(20))),
    ]
}

fn lengths() -> Vec<Path> {
    vec![
        through(
            "udp-odd",
            "nft drops datagrams of odd lengths",
            routed().rules(nft::lose_datagrams(
                "ip frag-off & 0x1fff == 0 udp length & 1 == 1",
            )),
        )
        .cause(&["lengths-dropped"])
        .has("example")
        .claim(is(Datagrams::Echoes(200)))
        .claim(is(Datagrams::Loses(201))),
        to(
            "udp-every-third",
            "a server loses each third datagram",
            losing_every_third,
        )
        .cause(&["loss"])
        .within("percent", 28.0, 38.0)
        .claim(is(Datagrams::Share {
            every: ms(2),
            lost: (30.0, 37.0),
            late: (0.0, 2.0),
            more: (0.0, 0.0),
        }))
        .alone(),
    ]
}

fn others() -> Vec<Path> {
    let speaks = |name, what, server: fn() -> std::net::SocketAddr, of| {
        to(name, what, server)
            .cause(&["not-an-echo"])
            .is("looks_like", of)
    };
    vec![
        speaks(
            "udp-stamp",
            "a reflector of STAMP",
            like::reflecting,
            &["stamp"],
        )
        .claim(is(Datagrams::Answers {
            sent: &[7; 44],
            bytes: 44,
        })),
        speaks("udp-dns", "a name server", like::name_server, &["dns"]).claim(is(
            Datagrams::Answers {
                sent: &[7; 17],
                bytes: 12,
            },
        )),
        speaks("udp-ntp", "a time server", like::time_server, &["ntp"]).claim(is(
            Datagrams::Answers {
                sent: &[0x23; 48],
                bytes: 48,
            },
        )),
        to(
            "udp-taking-5ms",
            "a server takes 5 ms for each datagram, one after another",
            || like::taking(ms(5)),
        )
        .claim(is(Datagrams::Echoes(1200)))
        .passes_within(LONG),
    ]
}
