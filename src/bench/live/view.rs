//! The view: its widgets and what they show.

use ratatui::buffer::Buffer;
use ratatui::layout::{Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::line;
use ratatui::text::{Line, Span};
use ratatui::widgets::{LineGauge, Paragraph, Sparkline, Widget};

use super::spread::Spread;
use crate::base::units;
use crate::bench::progress::Progress;

/// The height of the view, in lines.
pub(super) const HEIGHT: u16 = 15;

/// The largest width of the view, in columns.
pub(super) const WIDEST: u16 = 110;

/// The view of a run at one moment.
pub(super) struct View<'a> {
    pub(super) title: &'a str,
    /// The step of a search.
    pub(super) step: &'a str,
    /// Whether bytes are charted: a stream has no round trips.
    pub(super) is_stream: bool,
    /// The rates of the last seconds, in messages or bytes.
    pub(super) rates: &'a [u64],
    pub(super) progress: &'a Progress<'a>,
}

impl Widget for &View<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let heights = [1, 1, 1, 1, 1, 1, 3, 1, 4, 1];
        let [
            title,
            clock,
            step,
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
        Line::from(self.step).render(step, buffer);
        Paragraph::new(vec![self.rate()]).render(rate, buffer);
        if !self.is_stream {
            self.latency().render(latency, buffer);
        }
        self.rates_title().dim().render(rates_title, buffer);
        let first = self.rates.len().saturating_sub(rates.width.into());
        Sparkline::default()
            .data(&self.rates[first..])
            .style(Color::Cyan)
            .render(rates, buffer);
        if self.is_stream {
            return;
        }
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
    /// The elapsed time, with a gauge if the end is known.
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

    /// The rate of the present second, and the counts.
    fn rate(&self) -> Line<'static> {
        let Progress { recent, totals, .. } = self.progress;
        let seconds = recent.length_ns.max(1) as f64 / 1e9;
        let errors = totals.errors.total();
        let shown_errors = Span::from(units::count(errors, "error", "errors"));
        let rate = Span::from(units::rate(recent.echoed as f64 / seconds)).bold();
        let throughput = Span::from(units::throughput(recent.echoed_bytes as f64 / seconds));
        let connections = Span::from(self.progress.connections());
        let errors = match errors {
            0 => shown_errors,
            _ => shown_errors.red().bold(),
        };
        // A narrow terminal cuts off what is last.
        let parts = match self.is_stream {
            true => vec![throughput.bold(), errors, connections],
            false => {
                let echoed = Span::from(format!("{} echoed", units::whole(totals.echoed)));
                let lost = self.progress.lost().map(Span::from);
                let mut parts = vec![rate, throughput, errors];
                parts.extend(lost);
                parts.extend([connections, echoed]);
                parts
            }
        };
        let mut line = Line::from("rate   ");
        for part in parts {
            line.push_span("  ");
            line.push_span(part);
        }
        line
    }

    /// The percentiles of the run so far for which there are enough samples.
    fn latency(&self) -> Line<'static> {
        let latency = self.progress.latency;
        let mut spans = vec![Span::from("latency")];
        let mut push = |name: String, time: u64| {
            spans.push(Span::from(format!("  {name} ")).dim());
            spans.push(Span::from(units::time(time as f64)));
        };
        // A narrow terminal cuts off the percentiles.
        if let Some(longest) = latency.max() {
            push(String::from("max"), longest);
        }
        for (percentile, time) in latency.percentiles() {
            push(format!("p{percentile}"), time);
        }
        Line::from(spans)
    }

    fn rates_title(&self) -> Line<'static> {
        let most = self.rates.iter().max().copied().unwrap_or(0);
        let (what, most) = match self.is_stream {
            true => ("throughput", units::throughput(most as f64)),
            false => ("rate", units::rate(most as f64)),
        };
        Line::from(format!("{what} of each second, up to {most}"))
    }
}
