//! Nobody answers, or somebody else does.

use super::make::{by, routed, through, to};
use crate::claims::{Claim, Refusal};
use crate::faulty;
use crate::middlebox as nft;
use crate::path::Path;
use crate::proxies::Software;

pub(super) fn unreachable() -> Vec<Path> {
    let answer = |verdict| routed().rules(nft::answer_connects(verdict));
    let fails = Claim::Connect;
    vec![
        through(
            "refused",
            "nobody listens on the port",
            routed().without_listener(),
        )
        .cause(&["refused"])
        .claim(fails(Refusal::Refused)),
        through("syn-lost", "nft drops each SYN", answer("drop"))
            .cause(&["no-answer"])
            .claim(fails(Refusal::Unanswered)),
        through(
            "host-unreachable",
            "nft answers each SYN with ICMP host unreachable",
            answer("reject with icmp type host-unreachable"),
        )
        .cause(&["unreachable"])
        .is("icmp", &["host unreachable"])
        .claim(fails(Refusal::Unreachable)),
        through(
            "prohibited",
            "nft answers each SYN with ICMP host prohibited",
            answer("reject with icmp type host-prohibited"),
        )
        .cause(&["unreachable"])
        .is("icmp", &["host administratively prohibited"])
        .claim(fails(Refusal::Unreachable)),
        through(
            "rejected",
            "nft answers each SYN with ICMP port unreachable",
            answer("reject with icmp type port-unreachable"),
        )
        .cause(&["refused"])
        .is("icmp", &["port unreachable"])
        .claim(fails(Refusal::Refused)),
        through(
            "lost-behind-handshake",
            "nft drops all that the client sends behind the handshake",
            routed().rules(nft::lose_behind_handshake()),
        )
        .cause(&["lost-behind-handshake"])
        .claim(Claim::Says {
            sent: b"hello\r\n\r\n",
            first: b"",
        }),
        through(
            "prohibited-v6",
            "nft answers each SYN with ICMPv6 administratively prohibited, by IPv6",
            answer("reject with icmpv6 type admin-prohibited").by_v6(),
        )
        .cause(&["unreachable"])
        .is("icmp", &["administratively prohibited"])
        .claim(fails(Refusal::Prohibited)),
        to(
            "nobody-behind",
            "a server accepts and closes",
            faulty::nobody,
        )
        .cause(&["nobody-behind"])
        .claim(Claim::ClosesAtOnce),
        by(
            "haproxy-without-servers",
            "HAProxy without servers",
            Software::HaProxyWithoutServers,
        )
        .cause(&["nobody-behind"])
        .claim(Claim::ClosesAtOnce),
    ]
}

pub(super) fn not_an_echo() -> Vec<Path> {
    let is = |path: Path, words: &'static [&'static str], sent, first| {
        path.cause(&["not-an-echo"])
            .is("looks_like", words)
            .has("first_bytes")
            .claim(Claim::Says { sent, first })
    };
    let request = b"hello\r\n\r\n";
    let http = to("http", "a web server", faulty::http);
    let nginx = by("nginx-http", "nginx as a web server", Software::NginxHttp);
    let tls = to("tls", "a TLS server", faulty::tls);
    let ssh = to("ssh", "an SSH server", faulty::ssh);
    let smtp = to("smtp", "a mail server", faulty::smtp);
    let chargen = to(
        "chargen",
        "a server that sends characters without end",
        faulty::chargen,
    );
    let discard = to(
        "discard",
        "a server that takes all and says nothing",
        faulty::discard,
    );
    vec![
        is(http, &["http"], request, b"HTTP/1.1 400 "),
        is(nginx, &["http"], request, b"HTTP/1.1 "),
        is(tls, &["tls"], request, &[0x15, 3, 1]),
        is(ssh, &["ssh"], b"", b"SSH-2.0-"),
        is(smtp, &["smtp"], b"", b"220 "),
        is(chargen, &["other"], b"", b" !\"#"),
        is(discard, &["other"], request, b"").at_least_likely(),
    ]
}
