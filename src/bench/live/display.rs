//! Draws the view on a terminal after each report of progress, and erases it at the end.

use std::collections::VecDeque;
use std::io::{self, Write};

use ratatui::buffer::Buffer;
use ratatui::crossterm::terminal;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

use super::paint;
use super::view::{HEIGHT, View, WIDEST};
use crate::bench::progress::{Progress, Watch};

/// Shows a run on standard error, which is a terminal, below its present content.
/// The view is erased when this is dropped.
#[derive(Debug)]
pub struct Live<W: Write = io::Stderr> {
    out: W,
    /// The first line of the view.
    title: String,
    /// The rates of the last seconds.
    pub(super) rates: VecDeque<u64>,
    /// Lines of the view that are on the terminal.
    pub(super) shown: u16,
}

impl Live {
    /// A view with this title, usually the server's address.
    pub fn new(title: String) -> Self {
        Self::on(io::stderr(), title)
    }
}

impl<W: Write> Live<W> {
    pub(super) const fn on(out: W, title: String) -> Self {
        Self {
            out,
            title,
            rates: VecDeque::new(),
            shown: 0,
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
        let rate = second.echoed as f64 / seconds;
        self.rates.push_back(rate.round() as u64);
    }

    /// Draws the view in place of the previous one, on a terminal of this size.
    pub(super) fn draw(
        &mut self,
        progress: &Progress<'_>,
        (columns, rows): (u16, u16),
    ) -> io::Result<()> {
        // A character in the last column may wrap, and the cursor is in the last row.
        let width = columns.saturating_sub(1).min(WIDEST);
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, HEIGHT));
        let view = View {
            title: &self.title,
            rates: self.rates.make_contiguous(),
            progress,
        };
        view.render(buffer.area, &mut buffer);
        let height = HEIGHT.min(rows.saturating_sub(1));
        let painted = paint::paint(&buffer, height, self.shown)?;
        self.out.write_all(&painted)?;
        self.shown = height;
        self.out.flush()
    }
}

impl<W: Write> Watch for Live<W> {
    fn progress(&mut self, progress: &Progress<'_>) {
        self.add_rate(progress);
        // A failed write does not end the run.
        let _ = terminal::size().and_then(|size| self.draw(progress, size));
    }
}

impl<W: Write> Drop for Live<W> {
    fn drop(&mut self) {
        let _ = paint::erase(self.shown).and_then(|bytes| self.out.write_all(&bytes));
    }
}
