//! Which clauses may run beside each other.
//!
//! Those that wait for the path run together, as far as the server is known to serve so many
//! connections at once. Those that load the path or the server follow one by one.

use super::clause::Load;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Running,
    Ended,
}

/// The clauses of a check, in order, and how far each is.
pub(super) struct Schedule {
    clauses: Vec<(Load, State)>,
}

impl Schedule {
    pub(super) fn new(loads: impl Iterator<Item = Load>) -> Self {
        Self {
            clauses: loads.map(|load| (load, State::Pending)).collect(),
        }
    }

    /// The next clause that may begin, where `width` connections may be open at once and
    /// `is_stalled` tells of a clause under test whether it only waits for a time-out.
    pub(super) fn next(&self, width: usize, is_stalled: impl Fn(usize) -> bool) -> Option<usize> {
        let at = self.first_pending()?;
        let (load, _) = self.clauses[at];
        let mut running = self.running().peekable();
        if running.peek().is_none() {
            return Some(at);
        }
        let is_alone = |at: usize| matches!(self.clauses[at].0, Load::First | Load::Alone);
        let connections = |load| match load {
            Load::Waits(connections) => connections,
            _ => 1,
        };
        let open: usize = self
            .running()
            .map(|at| connections(self.clauses[at].0))
            .sum();
        let has_room = open + connections(load) <= width && !self.running().any(is_alone);
        let may = match load {
            Load::Waits(_) => has_room,
            Load::Streams => has_room && running.all(is_stalled),
            Load::First | Load::Alone => false,
        };
        may.then_some(at)
    }

    pub(super) fn begin(&mut self, at: usize) {
        self.clauses[at].1 = State::Running;
    }

    pub(super) fn end(&mut self, at: usize) {
        self.clauses[at].1 = State::Ended;
    }

    /// The clauses under test, in order.
    pub(super) fn running(&self) -> impl Iterator<Item = usize> {
        self.those(|(_, state)| state == State::Running)
    }

    /// Whether several clauses may run beside each other next.
    pub(super) fn is_wide_next(&self) -> bool {
        let is_waiting = |(load, state)| matches!(load, Load::Waits(_)) && state == State::Pending;
        let is_first = |(load, state)| load == Load::First && state != State::Ended;
        self.those(is_waiting).nth(1).is_some() && self.those(is_first).next().is_none()
    }

    /// Those that wait come before those that load, each in their order.
    fn first_pending(&self) -> Option<usize> {
        let rank = |load| match load {
            Load::First => 0,
            Load::Waits(_) => 1,
            Load::Streams | Load::Alone => 2,
        };
        let pending = self.those(|(_, state)| state == State::Pending);
        pending.min_by_key(|at| (rank(self.clauses[*at].0), *at))
    }

    fn those(&self, wanted: impl Fn((Load, State)) -> bool) -> impl Iterator<Item = usize> {
        let all = self.clauses.iter().enumerate();
        all.filter(move |(_, clause)| wanted(**clause))
            .map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Load; 7] = [
        Load::First,
        Load::Waits(1),
        Load::Streams,
        Load::Waits(1),
        Load::Alone,
        Load::Waits(2),
        Load::Streams,
    ];

    /// Begins all that may, and returns which.
    fn begin(schedule: &mut Schedule, width: usize, stalled: &[usize]) -> Vec<usize> {
        let mut begun = Vec::new();
        while let Some(at) = schedule.next(width, |at| stalled.contains(&at)) {
            schedule.begin(at);
            begun.push(at);
        }
        begun
    }

    fn end(schedule: &mut Schedule, ended: &[usize]) {
        for at in ended {
            schedule.end(*at);
        }
    }

    #[test]
    fn those_that_wait_run_together_and_the_others_one_by_one() {
        let mut schedule = Schedule::new(ALL.into_iter());
        assert!(!schedule.is_wide_next());
        assert_eq!(begin(&mut schedule, 9, &[]), [0]);
        end(&mut schedule, &[0]);
        assert!(schedule.is_wide_next());
        assert_eq!(begin(&mut schedule, 9, &[]), [1, 3, 5]);
        end(&mut schedule, &[5, 1]);
        assert!(begin(&mut schedule, 9, &[]).is_empty());
        end(&mut schedule, &[3]);
        for at in [2, 4, 6] {
            assert_eq!(begin(&mut schedule, 9, &[]), [at]);
            end(&mut schedule, &[at]);
        }
        assert!(begin(&mut schedule, 9, &[]).is_empty());
    }

    #[test]
    fn no_more_run_together_than_the_server_serves_at_once() {
        for (width, together) in [(1, vec![1]), (2, vec![1, 3]), (3, vec![1, 3])] {
            let mut schedule = Schedule::new(ALL.into_iter());
            begin(&mut schedule, width, &[]);
            end(&mut schedule, &[0]);
            assert_eq!(begin(&mut schedule, width, &[]), together);
            end(&mut schedule, &[1]);
            let next = if width == 1 { vec![3] } else { Vec::new() };
            assert_eq!(begin(&mut schedule, width.min(2), &[]), next);
            end(&mut schedule, &[3]);
            // That one has more than it should, but no other beside it.
            assert_eq!(begin(&mut schedule, width, &[]), [5]);
        }
    }

    #[test]
    fn a_stream_begins_beside_stalled_ones_and_one_alone_never() {
        let mut schedule = Schedule::new(ALL.into_iter());
        begin(&mut schedule, 4, &[]);
        end(&mut schedule, &[0]);
        begin(&mut schedule, 4, &[]);
        end(&mut schedule, &[1]);
        assert!(begin(&mut schedule, 4, &[3]).is_empty());
        // It would be the fifth connection.
        end(&mut schedule, &[]);
        assert!(begin(&mut schedule, 3, &[3, 5]).is_empty());
        assert_eq!(begin(&mut schedule, 4, &[3, 5]), [2]);
        end(&mut schedule, &[3, 5]);
        assert!(begin(&mut schedule, 4, &[2]).is_empty());
        end(&mut schedule, &[2]);
        assert_eq!(begin(&mut schedule, 4, &[]), [4]);
        assert!(begin(&mut schedule, 4, &[4]).is_empty());
        end(&mut schedule, &[4]);
        assert_eq!(begin(&mut schedule, 4, &[]), [6]);
    }
}
