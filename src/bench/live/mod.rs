//! The view of a run on a terminal, drawn about ten times a second.
//!
//! The widgets and the buffer that they are drawn to are ratatui's. The buffer is
//! written to the terminal with line feeds and relative cursor moves only. ratatui's
//! own inline view asks the terminal for its cursor position, on standard output,
//! which may be a file of results, and reads the answer in raw mode, in which Ctrl-C
//! sends no signal. Here the terminal's state is never changed, so nothing has to be
//! restored when the run ends.

mod display;
mod paint;
mod spread;
mod view;

#[cfg(test)]
mod tests;

pub use display::{Live, can_be_drawn};
