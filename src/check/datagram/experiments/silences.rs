//! After how long a silence a socket is forgotten: many, each silent for another time, side by
//! side, and a busy one for comparison.

use std::time::{Duration, Instant};

use crate::check::datagram::findings::Silences;
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::target::{TRIES, Target};
use crate::probe::datagram::socket::Options;

/// How many silent sockets.
const STEPS: u32 = 16;

/// Tries them, the longest silence being `most`.
pub(super) fn silences(target: &mut Target<'_>, most: Duration) -> Result<Silences, NotPassed> {
    let mut busy = answered(target)?;
    let mut silent = Vec::new();
    for _ in 0..STEPS {
        silent.push((answered(target)?, Instant::now()));
    }
    let begun = Instant::now();
    let mut woken: Vec<Woken> = Vec::new();
    let mut busy_died = None;
    for (number, (mut port, since)) in (1..).zip(silent) {
        let due = begun + most * number / STEPS;
        target.pause(due.saturating_duration_since(Instant::now()))?;
        let silence = since.elapsed();
        let at = port.send(target.content(SMALL));
        woken.push(Woken { port, at, silence });
        // One that is dead must not keep the busy one waiting.
        woken.iter_mut().for_each(Woken::look);
        if busy_died.is_none() && !ask(target, &mut busy)? {
            busy_died = Some(begun.elapsed());
        }
    }
    let mut lives = Vec::new();
    for mut one in woken {
        let is_alive = one.is_answered() || ask(target, &mut one.port)?;
        lives.push((one.silence, is_alive));
    }
    Ok(judge(&lives, busy_died))
}

/// A socket that has sent after a silence.
struct Woken {
    port: Port,
    at: usize,
    silence: Duration,
}

impl Woken {
    fn is_answered(&self) -> bool {
        self.port.sent[self.at].is_answered()
    }

    /// Receives what has come, and sends once more while nothing has.
    fn look(&mut self) {
        self.port.receive(Duration::ZERO);
        if !self.is_answered() && self.port.sent[self.at].times < TRIES {
            self.port.send_again(self.at);
        }
    }
}

/// A new socket that has an answer.
fn answered(target: &mut Target<'_>) -> Result<Port, NotPassed> {
    for _ in 0..TRIES {
        let mut port = target.open_any(Options::default())?;
        if ask(target, &mut port)? {
            return Ok(port);
        }
    }
    Err(NotPassed::Skipped(String::from("no socket has an answer")))
}

fn ask(target: &mut Target<'_>, port: &mut Port) -> Result<bool, NotPassed> {
    let bytes = target.content(SMALL);
    let at = target.ask(port, bytes, TRIES)?;
    Ok(port.sent[at].is_answered())
}

/// What the silences mean, in order, each with whether it was survived.
fn judge(lives: &[(Duration, bool)], busy_died: Option<Duration>) -> Silences {
    let first_dead = lives.iter().position(|(_, lives)| !lives);
    let Some(at) = first_dead.filter(|at| lives[*at..].iter().all(|(_, lives)| !lives)) else {
        return Silences::Alive;
    };
    let dead = lives[at].0;
    let alive = at.checked_sub(1).map_or(Duration::ZERO, |at| lives[at].0);
    match busy_died {
        Some(age) => Silences::Busy { age },
        None => Silences::Forgotten { alive, dead },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_told_from_an_age() {
        let s = Duration::from_secs;
        let lives = [(s(1), true), (s(2), true), (s(3), false), (s(4), false)];
        let (alive, dead) = (s(2), s(3));
        assert_eq!(judge(&lives, None), Silences::Forgotten { alive, dead });
        assert_eq!(judge(&lives, Some(s(3))), Silences::Busy { age: s(3) });
        assert_eq!(judge(&lives[..2], None), Silences::Alive);
        let mixed = [(s(1), false), (s(2), true)];
        assert_eq!(judge(&mixed, None), Silences::Alive);
    }
}
