//! The results as SVG.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::results::metric::Metric;
use crate::results::outcome::Outcome;
use crate::results::stats::Summary;
use crate::server::definition::ECHOPOOL;
use crate::server::list::SERVERS;

/// Width and height in pixels.
const SIZE: (u32, u32) = (860, 480);

const FONT: &str = "sans-serif";

/// echopool's colour.
const OWN: RGBColor = RGBColor(214, 39, 40);

/// The others', all dark enough for a white ground.
const OTHERS: [RGBColor; 20] = [
    RGBColor(127, 127, 127),
    RGBColor(31, 119, 180),
    RGBColor(23, 170, 190),
    RGBColor(44, 140, 44),
    RGBColor(148, 103, 189),
    RGBColor(227, 119, 194),
    RGBColor(140, 86, 75),
    RGBColor(255, 127, 14),
    RGBColor(160, 160, 30),
    RGBColor(60, 60, 60),
    RGBColor(90, 90, 200),
    RGBColor(200, 150, 60),
    RGBColor(0, 100, 100),
    RGBColor(120, 160, 220),
    RGBColor(170, 60, 120),
    RGBColor(110, 110, 40),
    RGBColor(180, 180, 180),
    RGBColor(60, 110, 60),
    RGBColor(200, 120, 100),
    RGBColor(80, 60, 120),
];

/// Bars end at this multiple of the middle one, so that one server that needs
/// many times more leaves the others their length.
const LONGEST_BAR: f64 = 2.5;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The values of a metric by server, each with a tag.
type Series<T> = Vec<(String, Vec<(T, f64)>)>;

/// Draws the server's CPU time per round trip of 64 bytes against the number of
/// clients; nothing where that was not measured.
///
/// # Errors
/// The file could not be written.
pub fn cost_per_round_trip(file: &Path, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
    let mut series = lines(outcomes);
    let Some(costs) = spread(&series) else {
        return Ok(());
    };
    // echopool comes last and so lies above the others.
    series.reverse();
    let area = canvas(file)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Server CPU per round trip of 64 bytes (less is better)",
            (FONT, 20),
        )
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(
            (0.8..120_000.0).log_scale(),
            (costs.min * 0.9..costs.max * 1.1).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("clients")
        .y_desc("µs")
        .x_label_formatter(&|clients| format!("{clients:.0}"))
        .y_label_formatter(&|cost| format!("{cost:.0}"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (name, points) in series {
        let style = colour(&name).stroke_width(if name == ECHOPOOL { 4 } else { 2 });
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
    let mut rows = bars(outcomes);
    let Some(costs) = spread(&rows) else {
        return Ok(());
    };
    let longest = costs.max.min(costs.median * LONGEST_BAR);
    // Rows are counted from below.
    rows.reverse();
    let area = canvas(file)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Server CPU per GB streamed (less is better)", (FONT, 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(110)
        .build_cartesian_2d(0.0..longest * 1.1, (0..rows.len() - 1).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("ms (upper bar: 1 client, lower bar: 16 clients)")
        .x_label_formatter(&|cost| format!("{cost:.0}"))
        .y_labels(rows.len())
        .y_label_formatter(&|place| match place {
            SegmentValue::CenterOf(row) => rows.get(*row).map_or("", |row| &row.0).to_owned(),
            _ => String::new(),
        })
        .draw()?;
    let plane = chart.plotting_area();
    for (row, (name, values)) in rows.iter().enumerate() {
        let pixel = |cost, row| plane.map_coordinate(&(cost, SegmentValue::Exact(row)));
        let (left, bottom) = pixel(0.0, row);
        let (_, top) = pixel(0.0, row + 1);
        for (lower, cost) in values {
            let (right, _) = pixel(cost.min(longest), row);
            let half = (bottom - top) * 2 / 5;
            let from = i32::midpoint(top, bottom) - if *lower { 0 } else { half };
            let shade = colour(name).mix(if *lower { 0.55 } else { 1.0 });
            let corners = [(left, from), (right, from + half)];
            area.draw(&Rectangle::new(corners, shade.filled()))?;
            let more = if *cost > longest { "… " } else { "" };
            let label = Text::new(format!("{more}{cost:.0}"), (right + 4, from), (FONT, 12));
            area.draw(&label)?;
        }
    }
    Ok(area.present()?)
}

/// Over all values; `None` where there are none.
fn spread<T>(series: &Series<T>) -> Option<Summary> {
    let values = series.iter().flat_map(|(_, values)| values);
    let values: Vec<f64> = values.map(|(_, value)| *value).collect();
    Summary::of(&values)
}

fn canvas(file: &Path) -> Result<Area<'_>, Box<dyn Error>> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area)
}

/// A server has the same colour in every plot.
fn colour(name: &str) -> RGBAColor {
    let place = SERVERS.iter().position(|server| server.name == name);
    match name == ECHOPOOL {
        true => OWN.to_rgba(),
        false => OTHERS[place.unwrap_or_default() % OTHERS.len()].to_rgba(),
    }
}

/// For each server `(clients, µs)` in growing order.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are a few thousand clients"
)]
fn lines(outcomes: &[Outcome]) -> Series<f64> {
    let sizes = ["ping-64-1", "ping-64-50", "ping-64-1000", "ping-64-10000"];
    let measured = sizes.iter().flat_map(|name| find(outcomes, name));
    collect(
        measured.map(|outcome| (outcome.clients as f64, outcome)),
        Metric::CpuPerRoundTrip,
    )
}

/// For each server `(whether it was sixteen clients, ms)`.
fn bars(outcomes: &[Outcome]) -> Series<bool> {
    let sizes = [(false, "stream-1"), (true, "stream-16")];
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
) -> Series<T> {
    let mut series: Series<T> = Vec::new();
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
    use crate::results::outcome::tests::outcome;
    use crate::server::definition::Server;
    use crate::server::transport::Transport;

    #[test]
    fn no_two_servers_of_a_plot_have_one_colour() {
        let is_drawn = |server: &Server| server.speaks(Transport::Tcp);
        let last = SERVERS.iter().rposition(is_drawn).unwrap();
        assert!(last < OTHERS.len());
    }

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
