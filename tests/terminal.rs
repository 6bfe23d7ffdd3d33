//! What people see on a terminal: the program on a pseudo-terminal, and an emulator's screen.
#![cfg(target_os = "linux")]

mod common;

use std::net::SocketAddr;
use std::num::NonZero;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{DEADLINE, Server};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

/// Rows and columns.
type Size = (u16, u16);

/// What was on the screen before.
const BEFORE: &str = "$ echopool";

/// The program on a terminal.
struct Terminal {
    session: PtySession,
    /// Every byte that it wrote.
    written: Vec<u8>,
    screen: vt100::Parser,
}

impl Terminal {
    /// Starts the program on a terminal of this type and size. One that does not tell its
    /// size is emulated with 24 rows and 80 columns.
    fn start(kind: &str, size: Size, arguments: &str) -> Self {
        let (rows, columns) = size;
        let script =
            format!("stty rows {rows} cols {columns}; echo '{BEFORE}'; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_echopool")]);
        command.args(arguments.split_whitespace()).env("TERM", kind);
        let deadline = DEADLINE.as_millis().try_into().unwrap();
        let (rows, columns) = if size == (0, 0) { (24, 80) } else { size };
        Self {
            session: spawn_command(command, Some(deadline)).unwrap(),
            written: Vec::new(),
            screen: vt100::Parser::new(some(rows), some(columns), 0),
        }
    }

    /// Reads what the program has written by now.
    fn read(&mut self) {
        while let Some(byte) = self.session.try_read() {
            self.take(byte);
        }
    }

    /// A character of the session stands for a byte.
    fn take(&mut self, byte: char) {
        let byte = u8::try_from(byte).expect("it stands for a byte");
        self.written.push(byte);
        self.screen.process(&[byte]);
    }

    /// The rows of the screen, without the space at their ends.
    fn rows(&self) -> Vec<String> {
        let screen = self.screen.screen();
        let rows = screen.rows(0, screen.size().1.into());
        rows.map(|row| String::from(row.trim_end())).collect()
    }

    /// The row that begins so.
    fn row(&self, start: &str) -> Option<String> {
        self.rows().into_iter().find(|row| row.starts_with(start))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    fn wait_until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let until = Instant::now() + DEADLINE;
        loop {
            self.read();
            if condition(self) {
                return;
            }
            assert!(
                Instant::now() < until,
                "waited for {what}; on the screen: {:#?}",
                self.rows()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Gives the terminal another size while the program runs.
    fn resize(&mut self, (rows, columns): Size) {
        let terminal = self.session.process().get_file_handle().unwrap();
        let [rows_text, columns_text] = [rows, columns].map(|number| number.to_string());
        let set = Command::new("stty")
            .stdin(terminal)
            .args(["rows", &rows_text, "cols", &columns_text])
            .status();
        assert!(set.unwrap().success());
        self.screen.screen_mut().set_size(some(rows), some(columns));
    }

    /// Interrupts the program, as Ctrl-C does.
    fn interrupt(&mut self) {
        self.session.send_control('c').unwrap();
    }

    /// Waits for the end, and returns the exit code.
    fn end(&mut self) -> i32 {
        let rest = self.session.exp_eof().unwrap();
        rest.chars().for_each(|byte| self.take(byte));
        match self.session.process().wait().unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("it ended otherwise: {other:?}"),
        }
    }
}

fn some(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

/// A load that goes on until it is interrupted.
fn load(address: SocketAddr, options: &str) -> String {
    format!("bench {address} -c 3 -d 10m --warmup 0 {options}")
}

/// Waits until the whole view is on the screen, from this row on, with at least a second
/// in its chart.
fn wait_for_view(terminal: &mut Terminal, title: &str, first: usize) {
    terminal.wait_until("the view", |terminal| {
        let rows = terminal.rows();
        let titles = rows.iter().filter(|row| row.starts_with(title)).count();
        let charted = rows
            .iter()
            .any(|row| row.contains(" of each second, up to "));
        titles == 1 && charted && rows[first].starts_with(title)
    });
}

/// None of the view is left on the screen.
fn assert_erased(terminal: &Terminal) {
    for words in [
        " of each second, up to ",
        "by their time, both",
        "rate  ",
        "latency  max",
    ] {
        let rows = terminal.rows();
        assert!(
            !rows.iter().any(|row| row.contains(words)),
            "{words}: {rows:#?}"
        );
    }
}

#[test]
fn where_nothing_can_be_redrawn_a_second_has_a_line() {
    let server = Server::with_workers(1);
    for (kind, size) in [
        ("dumb", (24, 80)),
        ("", (24, 80)),
        ("xterm", (0, 0)),
        ("xterm", (24, 1)),
        ("xterm", (3, 80)),
    ] {
        let mut terminal = Terminal::start(kind, size, &load(server.echo, ""));
        terminal.wait_until("two seconds", |terminal| {
            let text = terminal.text();
            let lines = text.lines().filter(|line| line.ends_with("  0 errors"));
            lines.count() >= 2
        });
        terminal.interrupt();
        assert_eq!(terminal.end(), 130, "{kind} {size:?}");
        let text = terminal.text();
        assert!(!text.contains('\x1b'), "{kind} {size:?}: {text:?}");
        assert!(text.starts_with(BEFORE), "{text}");
        assert!(text.contains("\r\n  1.0 s  "), "{text}");
    }
    server.stop();
}

#[test]
fn the_view_says_what_matters_first_at_any_width_and_is_erased() {
    let server = Server::with_workers(1);
    let address = server.echo;
    for columns in [60, 80, 132] {
        let mut terminal = Terminal::start("xterm-256color", (24, columns), &load(address, ""));
        let title = format!("{address}  3 connections, 64 bytes");
        wait_for_view(&mut terminal, &title, 1);
        terminal.wait_until("the figures", |terminal| {
            let has = |start: &str, words: [&str; 2]| {
                let row = terminal.row(start).unwrap_or_default();
                words.iter().all(|word| row.contains(word))
            };
            has("rate     ", ["/s  ", "  0 errors"]) && has("latency  max ", ["s  p50 ", "s  p99 "])
        });
        assert_eq!(terminal.rows()[0], BEFORE, "what was there before stays");
        terminal.interrupt();
        assert_eq!(terminal.end(), 130);
        assert_erased(&terminal);
        // The results are longer than the screen, or stand below what was there before.
        let text = terminal.text();
        assert!(text.contains("INTERRUPTED: "), "{text}");
    }
    server.stop();
}

#[test]
fn a_streams_megabytes_are_charted() {
    let server = Server::with_workers(1);
    let options = load(server.echo, "--stream");
    let mut terminal = Terminal::start("xterm", (24, 80), &options);
    wait_for_view(
        &mut terminal,
        &format!("{}  3 connections, stream", server.echo),
        1,
    );
    terminal.wait_until("the chart", |terminal| {
        let rows = terminal.rows();
        let start = "throughput of each second, up to ";
        let title = rows.iter().position(|row| row.starts_with(start));
        title.is_some_and(|title| rows[title].ends_with("B/s") && rows[title + 3].contains('█'))
    });
    let rows = terminal.rows();
    assert!(
        !rows.iter().any(|row| row.contains("round trips")),
        "{rows:#?}"
    );
    terminal.interrupt();
    terminal.end();
    assert_erased(&terminal);
    server.stop();
}

#[test]
fn a_terminal_that_changes_its_size_in_the_midst_has_no_scraps() {
    let server = Server::with_workers(1);
    let title = format!("{}  3 connections", server.echo);
    let mut terminal = Terminal::start("xterm", (24, 60), &load(server.echo, ""));
    wait_for_view(&mut terminal, &title, 1);
    for size in [(24, 110), (24, 80), (40, 132), (24, 60)] {
        terminal.resize(size);
        // The screen is cleared: how it broke the lines of the last view is not known.
        wait_for_view(&mut terminal, &title, 0);
    }
    // Too narrow for any view, and wide again.
    terminal.resize((24, 5));
    terminal.wait_until("an empty screen", |terminal| {
        terminal.rows().iter().all(String::is_empty)
    });
    terminal.resize((24, 80));
    wait_for_view(&mut terminal, &title, 0);
    terminal.interrupt();
    terminal.end();
    assert_erased(&terminal);
    server.stop();
}

#[test]
fn a_long_step_of_a_check_is_redrawn_in_one_row_or_has_a_line_a_second() {
    let server = Server::with_workers(1);
    let arguments = format!("check {} --only idle --idle 4s", server.echo);
    for (kind, size) in [("xterm", (24, 80)), ("xterm", (24, 14)), ("dumb", (24, 80))] {
        let mut terminal = Terminal::start(kind, size, &arguments);
        terminal.wait_until("the step", |terminal| terminal.row("idle (").is_some());
        let shown = terminal
            .rows()
            .into_iter()
            .filter(|row| row.starts_with("idle ("));
        assert_eq!(shown.count(), 1, "{kind} {size:?}: {:#?}", terminal.rows());
        assert_eq!(terminal.end(), 0);
        let is_left = terminal.row("idle (").is_some();
        assert_eq!(is_left, kind == "dumb", "{:#?}", terminal.rows());
        assert_eq!(terminal.text().contains('\x1b'), kind != "dumb");
    }
    server.stop();
}
