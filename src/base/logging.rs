//! The log: env_logger's lines, written to standard error by a separate thread.
//!
//! Where standard error is the journal, a line begins with its priority, `<4>` for a warning,
//! and has no time stamp, since the journal has its own: sd-daemon(3).
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
use log::{Level, LevelFilter};

use super::sys;

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
    let reader = Reader::of_standard_error();
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_lines(&waiting, &dropped, reader, &mut io::stderr()))?;
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
        .format(move |line, record| {
            let level = record.level();
            match reader {
                Reader::Journal => {
                    let text = record.args().to_string();
                    line.write_all(&for_journal(level, &text))
                }
                Reader::Other => {
                    let now = time_stamp(SystemTime::now());
                    let style = line.default_level_style(level);
                    writeln!(line, "{now} {style}{level:5}{style:#} {}", record.args())
                }
            }
        })
        .init();
    Ok(Log { messages })
}

/// The time of a line. A clock that was never set can be before 1970, which `humantime` panics
/// at: such a line has the first second of that year.
pub(crate) fn time_stamp(now: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(now.max(SystemTime::UNIX_EPOCH))
}

/// Who reads standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// systemd's journal.
    Journal,
    Other,
}

impl Reader {
    /// The journal, if `JOURNAL_STREAM` names standard error as the stream to it; the variable
    /// is inherited by programs whose standard error is something else.
    fn of_standard_error() -> Self {
        let named = env::var("JOURNAL_STREAM").ok();
        match named.is_some_and(|named| Some(named) == sys::standard_error_identity()) {
            true => Self::Journal,
            false => Self::Other,
        }
    }
}

/// The prefix of an error that is printed beside the log: its priority if standard error is
/// the journal, else nothing.
pub(crate) fn error_prefix() -> &'static str {
    match Reader::of_standard_error() {
        Reader::Journal => priority(Level::Error),
        Reader::Other => "",
    }
}

/// In syslog's numbers.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// A line for the journal: each line of the text with the priority in front.
fn for_journal(level: Level, text: &str) -> Vec<u8> {
    let priority = priority(level);
    let lines = text.lines().map(|line| format!("{priority}{line}\n"));
    lines.collect::<String>().into_bytes()
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

fn write_lines(
    waiting: &Receiver<Message>,
    dropped: &AtomicU64,
    reader: Reader,
    output: &mut dyn Write,
) {
    for message in waiting {
        // If standard error is closed, the error has nowhere to go.
        if let Message::Line(line) = message {
            let _ = output.write_all(&line);
        }
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            let text = format!("{count} log lines were dropped: standard error was not read");
            let line = match reader {
                Reader::Journal => for_journal(Level::Warn, &text),
                Reader::Other => {
                    let now = time_stamp(SystemTime::now());
                    format!("{now} WARN  {text}\n").into_bytes()
                }
            };
            let _ = output.write_all(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_stamps_lines_with_the_first_second_of_that_year() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(3600);
        assert_eq!(time_stamp(before).to_string(), "1970-01-01T00:00:00.000Z");
    }

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
        write_lines(&waiting, &dropped, Reader::Other, &mut written);
        let written = String::from_utf8(written).unwrap();
        let (first, rest) = written.split_once('\n').unwrap();
        assert_eq!(first, "one");
        assert!(rest.contains("2 log lines were dropped"), "{rest}");
        assert!(rest.ends_with("two\n"), "{rest}");
    }

    #[test]
    fn the_journal_gets_the_priority_of_every_line_and_of_lost_lines_too() {
        for (level, text, want) in [
            (Level::Error, "no", "<3>no\n"),
            (Level::Warn, "well", "<4>well\n"),
            (Level::Info, "two\nlines", "<6>two\n<6>lines\n"),
            (Level::Debug, "odd", "<7>odd\n"),
            (Level::Trace, "much", "<7>much\n"),
        ] {
            assert_eq!(for_journal(level, text), want.as_bytes());
        }
        let (messages, waiting) = bounded(1);
        messages.send(Message::Line(b"<6>one\n".to_vec())).unwrap();
        drop(messages);
        let mut written = Vec::new();
        write_lines(&waiting, &AtomicU64::new(2), Reader::Journal, &mut written);
        let want = "<6>one\n<4>2 log lines were dropped: standard error was not read\n";
        assert_eq!(String::from_utf8(written).unwrap(), want);
    }
}
