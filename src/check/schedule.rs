//! Which clauses may run beside each other.
//!
//! Those that wait for the path run together, as far as the server is known to serve so many
//! connections at once, and the path to carry soon what all of them have under way. Those that
//! load the path or the server follow one by one.

use super::clause::Load;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Running,
    Ended,
}

/// What is known of the path when a clause is to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// How many connections may be open at once without one waiting for another's end.
    pub(super) width: usize,
    /// A stream takes most of its time for round trips.
    pub(super) is_far: bool,
    /// How many bytes may be under way at once without others waiting long behind them.
    pub(super) room: u64,
    /// Packets seem to be lost: what measures that comes first, since all others take long.
    pub(super) seems_lossy: bool,
}

impl Path {
    /// Whether a stream takes so much of its time for round trips that it loads little.
    const fn is_light_with_streams(self) -> bool {
        self.is_far && self.room >= FIRST_WINDOWS
    }
}

/// What a stream has under way in the round trips that a far path gives it, in bytes, or so.
const FIRST_WINDOWS: u64 = 256 * 1024;

/// The least width for a clause that runs beside all others: as many connections as those of
/// any of them need that have a number of their own, and one.
const BESIDE_WIDTH: usize = 6;

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

    /// The next clause that may begin, where the path is as `path` tells and `is_stalled`
    /// tells of a clause under test whether it only waits for a time-out.
    pub(super) fn next(&self, path: Path, is_stalled: impl Fn(usize) -> bool) -> Option<usize> {
        let at = self.first_pending(path)?;
        let load = self.load(at, path);
        let mut others = self.running().filter(|at| !self.is_beside(*at, path));
        let is_any_alone = |at: usize| {
            matches!(
                self.load(at, path),
                Load::First | Load::Alone | Load::Measures
            )
        };
        if load == Load::Beside {
            return (!self.is_first_open()).then_some(at);
        }
        if others.next().is_none() {
            return Some(at);
        }
        let mut others = self.running().filter(|at| !self.is_beside(*at, path));
        let has_room = self.has_room(at, path) && !self.running().any(is_any_alone);
        // There a stream waits for its round trips, and loads little meanwhile.
        let is_light = |at: usize| is_stalled(at) || path.is_light_with_streams();
        let may = match load {
            Load::Waits { .. } => has_room,
            Load::Streams => has_room && others.all(is_light),
            Load::Measures => has_room && others.all(is_stalled),
            Load::First | Load::Alone | Load::Beside => false,
        };
        may.then_some(at)
    }

    /// Whether one under test loads the path or the server.
    pub(super) fn is_loaded(&self, path: Path) -> bool {
        let loads = |at| match self.load(at, path) {
            Load::Waits { bytes, .. } => bytes > path.room,
            load => load != Load::Beside,
        };
        self.running().any(loads)
    }

    /// How many of them run beside all others.
    pub(super) fn beside(&self, path: Path) -> usize {
        self.running()
            .filter(|at| self.is_beside(*at, path))
            .count()
    }

    /// Whether all have ended but those that run beside others; or one of these has its turn
    /// alone, since few are served at once.
    pub(super) fn is_rest_over(&self, path: Path) -> bool {
        let is_alone = path.width < BESIDE_WIDTH;
        let mut running = self.running();
        if is_alone && running.any(|at| self.clauses[at].0 == Load::Beside) {
            return true;
        }
        let mut open = self.those(|(_, state)| state != State::Ended);
        open.all(|at| self.is_beside(at, path))
    }

    /// Whether the server serves its connections beside those of all under test, and the path
    /// carries its bytes beside theirs.
    fn has_room(&self, at: usize, path: Path) -> bool {
        let needs = |at: usize| match self.clauses[at].0 {
            Load::Waits { connections, bytes } => (connections, bytes),
            _ => (1, 0),
        };
        let (mut connections, mut bytes) = needs(at);
        for other in self.running() {
            let (more, carried) = needs(other);
            connections += more;
            bytes += carried;
        }
        connections <= path.width && bytes <= path.room
    }

    /// What it does; beside others it runs only where the server serves enough of them.
    fn load(&self, at: usize, path: Path) -> Load {
        match self.clauses[at].0 {
            Load::Beside if path.width < BESIDE_WIDTH => Load::Alone,
            load => load,
        }
    }

    fn is_beside(&self, at: usize, path: Path) -> bool {
        self.load(at, path) == Load::Beside
    }

    fn is_first_open(&self) -> bool {
        let is_first = |(load, state)| load == Load::First && state != State::Ended;
        self.those(is_first).next().is_some()
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

    /// Whether several clauses may run beside each other next, or one that measures the path by
    /// several connections.
    pub(super) fn is_wide_next(&self) -> bool {
        let is_pending = |wanted: fn(Load) -> bool| {
            self.those(move |(load, state)| wanted(load) && state == State::Pending)
        };
        let mut waiting = is_pending(|load| matches!(load, Load::Waits { .. }));
        let mut measuring = is_pending(|load| load == Load::Measures);
        let is_any = waiting.nth(1).is_some() || measuring.next().is_some();
        is_any && !self.is_first_open()
    }

    /// Whether one is next that is not of the first: what it sends, or others beside it, may
    /// follow what the path carries.
    pub(super) fn is_rest_next(&self) -> bool {
        let is_rest = |(load, state)| load != Load::First && state == State::Pending;
        self.those(is_rest).next().is_some() && !self.is_first_open()
    }

    /// One that runs beside all comes first, then those that wait, then those that load, and of
    /// these first those that would only wait if the path carried more; each in their order.
    fn first_pending(&self, path: Path) -> Option<usize> {
        let rank = |load| match load {
            Load::First => 0,
            Load::Beside => 1,
            Load::Measures if path.seems_lossy => 2,
            Load::Waits { bytes, .. } if bytes <= path.room => 3,
            Load::Waits { .. } => 4,
            // Streams begin early there, and take longest.
            Load::Streams if path.is_light_with_streams() => 4,
            Load::Measures | Load::Streams | Load::Alone => 5,
        };
        let pending = self.those(|(_, state)| state == State::Pending);
        pending.min_by_key(|at| (rank(self.load(*at, path)), *at))
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
        Load::waits(1),
        Load::Streams,
        Load::waits(1),
        Load::Alone,
        Load::waits(2),
        Load::Streams,
    ];

    /// Begins all that may, and returns which.
    fn begin(schedule: &mut Schedule, width: usize, stalled: &[usize]) -> Vec<usize> {
        begin_on(schedule, near(width), stalled)
    }

    const fn near(width: usize) -> Path {
        Path {
            width,
            is_far: false,
            room: u64::MAX,
            seems_lossy: false,
        }
    }

    fn begin_on(schedule: &mut Schedule, path: Path, stalled: &[usize]) -> Vec<usize> {
        let mut begun = Vec::new();
        while let Some(at) = schedule.next(path, |at| stalled.contains(&at)) {
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
    fn the_rest_is_next_once_the_first_are_over_also_where_it_is_one() {
        for load in [Load::waits(1), Load::Streams, Load::Beside, Load::Alone] {
            let mut schedule = Schedule::new([Load::First, load].into_iter());
            assert!(!schedule.is_rest_next());
            assert_eq!(begin(&mut schedule, 9, &[]), [0]);
            assert!(!schedule.is_rest_next());
            end(&mut schedule, &[0]);
            assert!(
                schedule.is_rest_next() && !schedule.is_wide_next(),
                "{load:?}"
            );
            begin(&mut schedule, 9, &[]);
            assert!(!schedule.is_rest_next());
        }
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

    #[test]
    fn streams_run_beside_others_on_a_far_path_but_not_beside_what_measures() {
        let all = [
            Load::First,
            Load::Measures,
            Load::Streams,
            Load::waits(1),
            Load::Alone,
            Load::Streams,
        ];
        let far = Path {
            is_far: true,
            ..near(9)
        };
        let mut schedule = Schedule::new(all.into_iter());
        begin_on(&mut schedule, far, &[]);
        end(&mut schedule, &[0]);
        assert_eq!(begin_on(&mut schedule, far, &[]), [3, 2, 5]);
        assert!(schedule.is_loaded(far));
        end(&mut schedule, &[3, 2]);
        assert!(begin_on(&mut schedule, far, &[]).is_empty());
        end(&mut schedule, &[5]);
        assert_eq!(begin_on(&mut schedule, far, &[]), [1]);
        assert!(begin_on(&mut schedule, far, &[]).is_empty());
        end(&mut schedule, &[1]);
        assert_eq!(begin_on(&mut schedule, far, &[]), [4]);
    }

    #[test]
    fn what_measures_the_path_comes_first_where_packets_seem_to_be_lost() {
        let all = [
            Load::First,
            Load::waits(1),
            Load::Measures,
            Load::waits(1),
            Load::Beside,
        ];
        for (seems_lossy, order) in [(false, [&[4, 1, 3][..], &[2]]), (true, [&[4, 2], &[1, 3]])] {
            let path = Path {
                seems_lossy,
                ..near(9)
            };
            let mut schedule = Schedule::new(all.into_iter());
            assert_eq!(begin_on(&mut schedule, path, &[]), [0]);
            end(&mut schedule, &[0]);
            for some in order {
                assert_eq!(begin_on(&mut schedule, path, &[]), some);
                let some: Vec<_> = some.iter().copied().filter(|at| *at != 4).collect();
                end(&mut schedule, &some);
            }
        }
    }

    #[test]
    fn where_a_path_carries_little_those_that_send_more_come_alone() {
        let all = [
            Load::First,
            Load::sends(100_000),
            Load::waits(1),
            Load::sends(3000),
            Load::waits(2),
            Load::Streams,
            Load::Beside,
        ];
        let slow = Path {
            room: 4096,
            ..near(9)
        };
        let mut schedule = Schedule::new(all.into_iter());
        for (begun, is_loaded) in [
            (&[0][..], true),
            (&[6, 2, 3][..], false),
            (&[4][..], false),
            (&[1][..], true),
            (&[5][..], true),
        ] {
            assert_eq!(begin_on(&mut schedule, slow, &[]), begun);
            assert_eq!(schedule.is_loaded(slow), is_loaded, "{begun:?}");
            let waits = |at: &&usize| **at != 6;
            begun.iter().filter(waits).for_each(|at| schedule.end(*at));
        }
        assert!(schedule.is_rest_over(slow));
    }

    #[test]
    fn a_far_path_that_carries_little_has_one_stream_at_a_time() {
        let all = [Load::First, Load::waits(1), Load::Streams, Load::Streams];
        let far = Path {
            is_far: true,
            room: FIRST_WINDOWS - 1,
            ..near(9)
        };
        let mut schedule = Schedule::new(all.into_iter());
        for at in 0..all.len() {
            assert_eq!(begin_on(&mut schedule, far, &[]), [at]);
            schedule.end(at);
        }
    }

    #[test]
    fn one_that_runs_beside_all_begins_first_and_holds_nobody_up() {
        let all = [
            Load::First,
            Load::waits(1),
            Load::Streams,
            Load::Alone,
            Load::Beside,
        ];
        let mut schedule = Schedule::new(all.into_iter());
        let path = near(BESIDE_WIDTH);
        assert_eq!(begin_on(&mut schedule, path, &[]), [0]);
        end(&mut schedule, &[0]);
        assert_eq!(begin_on(&mut schedule, path, &[]), [4, 1]);
        assert!(!schedule.is_loaded(path));
        for at in 1..=3 {
            assert!(!schedule.is_rest_over(path));
            end(&mut schedule, &[at]);
            let next: &[_] = if at < 3 { &[at + 1] } else { &[] };
            assert_eq!(begin_on(&mut schedule, path, &[]), next);
        }
        assert_eq!(schedule.beside(path), 1);
        assert!(schedule.is_rest_over(path));
    }

    #[test]
    fn where_few_are_served_it_runs_alone_after_the_others() {
        let all = [Load::Beside, Load::First, Load::waits(1), Load::Streams];
        let mut schedule = Schedule::new(all.into_iter());
        let path = near(BESIDE_WIDTH - 1);
        for at in [1, 2, 0, 3] {
            assert_eq!(begin_on(&mut schedule, path, &[]), [at]);
            // It waits for nobody then.
            assert_eq!(schedule.is_rest_over(path), at == 0);
            end(&mut schedule, &[at]);
        }
    }

    #[test]
    fn what_runs_alone_as_few_are_served_knows_when_it_is_the_last() {
        let all = [Load::First, Load::Alone, Load::Beside];
        let mut schedule = Schedule::new(all.into_iter());
        let path = near(1);
        for at in [0, 1] {
            assert_eq!(begin_on(&mut schedule, path, &[]), [at]);
            assert!(!schedule.is_rest_over(path));
            end(&mut schedule, &[at]);
        }
        assert_eq!(begin_on(&mut schedule, path, &[]), [2]);
        assert!(schedule.is_rest_over(path));
    }
}
