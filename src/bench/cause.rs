//! What the examples of errors are of: a cause that is rare has a place among those that are
//! frequent.

use std::io::ErrorKind;
use std::mem::{Discriminant, discriminant};

use crate::probe::pattern::Damage;

/// What an example is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No connection could be made.
    NotConnected(ErrorKind),
    /// The server closed a connection.
    Closed,
    /// A connection was reset.
    Reset,
    /// A connection was given up.
    TimedOut,
    /// A connection failed otherwise.
    Failed(ErrorKind),
    /// The bytes of a connection were damaged.
    Damaged(Discriminant<Damage>),
    /// This machine did not send a datagram.
    NotSent(ErrorKind),
    /// The path reported an error.
    Path(ErrorKind),
    /// A datagram came back changed.
    Changed,
    /// What came is no echo.
    Foreign,
    /// It came from another address than was asked.
    Stranger,
    /// Sending had to wait.
    Waited,
}

impl Cause {
    pub(super) const fn damaged(damage: &Damage) -> Self {
        Self::Damaged(discriminant(damage))
    }
}

/// Adds an example to those of which there are `most` at the most. Where all places are taken,
/// one of a cause that is not among them has that of the last one of the most frequent cause.
pub(super) fn add(
    examples: &mut Vec<(Cause, String)>,
    (cause, text): (Cause, String),
    most: usize,
) {
    if examples.len() >= most {
        let number = |cause: Cause| examples.iter().filter(|it| it.0 == cause).count();
        let frequent = examples.iter().map(|it| it.0).max_by_key(|it| number(*it));
        let is_new = number(cause) == 0;
        let frequent = frequent.filter(|it| is_new && number(*it) > 1);
        let Some(place) = frequent.and_then(|it| examples.iter().rposition(|one| one.0 == it))
        else {
            return;
        };
        examples.remove(place);
    }
    examples.push((cause, text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_cause_has_a_place_among_frequent_ones() {
        let mut examples = Vec::new();
        for number in 0..20 {
            let frequent = (Cause::Changed, format!("changed {number}"));
            add(&mut examples, frequent, 4);
        }
        for (cause, text) in [(Cause::Reset, "reset"), (Cause::Foreign, "foreign")] {
            add(&mut examples, (cause, String::from(text)), 4);
        }
        add(&mut examples, (Cause::Reset, String::from("again")), 4);
        let texts: Vec<_> = examples.iter().map(|(_, text)| &**text).collect();
        assert_eq!(texts, ["changed 0", "changed 1", "reset", "foreign"]);
        // Each is the only one of its cause then.
        for cause in [Cause::Closed, Cause::TimedOut, Cause::Waited] {
            add(&mut examples, (cause, format!("{cause:?}")), 4);
        }
        let texts: Vec<_> = examples.iter().map(|(_, text)| &**text).collect();
        assert_eq!(texts, ["changed 0", "reset", "foreign", "Closed"]);
    }
}
