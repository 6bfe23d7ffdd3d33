//! The results as SVG.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::metric::Metric;
use crate::results::Outcome;
use crate::roster::ECHOPOOL;

/// Width and height in pixels.
const SIZE: (u32, u32) = (860, 480);

const FONT: &str = "sans-serif";

/// echopool's colour; the others share the palette.
const OWN: RGBColor = RGBColor(200, 30, 30);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A named line or row: `(x, y)` points, or one value for each group of bars.
type Series<T> = Vec<(String, Vec<T>)>;

/// Draws the server's CPU time per round trip of 64 bytes against the number of
/// clients; nothing where that was not measured.
///
/// # Errors
/// The file could not be written.
pub fn cost_per_round_trip(file: &Path, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    let series = lines(outcomes);
    let points = series.iter().flat_map(|(_, points)| points);
    let most = points.fold(0.0, |most: f64, (_, cost)| most.max(*cost));
    if most == 0.0 {
        return Ok(());
    }
    let area = canvas(file)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Server CPU per round trip of 64 bytes (less is better)",
            (FONT, 20),
        )
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((0.8..14_000.0).log_scale(), 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("clients")
        .y_desc("µs")
        .x_label_formatter(&|clients| format!("{clients:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for (index, (name, points)) in series.into_iter().enumerate() {
        let style = colour(index, &name).stroke_width(if name == ECHOPOOL { 4 } else { 2 });
        let dots = points
            .iter()
            .map(|point| Circle::new(*point, 3, style.filled()));
        chart.draw_series(dots.collect::<Vec<_>>())?;
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(area.present()?)
}

/// Draws the server's CPU time per streamed GB, a bar for each server and number
/// of clients; nothing where that was not measured.
///
/// # Errors
/// The file could not be written.
pub fn cost_per_gb(file: &Path, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    let rows = bars(outcomes);
    let values = rows.iter().flat_map(|(_, values)| values);
    let most = values.fold(0.0, |most: f64, (_, cost)| most.max(*cost));
    if most == 0.0 {
        return Ok(());
    }
    let area = canvas(file)?;
    let names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
    let mut chart = ChartBuilder::on(&area)
        .caption("Server CPU per GB streamed (less is better)", (FONT, 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(120)
        .build_cartesian_2d(0.0..most * 1.15, (0..names.len()).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .x_desc("ms (upper bar: 1 client, lower bar: 16 clients)")
        .y_labels(names.len())
        .y_label_formatter(&|place| match place {
            SegmentValue::CenterOf(row) => names.get(*row).cloned().unwrap_or_default(),
            _ => String::new(),
        })
        .draw()?;
    let plane = chart.plotting_area();
    for (row, (name, values)) in rows.iter().enumerate() {
        let (_, top) = plane.map_coordinate(&(0.0, SegmentValue::Exact(row)));
        let (_, bottom) = plane.map_coordinate(&(0.0, SegmentValue::Exact(row + 1)));
        let step = (bottom - top) / 5;
        for (index, cost) in values {
            let (left, _) = plane.map_coordinate(&(0.0, SegmentValue::Exact(row)));
            let (right, _) = plane.map_coordinate(&(*cost, SegmentValue::Exact(row)));
            let from = top + step / 2 + step * 2 * i32::from(*index);
            let shade = colour(row, name).mix(if *index == 0 { 1.0 } else { 0.55 });
            let bar = Rectangle::new([(left, from), (right, from + step * 2)], shade.filled());
            area.draw(&bar)?;
            let label = (right + 4, from + step - 6);
            area.draw(&Text::new(format!("{cost:.0}"), label, (FONT, 12)))?;
        }
    }
    Ok(area.present()?)
}

fn canvas(file: &Path) -> Result<Area<'_>, Box<dyn Error>> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area)
}

fn colour(index: usize, name: &str) -> RGBAColor {
    match name == ECHOPOOL {
        true => OWN.to_rgba(),
        false => Palette99::pick(index).to_rgba(),
    }
}

/// For each server `(clients, µs)` in growing order.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are a few thousand clients"
)]
fn lines(outcomes: &[Outcome]) -> Series<(f64, f64)> {
    let sizes = ["ping-64-1", "ping-64-50", "ping-64-1000", "ping-64-10000"];
    let measured = sizes.iter().flat_map(|name| find(outcomes, name));
    collect(
        measured.map(|outcome| (outcome.clients as f64, outcome)),
        Metric::CpuPerRoundTrip,
    )
}

/// For each server `(0 for one client and 1 for sixteen, ms)`.
fn bars(outcomes: &[Outcome]) -> Series<(u8, f64)> {
    let sizes = [(0, "stream-1"), (1, "stream-16")];
    let measured = sizes
        .iter()
        .filter_map(|(index, name)| Some((*index, find(outcomes, name)?)));
    collect(measured, Metric::CpuPerGb)
}

fn find<'a>(outcomes: &'a [Outcome], name: &str) -> Option<&'a Outcome> {
    outcomes.iter().find(|outcome| outcome.name == name)
}

/// The medians of a metric by server, each with the tag of its outcome.
fn collect<'a, T: Copy>(
    outcomes: impl Iterator<Item = (T, &'a Outcome)>,
    metric: Metric,
) -> Series<(T, f64)> {
    let mut series: Series<(T, f64)> = Vec::new();
    for (tag, outcome) in outcomes {
        for server in &outcome.servers {
            let Some(median) = server.median(metric) else {
                continue;
            };
            match series.iter_mut().find(|(name, _)| *name == server.name) {
                Some((_, points)) => points.push((tag, median)),
                None => series.push((server.name.clone(), vec![(tag, median)])),
            }
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::outcome;

    #[test]
    fn a_line_has_a_point_for_each_number_of_clients() {
        let first = Outcome {
            name: String::from("ping-64-1"),
            clients: 1,
            ..outcome()
        };
        let series = lines(&[outcome(), first]);
        assert_eq!(
            series[0],
            (String::from(ECHOPOOL), vec![(1.0, 8.0), (50.0, 8.0)])
        );
        assert_eq!(series.len(), 4, "the skipped server has no line");
        assert!(bars(&[outcome()]).is_empty());
    }
}
