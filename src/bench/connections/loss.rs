//! Why a connection was lost, and how that is counted and reported.

use std::io::{self, ErrorKind};

use super::state::State;
use crate::base::error::cause;
use crate::base::units;
use crate::bench::cause::Cause;

/// Why a connection was lost.
#[derive(Debug)]
pub(super) enum Loss {
    Closed,
    Reset,
    TimedOut,
    Failed(io::Error),
    /// Its position in the stream is not known any more; that was reported already.
    Damaged,
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Self::Reset
            }
            ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Failed(error),
        }
    }
}

impl Loss {
    /// Counts the loss of the slot's connection, and adds it to the examples.
    pub(super) fn report(&self, state: &mut State<'_>, key: usize) {
        let slot = &state.slots[key];
        let errors = &mut state.recorder.measured().totals.errors;
        let (kind, what) = match self {
            Self::Closed => {
                errors.closed += 1;
                (Cause::Closed, String::from("closed by the server"))
            }
            Self::Reset => {
                errors.reset += 1;
                (Cause::Reset, String::from("reset"))
            }
            Self::TimedOut => {
                errors.timed_out += 1;
                let time = humantime::format_duration(state.clock.shared.plan.timeout);
                let what = format!("given up, no whole echo within {time}");
                (Cause::TimedOut, what)
            }
            Self::Failed(error) => {
                errors.failed += 1;
                (Cause::Failed(error.kind()), cause(error))
            }
            Self::Damaged => return,
        };
        let flow = &slot.flow;
        let (number, port, offset) = (flow.connection(), slot.port, flow.received());
        let (came, size) = flow.oldest_bytes();
        state.recorder.add_example(kind, || {
            let rest = match size {
                0 => String::from("with nothing on its way"),
                _ => {
                    let size = units::plain_count(size, "byte", "bytes");
                    format!("when {came} of {size} of a message were back")
                }
            };
            format!("connection {number} (local port {port}), offset {offset}: {what}, {rest}")
        });
    }
}
