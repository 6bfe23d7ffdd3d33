//! Charts of lines and areas over two axes, as SVG with the colours of the page.

use std::fmt::Write;

use maud::{Markup, html};

/// A size of a drawing in its own units, and the plot area between the axes. The page scales
/// it, labels too, so it shows the one that its width fits.
struct Size {
    /// Its class on the page.
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

const BROAD: Size = Size {
    class: "broad",
    width: 640.0,
    height: 320.0,
    left: 84.0,
    right: 616.0,
    top: 12.0,
    bottom: 268.0,
};

const NARROW: Size = Size {
    class: "narrow",
    width: 360.0,
    height: 300.0,
    left: 84.0,
    right: 340.0,
    top: 12.0,
    bottom: 248.0,
};

/// The width of a label's character, and the least space between two labels.
const CHARACTER: f64 = 6.8;
const SPACE: f64 = 6.0;

/// The number of colours; further series use them again, dashed.
const COLOURS: usize = 8;

/// One axis: its range, its scale and its ticks.
pub(super) struct Axis {
    label: String,
    /// Whether the scale is logarithmic.
    log: bool,
    from: f64,
    to: f64,
    /// The values at which a grid line is drawn, with their labels.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis from zero, or from `from` if that is less, to `to`.
    pub(super) fn linear(label: &str, (from, to): (f64, f64), show: fn(f64) -> String) -> Self {
        const TICKS: f64 = 6.0;
        let (from, to) = (from.min(0.0), if to > 0.0 { to } else { 1.0 });
        let step = round_up((to - from) / TICKS);
        let ticks = steps((from / step).ceil(), (to / step).floor());
        Self {
            label: label.to_owned(),
            log: false,
            from,
            to,
            ticks: ticks
                .map(|step_number| step_number * step)
                .map(|tick| (tick, show(tick)))
                .collect(),
        }
    }

    /// A logarithmic axis over at least `(from, to)`, both above zero.
    pub(super) fn log(label: &str, (from, to): (f64, f64), show: fn(f64) -> String) -> Self {
        // A single value gets room on both sides.
        let (from, to) = if to / from < 2.0 {
            (from / 1.5, to * 1.5)
        } else {
            (from, to)
        };
        let decades = || steps(from.log10().floor(), to.log10().ceil()).map(|n| 10_f64.powf(n));
        let within = |tick: &f64| (from * 0.999..=to * 1.001).contains(tick);
        // Few decades have more grid lines each.
        let parts: &[f64] = match to / from {
            ..300.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let ticks = decades().flat_map(|decade| parts.iter().map(move |part| decade * part));
        Self {
            label: label.to_owned(),
            log: true,
            from,
            to,
            ticks: ticks
                .filter(within)
                .map(|tick| (tick, show(tick)))
                .collect(),
        }
    }

    /// A logarithmic axis with room at both ends.
    pub(super) fn log_with_room(
        label: &str,
        (from, to): (f64, f64),
        show: fn(f64) -> String,
    ) -> Self {
        let room = (to / from).powf(0.06);
        Self::log(label, (from / room, to * room), show)
    }

    /// Replaces the ticks by those of `ticks` that are on the axis.
    pub(super) fn with_ticks(mut self, ticks: impl IntoIterator<Item = (f64, String)>) -> Self {
        let (from, to) = (self.from, self.to);
        let ticks = ticks.into_iter();
        self.ticks = ticks
            .filter(|(tick, _)| (from..=to * 1.001).contains(tick))
            .collect();
        self
    }

    /// The position of a value on the axis, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let place = match self.log {
            true => (value / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        place.clamp(0.0, 1.0)
    }

    fn x(&self, size: &Size, value: f64) -> f64 {
        self.place(value).mul_add(size.right - size.left, size.left)
    }

    fn y(&self, size: &Size, value: f64) -> f64 {
        self.place(value)
            .mul_add(size.top - size.bottom, size.bottom)
    }

    /// The labels of a horizontal axis with their places, without those for which there is no
    /// room.
    fn labels(&self, size: &Size) -> Vec<(f64, &str)> {
        let mut free_from = 0.0;
        let ticks = self.ticks.iter().filter_map(|(value, text)| {
            let (at, half) = (self.x(size, *value), half_width(text));
            let fits = at - half >= free_from && at + half <= size.width;
            if fits {
                free_from = at + half + SPACE;
            }
            fits.then_some((at, text.as_str()))
        });
        ticks.collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "labels are short")]
fn half_width(label: &str) -> f64 {
    label.chars().count() as f64 * CHARACTER / 2.0
}

/// Whole numbers from `first` to `last`.
fn steps(first: f64, last: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(first), |number| Some(number + 1.0))
        .take_while(move |number| *number <= last)
}

/// Rounds up to 1, 2 or 5 times a power of ten.
fn round_up(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    let parts = [1.0, 2.0, 5.0, 10.0];
    let fits = parts.iter().find(|part| **part * power >= number * 0.999);
    fits.unwrap_or(&10.0) * power
}

/// How the points of a series are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Joined by a line.
    Line,
    /// Joined by a line, and filled down to the axis.
    Area,
    /// As an area in the background.
    Shade,
}

/// A named series of points.
pub(super) struct Series {
    pub(super) name: String,
    /// The number of its colour on the page; from [`COLOURS`] on they are dashed.
    pub(super) colour: usize,
    pub(super) shape: Shape,
    /// From left to right; `None` interrupts the line.
    pub(super) points: Vec<Option<(f64, f64)>>,
}

impl Series {
    pub(super) fn line(
        name: impl Into<String>,
        colour: usize,
        points: impl IntoIterator<Item = Option<(f64, f64)>>,
    ) -> Self {
        Self {
            name: name.into(),
            colour,
            shape: Shape::Line,
            points: points.into_iter().collect(),
        }
    }

    /// A shaded range of the x axis, over the whole height.
    pub(super) fn shade(name: &str, colour: usize, from: f64, to: f64) -> Self {
        Self {
            name: name.to_owned(),
            colour,
            shape: Shape::Shade,
            points: vec![Some((from, f64::INFINITY)), Some((to, f64::INFINITY))],
        }
    }

    fn class(&self) -> String {
        let shape = match self.shape {
            Shape::Line => "line",
            Shape::Area => "area",
            Shape::Shade => "shade",
        };
        let dashed = if self.colour < COLOURS { "" } else { " dashed" };
        format!("{shape} c{}{dashed}", self.colour % COLOURS)
    }

    fn path(&self, size: &Size, x: &Axis, y: &Axis) -> String {
        let bottom = size.bottom;
        let mut path = String::new();
        let mut last: Option<f64> = None;
        for point in &self.points {
            let Some((at, value)) = point else {
                last = None;
                continue;
            };
            let (at, value) = (x.x(size, *at), y.y(size, *value));
            // A single point is a line without length, visible by its round ends.
            let _ = match (last, self.shape) {
                (Some(_), _) => write!(path, "L{at:.1} {value:.1}"),
                (None, Shape::Line) => write!(path, "M{at:.1} {value:.1}h0"),
                (None, _) => write!(path, "M{at:.1} {bottom}V{value:.1}"),
            };
            last = Some(at);
        }
        if self.shape != Shape::Line {
            let _ = write!(path, "V{bottom}Z");
        }
        path
    }
}

/// A chart with its title, and with a legend if there is more than one series.
pub(super) fn draw(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> Markup {
    html! {
        figure {
            figcaption {
                h3 { (title) }
                (legend(series))
            }
            @for size in [&BROAD, &NARROW] {
                svg class=(size.class) viewBox={ "0 0 " (size.width) " " (size.height) }
                    role="img" aria-label=(title) {
                    (axes(size, x, y))
                    @for each in series {
                        path class=(each.class()) d=(each.path(size, x, y)) {
                            title { (each.name) }
                        }
                    }
                }
            }
        }
    }
}

fn legend(series: &[Series]) -> Markup {
    let mut named: Vec<&Series> = Vec::new();
    for each in series {
        if !named.iter().any(|other| other.name == each.name) {
            named.push(each);
        }
    }
    html! {
        @if named.len() > 1 {
            ul.legend {
                @for each in named {
                    li {
                        svg.key viewBox="0 0 24 12" aria-hidden="true" {
                            @if each.shape == Shape::Line {
                                path class=(each.class()) d="M2 6H22" {}
                            } @else {
                                path class=(each.class()) d="M2 1H22V11H2Z" {}
                            }
                        }
                        (each.name)
                    }
                }
            }
        }
    }
}

/// The axes, the grid and the labels.
fn axes(size: &Size, x: &Axis, y: &Axis) -> Markup {
    let &Size {
        left,
        right,
        top,
        bottom,
        ..
    } = size;
    html! {
        @for (value, _) in &x.ticks {
            path.grid d={ "M" (format!("{:.1}", x.x(size, *value))) " " (top) "V" (bottom) } {}
        }
        @for (at, text) in x.labels(size) {
            text x=(format!("{at:.1}")) y=(bottom + 18.0) text-anchor="middle" { (text) }
        }
        @for (value, text) in &y.ticks {
            @let at = format!("{:.1}", y.y(size, *value));
            path.grid d={ "M" (left) " " (at) "H" (right) } {}
            text x=(left - 8.0) y=(at) dy="0.35em" text-anchor="end" { (text) }
        }
        path.axis d={ "M" (left) " " (top) "V" (bottom) "H" (right) } {}
        text.label x=(f64::midpoint(left, right)) y=(bottom + 42.0) text-anchor="middle" {
            (x.label)
        }
        text.label transform={ "translate(14 " (f64::midpoint(top, bottom)) ") rotate(-90)" }
            text-anchor="middle" { (y.label) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis) -> Vec<f64> {
        axis.ticks.iter().map(|(tick, _)| *tick).collect()
    }

    fn show(value: f64) -> String {
        value.to_string()
    }

    #[test]
    fn ticks_are_round_and_on_the_axis() {
        let axis = Axis::linear("", (0.0, 52_000.0), show);
        assert_eq!(
            ticks(&axis),
            [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0]
        );
        assert_eq!(
            ticks(&Axis::linear("", (-1.0, 4.0), show)),
            [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(
            ticks(&Axis::log("", (100.0, 1000.0), show)),
            [100.0, 200.0, 500.0, 1000.0]
        );
        assert_eq!(
            ticks(&Axis::log("", (1.0, 1e4), show)),
            [1.0, 10.0, 100.0, 1e3, 1e4]
        );
        assert_eq!(ticks(&Axis::linear("", (0.0, 0.0), show)).len(), 6);
    }

    #[test]
    fn values_are_placed_by_ratio_or_difference() {
        let linear = Axis::linear("", (0.0, 100.0), show);
        assert!((linear.place(25.0) - 0.25).abs() < 1e-12);
        let log = Axis::log("", (1.0, 10_000.0), show);
        assert!((log.place(10.0) - 0.25).abs() < 1e-12);
        assert!((log.y(&BROAD, 100.0) - f64::midpoint(BROAD.top, BROAD.bottom)).abs() < 1e-9);
        assert!(
            (log.place(1e9) - 1.0).abs() < 1e-12,
            "beyond the end is at the end"
        );
    }

    #[test]
    fn a_gap_interrupts_a_line() {
        let axis = Axis::linear("", (0.0, 1.0), show);
        let points = [Some((0.0, 0.0)), Some((1.0, 1.0)), None, Some((1.0, 0.0))];
        let path = Series::line("", 0, points).path(&BROAD, &axis, &axis);
        assert_eq!(path, "M84.0 268.0h0L616.0 12.0M616.0 268.0h0");
    }

    #[test]
    fn labels_that_would_overlap_or_be_cut_are_left_out() {
        let axis = Axis::linear("", (0.0, 6.0), |value| format!("{value:.6} s"));
        assert_eq!(axis.ticks.len(), 7);
        for size in [&BROAD, &NARROW] {
            let labels = axis.labels(size);
            assert!((2..7).contains(&labels.len()), "{}: {labels:?}", size.class);
            for pair in labels.windows(2) {
                let [(left, one), (right, other)] = [pair[0], pair[1]];
                assert!(
                    left + half_width(one) < right - half_width(other),
                    "{labels:?}"
                );
            }
            let (last, text) = labels[labels.len() - 1];
            assert!(last + half_width(text) <= size.width, "{labels:?}");
        }
    }
}
