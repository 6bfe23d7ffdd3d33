//! What a server, or what is before it, has enough of: messages, clients, what is not received.

use std::time::Duration;

use super::cut::word;
use super::make::{LONG, QUICK, routed, through, to};
use crate::claims::{Claim, End};
use crate::faulty::{self, Leave};
use crate::middlebox::{self as nft, By};
use crate::path::Path;

/// Bytes that a message of a claim has, which one read takes.
const MESSAGE: usize = 4096;

/// Bytes that come back exactly.
const WHOLE: Claim = Claim::Echoes(4 << 20);

/// A server that answers so often.
fn answering(name: &'static str, times: usize, leave: Leave) -> Path {
    let (does, by) = match leave {
        Leave::Close => ("closes", End::Close),
        Leave::Reset => ("resets", End::Reset),
        Leave::Silence => ("does nothing more", End::Silence),
    };
    let what = format!("a server {does} once it has answered {times} times");
    to(name, what, move || faulty::answers(times, leave))
        .cause(&["message-limit"])
        .within("messages", times as f64, times as f64)
        .is("ends_by", word(by))
        .claim(Claim::EndsAfterBytes {
            bytes: (times * MESSAGE, times * MESSAGE),
            by,
        })
}

/// None of these is proved: why nobody is there any more can't be told from here.
fn gone() -> Vec<Path> {
    vec![
        to("gone", "a server's port is closed after 40 clients", || {
            faulty::ends_after(40)
        })
        .cause(&["gone"])
        .at_least_likely()
        .is("ends_by", &["reset"])
        .claim(Claim::ServesOnly(40)),
        through(
            "banned",
            "nft drops each SYN after 60 of them",
            routed().rules(nft::ban_after(60, By::Silence)),
        )
        .cause(&["gone"])
        .at_least_likely()
        .is("ends_by", &["silence"])
        .claim(Claim::ServesOnly(60)),
    ]
}

/// What denies a client that begins many connections all for a while.
fn bans() -> Vec<Path> {
    let time = Duration::from_secs(4);
    let is = |path: Path, most, by| {
        path.cause(&["banned"])
            .within("seconds", 3.0, 7.0)
            .is("ends_by", by)
            .claim(Claim::Bans { most, time })
    };
    vec![
        is(
            to(
                "ban-4s-reset",
                "a server resets all for 4 s once more than 100 came in 5 s",
                move || faulty::banning(100, Duration::from_secs(5), Duration::from_secs(4)),
            ),
            101,
            &["reset"],
        ),
        is(
            through(
                "ban-4s-silence",
                "nft drops a client for 4 s that begins more than 100 connections a second",
                routed().rules(nft::ban_above(100, 4)),
            ),
            1_000,
            &["silence"],
        )
        // What is dropped is waited for: often no time is left to prove it.
        .at_least_likely(),
    ]
}

fn unread() -> Vec<Path> {
    let soon = Duration::from_millis(100);
    vec![
        to(
            "unread-100ms",
            "a server leaves who does not receive for 100 ms",
            || faulty::unread_for(Duration::from_millis(100)),
        )
        .cause(&["unread-limit"])
        .at_least_likely()
        .within("seconds", 0.08, 3.0)
        .claim(Claim::EndsUnread {
            wait: soon,
            by: End::Reset,
        }),
        to(
            "stalls-when-full",
            "a server forgets to go on once it could not send",
            faulty::stalls_when_full,
        )
        .cause(&["stalls-when-full"])
        .at_least_likely()
        .claim(Claim::EndsUnread {
            wait: soon,
            by: End::Silence,
        }),
    ]
}

pub(super) fn programs() -> Vec<Path> {
    let mut paths = vec![
        answering("answers-once", 1, Leave::Close),
        answering("answers-5-reset", 5, Leave::Reset),
        answering("answers-3-silence", 3, Leave::Silence),
        answering("answers-130", 130, Leave::Close),
        answering("answers-600-reset", 600, Leave::Reset),
    ];
    paths.extend(gone());
    paths.extend(bans());
    paths.extend(unread());
    paths
}

/// The same servers with limits that a check does not come to.
pub(super) fn patient_programs() -> Vec<Path> {
    let is = |path: Path| path.claim(WHOLE);
    vec![
        is(to(
            "answers-often",
            "a server closes once it has answered 1,000,000 times",
            || faulty::answers(1_000_000, Leave::Close),
        ))
        .passes_within(QUICK),
        is(through(
            "not-banned",
            "nft drops each SYN after 50,000 of them",
            routed().rules(nft::ban_after(50_000, By::Silence)),
        ))
        .passes_within(LONG),
        is(to(
            "unread-20s",
            "a server leaves who does not receive for 20 s",
            || faulty::unread_for(Duration::from_secs(20)),
        ))
        .passes_within(QUICK),
        is(to(
            "unread-without-bound",
            "a server holds what is not received, however much",
            || faulty::impatient([127, 0, 0, 1].into(), usize::MAX),
        ))
        .passes_within(QUICK),
    ]
}
