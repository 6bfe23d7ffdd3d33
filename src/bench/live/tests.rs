//! The view, drawn to a buffer, and painted on an emulated terminal.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::display::Live;
use super::paint;
use super::view::{HEIGHT, View, WIDEST};
use crate::bench::progress::Progress;
use crate::bench::results::{Errors, Interval, Totals};
use crate::probe::latency::Latency;

/// The figures of a run to show.
struct Figures {
    totals: Totals,
    latency: Latency,
    second: Interval,
}

impl Figures {
    fn some() -> Self {
        let mut latency = Latency::new();
        for time in 1..=1000 {
            latency.histogram.record(time * 1000).unwrap();
        }
        Self {
            totals: Totals {
                echoed: 1_234_567,
                errors: Errors {
                    reset: 2,
                    ..Errors::default()
                },
                ..Totals::default()
            },
            latency,
            second: Interval {
                length_ns: 500_000_000,
                echoed: 26_000,
                echoed_bytes: 1_664_000,
                ..Interval::default()
            },
        }
    }

    fn none() -> Self {
        Self {
            totals: Totals::default(),
            latency: Latency::new(),
            second: Interval::default(),
        }
    }

    fn progress(&self, elapsed_s: u64, left_s: Option<u64>) -> Progress<'_> {
        Progress {
            elapsed: Duration::from_secs(elapsed_s),
            warming_up: elapsed_s == 0,
            left: left_s.map(Duration::from_secs),
            totals: &self.totals,
            latency: &self.latency,
            recent: &self.second,
            connections: 50,
            datagrams: None,
            finished: None,
        }
    }
}

/// The lines of a view, without the space at their ends.
fn drawn(progress: &Progress<'_>, rates: &[u64], width: u16) -> Vec<String> {
    let view = View {
        title: "127.0.0.1:20162",
        step: "",
        is_stream: false,
        rates,
        progress,
    };
    let mut terminal = Terminal::new(TestBackend::new(width, HEIGHT)).unwrap();
    terminal
        .draw(|frame| frame.render_widget(&view, frame.area()))
        .unwrap();
    let cells = terminal.backend().buffer().content.chunks(width.into());
    let lines = cells.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.map(|line| String::from(line.trim_end())).collect()
}

#[test]
fn a_run_is_shown_with_all_its_numbers() {
    let figures = Figures::some();
    let lines = drawn(&figures.progress(3, Some(7)), &[1000, 2000, 4000], 80);
    let bar = "━".repeat(18) + &"─".repeat(44);
    assert_eq!(lines[0], "127.0.0.1:20162");
    assert_eq!(lines[1], format!("3.0 s, 7.0 s left {bar}"));
    assert_eq!(
        lines[3],
        "rate     52,000/s  3.33 MB/s  2 errors  50 connections  1,234,567 echoed"
    );
    assert_eq!(
        lines[4],
        "latency  max 1.00 ms  p50 500 us  p90 900 us  p99 990 us"
    );
    assert_eq!(lines[5], "rate of each second, up to 4,000/s");
    assert_eq!(lines[6..9], ["  █", " ▄█", "▆██"]);
    assert_eq!(lines[9], "round trips by their time, both logarithmic");
    let axis = "|1.00 us";
    assert!(lines[14].starts_with(axis), "{lines:#?}");
}

#[test]
fn more_and_slower_round_trips_make_higher_bars_further_right() {
    let mut figures = Figures::none();
    for (time, count) in [(20_000, 1000), (900_000, 10)] {
        figures.latency.histogram.record_n(time, count).unwrap();
    }
    let lines = drawn(&figures.progress(3, None), &[], 60);
    let column = |line: &str| line.chars().position(|c| c == '█');
    let (fast, slow) = (column(&lines[10]), column(&lines[13]));
    assert_eq!((fast, slow), (Some(0), Some(0)), "{lines:#?}");
    let last = lines[13].chars().count();
    assert!(last > 50 && lines[10].chars().count() == 1, "{lines:#?}");
}

#[test]
fn a_run_without_a_reply_yet_is_shown_too() {
    let figures = Figures::none();
    let lines = drawn(&figures.progress(0, Some(10)), &[], 80);
    assert!(
        lines[1].starts_with("warming up, 10.0 s left ─"),
        "{lines:#?}"
    );
    assert!(lines[3].contains("0.00/s") && lines[3].contains("  0 errors  "));
    assert_eq!(lines[4], "latency");
    let lines = drawn(&figures.progress(4, None), &[], 80);
    assert_eq!(lines[1], "4.0 s");
}

#[test]
fn the_rates_that_fit_are_the_last_ones() {
    let figures = Figures::none();
    let rates: Vec<u64> = (0..100).map(|n| u64::from(n >= 90) * 10).collect();
    let lines = drawn(&figures.progress(1, None), &rates, 20);
    assert_eq!(lines[8], format!("{}{}", " ".repeat(10), "█".repeat(10)));
}

#[test]
fn any_width_can_be_drawn() {
    let figures = Figures::some();
    for width in [1, 2, 7, 30, 300] {
        let lines = drawn(&figures.progress(3, Some(7)), &[1, 2, 3], width);
        assert_eq!(lines.len(), usize::from(HEIGHT));
    }
}

/// An emulated terminal with something on it already.
fn screen(rows: u16, columns: u16) -> vt100::Parser {
    let mut screen = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 100);
    screen.process(b"$ echopool bench\r\n");
    screen
}

fn rows(screen: &vt100::Parser) -> Vec<String> {
    let (_, columns) = screen.screen().size();
    let rows = screen.screen().rows(0, columns.into());
    rows.map(|row| String::from(row.trim_end())).collect()
}

#[test]
fn each_view_replaces_the_previous_one_and_the_last_is_erased() {
    let figures = Figures::some();
    for (rows_of_screen, at_bottom) in [(40, false), (20, true), (8, true)] {
        let size = (80, rows_of_screen);
        let mut screen = screen(rows_of_screen, 80);
        if at_bottom {
            screen.process(&b"\r\n".repeat(40));
            screen.process(b"$ again\r\n");
        }
        let before = rows(&screen);
        let cursor = screen.screen().cursor_position();
        let mut out = Vec::new();
        let mut live = Live::on(&mut out, String::from("the server"), false);
        for elapsed in 1..=3 {
            live.draw(&figures.progress(elapsed, Some(7)), size)
                .unwrap();
        }
        let shown = live.shown;
        assert_eq!(shown, HEIGHT.min(rows_of_screen - 1));
        // Not dropped yet: the view is on the screen.
        live.shown = 0;
        drop(live);
        screen.process(&out);
        let now = rows(&screen);
        assert_eq!(now.iter().filter(|row| *row == "the server").count(), 1);
        assert!(now.iter().any(|row| row.starts_with("3.0 s, ")), "{now:#?}");
        screen.process(&paint::erase(shown).unwrap());
        let after = rows(&screen);
        assert!(!after.contains(&String::from("the server")), "{after:#?}");
        if at_bottom {
            let last = after.iter().rfind(|row| !row.is_empty());
            let scrolled_out = rows_of_screen - 1 == shown;
            assert_eq!(last.is_none(), scrolled_out, "{after:#?}");
        } else {
            assert_eq!((after, screen.screen().cursor_position()), (before, cursor));
        }
    }
}

#[test]
fn colours_end_with_what_they_are_for() {
    let figures = Figures::some();
    let mut out = Vec::new();
    Live::on(&mut out, String::from("the server"), false)
        .draw(&figures.progress(1, Some(7)), (80, 40))
        .unwrap();
    let mut screen = screen(40, 80);
    screen.process(&out);
    screen.process(b"x");
    let cell = screen.screen().cell(1, 0).unwrap();
    assert_eq!(
        (cell.contents(), cell.fgcolor()),
        ("x", vt100::Color::Default)
    );
    assert!(!cell.bold() && !cell.dim());
}

#[test]
fn no_answer_is_requested_from_the_terminal() {
    let figures = Figures::some();
    let mut out = Vec::new();
    Live::on(&mut out, String::from("the server"), false)
        .draw(&figures.progress(1, Some(7)), (80, 40))
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    // They ask for the cursor's position, hide it, or switch to another screen.
    for asked in ["\x1b[6n", "\x1b[?25l", "\x1b[?1049h"] {
        assert!(!text.contains(asked), "{asked:?}");
    }
}

#[test]
fn a_completed_second_is_kept_as_a_rate() {
    let figures = Figures::some();
    let mut live = Live::on(Vec::new(), String::new(), false);
    live.add_rate(&figures.progress(1, None));
    assert!(live.rates.is_empty());
    let over = Progress {
        finished: Some(&figures.second),
        ..figures.progress(1, None)
    };
    for _ in 0..200 {
        live.add_rate(&over);
    }
    assert_eq!(
        (live.rates.len(), live.rates[0]),
        (usize::from(WIDEST), 52_000)
    );
}

#[test]
fn sixty_columns_have_the_errors_and_the_longest_time() {
    let figures = Figures::some();
    let lines = drawn(&figures.progress(3, Some(7)), &[1000], 60);
    assert!(lines[3].contains("2 errors"), "{lines:#?}");
    assert!(
        lines[4].contains("max 1.00 ms") && lines[4].contains("p99 990 us"),
        "{lines:#?}"
    );
}

#[test]
fn the_bytes_of_a_stream_are_charted() {
    let figures = Figures::some();
    let mut out = Vec::new();
    let mut live = Live::on(&mut out, String::from("the server"), true);
    let over = Progress {
        finished: Some(&figures.second),
        ..figures.progress(1, None)
    };
    live.add_rate(&over);
    assert_eq!(live.rates, [3_328_000]);
    live.draw(&over, (80, 40)).unwrap();
    live.shown = 0;
    drop(live);
    let mut screen = screen(40, 80);
    screen.process(&out);
    let rows = rows(&screen);
    let has = |words: &str| rows.iter().any(|row| row == words);
    assert!(
        has("rate     3.33 MB/s  2 errors  50 connections"),
        "{rows:#?}"
    );
    assert!(
        has("throughput of each second, up to 3.33 MB/s"),
        "{rows:#?}"
    );
    assert!(
        !rows.iter().any(|row| row.contains("round trips")),
        "{rows:#?}"
    );
}

#[test]
fn a_change_of_size_leaves_no_scraps() {
    let figures = Figures::some();
    for (before, after) in [
        ((80, 24), (60, 24)),
        ((60, 24), (110, 40)),
        ((80, 24), (80, 10)),
    ] {
        let mut out = Vec::new();
        let mut live = Live::on(&mut out, String::from("the server"), false);
        live.draw(&figures.progress(1, Some(7)), before).unwrap();
        live.draw(&figures.progress(2, Some(7)), after).unwrap();
        live.shown = 0;
        drop(live);
        // What the terminal made of the first view is not known: here it is as it was.
        let mut screen = screen(after.1, after.0);
        screen.process(&out);
        let rows = rows(&screen);
        assert_eq!(rows[0], "the server", "{rows:#?}");
        assert!(rows[1].starts_with("2.0 s, 7.0 s left"), "{rows:#?}");
        assert!(!rows.iter().any(|row| row.contains("1.0 s, ")), "{rows:#?}");
    }
}

#[test]
fn nothing_is_drawn_on_a_terminal_without_room() {
    let figures = Figures::some();
    for size in [(0, 0), (1, 24), (19, 24), (80, 3), (0, 24)] {
        let mut out = Vec::new();
        let mut live = Live::on(&mut out, String::from("the server"), false);
        live.draw(&figures.progress(1, None), size).unwrap();
        drop(live);
        assert!(out.is_empty(), "{size:?}: {out:?}");
    }
}
