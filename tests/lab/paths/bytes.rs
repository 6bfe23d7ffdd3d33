//! Bytes are held, changed or lost, or the end of a side is.

use std::time::Duration;

use super::cut::word;
use super::make::{by, routed, through, to};
use crate::claims::{Claim, End, Packets, Release, Urgent};
use crate::faulty::{self, Leave};
use crate::middlebox::{self as nft, Direction};
use crate::path::Path;
use crate::proxies::Software;

pub(super) fn half_closes() -> Vec<Path> {
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

pub(super) fn changed() -> Vec<Path> {
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
            to(
                "without-the-first",
                "a server leaves the first byte out",
                faulty::without_the_first,
            ),
            &["other"],
            &SENT[1..],
        ),
        is(
            to("utf-8", "a server replaces what is no UTF-8", faulty::utf_8),
            &["other"],
            b"a\0b\r\nc\rd\ne\x11f\x13g\xef\xbf\xbd\xef\xbf\xbdh\xef\xbf\xbdi",
        ),
    ]
}

/// Connections end at bytes that something looks for.
pub(super) fn filtered() -> Vec<Path> {
    let is = |path: Path, example: &'static [&'static str], bytes, by| {
        path.cause(&["bytes-changed"])
            .is("how", &["ends"])
            .is("example", example)
            .is("ends_by", word(by))
            .claim(Claim::EndsAt { bytes, by })
    };
    vec![
        is(
            to("filter-reset", "a server resets at `../`", || {
                faulty::filtering(b"../", Leave::Reset)
            }),
            &["../"],
            b"../",
            End::Reset,
        ),
        is(
            to("filter-close", "a server closes at `<script`", || {
                faulty::filtering(b"<script", Leave::Close)
            }),
            &["<script"],
            b"<script",
            End::Close,
        ),
        is(
            to(
                "filter-silence",
                "a server does nothing more at two NULs",
                || faulty::filtering(b"\0\0", Leave::Silence),
            ),
            &["\\x00\\x00"],
            b"\0\0",
            End::Silence,
        ),
        is(
            through(
                "filter-payload",
                "nft drops packets that begin with `SSH-`",
                routed().rules(nft::lose_content(*b"SSH-")),
            ),
            &["SSH-"],
            b"SSH-",
            End::Silence,
        ),
    ]
}

pub(super) fn held() -> Vec<Path> {
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
            "keeps-the-last",
            "a server keeps the last byte until more comes",
            faulty::keeps_the_last,
        )
        .cause(&["stores-and-forwards"])
        .within("bytes", 1.0, 1.0)
        .claim(Claim::Holds {
            sent: b"h",
            until: Release::HalfClose,
        }),
        to(
            "reads-once",
            "a server reads 4,096 bytes each time that its poller tells it",
            || faulty::reads_once_an_event(4096),
        )
        .cause(&["stores-and-forwards"])
        .within("bytes", 4096.0, 49_152.0)
        .claim(Claim::EndsUnread {
            wait: Duration::from_millis(100),
            by: End::Silence,
        }),
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
            "begins-after-2s",
            "a server answers the first bytes of each connection after 2 s",
            || faulty::begins_after(Duration::from_secs(2)),
        )
        .cause(&["answers-late"])
        .within("delay_ms", 1900.0, 2400.0)
        .claim(holds(Release::Time(half_a_second * 4))),
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

pub(super) fn urgent() -> Vec<Path> {
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

pub(super) fn others() -> Vec<Path> {
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
