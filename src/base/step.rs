//! Shows a step that takes long: on a terminal one line that is redrawn, else a line a second.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use ratatui::crossterm::terminal;

/// A step that ends sooner is not shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a line is written where it can't be redrawn.
const PERIOD: Duration = Duration::from_secs(1);

/// The step that is under way, shown on a writer.
#[derive(Debug)]
pub(crate) struct StepLine<W: Write = io::Stderr> {
    out: W,
    is_redrawn: bool,
    /// Its name, and when it is shown next.
    step: Option<(String, Instant)>,
    /// Whether it is on the terminal.
    is_shown: bool,
}

impl StepLine {
    /// On standard error, redrawn if that is a terminal that moves its cursor.
    pub(crate) fn on_standard_error() -> Self {
        Self::new(io::stderr(), is_terminal())
    }
}

/// Whether standard error is a terminal that moves its cursor.
pub(crate) fn is_terminal() -> bool {
    let moves_cursor =
        std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    io::stderr().is_terminal() && moves_cursor
}

impl<W: Write> StepLine<W> {
    pub(crate) const fn new(out: W, is_redrawn: bool) -> Self {
        Self {
            out,
            is_redrawn,
            step: None,
            is_shown: false,
        }
    }

    /// Shows how far the step `name` is, if it is time to. To be called about ten times a
    /// second; a failed write is no failure of the step.
    pub(crate) fn show(&mut self, name: &str, how_far: &str) {
        let columns = match self.is_redrawn {
            true => terminal::size().map_or(0, |(columns, _)| columns),
            false => 0,
        };
        self.show_at(Instant::now(), columns, name, how_far);
    }

    /// `columns` is the terminal's width, 0 if it is not known.
    fn show_at(&mut self, now: Instant, columns: u16, name: &str, how_far: &str) {
        let due = match &mut self.step {
            Some((step, due)) if step == name => due,
            step => &mut step.insert((name.to_owned(), now + PATIENCE)).1,
        };
        if now < *due {
            return;
        }
        let text = format!("{name}: {how_far}");
        if self.is_redrawn {
            // A character in the last column may wrap.
            let width = columns.checked_sub(1).map_or(usize::MAX, usize::from);
            let text: String = text.chars().take(width).collect();
            let _ = write!(self.out, "\r{text}\x1b[K").and_then(|()| self.out.flush());
            self.is_shown = true;
        } else {
            *due = now + PERIOD;
            let _ = writeln!(self.out, "{text}");
        }
    }

    /// Writes a line of its own. No step is under way then.
    pub(crate) fn line(&mut self, text: &str) {
        self.end();
        let _ = writeln!(self.out, "{text}");
    }

    /// The writer, for other output between two steps.
    pub(crate) const fn writer(&mut self) -> &mut W {
        &mut self.out
    }

    /// The step has ended: it is no longer shown.
    pub(crate) fn end(&mut self) {
        self.step = None;
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(self.out, "\r\x1b[K").and_then(|()| self.out.flush());
        }
    }
}

impl<W: Write> Drop for StepLine<W> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written where a step of this name shows how far it is at these times, in
    /// milliseconds, on a terminal of 20 columns or not on one.
    fn written(is_redrawn: bool, steps: &[(u64, &str, &str)]) -> String {
        let mut out = Vec::new();
        let mut line = StepLine::new(&mut out, is_redrawn);
        let begun = Instant::now();
        for (at_ms, name, how_far) in steps {
            line.show_at(begun + Duration::from_millis(*at_ms), 20, name, how_far);
        }
        drop(line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_step_has_a_line_a_second_from_its_first_second_on() {
        let steps: Vec<_> = (0..=25).map(|tenth| (tenth * 100, "idle", "far")).collect();
        assert_eq!(written(false, &steps), "idle: far\nidle: far\n");
        let steps = [
            (0, "a", "1"),
            (900, "b", "1"),
            (1800, "b", "2"),
            (1900, "b", "3"),
        ];
        assert_eq!(written(false, &steps), "b: 3\n");
    }

    #[test]
    fn a_late_caller_has_no_lines_at_once() {
        let steps = [
            (0, "a", "1"),
            (9000, "a", "2"),
            (9100, "a", "3"),
            (9999, "a", "4"),
        ];
        assert_eq!(written(false, &steps), "a: 2\n");
    }

    #[test]
    fn on_a_terminal_one_line_is_redrawn_cut_and_erased() {
        let steps = [
            (0, "a", "1"),
            (1000, "a", "2"),
            (1100, "a", "3 of a very long way"),
        ];
        assert_eq!(
            written(true, &steps),
            "\ra: 2\x1b[K\ra: 3 of a very long\x1b[K\r\x1b[K"
        );
        assert_eq!(written(true, &steps[..1]), "");
    }
}
