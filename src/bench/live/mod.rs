//! The view of a run on a terminal, drawn anew some ten times a second.
//!
//! The widgets are ratatui's, and so is the buffer that they are drawn to. It goes
//! to the terminal by lines and relative moves alone: ratatui's own inline view
//! asks the terminal where its cursor is, on standard output, which may be a
//! file of results, and reads the answer in raw mode, in which Ctrl-C is no signal.
//! So the terminal's state is never changed, and however the run ends there is
//! nothing to restore.

mod paint;
mod spread;

use std::collections::VecDeque;
use std::io::{self, Write};

use ratatui::buffer::Buffer;
use ratatui::crossterm::terminal;
use ratatui::layout::{Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::line;
use ratatui::text::{Line, Span};
use ratatui::widgets::{LineGauge, Paragraph, Sparkline, Widget};

use crate::base::units;
use crate::bench::progress::{Progress, Watch};
use spread::Spread;

/// How high the whole view is, in lines.
const HEIGHT: u16 = 15;

/// Wider would not be easier to read, in columns.
const WIDEST: u16 = 110;

/// Shows a run on the terminal that is standard error, below what is there
/// already, and takes the view away when it is dropped.
#[derive(Debug)]
pub struct Live<W: Write = io::Stderr> {
    out: W,
    /// Whom the load is for.
    title: String,
    /// The rates of the last seconds.
    rates: VecDeque<u64>,
    /// Lines of the view that are on the terminal.
    shown: u16,
}

impl Live {
    /// A view with this title, usually the server's address.
    pub fn new(title: String) -> Self {
        Self::on(io::stderr(), title)
    }
}

impl<W: Write> Live<W> {
    const fn on(out: W, title: String) -> Self {
        Self {
            out,
            title,
            rates: VecDeque::new(),
            shown: 0,
        }
    }

    fn note(&mut self, progress: &Progress<'_>) {
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

    /// Draws over what is shown, in as much of a terminal of this size as is needed.
    fn draw(&mut self, progress: &Progress<'_>, (columns, rows): (u16, u16)) -> io::Result<()> {
        // The last column might wrap, and the last row is the cursor's.
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
        self.note(progress);
        // A view that can't be drawn is no reason to end the run.
        let _ = terminal::size().and_then(|size| self.draw(progress, size));
    }
}

impl<W: Write> Drop for Live<W> {
    fn drop(&mut self) {
        let _ = paint::erase(self.shown).and_then(|bytes| self.out.write_all(&bytes));
    }
}

/// One picture of a run.
struct View<'a> {
    title: &'a str,
    rates: &'a [u64],
    progress: &'a Progress<'a>,
}

impl Widget for &View<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let heights = [1, 1, 1, 1, 1, 1, 3, 1, 4, 1];
        let [
            title,
            clock,
            _,
            rate,
            latency,
            rates_title,
            rates,
            spread_title,
            spread,
            axis,
        ] = Layout::vertical(heights).areas(area);
        Line::from(self.title).bold().render(title, buffer);
        self.clock(clock, buffer);
        Paragraph::new(vec![self.rate()]).render(rate, buffer);
        self.latency().render(latency, buffer);
        self.rates_title().dim().render(rates_title, buffer);
        let first = self.rates.len().saturating_sub(rates.width.into());
        Sparkline::default()
            .data(&self.rates[first..])
            .style(Color::Cyan)
            .render(rates, buffer);
        let shape = Spread::new(self.progress.latency, spread.width);
        Line::from("round trips by their time, both logarithmic")
            .dim()
            .render(spread_title, buffer);
        Sparkline::default()
            .data(shape.heights())
            .style(Color::Green)
            .render(spread, buffer);
        Line::from(shape.labels()).dim().render(axis, buffer);
    }
}

impl View<'_> {
    /// How far the run has come: a gauge where its end is known.
    fn clock(&self, area: Rect, buffer: &mut Buffer) {
        let Progress { elapsed, left, .. } = *self.progress;
        let mut label = match self.progress.warming_up {
            true => String::from("warming up"),
            false => format!("{:.1} s", elapsed.as_secs_f64()),
        };
        let Some(left) = left else {
            return Line::from(label).render(area, buffer);
        };
        label += &format!(", {:.1} s left", left.as_secs_f64());
        let whole = elapsed + left;
        let ratio = match whole.is_zero() {
            true => 1.0,
            false => elapsed.div_duration_f64(whole),
        };
        LineGauge::default()
            .label(label)
            .ratio(ratio)
            .filled_symbol(line::THICK_HORIZONTAL)
            .unfilled_symbol(line::HORIZONTAL)
            .filled_style(Style::new().fg(Color::Cyan))
            .render(area, buffer);
    }

    /// The second's rate, and what was counted.
    fn rate(&self) -> Line<'static> {
        let Progress { recent, totals, .. } = self.progress;
        let seconds = recent.length_ns.max(1) as f64 / 1e9;
        let errors = totals.errors.total();
        let shown_errors = Span::from(units::count(errors, "error", "errors"));
        Line::from(vec![
            Span::from("rate     "),
            Span::from(units::rate(recent.echoed as f64 / seconds)).bold(),
            Span::from("  "),
            Span::from(units::throughput(recent.echoed_bytes as f64 / seconds)),
            Span::from("  "),
            Span::from(units::count(
                self.progress.connections as u64,
                "connection",
                "connections",
            )),
            Span::from("  "),
            Span::from(format!("{} echoed", units::whole(totals.echoed))),
            Span::from("  "),
            match errors {
                0 => shown_errors,
                _ => shown_errors.red().bold(),
            },
        ])
    }

    /// The percentiles of the run so far, those that it has samples enough for.
    fn latency(&self) -> Line<'static> {
        let latency = self.progress.latency;
        let mut spans = vec![Span::from("latency")];
        for (percentile, time) in latency.percentiles() {
            spans.push(Span::from(format!("  p{percentile} ")).dim());
            spans.push(Span::from(units::time(time as f64)));
        }
        if let Some(longest) = latency.max() {
            spans.push(Span::from("  max ").dim());
            spans.push(Span::from(units::time(longest as f64)));
        }
        Line::from(spans)
    }

    fn rates_title(&self) -> Line<'static> {
        let most = self.rates.iter().max().copied().unwrap_or(0);
        let most = units::rate(most as f64);
        Line::from(format!("rate of each second, up to {most}"))
    }
}

#[cfg(test)]
mod tests;
