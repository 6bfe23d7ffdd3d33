//! How a thread spent its time: working, waiting for events, or without a processor.

/// One thread's use of its processor within the measured part.
#[derive(Debug, Default)]
pub(crate) struct ProcessorTime {
    /// How long the thread has waited for events.
    waited: u64,
    /// How long it yielded its processor to other threads.
    yielded: u64,
    /// The run-queue delay when the measured part began.
    delay_before: u64,
}

impl ProcessorTime {
    /// Begins to count again.
    pub(crate) const fn reset(&mut self) {
        (self.waited, self.yielded) = (0, 0);
    }

    /// The measured part begins.
    pub(crate) fn begin_measuring(&mut self) {
        self.delay_before = run_queue_delay();
    }

    pub(crate) const fn add_waited(&mut self, time: u64) {
        self.waited += time;
    }

    pub(crate) const fn add_yielded(&mut self, time: u64) {
        self.yielded += time;
    }

    /// The fraction of `measured` ns in which the thread was working, 0 to 1.
    pub(crate) fn busy(&self, measured: u64) -> f64 {
        fraction(measured.saturating_sub(self.waited), measured)
    }

    /// The fraction of `measured` ns in which it was ready and had no processor, 0 to 1.
    pub(crate) fn starved(&self, measured: u64) -> f64 {
        let expected = self.delay_before + self.yielded;
        fraction(run_queue_delay().saturating_sub(expected), measured)
    }
}

#[expect(clippy::cast_precision_loss, reason = "times below 2^53 ns")]
fn fraction(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => (part as f64 / whole as f64).min(1.0),
    }
}

/// How long this thread was ready and had no processor, so far: the second number
/// of schedstat on Linux, and 0 elsewhere.
fn run_queue_delay() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let delay = text.split_ascii_whitespace().nth(1);
    delay.and_then(|delay| delay.parse().ok()).unwrap_or(0)
}
