//! A path of the table: how it is made, and all that must be seen of it.

use std::time::Duration;

use crate::claims::Claim;
use crate::made::Made;

/// What a figure or a word of the evidence must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Within(f64, f64),
    OneOf(&'static [&'static str]),
    /// Any value.
    Present,
    /// It is not said.
    Absent,
}

/// A cause that must be named.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// One of these names.
    pub(crate) cause: &'static [&'static str],
    /// Whether it must be proved, and not only likely.
    pub(crate) is_certain: bool,
    pub(crate) evidence: Vec<(&'static str, Bound)>,
}

/// One path.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// How it is made, for people.
    pub(crate) what: String,
    /// None is healthy: then nothing fails and nothing is diagnosed.
    pub(crate) causes: Vec<Expected>,
    /// Given to `echopool check`.
    pub(crate) options: &'static str,
    /// The most that the check may take.
    pub(crate) bound: Duration,
    pub(crate) claims: Vec<Claim>,
    /// It needs the machine for itself: because it loads it, or is timed.
    pub(crate) alone: bool,
    make: Box<dyn Fn() -> Result<Made, String> + Send + Sync>,
}

impl Path {
    pub(crate) fn new(
        name: &'static str,
        what: impl Into<String>,
        bound: Duration,
        make: impl Fn() -> Result<Made, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            what: what.into(),
            causes: Vec::new(),
            options: "",
            bound,
            claims: Vec::new(),
            alone: false,
            make: Box::new(make),
        }
    }

    /// # Errors
    /// What this machine can't do.
    pub(crate) fn make(&self) -> Result<Made, String> {
        (self.make)()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.causes.is_empty()
    }

    pub(crate) fn is_of_datagrams(&self) -> bool {
        self.options.contains("--udp")
    }

    /// A cause that must be named, by one of these names, and proved. What follows is its
    /// evidence.
    pub(crate) fn cause(self, name: &'static [&'static str]) -> Self {
        let expected = Expected {
            cause: name,
            is_certain: true,
            evidence: Vec::new(),
        };
        let mut path = self;
        path.causes.push(expected);
        path
    }

    /// That cause may be only likely: no experiment can prove it.
    pub(crate) fn at_least_likely(mut self) -> Self {
        let cause = self.causes.last_mut().expect("a cause comes first");
        cause.is_certain = false;
        self
    }

    fn evidence(mut self, key: &'static str, bound: Bound) -> Self {
        let cause = self.causes.last_mut().expect("a cause comes first");
        cause.evidence.push((key, bound));
        self
    }

    pub(crate) fn within(self, key: &'static str, low: f64, high: f64) -> Self {
        self.evidence(key, Bound::Within(low, high))
    }

    pub(crate) fn is(self, key: &'static str, words: &'static [&'static str]) -> Self {
        self.evidence(key, Bound::OneOf(words))
    }

    pub(crate) fn has(self, key: &'static str) -> Self {
        self.evidence(key, Bound::Present)
    }

    pub(crate) fn lacks(self, key: &'static str) -> Self {
        self.evidence(key, Bound::Absent)
    }

    pub(crate) fn claim(mut self, claim: Claim) -> Self {
        self.claims.push(claim);
        self
    }

    pub(crate) fn options(mut self, options: &'static str) -> Self {
        self.options = options;
        self
    }

    /// The most that the check of a healthy path takes.
    pub(crate) fn passes_within(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self.alone = true;
        self
    }

    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}
