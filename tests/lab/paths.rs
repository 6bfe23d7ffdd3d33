//! The table: every path of the laboratory, how it is made, what plain sockets must see
//! of it, and what `echopool check` must say of it.
//!
//! To add a path, add an entry to one of the lists below. What it does belongs into
//! `middlebox.rs`, `faulty.rs`, `relay.rs` or `proxies.rs`; a claim that no other path
//! makes, into `claims.rs`.

use std::time::Duration;

use crate::claims::{Claim, End, Packets, Refusal, Release, Urgent};
use crate::datagram_paths;
use crate::faulty::{self, Leave};
use crate::made::{Routed, Server, host, on_the_same_host, proxied};
use crate::middlebox::{self as nft, By, Counted, Direction};
use crate::path::Path;
use crate::proxies::Software;
use crate::relay::Treatment;

const MIB: usize = 1 << 20;

/// The most that a check of a broken path takes, and of a healthy one: on one host, through
/// a router that has a packet for each segment, with a long round trip or at 10 Mbit/s, and
/// at 2 Mbit/s or with loss.
const BROKEN: Duration = Duration::from_secs(45);
const QUICK: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(15);
const SLOW: Duration = Duration::from_secs(30);

/// All, the broken ones first.
pub(crate) fn paths() -> Vec<Path> {
    let mut paths = unreachable();
    paths.extend(not_an_echo());
    paths.extend(black_holes());
    paths.extend(quotas());
    paths.extend(lifetimes());
    paths.extend(idles());
    paths.extend(limits());
    paths.extend(rates());
    paths.extend(half_closes());
    paths.extend(changed());
    paths.extend(held());
    paths.extend(urgent());
    paths.extend(others());
    paths.extend(combined());
    paths.extend(healthy());
    paths.extend(datagram_paths::paths());
    paths
}

fn routed() -> Routed {
    Routed::default()
}

/// A path through a router.
fn through(name: &'static str, what: impl Into<String>, way: Routed) -> Path {
    Path::new(name, what, BROKEN, move || way.make())
}

/// A path to a server on the client's host.
fn to(
    name: &'static str,
    what: impl Into<String>,
    server: impl Fn() -> Server + Copy + Send + Sync + 'static,
) -> Path {
    Path::new(name, what, BROKEN, move || host(server))
}

/// A path through a proxy on the client's host.
fn by(name: &'static str, what: &'static str, proxy: Software) -> Path {
    Path::new(name, what, BROKEN, move || proxied(&proxy))
}

fn unreachable() -> Vec<Path> {
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

fn not_an_echo() -> Vec<Path> {
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

/// Packets of more than so many bytes are lost in that direction.
fn black_hole(
    name: &'static str,
    also: &str,
    bytes: u16,
    direction: Direction,
    way: Routed,
) -> Path {
    let (word, whither): (&'static [&'static str], _) = match direction {
        Direction::ToServer => (&["to-server"], " to the server"),
        Direction::ToClient => (&["to-client"], " to the client"),
        Direction::Both => (&["both"], ""),
    };
    let what = format!("nft drops packets above {bytes} bytes{whither}{also}");
    through(name, what, way.rules(nft::lose_above(bytes, direction)))
        .cause(&["mtu-black-hole"])
        .within("packet_bytes", bytes.into(), bytes.into())
        .is("direction", word)
        .claim(Claim::LargestPacket {
            bytes: bytes.into(),
            direction,
        })
}

fn black_holes() -> Vec<Path> {
    use Direction::{Both, ToClient, ToServer};
    let far = Treatment {
        delay: Duration::from_millis(50),
        ..Treatment::default()
    };
    vec![
        black_hole("black-hole-1280", "", 1280, Both, routed()),
        black_hole("black-hole-1400-to-client", "", 1400, ToClient, routed()),
        black_hole("black-hole-1476-to-server", "", 1476, ToServer, routed()),
        black_hole("black-hole-576", "", 576, Both, routed()),
        black_hole(
            "black-hole-1420-v6",
            ", by IPv6",
            1420,
            Both,
            routed().by_v6(),
        ),
        black_hole(
            "black-hole-far",
            ", 100 ms away",
            1372,
            Both,
            routed().relayed(far),
        ),
    ]
}

/// The word for how a connection ends or is denied.
fn word(end: End) -> &'static [&'static str] {
    match end {
        End::Close => &["close"],
        End::Reset => &["reset"],
        End::Silence => &["silence"],
        End::Whole | End::Changed => unreachable!("it is no fault"),
    }
}

/// An exchange ends when so many bytes have come back. A check may stream, and have much
/// more on its way when it ends; `most` bytes end it however they are counted.
fn quota(path: Path, bytes: (usize, usize), most: usize, by: End) -> Path {
    path.cause(&["connection-quota"])
        .within("bytes", 0.5 * bytes.0 as f64, 1.1 * most as f64)
        .is("ends_by", word(by))
        .claim(Claim::EndsAfterBytes { bytes, by })
}

fn quotas() -> Vec<Path> {
    let both = nft::quota(100_000, Counted::BothWays, By::Reset);
    let one = nft::quota(1_000_000, Counted::FromClient, By::Silence);
    let closing = || faulty::quota(300_000, Leave::Close);
    let resetting = || faulty::quota(5_000_000, Leave::Reset);
    let both = through(
        "quota-100k-reset",
        "nft resets after 100,000 bytes of packets, both directions added",
        routed().rules(both),
    );
    let one = through(
        "quota-1m-silence",
        "nft drops a connection's packets after 1,000,000 bytes of the client's",
        routed().rules(one),
    );
    let closing = to(
        "quota-300k-close",
        "a server closes after 300,000 bytes",
        closing,
    );
    let resetting = to(
        "quota-5m-reset",
        "a server resets after 5,000,000 bytes",
        resetting,
    );
    vec![
        quota(both, (35_000, 50_000), 100_000, End::Reset),
        quota(one, (800_000, 1_000_000), 1_000_000, End::Silence),
        quota(closing, (295_000, 300_000), 300_000, End::Close),
        quota(resetting, (4_995_000, 5_000_000), 5_000_000, End::Reset),
    ]
}

/// A server that leaves each client so many seconds after it came.
fn lifetime(name: &'static str, seconds: u64, leave: Leave) -> Path {
    let (does, by) = match leave {
        Leave::Close => ("closes", End::Close),
        Leave::Reset => ("resets", End::Reset),
        Leave::Silence => ("does nothing more", End::Silence),
    };
    let what = format!("a server {does} after {seconds} s");
    let lifetime = move || faulty::lifetime(Duration::from_secs(seconds), leave);
    let seconds = seconds as f64;
    to(name, what, lifetime)
        .cause(&["lifetime-limit"])
        .within("seconds", 0.8 * seconds, 1.5 * seconds)
        .is("ends_by", word(by))
        .claim(Claim::LivesFor {
            seconds: (seconds, 10.0),
            by,
        })
}

fn lifetimes() -> Vec<Path> {
    vec![
        lifetime("lifetime-1s-reset", 1, Leave::Reset),
        lifetime("lifetime-1s-close", 1, Leave::Close),
        lifetime("lifetime-1s-silence", 1, Leave::Silence),
        // Whoever asks for a silence sees a limit of the lifetime as one of the silence.
        lifetime("lifetime-3s-idle", 3, Leave::Close).options("--idle 6s"),
        through(
            "lifetime-10s-far",
            "a server closes after 10 s, 200 ms away",
            routed()
                .relayed(Treatment {
                    delay: Duration::from_millis(100),
                    ..Treatment::default()
                })
                .serving(&["--max-lifetime", "10s"]),
        )
        .cause(&["lifetime-limit"])
        .within("seconds", 9.0, 12.0)
        .is("ends_by", &["close", "reset"])
        .claim(Claim::LivesFor {
            seconds: (10.0, 15.0),
            by: End::Close,
        }),
    ]
}

/// What is silent for so many seconds is ended.
fn idle(path: Path, seconds: f64, by: End) -> Path {
    path.cause(&["idle-limit"])
        .within("alive_s", 0.2 * seconds, 1.02 * seconds)
        .within("dead_s", 0.98 * seconds, 2.0 * seconds)
        .is("ends_by", word(by))
        .claim(Claim::Idles {
            alive: Duration::from_secs_f64(seconds / 4.0),
            dead: Duration::from_secs_f64(seconds + 1.5),
            by,
        })
}

fn idles() -> Vec<Path> {
    let forget = |seconds, by| routed().rules(nft::forget(seconds, by));
    let closing = || faulty::idle(Duration::from_secs(2), Leave::Close);
    let silent = through(
        "idle-3s-silence",
        "nft forgets what is silent for 3 s",
        forget(3, By::Silence),
    );
    let resetting = through(
        "idle-2s-reset",
        "nft forgets what is silent for 2 s, and resets",
        forget(2, By::Reset),
    );
    let closing = to(
        "idle-2s-close",
        "a server closes what is silent for 2 s",
        closing,
    );
    vec![
        idle(silent, 3.0, End::Silence).options("--idle 6s"),
        idle(resetting, 2.0, End::Reset).options("--idle 5s"),
        idle(closing, 2.0, End::Close).options("--idle 5s"),
    ]
}

/// So many connections are served at once; what becomes of the next is called so.
fn limit(path: Path, most: usize, word: &'static [&'static str], by: End) -> Path {
    path.cause(&["connection-limit"])
        .within("connections", most as f64, most as f64)
        .is("ends_by", word)
        .claim(Claim::Connections { most, by })
}

/// By a firewall.
fn limited(name: &'static str, most: u32, by: By) -> Path {
    let (what, by_word) = match by {
        By::Reset => ("resets", End::Reset),
        By::Silence => ("drops SYNs", End::Silence),
        By::Icmp => ("answers SYNs with ICMP prohibited", End::Reset),
    };
    let what = format!("nft {what} above {most} connections");
    let way = routed().rules(nft::limit_connections(most, by));
    let path = through(name, what, way);
    let ends_by = match by {
        By::Icmp => &["icmp"],
        By::Reset | By::Silence => word(by_word),
    };
    limit(path, most as usize, ends_by, by_word)
}

/// The same on a path that loses a packet in a hundred.
fn limited_with_loss() -> Path {
    let rules = nft::lose_at_random(10, Direction::Both).and(nft::limit_connections(10, By::Reset));
    let what = "nft resets above 10 connections, and drops 1 packet in 100";
    let path = through("limit-10-loss-1", what, routed().rules(rules));
    path.cause(&["connection-limit"])
        .within("connections", 10.0, 10.0)
        .is("ends_by", &["reset"])
        .claim(Claim::Packets(Packets {
            lost_to_server: (0.2, 3.0),
            lost_to_client: (0.2, 3.0),
            ..Packets::default()
        }))
}

/// By a server.
fn full(name: &'static str, most: usize, leave: Leave) -> Path {
    let (what, by) = match leave {
        Leave::Close => ("closes", End::Close),
        Leave::Reset => ("resets", End::Reset),
        Leave::Silence => ("is silent", End::Silence),
    };
    let what = format!("a server {what} above {most} connections");
    let path = to(name, what, move || faulty::full_at(most, leave));
    limit(path, most, word(by), by)
}

/// By a pool of blocked workers.
fn pool(name: &'static str, workers: usize) -> Path {
    let what = format!("a server serves {workers} at a time, and the next ones wait");
    let path = to(name, what, move || faulty::at_a_time(workers));
    limit(path, workers, &["waits"], End::Silence)
}

fn limits() -> Vec<Path> {
    vec![
        limited("limit-10-reset", 10, By::Reset),
        limited("limit-50-silence", 50, By::Silence),
        limited("limit-10-icmp", 10, By::Icmp),
        limited_with_loss(),
        full("limit-16-close", 16, Leave::Close),
        full("limit-3-reset", 3, Leave::Reset),
        pool("one-at-a-time", 1),
        pool("four-at-a-time", 4),
    ]
}

fn rates() -> Vec<Path> {
    let rate = routed().rules(nft::limit_connects(20, 20));
    let queue = || faulty::slow_to_accept(8, Duration::from_millis(10));
    let rate = through(
        "rate-20",
        "nft drops SYNs above 20/s, after a burst of 20",
        rate,
    );
    let queue = to(
        "short-queue",
        "a listen queue of 8, and an accept every 10 ms",
        queue,
    );
    vec![
        rate.cause(&["connect-rate-limit"])
            .within("per_s", 15.0, 25.0)
            .claim(Claim::ConnectRate {
                of: 100,
                burst: 20,
                per_s: 20.0,
            }),
        queue
            .cause(&["listen-queue"])
            .at_least_likely()
            .within("per_s", 70.0, 125.0)
            .claim(Claim::ConnectRate {
                of: 400,
                burst: 20,
                per_s: 100.0,
            }),
    ]
}

fn half_closes() -> Vec<Path> {
    let is = |path: Path, word: &'static [&'static str], by| {
        path.cause(&["no-half-close"])
            .is("what", word)
            .claim(Claim::HalfClose(by))
    };
    let nginx = Software::Nginx { half_close: false };
    vec![
        is(
            through(
                "fin-lost",
                "nft drops the client's FIN",
                routed().rules(nft::lose_fins()),
            ),
            &["ignores"],
            End::Silence,
        ),
        is(
            to(
                "half-close-truncates",
                "a proxy closes at our FIN and drops the rest",
                || faulty::no_half_close(Leave::Close),
            ),
            &["truncates"],
            End::Close,
        ),
        is(
            to(
                "half-close-ignores",
                "a proxy sends nothing more after our FIN",
                || faulty::no_half_close(Leave::Silence),
            ),
            &["ignores"],
            End::Silence,
        ),
        is(
            to("half-close-resets", "a proxy resets at our FIN", || {
                faulty::no_half_close(Leave::Reset)
            }),
            &["resets"],
            End::Reset,
        ),
        is(
            by(
                "nginx-without-half-close",
                "nginx stream as it comes",
                nginx,
            ),
            &["truncates"],
            End::Close,
        ),
    ]
}

fn changed() -> Vec<Path> {
    const SENT: &[u8] = b"a\0b\r\nc\rd\ne\x11f\x13g\xff\xffh\xe9i";
    let is = |path: Path, how: &'static [&'static str], got| {
        path.cause(&["bytes-changed"])
            .is("how", how)
            .has("example")
            .claim(Claim::Becomes { sent: SENT, got })
    };
    vec![
        is(
            to(
                "seven-bit",
                "a server carries seven bits of each byte",
                faulty::seven_bit,
            ),
            &["seven-bit"],
            b"a\0b\r\nc\rd\ne\x11f\x13g\x7f\x7fhii",
        ),
        is(
            to(
                "crlf-to-lf",
                "a server sends LF for CR LF",
                faulty::crlf_to_lf,
            ),
            &["line-ends"],
            b"a\0b\nc\rd\ne\x11f\x13g\xff\xffh\xe9i",
        ),
        is(
            to(
                "lf-to-crlf",
                "a server sends CR LF for LF",
                faulty::lf_to_crlf,
            ),
            &["line-ends"],
            b"a\0b\r\r\nc\rd\r\ne\x11f\x13g\xff\xffh\xe9i",
        ),
        is(
            to(
                "telnet",
                "a server takes 0xff for a telnet command",
                faulty::telnet,
            ),
            &["telnet"],
            b"a\0b\r\nc\rd\ne\x11f\x13g\xffh\xe9i",
        ),
        is(
            to(
                "without-nul",
                "a server leaves NULs out",
                faulty::without_nul,
            ),
            &["nul"],
            b"ab\r\nc\rd\ne\x11f\x13g\xff\xffh\xe9i",
        ),
        is(
            to(
                "upper-case",
                "a server makes letters capitals",
                faulty::upper_case,
            ),
            &["case"],
            b"A\0B\r\nC\rD\nE\x11F\x13G\xff\xffH\xe9I",
        ),
        is(
            to(
                "xon-xoff",
                "a server leaves XON and XOFF out",
                faulty::without_flow_control,
            ),
            &["xon-xoff"],
            b"a\0b\r\nc\rd\nefg\xff\xffh\xe9i",
        ),
        is(
            to("utf-8", "a server replaces what is no UTF-8", faulty::utf_8),
            &["other"],
            b"a\0b\r\nc\rd\ne\x11f\x13g\xef\xbf\xbd\xef\xbf\xbdh\xef\xbf\xbdi",
        ),
    ]
}

fn held() -> Vec<Path> {
    let holds = |until| Claim::Holds {
        sent: b"hello",
        until,
    };
    let half_a_second = Duration::from_millis(500);
    vec![
        to(
            "line-buffered",
            "a server passes whole lines on",
            faulty::line_buffered,
        )
        .cause(&["line-buffered"])
        .claim(holds(Release::Bytes(b"\n"))),
        to(
            "block-buffered",
            "a server passes blocks of 4,096 bytes on",
            || faulty::block_buffered(4096),
        )
        .cause(&["stores-and-forwards", "holds-small-writes"])
        .claim(holds(Release::HalfClose)),
        to(
            "stores-until-end",
            "a server answers when all has come",
            faulty::stores_until_the_end,
        )
        .cause(&["stores-and-forwards"])
        .claim(holds(Release::HalfClose)),
        to(
            "stores-500ms",
            "a server collects for 500 ms and passes it on",
            || faulty::stores_for(Duration::from_millis(500)),
        )
        .cause(&["stores-and-forwards"])
        .within("delay_ms", 400.0, 700.0)
        .claim(holds(Release::Time(half_a_second))),
        to(
            "nagle",
            "a server answers in two writes under Nagle's algorithm",
            faulty::nagle,
        )
        .cause(&["holds-small-writes"])
        .within("delay_ms", 20.0, 250.0)
        .claim(Claim::HoldsSmallWrites),
    ]
}

fn urgent() -> Vec<Path> {
    // By default it is no fault that they are read out of line.
    let asked = "--only connect,bytes,urgent";
    // The word of the evidence is `what`.
    let is = |path: Path, word: &'static [&'static str], outcome| {
        path.cause(&["urgent-lost"])
            .is("what", word)
            .claim(Claim::Urgent(outcome))
    };
    vec![
        is(
            to(
                "urgent-taken-out",
                "a server reads past urgent bytes",
                faulty::urgent_taken_out,
            ),
            &["taken-out"],
            Urgent::TakenOut,
        )
        .options(asked),
        is(
            to(
                "urgent-moved",
                "a server sends urgent bytes late",
                faulty::urgent_moved,
            ),
            &["moved"],
            Urgent::Moved,
        ),
        is(
            through(
                "urgent-lost",
                "nft drops urgent packets",
                routed().rules(nft::lose_urgent()),
            ),
            &["dropped"],
            Urgent::Stalls,
        ),
        is(
            by(
                "haproxy-urgent",
                "HAProxy, and urgent data",
                Software::HaProxy,
            ),
            &["taken-out"],
            Urgent::TakenOut,
        )
        .options(asked),
    ]
}

fn others() -> Vec<Path> {
    let loss = |direction| routed().rules(nft::lose_at_random(50, direction));
    let lost = |to_server, to_client| {
        Claim::Packets(Packets {
            lost_to_server: to_server,
            lost_to_client: to_client,
            ..Packets::default()
        })
    };
    let five = (3.0, 8.0);
    let translated = || routed().whoami().rules(nft::translate());
    vec![
        through(
            "loss-5",
            "nft drops 5 packets in 100",
            loss(Direction::Both),
        )
        .cause(&["loss"])
        .within("percent", 2.0, 12.0)
        .claim(lost(five, five))
        .alone(),
        through(
            "loss-5-to-client",
            "nft drops 5 packets in 100 to the client",
            loss(Direction::ToClient),
        )
        .cause(&["loss"])
        .within("percent", 2.0, 8.0)
        .claim(lost((0.0, 0.2), five))
        .alone(),
        through(
            "loss-5-without-sack",
            "nft drops 5 packets in 100 to the client, and strips SACK",
            loss(Direction::ToClient).rules(nft::strip(&["sack-perm"])),
        )
        .cause(&["loss"])
        .within("percent", 2.0, 8.0)
        .claim(lost((0.0, 0.2), five))
        .alone(),
        through(
            "loss-5-without-dsack",
            "nft drops 5 packets in 100 to the client, and the server does not tell of what came \
             twice",
            loss(Direction::ToClient).without_dsack(),
        )
        .cause(&["loss"])
        .within("percent", 2.0, 8.0)
        .claim(lost((0.0, 0.2), five))
        .alone(),
        to(
            "bytes-of-others",
            "what a reset connection left goes to the next",
            faulty::leaking,
        )
        .cause(&["bytes-of-others"])
        .has("offset")
        .claim(Claim::LeaksBytes),
        through(
            "whoami-translated",
            "nft translates the address",
            translated(),
        )
        .options("--whoami")
        .cause(&["address-translated"])
        .has("seen")
        .has("own")
        .claim(Claim::Translates),
    ]
}

/// Two faults at once: neither may hide the other.
fn combined() -> Vec<Path> {
    let hole = nft::lose_above(1300, Direction::Both);
    let crowded = hole.clone().and(nft::limit_connections(30, By::Reset));
    let forgetful = nft::forget(2, By::Silence).and(nft::lose_urgent());
    let slow = routed().shaped(10_000);
    let limited = nft::quota(1_000_000, Counted::BothWays, By::Reset);
    vec![
        through(
            "black-hole-and-limit",
            "nft drops packets above 1,300 bytes, and resets above 30 connections",
            routed().rules(crowded),
        )
        .cause(&["mtu-black-hole"])
        .within("packet_bytes", 1300.0, 1300.0)
        .is("direction", &["both"])
        .cause(&["connection-limit"])
        .within("connections", 30.0, 30.0)
        .is("ends_by", &["reset"])
        .claim(Claim::LargestPacket {
            bytes: 1300,
            direction: Direction::Both,
        })
        .claim(Claim::Connections {
            most: 30,
            by: End::Reset,
        }),
        through(
            "idle-and-urgent",
            "nft forgets after 2 s in silence, and drops urgent packets",
            routed().rules(forgetful),
        )
        .options("--idle 5s")
        .cause(&["idle-limit"])
        .within("alive_s", 0.4, 2.05)
        .within("dead_s", 1.95, 4.0)
        .is("ends_by", &["silence"])
        .cause(&["urgent-lost"])
        .claim(Claim::Urgent(Urgent::Stalls))
        .claim(Claim::Idles {
            alive: Duration::from_millis(500),
            dead: Duration::from_millis(3500),
            by: End::Silence,
        }),
        to(
            "seven-bit-four-at-a-time",
            "a pool of four blocked workers that carry seven bits",
            faulty::seven_bit_four_at_a_time,
        )
        .cause(&["bytes-changed"])
        .is("how", &["seven-bit"])
        .cause(&["connection-limit"])
        .within("connections", 4.0, 4.0)
        .is("ends_by", &["waits"])
        .claim(Claim::Becomes {
            sent: b"h\xe9",
            got: b"hi",
        })
        .claim(Claim::Connections {
            most: 4,
            by: End::Silence,
        }),
        quota(
            through(
                "quota-1m-slow",
                "nft resets after 1,000,000 bytes of packets, at 10 Mbit/s",
                slow.rules(limited),
            ),
            (350_000, 500_000),
            1_000_000,
            End::Reset,
        )
        .alone(),
    ]
}

fn healthy() -> Vec<Path> {
    let mut paths = sound();
    paths.extend(distant());
    paths.extend(slow());
    paths.extend(meddled());
    paths.extend(proxies());
    paths
}

/// Nothing between, and small packets of which the ends are told.
fn sound() -> Vec<Path> {
    let whole = Claim::Echoes(4 * MIB);
    let clamped = nft::clamp_mss(1240).and(nft::lose_above(1280, Direction::Both));
    vec![
        Path::new(
            "plain",
            "our server on the same host",
            BROKEN,
            on_the_same_host,
        )
        .claim(whole)
        .claim(Claim::Urgent(Urgent::Kept))
        .passes_within(QUICK),
        through("routed", "a router", routed())
            .claim(whole)
            .claim(Claim::Options {
                has: &["ts", "sack", "wscale"],
                lacks: &[],
            })
            .passes_within(LONG),
        through("routed-v6", "a router, by IPv6", routed().by_v6())
            .claim(whole)
            .passes_within(LONG),
        through(
            "narrow-1280",
            "an MTU of 1,280 bytes with ICMP",
            routed().narrow(1280),
        )
        .claim(whole)
        .claim(Claim::PathMtu(1280))
        .passes_within(LONG),
        through(
            "narrow-1400-v6",
            "an MTU of 1,400 bytes with ICMPv6, by IPv6",
            routed().narrow(1400).by_v6(),
        )
        .claim(whole)
        .claim(Claim::PathMtu(1400))
        .passes_within(LONG),
        through(
            "clamped",
            "nft drops packets above 1,280 bytes and clamps the MSS",
            routed().rules(clamped),
        )
        .claim(whole)
        // 12 bytes of it are for the timestamps.
        .claim(Claim::Options {
            has: &["mss:1228"],
            lacks: &[],
        })
        .passes_within(LONG),
    ]
}

/// Long, and restless.
fn distant() -> Vec<Path> {
    let whole = Claim::Echoes(4 * MIB);
    let ms = Duration::from_millis;
    let calm = Treatment::default();
    let is = |name, what, treatment, packets| {
        through(name, what, routed().relayed(treatment))
            .claim(whole)
            .claim(Claim::Packets(packets))
    };
    let far = Treatment {
        delay: ms(100),
        ..calm
    };
    let jitter = Treatment {
        delay: ms(5),
        jitter: ms(20),
        ..calm
    };
    let reorders = Treatment {
        delay: ms(2),
        reordered: 20,
        late: ms(3),
        ..calm
    };
    let duplicates = Treatment {
        duplicated: 20,
        ..calm
    };
    let bursts = Treatment {
        delay: ms(5),
        bursts: 4,
        burst: 3,
        ..calm
    };
    let round_trip = |least| Packets {
        round_trip: least,
        ..Packets::default()
    };
    let some = (0.1, 4.0);
    vec![
        is(
            "far-200ms",
            "a round trip of 200 ms",
            far,
            round_trip(ms(200)),
        )
        .passes_within(LONG),
        is(
            "far-600ms",
            "a round trip of 600 ms",
            Treatment {
                delay: ms(300),
                ..calm
            },
            round_trip(ms(600)),
        )
        .passes_within(BROKEN),
        is(
            "jitter",
            "10 ms, and up to 20 ms more each way",
            jitter,
            Packets {
                spread: ms(10),
                ..round_trip(ms(10))
            },
        )
        .passes_within(LONG),
        is(
            "reorders",
            "2 packets in 100 come 3 ms late",
            reorders,
            Packets {
                reordered: (0.5, 10.0),
                ..round_trip(ms(4))
            },
        )
        .passes_within(LONG),
        is(
            "duplicates",
            "2 packets in 100 come twice",
            duplicates,
            Packets {
                duplicated: (0.5, 5.0),
                ..Packets::default()
            },
        )
        .passes_within(LONG),
        is(
            "bursts-lost",
            "1 packet in 100 is lost, three in a row",
            bursts,
            Packets {
                lost_to_server: some,
                lost_to_client: some,
                ..round_trip(ms(10))
            },
        )
        .passes_within(SLOW),
    ]
}

/// Slow, and lossy.
fn slow() -> Vec<Path> {
    let whole = Claim::Echoes(4 * MIB);
    let one = (0.3, 2.5);
    vec![
        through(
            "loss-1",
            "nft drops 1 packet in 100",
            routed().rules(nft::lose_at_random(10, Direction::Both)),
        )
        .claim(whole)
        .claim(Claim::Packets(Packets {
            lost_to_server: one,
            lost_to_client: one,
            ..Packets::default()
        }))
        .passes_within(SLOW),
        through("slow-10", "10 Mbit/s", routed().shaped(10_000))
            .claim(Claim::NotAbove { mbit_s: 10.0 })
            .passes_within(LONG),
        through("slow-2", "2 Mbit/s", routed().shaped(2_000))
            .claim(Claim::NotAbove { mbit_s: 2.0 })
            .passes_within(SLOW),
        through(
            "slow-64k",
            "64 kbit/s, with a queue of 64 KiB, which is 8 s",
            routed().shaped(64).queue(64 << 10),
        )
        .claim(Claim::NotAbove { mbit_s: 0.064 })
        .passes_within(BROKEN),
        // What is sent at once at first passes the bucket without a delay.
        through(
            "far-512k",
            "512 kbit/s behind a bucket of 16 KiB, and a round trip of 600 ms",
            routed().shaped(512).relayed(Treatment {
                delay: Duration::from_millis(300),
                ..Treatment::default()
            }),
        )
        .claim(Claim::NotAbove { mbit_s: 0.512 })
        .passes_within(BROKEN),
    ]
}

/// What a router may do without harm.
fn meddled() -> Vec<Path> {
    let whole = Claim::Echoes(4 * MIB);
    let strip = |options: &[&str]| routed().rules(nft::strip(options));
    let is = |path: Path, lacks| {
        path.claim(whole)
            .claim(Claim::Options { has: &[], lacks })
            .passes_within(LONG)
    };
    vec![
        is(
            through("without-sack", "nft strips SACK", strip(&["sack-perm"])),
            &["sack"],
        ),
        is(
            through(
                "without-scaling",
                "nft strips window scaling",
                strip(&["window"]),
            ),
            &["wscale"],
        ),
        is(
            through(
                "without-timestamps",
                "nft strips timestamps",
                strip(&["timestamp"]),
            ),
            &["ts"],
        ),
        is(
            through(
                "without-options",
                "nft strips SACK, window scaling and timestamps",
                strip(&["sack-perm", "window", "timestamp"]),
            ),
            &["sack", "wscale", "ts"],
        ),
        through(
            "ecn-bleached",
            "nft bleaches ECN",
            routed().ecn().rules(nft::bleach_ecn()),
        )
        .claim(whole)
        .claim(Claim::Options {
            has: &["ecn"],
            lacks: &[],
        })
        .passes_within(LONG),
        through(
            "urgent-cleared",
            "nft clears URG",
            routed().rules(nft::clear_urgent()),
        )
        .claim(whole)
        .claim(Claim::Urgent(Urgent::Kept))
        .passes_within(LONG),
        through(
            "translated",
            "nft translates the address",
            routed().rules(nft::translate()),
        )
        .claim(whole)
        .claim(Claim::Rewrites)
        .passes_within(LONG),
        through(
            "whoami",
            "a router, and the address asked for",
            routed().whoami(),
        )
        .options("--whoami")
        .claim(Claim::TellsOwnAddress)
        .passes_within(LONG),
    ]
}

/// Proxies that pass all on but urgent data, which each of them reads out of line.
fn proxies() -> Vec<Path> {
    let is = |path: Path| {
        path.claim(Claim::Echoes(4 * MIB))
            .claim(Claim::Urgent(Urgent::TakenOut))
            .passes_within(QUICK)
    };
    let nginx = Software::Nginx { half_close: true };
    vec![
        is(by("haproxy", "HAProxy", Software::HaProxy)),
        is(by("socat", "socat, waiting for both ends", Software::Socat)),
        is(by("nginx", "nginx stream with proxy_half_close on", nginx)),
    ]
}
