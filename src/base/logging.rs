//! The log: env_logger's lines, written to standard error by a separate thread.
//!
//! The reader of standard error may stop reading. A worker that wrote to it directly would
//! block, and with it all its clients. So the lines go through a bounded channel; lines
//! that do not fit are dropped and counted.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

/// The most lines that wait to be written.
const CAPACITY: usize = 4096;

/// The longest that the end of the program waits until the last lines are written.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// A message to the writing thread.
enum Message {
    Line(Vec<u8>),
    /// A flush: dropping the sender reports that all lines before are written.
    Flush(#[allow(dead_code, reason = "its drop is the message")] Sender<()>),
}

/// The sending side; env_logger writes each line in one call.
struct Lines {
    messages: Sender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self
            .messages
            .try_send(Message::Line(line.to_vec()))
            .is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The running log. Dropping it writes the last lines.
pub(crate) struct Log {
    messages: Sender<Message>,
}

impl Drop for Log {
    fn drop(&mut self) {
        let (flushed, written) = bounded(0);
        if self
            .messages
            .send_timeout(Message::Flush(flushed), FLUSH_TIME)
            .is_ok()
        {
            let _ = written.recv_timeout(FLUSH_TIME);
        }
    }
}

/// Starts the log on standard error. `RUST_LOG`, if set, overrides `level`.
///
/// # Errors
/// The writing thread could not be started.
pub(crate) fn start(level: LevelFilter) -> io::Result<Log> {
    let (messages, waiting) = bounded(CAPACITY);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        messages: messages.clone(),
        dropped: Arc::clone(&dropped),
    };
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_lines(&waiting, &dropped, &mut io::stderr()))?;
    let mut builder = Builder::new();
    match env::var("RUST_LOG") {
        Ok(filters) if !filters.is_empty() => builder.parse_filters(&filters),
        // Other crates log only warnings and errors, unless RUST_LOG asks for more.
        _ => builder
            .filter_level(level.min(LevelFilter::Warn))
            .filter_module("echopool", level),
    };
    builder
        .target(Target::Pipe(Box::new(lines)))
        .write_style(style())
        .format(|line, record| {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            let level = record.level();
            let style = line.default_level_style(level);
            writeln!(line, "{now} {style}{level:5}{style:#} {}", record.args())
        })
        .init();
    Ok(Log { messages })
}

/// Colours on a terminal, unless <https://no-color.org> asks for none.
fn style() -> WriteStyle {
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("TERM").is_some_and(|term| term == "dumb");
    match io::stderr().is_terminal() && !plain {
        true => WriteStyle::Always,
        false => WriteStyle::Never,
    }
}

fn write_lines(waiting: &Receiver<Message>, dropped: &AtomicU64, output: &mut dyn Write) {
    for message in waiting {
        // If standard error is closed, the error has nowhere to go.
        if let Message::Line(line) = message {
            let _ = output.write_all(&line);
        }
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            let _ = writeln!(
                output,
                "{now} WARN  {count} log lines were dropped: standard error was not read"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_do_not_fit_are_dropped_counted_and_reported() {
        let (messages, waiting) = bounded(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut lines = Lines {
            messages,
            dropped: Arc::clone(&dropped),
        };
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(lines);
        let mut written = Vec::new();
        write_lines(&waiting, &dropped, &mut written);
        let written = String::from_utf8(written).unwrap();
        let (first, rest) = written.split_once('\n').unwrap();
        assert_eq!(first, "one");
        assert!(rest.contains("2 log lines were dropped"), "{rest}");
        assert!(rest.ends_with("two\n"), "{rest}");
    }
}
