//! Urgent data.

use std::time::Duration;

use super::clause::{Clause, Load};
use super::connection::{Connection, MESSAGE};
use super::not_passed::NotPassed;
use super::observation::End;
use super::target::Target;
use crate::base::units::whole;
use crate::probe::pattern::Damage;

pub(super) const URGENT: Clause = Clause {
    name: "urgent",
    proves: "a byte sent as urgent comes back in its place: TCP has no other channel for it",
    usually: "the server or a proxy reads without SO_OOBINLINE, which takes the byte out of the \
              stream",
    rfc: "RFC 6093, RFC 9293 section 3.8.5",
    load: Load::Streams,
    run: urgent,
};

/// What is sent before and after the urgent byte, in bytes: a message, then a stream.
const AROUND: [u64; 2] = [MESSAGE, 1 << 20];

/// Why a byte that is missing is no fault by default.
const OUT_OF_LINE: &str = "the urgent byte was taken out of the stream, as a server or a proxy \
                           does that reads it out of line (RFC 6093); --only urgent or --thorough \
                           counts it as a fault";

/// Why a connection that stands still behind it is none.
const UNREAD: &str = "nothing that was sent behind the urgent byte came back, though it arrived, \
                      as where a program passes bytes on by splice(2), which stops there (RFC 6093 \
                      asks to do without); --only urgent or --thorough counts it as a fault";

fn urgent(target: &Target<'_>) -> Result<String, NotPassed> {
    let is_allowed = !target.plan().urgent_in_line;
    match exchange(target, |connection| connection.send_urgent()) {
        // Only if all others come in order, and the connection lives.
        Err(why) if is_allowed && is_one_missing(&why) => {
            match exchange(target, |connection| connection.send_urgent_out_of_line()) {
                Ok(_) => Err(NotPassed::Skipped(String::from(OUT_OF_LINE))),
                // What else is the matter: that byte came before it.
                other => other,
            }
        }
        // Only if nothing stands still without one.
        Err(why) if is_allowed && is_unread(&why) => {
            exchange(target, |connection| connection.exchange(1, 1))?;
            Err(NotPassed::Skipped(String::from(UNREAD)))
        }
        exchanged => exchanged,
    }
}

/// Whether just a byte was missing behind an urgent one.
fn is_one_missing(why: &NotPassed) -> bool {
    let NotPassed::Failed { observed, .. } = why else {
        return false;
    };
    let one = Some(Damage::Lost { bytes: 1 });
    observed.urgent && matches!(&observed.end, End::Wrong(wrong) if wrong.damage == one)
}

/// Whether nothing came any more behind an urgent byte, and all that was sent had arrived.
fn is_unread(why: &NotPassed) -> bool {
    let NotPassed::Failed { observed, .. } = why else {
        return false;
    };
    observed.urgent && observed.end == End::Silence && observed.taken == Some(true)
}

/// Sends an urgent byte among a message and one among a stream, on a connection.
fn exchange(
    target: &Target<'_>,
    send_urgent: fn(&Connection<'_>) -> Result<(), NotPassed>,
) -> Result<String, NotPassed> {
    let connection = target.open()?;
    let within = target.budget(4);
    let mut all = [0; AROUND.len()];
    for (around, all) in AROUND.into_iter().zip(&mut all) {
        *all += connection.exchange_within(around, within, Duration::ZERO)?;
        send_urgent(&connection)?;
        *all += connection.exchange_within(around, within, Duration::ZERO)?;
    }
    connection.finish()?;
    let shortened = target.shortened(all[1], 2 * AROUND[1]);
    let [message, stream] = all.map(whole);
    Ok(format!(
        "an urgent byte came back in its place, among {message} bytes and among {stream}{shortened}"
    ))
}
