//! Draws the view on a terminal after each report of progress, and erases it at the end.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::crossterm::terminal;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

use super::paint;
use super::view::{HEIGHT, View, WIDEST};
use crate::base::step::{StepLine, is_terminal};
use crate::bench::progress::{CONNECTING, Progress, Watch};

/// Shows a run on standard error, which is a terminal, below its present content.
/// The view is erased when this is dropped.
#[derive(Debug)]
pub struct Live<W: Write = io::Stderr> {
    out: StepLine<W>,
    /// The first line of the view.
    title: String,
    /// The step of a search.
    step: String,
    /// When the view was drawn last.
    drawn_at: Option<Instant>,
    /// Whether bytes are charted, not messages.
    is_stream: bool,
    /// The rates of the last seconds, in messages or bytes.
    pub(super) rates: VecDeque<u64>,
    /// Lines of the view that are on the terminal.
    pub(super) shown: u16,
    /// The terminal's columns and rows when it was drawn last.
    size: (u16, u16),
}

/// The narrowest terminal, in columns, that the view is drawn on.
const NARROWEST: u16 = 20;

/// The lowest terminal, in rows, that the view is drawn on.
const LOWEST: u16 = 4;

/// The view stays for this long while the connections of the next step of a search are made.
const STAYS: Duration = Duration::from_millis(500);

/// Whether standard error is a terminal that the view can be drawn on: one whose size is
/// known and enough, and that moves its cursor.
pub fn can_be_drawn() -> bool {
    is_terminal() && terminal::size().is_ok_and(fits)
}

const fn fits((columns, rows): (u16, u16)) -> bool {
    columns >= NARROWEST && rows >= LOWEST
}

impl Live {
    /// A view with this title, usually the server's address and the load. It charts bytes of a
    /// stream, else messages.
    pub fn new(title: String, is_stream: bool) -> Self {
        Self::on(io::stderr(), title, is_stream)
    }
}

impl<W: Write> Live<W> {
    pub(super) const fn on(out: W, title: String, is_stream: bool) -> Self {
        Self {
            out: StepLine::new(out, true),
            title,
            step: String::new(),
            drawn_at: None,
            is_stream,
            rates: VecDeque::new(),
            shown: 0,
            size: (0, 0),
        }
    }

    /// Keeps the rate of a second that has just been completed.
    pub(super) fn add_rate(&mut self, progress: &Progress<'_>) {
        let Some(second) = progress.finished else {
            return;
        };
        if self.rates.len() == usize::from(WIDEST) {
            self.rates.pop_front();
        }
        let seconds = second.length_ns.max(1) as f64 / 1e9;
        let amount = match self.is_stream {
            true => second.echoed_bytes,
            false => second.echoed,
        };
        let rate = amount as f64 / seconds;
        self.rates.push_back(rate.round() as u64);
    }

    /// Draws the view in place of the previous one, on a terminal of this size.
    pub(super) fn draw(&mut self, progress: &Progress<'_>, size: (u16, u16)) -> io::Result<()> {
        let (columns, rows) = size;
        if self.shown > 0 && size != self.size {
            // The terminal may have broken the lines that it shows in any way.
            self.out.writer().write_all(&paint::clear()?)?;
            self.shown = 0;
        }
        if !fits(size) {
            return Ok(());
        }
        self.size = size;
        // A character in the last column may wrap, and the cursor is in the last row.
        let width = columns.saturating_sub(1).min(WIDEST);
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, HEIGHT));
        let view = View {
            title: &self.title,
            step: &self.step,
            is_stream: self.is_stream,
            rates: self.rates.make_contiguous(),
            progress,
        };
        view.render(buffer.area, &mut buffer);
        let height = HEIGHT.min(rows.saturating_sub(1));
        let painted = paint::paint(&buffer, height, self.shown)?;
        self.out.end();
        self.out.writer().write_all(&painted)?;
        self.shown = height;
        self.drawn_at = Some(Instant::now());
        self.out.writer().flush()
    }

    /// Erases the view.
    fn erase(&mut self) {
        let erased = paint::erase(std::mem::take(&mut self.shown));
        let _ = erased.and_then(|bytes| self.out.writer().write_all(&bytes));
    }
}

impl<W: Write> Watch for Live<W> {
    fn search_step(&mut self, step: &str) {
        step.clone_into(&mut self.step);
    }

    fn connecting(&mut self, how_far: &str) {
        if self.drawn_at.is_none_or(|drawn| drawn.elapsed() > STAYS) {
            self.erase();
            self.out.show(CONNECTING, how_far);
        }
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        self.add_rate(progress);
        // A failed write does not end the run.
        let _ = terminal::size().and_then(|size| self.draw(progress, size));
    }
}

impl<W: Write> Drop for Live<W> {
    fn drop(&mut self) {
        self.erase();
    }
}
