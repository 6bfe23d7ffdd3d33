//! What passed, or was found, and speaks against a cause that a family has named.

use std::time::Duration;

use crate::check::cause::{Confidence, Diagnosis};
use crate::check::facts::Facts;
use crate::check::findings::{Findings, Held, Silences};
use crate::check::pace::WRITES;

/// What a passed clause does to a cause that it speaks against. It had a connection of its own,
/// which a balancer may have sent to another server than those of the experiments: so it does
/// not undo what these proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Against {
    /// It can't be: an experiment contradicts it, or it was only guessed.
    Never,
    /// Not on each connection: it is no proof any more. The clause that says so.
    NotAlways(&'static str),
}

/// A connection that lived for so many times the age of a limit, and a fixed part for timers,
/// was not ended by it.
const OUTLIVED: f64 = 1.25;
const TIMERS: Duration = Duration::from_millis(150);

/// The bytes that one connection of `message-64k` carries each way.
const CARRIED: u64 = 3 << 16;

/// Clauses of which each message is so small, and in no line, that what holds small ones back
/// holds these.
const UNHELD: [&str; 3] = ["slow-writer", "small-writes", "lifetime"];

/// The cause, unless something that passed rules it out; only likely, and its text says why,
/// where something that passed speaks against it.
pub(super) fn weighed(cause: Diagnosis, facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    match against(&cause, facts, findings) {
        None => Some(cause),
        Some(Against::Never) => None,
        Some(Against::NotAlways(_)) if cause.confidence == Confidence::Likely => Some(cause),
        Some(Against::NotAlways(clause)) => {
            let text = format!(
                "{}; but {clause} passed, so this is not so each time",
                cause.text
            );
            Some(Diagnosis { text, ..cause }.likely())
        }
    }
}

fn against(cause: &Diagnosis, facts: &Facts, findings: &Findings) -> Option<Against> {
    let passed = |names: &[&'static str]| {
        let mut names = names.iter().copied();
        names.find(|name| facts.passed.contains(name))
    };
    let not_always = |names: &[&'static str]| passed(names).map(Against::NotAlways);
    match cause.cause {
        "lifetime-limit" => outlived(cause, facts, findings),
        "line-buffered" => not_always(&UNHELD),
        // What is small is read at once.
        "stores-and-forwards" if matches!(findings.held, Some(Held::Unread(_))) => None,
        // What is collected for a while comes back.
        "stores-and-forwards" if !cause.evidence.contains_key("delay_ms") => {
            match cause.confidence {
                Confidence::Likely => passed(&UNHELD).map(|_| Against::Never),
                Confidence::Certain => not_always(&UNHELD),
            }
        }
        "mtu-black-hole" => not_always(&["message-mss", "message-64k", "message-16m"]),
        "connection-quota" => {
            let bytes = cause.evidence.get("bytes")?.as_u64()?;
            let carried = |name, most| not_always(&[name]).filter(|_| bytes < most / 2);
            carried("message-64k", CARRIED).or_else(|| carried("message-16m", facts.borne.bytes))
        }
        "message-limit" => {
            let messages = cause.evidence.get("messages")?.as_u64()?;
            let carried = |name, most| not_always(&[name]).filter(|_| messages < most);
            carried("slow-writer", WRITES).or_else(|| carried("lifetime", facts.borne.messages))
        }
        "connection-limit" => {
            let limit = cause.evidence.get("connections")?.as_u64()?;
            not_always(&["connections"]).filter(|_| facts.borne.connections as u64 > limit)
        }
        "connect-rate-limit" | "listen-queue" => {
            let made = cause.evidence.get("made")?.as_u64()?;
            not_always(&["connect-storm"]).filter(|_| facts.borne.storm as u64 > made)
        }
        "no-half-close" => {
            let is_sound = facts.passed.contains(&"half-close-late");
            not_always(&["half-close-early"]).filter(|_| is_sound)
        }
        "loss" => not_always(&["loss"]).filter(|_| findings.loss.is_some()),
        // Damage at an offset is none of values.
        "bytes-changed" if cause.evidence.contains_key("at") => None,
        // Other bytes pass.
        "bytes-changed" if findings.content.is_some() => None,
        "bytes-changed" => not_always(match cause.evidence.get("how")?.as_str()? {
            "line-ends" | "other" => &["bytes"],
            _ => &["bytes", "message-64k"],
        }),
        "idle-limit" => {
            let limit = longer_than(cause.evidence.get("dead_s")?.as_f64()?);
            let is_longer = facts.borne.silence.is_some_and(|silence| silence > limit);
            is_longer.then_some(Against::NotAlways("connections"))
        }
        name => {
            debug_assert!(UNREFUTED.contains(&name), "nothing speaks against {name}");
            None
        }
    }
}

/// What no passed clause speaks against: the first are only named where nothing was made, or
/// nothing came back; one clause alone tests each of the next, which has failed; and the last
/// happen sooner or later.
const UNREFUTED: [&str; 18] = [
    "refused",
    "no-answer",
    "unreachable",
    "lost-behind-handshake",
    "nobody-behind",
    "not-an-echo",
    "gone",
    "banned",
    "one-of-several",
    "urgent-lost",
    "unread-limit",
    "holds-small-writes",
    "answers-late",
    "stores-and-forwards",
    "address-translated",
    "bytes-of-others",
    "stalls-when-full",
    "first-syn-dropped",
];

/// So long is longer than a limit of so many seconds.
fn longer_than(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0) * OUTLIVED) + TIMERS
}

/// Whether a connection was older than the limit says: a busy one, or the silent ones of an
/// experiment.
fn outlived(cause: &Diagnosis, facts: &Facts, findings: &Findings) -> Option<Against> {
    let age = cause.evidence.get("seconds")?.as_f64()?;
    let limit = longer_than(age);
    match findings.silences {
        Some(Silences::Forgotten { alive, .. }) if alive > limit => Some(Against::Never),
        _ => {
            let is_older = facts.borne.age.is_some_and(|age| age > limit);
            is_older.then_some(Against::NotAlways("lifetime"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::Borne;
    use crate::check::facts::made::{facts, failure};
    use crate::check::findings::Ending;
    use crate::check::observation::End;

    fn named(cause: &'static str) -> Diagnosis {
        Diagnosis::certain(cause, "text", "advice", vec!["bytes"])
    }

    fn of(cause: Diagnosis, passed: &[&'static str]) -> Option<Confidence> {
        let facts = facts(&[failure("bytes", End::Silence)], passed);
        weighed(cause, &facts, &Findings::default()).map(|at| at.confidence)
    }

    #[test]
    fn a_limit_of_age_is_not_proved_where_a_connection_was_older() {
        let limit = || named("lifetime-limit").with("seconds", 3.0);
        let mut facts = facts(&[failure("idle", End::Close)], &["lifetime"]);
        let is_said = |facts: &Facts, findings: &Findings| {
            weighed(limit(), facts, findings).map(|at| at.confidence)
        };
        let none = Findings::default();
        assert_eq!(is_said(&facts, &none), Some(Confidence::Certain));
        facts.borne.age = Some(Duration::from_millis(3200));
        assert_eq!(is_said(&facts, &none), Some(Confidence::Certain));
        facts.borne.age = Some(Duration::from_secs(300));
        assert_eq!(is_said(&facts, &none), Some(Confidence::Likely));
        let silent = Findings {
            silences: Some(Silences::Forgotten {
                alive: Duration::from_secs(6),
                dead: Duration::from_secs(7),
                by: Ending::Silence,
            }),
            ..Findings::default()
        };
        assert_eq!(is_said(&facts, &silent), None);
    }

    #[test]
    fn a_limit_of_silence_is_not_proved_where_a_connection_was_silent_for_longer() {
        let limit = || named("idle-limit").with("dead_s", 2.0);
        let mut facts = facts(&[failure("idle", End::Close)], &["connections"]);
        for (silence, confidence) in [
            (None, Confidence::Certain),
            (Some(2_500), Confidence::Certain),
            (Some(2_700), Confidence::Likely),
        ] {
            facts.borne.silence = silence.map(Duration::from_millis);
            let said = weighed(limit(), &facts, &Findings::default()).unwrap();
            assert_eq!(said.confidence, confidence, "{silence:?}");
        }
    }

    /// Each cause is known here.
    #[test]
    fn it_is_known_of_each_cause_what_speaks_against_it() {
        let schema = include_str!("../../../docs/check.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let causes = schema.pointer("/$defs/cause/properties/cause/enum");
        let is_of_datagrams = |name: &&str| OF_DATAGRAMS.contains(name);
        let causes = causes.unwrap().as_array().unwrap().iter();
        let causes = causes.map(|name| name.as_str().unwrap());
        for name in causes.filter(|name| !is_of_datagrams(name)) {
            // It says so itself where it does not know one.
            let cause = Diagnosis::certain(name.to_owned().leak(), "", "", Vec::new());
            let none = facts(&[], &[]);
            assert_eq!(
                weighed(cause.clone(), &none, &Findings::default()),
                Some(cause)
            );
        }
    }

    const OF_DATAGRAMS: [&str; 17] = [
        "wrong-address",
        "mtu",
        "fragments-dropped",
        "size-limit",
        "port-loses",
        "rate-limit",
        "marks-bleached",
        "marks-dropped",
        "empty-dropped",
        "content-dropped",
        "lengths-dropped",
        "burst-limit",
        "banned",
        "interrupted",
        "flow-limit",
        "reordered",
        "duplicates",
    ];

    #[test]
    fn what_holds_small_messages_back_holds_those_of_each_clause() {
        for name in ["line-buffered", "stores-and-forwards"] {
            assert_eq!(of(named(name), &["connect"]), Some(Confidence::Certain));
            let passed = ["connect", "slow-writer"];
            assert_eq!(of(named(name), &passed), Some(Confidence::Likely));
        }
        let guess = || named("stores-and-forwards").likely();
        assert_eq!(of(guess(), &["connect"]), Some(Confidence::Likely));
        assert_eq!(of(guess(), &["slow-writer"]), None);
        let collected = named("stores-and-forwards").with("delay_ms", 500.0);
        assert_eq!(of(collected, &["slow-writer"]), Some(Confidence::Certain));
    }

    #[test]
    fn what_some_connections_refute_is_not_proved_of_all() {
        use Confidence::{Certain, Likely};
        let quota = |bytes: u64| named("connection-quota").with("bytes", bytes);
        let limit = |messages: u64| named("message-limit").with("messages", messages);
        let of_values = |how: &str| named("bytes-changed").with("how", how);
        for (cause, passed, confidence) in [
            (named("mtu-black-hole"), "message-64k", Likely),
            (named("mtu-black-hole"), "small-writes", Certain),
            (quota(4_000), "message-64k", Likely),
            (quota(400_000), "message-64k", Certain),
            (limit(3), "slow-writer", Likely),
            (limit(3), "message-64k", Certain),
            (limit(30), "slow-writer", Certain),
            (of_values("nul"), "bytes", Likely),
            (of_values("nul"), "message-64k", Likely),
            (of_values("line-ends"), "message-64k", Certain),
            (of_values("line-ends"), "bytes", Likely),
            (of_values("other").with("at", 700), "bytes", Certain),
            (named("no-half-close"), "half-close-early", Certain),
            (named("urgent-lost"), "bytes", Certain),
        ] {
            let name = cause.cause;
            assert_eq!(of(cause, &[passed]), Some(confidence), "{name} {passed}");
        }
        let both = ["half-close-late", "half-close-early"];
        assert_eq!(of(named("no-half-close"), &both), Some(Likely));
        let borne = Borne {
            messages: 75,
            bytes: 3 << 20,
            ..Borne::default()
        };
        let mut facts = facts(
            &[failure("bytes", End::Silence)],
            &["message-16m", "lifetime"],
        );
        let mut said = |cause, borne| {
            facts.borne = borne;
            weighed(cause, &facts, &Findings::default()).map(|at| at.confidence)
        };
        for cause in [quota(1_000_000), limit(30)] {
            assert_eq!(said(cause.clone(), Borne::default()), Some(Certain));
            assert_eq!(said(cause, borne), Some(Likely));
        }
        let crowd = |number| Borne {
            connections: number,
            storm: number,
            ..Borne::default()
        };
        for (cause, key) in [
            ("connection-limit", "connections"),
            ("listen-queue", "made"),
            ("connect-rate-limit", "made"),
        ] {
            facts.passed = vec!["connections", "connect-storm"];
            let mut of = |number| {
                facts.borne = crowd(number);
                let cause = named(cause).with(key, 40);
                weighed(cause, &facts, &Findings::default()).map(|at| at.confidence)
            };
            // As many as are served, and one more.
            assert_eq!((of(40), of(41)), (Some(Certain), Some(Likely)), "{cause}");
        }
        facts.passed = vec!["message-64k"];
        let told = weighed(named("mtu-black-hole"), &facts, &Findings::default()).unwrap();
        assert_eq!(
            told.text,
            "text; but message-64k passed, so this is not so each time"
        );
    }
}
