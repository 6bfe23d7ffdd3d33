//! Connections are cut off: after so many bytes, at an age, or after a silence.

use std::time::Duration;

use crate::base::units::{count, duration, whole};
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure, MANY};
use crate::check::findings::{Ending, Findings, Silences, Since, Streams};
use crate::check::observation::End;
use crate::check::{lifetime, pace};

/// A clause that ended at less than this share of the limit fails for another reason.
const SHARE: f64 = 0.6;

/// A byte in a packet of its own is counted as so many with its headers, or fewer.
const HEADERS: u64 = 100;

/// Without an experiment, two ages are the same that differ by less than this share of the less,
/// and a fixed part for timers; and one of less than that is none of a limit.
const AGED: f64 = 0.25;
const TIMERS: Duration = Duration::from_millis(150);
const LEAST_AGE: Duration = Duration::from_millis(300);

/// `connection-quota`: each connection ends after so many bytes.
pub(super) fn quota(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let (bytes, by, is_proved) = match findings.streams {
        Some(Streams::AfterBytes {
            bytes,
            by,
            is_proved,
        }) if is_proved || bytes >= MANY => (bytes, by, is_proved),
        None if findings.is_open("streams") => {
            let (bytes, by) = guess(facts)?;
            (bytes, by, false)
        }
        _ => return None,
    };
    // What counts packets counts the headers of small ones, too: that is why the bytes of
    // a clause say nothing here.
    let moved = |at: &Failure| at.observed.received > 0 || at.observed.sent * 2 >= bytes;
    let explains = facts.clauses(|at| ended_by(at, by) && moved(at));
    let however = match is_proved {
        true => "however fast they go",
        false if findings.streams.is_none() => "as far as the clauses saw",
        false => "and one that carries fewer in the same time does not",
    };
    let text = format!(
        "each connection {} after about {} bytes, {however}",
        ends(by),
        whole(bytes)
    );
    let advice = "look for a limit of bytes a connection: a firewall's or a balancer's quota \
                  (nft quota, ct bytes), an intrusion detection's, or the server's own";
    let diagnosis = Diagnosis::certain("connection-quota", text, advice, explains);
    let diagnosis = diagnosis.with("bytes", bytes).with("ends_by", by.word());
    Some(match is_proved {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// The most bytes after which connections of several clauses were cut off, and how.
fn guess(facts: &Facts) -> Option<(u64, Ending)> {
    let cut: Vec<_> = facts.failures.iter().filter(|at| at.is_cut_off()).collect();
    let last = cut.iter().max_by_key(|at| at.observed.received)?;
    let by = match last.observed.end {
        End::Reset => Ending::Reset,
        _ => Ending::Close,
    };
    // One that was cut off much sooner had another reason, also where headers count.
    let is_sooner = |at: &&Failure| {
        let came = at.observed.received;
        ended_by(at, Ending::Close) && came > 0 && came * HEADERS < last.observed.received
    };
    let is_other = guess_messages(facts).is_some()
        || guess_lifetime(facts).is_some()
        || facts.failures.iter().any(|at| is_sooner(&at));
    (cut.len() >= 2 && !is_other).then_some((last.observed.received, by))
}

/// `message-limit`: each connection ends after so many messages.
pub(super) fn messages(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let (messages, by, is_proved) = match findings.streams {
        Some(Streams::AfterMessages {
            messages,
            by,
            is_proved,
        }) => (messages, by, is_proved),
        None if findings.is_open("streams") => {
            let (messages, by) = guess_messages(facts)?;
            (messages, by, false)
        }
        _ => return None,
    };
    let number = count(messages, "message", "messages");
    let however = match is_proved {
        true => "whatever their size, and however fast they come",
        false => "whatever their size; or so long after the first byte",
    };
    let text = format!(
        "each connection {} once {number} came back, {however}",
        ends(by)
    );
    let advice = "have the server read on until its client closes, and not once; or look for a \
                  limit of requests a connection (a proxy's, an intrusion prevention's)";
    // One whose client sends much and does not receive ends as well.
    let moved = |at: &Failure| at.observed.received > 0 || at.observed.sent >= MANY;
    let explains = facts.clauses(|at| ended_by(at, by) && moved(at));
    let diagnosis = Diagnosis::certain("message-limit", text, advice, explains);
    let diagnosis = diagnosis.with("messages", messages);
    let diagnosis = diagnosis.with("ends_by", by.word());
    Some(match is_proved {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// After how many messages two clauses were cut off that have messages of other sizes, at
/// another pace, if after as many.
fn guess_messages(facts: &Facts) -> Option<(u64, Ending)> {
    let messages = |name, size| {
        let cut = facts.failure(name).filter(|at| is_cut(at))?;
        Some((cut.observed.received / size, ending(cut)?))
    };
    let (number, by) = messages("lifetime", lifetime::MESSAGE)?;
    let (other, _) = messages("slow-writer", pace::WRITE_SIZE)?;
    (number > 0 && number == other).then_some((number, by))
}

/// `lifetime-limit`: each connection ends at an age, however busy it is.
pub(super) fn lifetime(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let (age, by, since) = match (findings.streams, findings.silences) {
        (Some(Streams::AtAge { age, by, since }), _) => (age, by, Some(since)),
        // Silent ones as well.
        (_, Some(Silences::Busy { age, by })) => (age, by, Some(Since::Made)),
        (None, _) if findings.is_open("streams") => {
            let (age, by) = guess_lifetime(facts)?;
            (age, by, None)
        }
        _ => return None,
    };
    let explains = facts.clauses(|at| is_cut(at) && at.observed.age >= age.mul_f64(SHARE));
    let from = match since {
        Some(Since::Made) | None => "it was made",
        Some(Since::FirstByte) => "its first byte (one on which nothing is sent lives longer)",
    };
    let text = format!(
        "each connection {} {} after {from}, however much it carries",
        ends(by),
        duration(age)
    );
    let advice = "look for the longest time that a connection may last: of the server, a proxy or \
                  a balancer (lifetime, max connection duration); raise it, or reconnect in time";
    let diagnosis = Diagnosis::certain("lifetime-limit", text, advice, explains);
    let seconds = rounded(age);
    let diagnosis = diagnosis.with("seconds", seconds);
    let diagnosis = diagnosis.with("ends_by", by.word());
    Some(match since {
        Some(_) => diagnosis,
        None => diagnosis.likely(),
    })
}

/// The age at which the connection that lives longest was cut off, if all others that were cut
/// off with bytes on them were as old.
fn guess_lifetime(facts: &Facts) -> Option<(Duration, Ending)> {
    let is_it = |at: &&Failure| {
        let seen = &at.observed;
        let is_odd = seen.half_closed || seen.urgent || seen.held_silent;
        is_cut(at) && seen.received > 0 && !is_odd
    };
    let longest = facts.failure("lifetime").filter(is_it)?;
    let age = age(longest);
    let mut others = facts.failures.iter().filter(is_it);
    let is_as_old = |at: &Failure| age <= self::age(at).mul_f64(1.0 + AGED) + TIMERS;
    let is_guess = age >= LEAST_AGE && others.all(is_as_old) && guess_messages(facts).is_none();
    is_guess.then_some((age, ending(longest)?))
}

/// The age of a connection at its end: what is silent has ended when it last moved.
fn age(failure: &Failure) -> Duration {
    match failure.is_silent() {
        true => failure.observed.moved_at,
        false => failure.observed.age,
    }
}

/// How the clause's connection ended, if it did.
const fn ending(failure: &Failure) -> Option<Ending> {
    match failure.observed.end {
        End::Silence | End::Slow => Some(Ending::Silence),
        End::Close => Some(Ending::Close),
        End::Reset => Some(Ending::Reset),
        _ => None,
    }
}

/// `idle-limit`: a connection ends after a silence.
pub(super) fn idle(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(Silences::Forgotten { alive, dead, by }) = findings.silences else {
        return guess_idle(facts)
            .filter(|_| findings.silences.is_none() && findings.is_open("silences"));
    };
    let is_silent = |at: &Failure| at.observed.held_silent;
    let how = match by {
        Ending::Silence => "is forgotten, and what is sent then is lost,",
        other => ends(other),
    };
    let text = format!(
        "a silent connection {how} after {} to {}",
        duration(alive),
        duration(dead)
    );
    let explains = facts.clauses(is_silent);
    let diagnosis = Diagnosis::certain("idle-limit", text, KEEP_ALIVE, explains);
    let diagnosis = diagnosis.with("alive_s", rounded(alive));
    let diagnosis = diagnosis.with("dead_s", rounded(dead));
    Some(diagnosis.with("ends_by", by.word()))
}

const KEEP_ALIVE: &str = "send keepalives more often than that (SO_KEEPALIVE with TCP_KEEPIDLE, or \
                          the protocol's own), or raise the idle time-out of the firewall, the \
                          balancer or the server";

/// A silent connection has ended, and the busy one of `lifetime` not.
fn guess_idle(facts: &Facts) -> Option<Diagnosis> {
    let failure = facts.failures.iter().find(|at| at.observed.held_silent)?;
    let by = ending(failure)?;
    if facts.failure("lifetime").is_some_and(is_cut) {
        return None;
    }
    let text = match by {
        Ending::Silence => String::from(
            "a silent connection seems to be forgotten: what is sent behind the silence is lost",
        ),
        other => format!(
            "a silent connection seems to be ended for its silence: it {} {} after it was made",
            ends(other),
            duration(failure.observed.age)
        ),
    };
    let explains = facts.clauses(|at| at.observed.held_silent);
    let diagnosis = Diagnosis::certain("idle-limit", text, KEEP_ALIVE, explains).likely();
    Some(diagnosis.with("ends_by", by.word()))
}

/// How connections end, as a verb.
const fn ends(by: Ending) -> &'static str {
    match by {
        Ending::Silence => "stalls",
        Ending::Close => "is closed",
        Ending::Reset => "is reset",
    }
}

/// Whether the clause's connection ended so.
fn ended_by(failure: &Failure, by: Ending) -> bool {
    match by {
        Ending::Silence => failure.is_silent(),
        // What is sent after a close is answered by a reset.
        Ending::Close | Ending::Reset => {
            matches!(failure.observed.end, End::Close | End::Reset)
        }
    }
}

fn is_cut(failure: &Failure) -> bool {
    failure.is_silent() || matches!(failure.observed.end, End::Close | End::Reset)
}

/// In seconds, to the millisecond.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};

    fn received(name: &'static str, end: End, bytes: u64) -> Failure {
        let mut failure = failure(name, end);
        failure.observed.received = bytes;
        failure
    }

    #[test]
    fn a_quota_explains_what_ended_in_its_way_after_some_bytes() {
        let failures = [
            received("bytes", End::Reset, 48_000),
            received("tiny-segments", End::Close, 700),
            received("urgent", End::Silence, 1024),
            received("connections", End::Reset, 0),
        ];
        let findings = Findings {
            streams: Some(Streams::AfterBytes {
                bytes: 48_000,
                by: Ending::Reset,
                is_proved: true,
            }),
            ..Findings::default()
        };
        let facts = facts(&failures, &[]);
        let diagnosis = quota(&facts, &findings).unwrap();
        assert_eq!(diagnosis.explains, ["bytes", "tiny-segments"]);
        assert_eq!(diagnosis.evidence["bytes"], 48_000);
        assert_eq!(diagnosis.evidence["ends_by"], "reset");
        assert_eq!(lifetime(&facts, &findings), None);
    }

    #[test]
    fn hardly_any_bytes_are_a_quota_only_if_that_is_proved() {
        let facts = facts(&[received("bytes", End::Close, 10)], &[]);
        let of = |bytes, is_proved| {
            let by = Ending::Close;
            let findings = Findings {
                streams: Some(Streams::AfterBytes {
                    bytes,
                    by,
                    is_proved,
                }),
                ..Findings::default()
            };
            quota(&facts, &findings).map(|at| at.confidence)
        };
        assert_eq!(of(0, false), None);
        assert_eq!(of(1_000, false), Some(Confidence::Likely));
        assert_eq!(of(100, true), Some(Confidence::Certain));
    }

    #[test]
    fn a_limit_of_messages_explains_what_ended_in_its_way() {
        let failures = [
            received("bytes", End::Close, 512),
            received("connections", End::Close, 0),
        ];
        let findings = Findings {
            streams: Some(Streams::AfterMessages {
                messages: 1,
                by: Ending::Close,
                is_proved: true,
            }),
            ..Findings::default()
        };
        let facts = facts(&failures, &[]);
        let diagnosis = messages(&facts, &findings).unwrap();
        assert_eq!(diagnosis.explains, ["bytes"]);
        assert_eq!(diagnosis.evidence["messages"], 1);
        assert!(diagnosis.text.contains("once 1 message came back"));
        assert_eq!(quota(&facts, &findings), None);
        assert_eq!(lifetime(&facts, &findings), None);
    }

    #[test]
    fn a_lifetime_explains_what_was_as_old() {
        let aged = |name, seconds| {
            let mut failure = failure(name, End::Close);
            failure.observed.age = Duration::from_secs_f64(seconds);
            failure
        };
        let facts = facts(&[aged("small-writes", 1.0), aged("urgent", 0.1)], &[]);
        let at_age = Findings {
            streams: Some(Streams::AtAge {
                age: Duration::from_millis(1003),
                by: Ending::Silence,
                since: Since::Made,
            }),
            ..Findings::default()
        };
        let diagnosis = lifetime(&facts, &at_age).unwrap();
        assert_eq!(diagnosis.explains, ["small-writes"]);
        assert_eq!(diagnosis.evidence["seconds"], 1.003);
        let busy = Findings {
            silences: Some(Silences::Busy {
                age: Duration::from_secs(1),
                by: Ending::Close,
            }),
            ..Findings::default()
        };
        assert_eq!(
            lifetime(&facts, &busy).unwrap().evidence["ends_by"],
            "close"
        );
        assert_eq!(idle(&facts, &busy), None);
    }

    #[test]
    fn a_limit_of_silence_explains_the_silent() {
        let mut silent = failure("idle", End::Silence);
        silent.observed.held_silent = true;
        let facts = facts(&[silent, failure("bytes", End::Silence)], &[]);
        let findings = Findings {
            silences: Some(Silences::Forgotten {
                alive: Duration::from_millis(1900),
                dead: Duration::from_millis(2100),
                by: Ending::Silence,
            }),
            ..Findings::default()
        };
        let diagnosis = idle(&facts, &findings).unwrap();
        assert_eq!(diagnosis.explains, ["idle"]);
        assert_eq!(diagnosis.evidence["alive_s"], 1.9);
        assert_eq!(diagnosis.evidence["dead_s"], 2.1);
    }

    #[test]
    fn without_experiments_two_that_are_cut_off_in_the_midst_are_a_guess() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let failures = [
            received("bytes", End::Reset, 48_000),
            received("message-64k", End::Close, 47_000),
        ];
        let of = |failures: &[Failure]| quota(&facts(failures, &["connect"]), &untried);
        let guess = of(&failures).unwrap();
        assert_eq!(guess.confidence, Confidence::Likely);
        assert_eq!(guess.evidence["bytes"], 48_000);
        assert_eq!(guess.evidence["ends_by"], "reset");
        assert_eq!(of(&failures[..1]), None);
        let sooner = received("slow-writer", End::Close, 3);
        assert_eq!(of(&[&failures[..], &[sooner]].concat()), None);
        let tried = quota(&facts(&failures, &["connect"]), &Findings::default());
        assert_eq!(tried, None);
    }

    /// A failed clause that was cut off after so many bytes at that age.
    fn cut(name: &'static str, bytes: u64, age: u64) -> Failure {
        let mut failure = received(name, End::Close, bytes);
        failure.observed.age = Duration::from_millis(age);
        failure
    }

    #[test]
    fn without_experiments_what_two_clauses_have_in_common_is_a_guess() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let of = |failures: &[Failure]| {
            let facts = facts(failures, &["connect"]);
            let tried = Findings::default();
            assert_eq!(messages(&facts, &tried).or(lifetime(&facts, &tried)), None);
            let all = [messages, lifetime, quota].map(|family| family(&facts, &untried));
            let mut all = all.into_iter().flatten();
            let first = all.next();
            assert_eq!(all.next(), None);
            first.inspect(|at| assert_eq!(at.confidence, Confidence::Likely))
        };
        let as_many = [
            cut("lifetime", 5 * 16, 100),
            cut("slow-writer", 5 * 3, 2),
            cut("bytes", 5 * 16_384, 3),
        ];
        let limit = of(&as_many).unwrap();
        assert_eq!(
            (limit.cause, &limit.evidence["messages"]),
            ("message-limit", &5.into())
        );
        let as_old = [
            cut("lifetime", 640, 1_000),
            cut("slow-writer", 18, 990),
            cut("message-16m", 9_000_000, 1_003),
        ];
        let limit = of(&as_old).unwrap();
        assert_eq!(
            (limit.cause, &limit.evidence["seconds"]),
            ("lifetime-limit", &1.0.into())
        );
        // One was younger, or all were so young that it is no limit of age.
        let younger = [cut("lifetime", 640, 1_000), cut("bytes", 300, 20)];
        assert_eq!(of(&younger), None);
        assert_eq!(of(&[cut("lifetime", 640, 200)]), None);
    }

    #[test]
    fn without_experiments_a_silent_one_that_ended_beside_a_busy_one_is_a_guess() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let mut silent = cut("idle", 16, 2_000);
        silent.observed.held_silent = true;
        let tried = Findings::default();
        let of = |failures: &[Failure], findings| idle(&facts(failures, &["bytes"]), findings);
        let guess = of(std::slice::from_ref(&silent), &untried).unwrap();
        assert_eq!(guess.confidence, Confidence::Likely);
        assert_eq!(guess.explains, ["idle"]);
        assert_eq!(guess.evidence["ends_by"], "close");
        let busy = [silent.clone(), cut("lifetime", 64, 2_000)];
        assert_eq!(of(&busy, &untried), None);
        assert_eq!(of(&[silent], &tried), None);
        assert_eq!(of(&[cut("bytes", 64, 20)], &untried), None);
    }
}
