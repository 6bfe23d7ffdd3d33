//! The view of a run on a terminal, drawn anew some ten times a second.
//!
//! The widgets are ratatui's, and so is the buffer that they are drawn to. It goes
//! to the terminal by lines and relative moves alone: ratatui's own inline view
//! asks the terminal where its cursor is, on standard output, which may be a
//! file of results, and reads the answer in raw mode, in which Ctrl-C is no signal.
//! So the terminal's state is never changed, and however the run ends there is
//! nothing to restore.

mod display;
mod paint;
mod spread;
mod view;

#[cfg(test)]
mod tests;

pub use display::Live;
