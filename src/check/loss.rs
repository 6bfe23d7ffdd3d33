//! Whether more packets are lost than a sound path loses, those that make connections among them.

use std::time::Duration;

use super::begun::{Begun, TRIED};
use super::clause::{Clause, Load};
use super::experiments::count_lost;
use super::lost::{Loss, Proves, SOUND};
use super::not_passed::NotPassed;
use super::observation::End;
use super::parallel::in_threads;
use super::target::Target;
use crate::base::units::whole;

pub(super) const LOSS: Clause = Clause {
    name: "loss",
    proves: "of single packets, on a path that carries nothing else, no more than 2 in 100 are lost",
    usually: "a bad cable or radio link, a duplex mismatch, a policer, or a link that others fill",
    rfc: "RFC 9293 section 3.8.1, RFC 6298",
    load: Load::Measures,
    run: loss,
};

/// A measurement that finds more is repeated: packets are lost in bursts.
const ROUNDS: u32 = 2;

/// Of so many no more than on a sound path is a pass, though a few more may be lost.
const ENOUGH: u64 = 300;

/// Nothing is measured where no more than one of so many segments of the clauses before was
/// sent again, or came out of order; if there were so many.
const CLEAN_ONE_OF: u64 = 100;

/// Packets of connections that are there, and then, where some were late, those that make them.
fn loss(target: &Target<'_>) -> Result<String, NotPassed> {
    let counted = packets(target);
    let is_over = matches!(counted, Err(NotPassed::Failed { .. } | NotPassed::Stopped));
    if is_over || !target.shared.seems_late() {
        return counted;
    }
    let begun = begun(target)?;
    let [late, tried] = [begun.late, begun.tried].map(|number| whole(number as u64));
    let text = format!("of {tried} connections begun a few at a time, {late} sent their SYN again");
    if !begun.is_proved() {
        return counted.map(|seen| format!("{seen}; {text}"));
    }
    // Each of the next ones may take a second, too.
    target.shared.mark_lossy();
    Err(NotPassed::ended(text, End::Begun(begun)))
}

/// How many connections are begun at once, and the pause behind each: fewer than the shortest
/// listen queue drops, and than most limits of new ones in a second; how often, where that does
/// not tell.
const AT_ONCE: usize = 8;
const PAUSE: Duration = Duration::from_millis(200);
const BEGUN_ROUNDS: u32 = 2;

/// Begins connections until it is known whether too many are late.
fn begun(target: &Target<'_>) -> Result<Begun, NotPassed> {
    let mut times = Vec::new();
    for _ in 0..BEGUN_ROUNDS {
        let at_once = AT_ONCE.min(target.shared.width());
        times.extend(in_threads(TRIED, at_once, || {
            let connection = target.open()?;
            let time = connection.connect_time;
            connection.finish()?;
            target.context.pause(PAUSE)?;
            Ok(time)
        })?);
        let begun = Begun::of(&times, target.shared.least().unwrap_or_default());
        if begun.is_proved() || begun.percent() <= SOUND {
            return Ok(begun);
        }
    }
    Ok(Begun::of(&times, target.shared.least().unwrap_or_default()))
}

fn packets(target: &Target<'_>) -> Result<String, NotPassed> {
    if let Some((sent, trouble)) = target.shared.segments()
        && sent >= CLEAN_ONE_OF
        && trouble * CLEAN_ONE_OF <= sent
    {
        let [sent, trouble] = [sent, trouble].map(whole);
        return Ok(format!(
            "of {sent} segments of the clauses before, {trouble} were sent again or came out of order"
        ));
    }
    // Finds which of several addresses answers.
    target.open()?.finish()?;
    let mut measured = Loss::default();
    for round in 0..ROUNDS {
        let counted = count_lost(target);
        target.context.go_on()?;
        let Some(counted) = counted else {
            return Err(untold(
                "the system does not count what tells, or no message came back",
            ));
        };
        match counted.proves() {
            Proves::Lossy => {}
            Proves::Sound => return Ok(text(&counted)),
            // Fewer will do to repeat what is proved.
            Proves::Nothing if round > 0 && counted.seems_lossy() => {}
            Proves::Nothing if counted.packets >= ENOUGH && !counted.seems_lossy() => {
                return Ok(text(&counted));
            }
            Proves::Nothing => {
                let text = text(&counted);
                return Err(untold(&format!(
                    "{text}: too few to tell that from {SOUND} %"
                )));
            }
        }
        measured = counted;
    }
    target.shared.mark_lossy();
    Err(NotPassed::ended(text(&measured), End::Lost(measured)))
}

fn untold(why: &str) -> NotPassed {
    NotPassed::Skipped(why.to_owned())
}

fn text(measured: &Loss) -> String {
    let [there, back] = [measured.to_server(), measured.to_client()];
    let packets = whole(measured.packets);
    format!(
        "of {packets} packets {there:.1} % were lost on the way to the server, and of their echoes \
         {back:.1} % on the way back"
    )
}
