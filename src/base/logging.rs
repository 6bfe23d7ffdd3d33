//! The log: env_logger's lines, written to standard error by a thread of their own.
//!
//! Whoever reads our standard error may stop reading. A worker that wrote to it
//! itself would then stand still, and all its clients with it; so the lines go
//! through a bounded channel, and what does not fit is dropped and counted.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

/// How many lines may wait to be written.
const CAPACITY: usize = 4096;

/// How long the program's end waits for the last lines to be taken.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// What goes to the writing thread.
enum Entry {
    Line(Vec<u8>),
    /// Everything before is written: drop this to say so.
    Mark(#[allow(dead_code, reason = "its drop is the message")] Sender<()>),
}

/// The sending end; env_logger writes each line in one call.
struct Lines {
    entries: Sender<Entry>,
    dropped: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The running log; when it is dropped, the last lines are written.
pub(crate) struct Log {
    entries: Sender<Entry>,
}

impl Drop for Log {
    fn drop(&mut self) {
        let (mark, written) = bounded(0);
        if self
            .entries
            .send_timeout(Entry::Mark(mark), FLUSH_TIME)
            .is_ok()
        {
            let _ = written.recv_timeout(FLUSH_TIME);
        }
    }
}

/// Logs to standard error from now on; `RUST_LOG`, where it is set, wins over `level`.
///
/// # Errors
/// The thread that writes can't be started.
pub(crate) fn start(level: LevelFilter) -> io::Result<Log> {
    let (entries, waiting) = bounded(CAPACITY);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        entries: entries.clone(),
        dropped: Arc::clone(&dropped),
    };
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_lines(&waiting, &dropped, &mut io::stderr()))?;
    let mut builder = Builder::new();
    match env::var("RUST_LOG") {
        Ok(filters) if !filters.is_empty() => builder.parse_filters(&filters),
        // What other crates trace is for those who ask for it by name.
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
    Ok(Log { entries })
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

fn write_lines(waiting: &Receiver<Entry>, dropped: &AtomicU64, output: &mut dyn Write) {
    for entry in waiting {
        // Standard error may be closed; there is nobody left to tell.
        if let Entry::Line(line) = entry {
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
    fn what_does_not_fit_is_dropped_counted_and_told() {
        let (entries, waiting) = bounded(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut lines = Lines {
            entries,
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
