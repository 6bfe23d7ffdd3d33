//! The server as a program: started, stopped, and watched through `/proc`.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Program;

/// A stop that waits for no client ends well within this; the grace given with it is far
/// longer.
pub const PROMPT: Duration = Duration::from_secs(3);

/// Starts the program with an echo listener of its own.
pub fn serve(arguments: &[&str]) -> (Program, SocketAddr) {
    serve_under(&[], arguments)
}

/// Starts the program from a shell, after the commands of `before`.
pub fn serve_after(before: &str, arguments: &[&str]) -> (Program, SocketAddr) {
    let script = format!("{before}; exec \"$0\" \"$@\"");
    serve_under(&["sh", "-c", &script], arguments)
}

/// Starts the program through a command that runs what follows its own arguments.
pub fn serve_under(wrapper: &[&str], arguments: &[&str]) -> (Program, SocketAddr) {
    let words = [wrapper, &[env!("CARGO_BIN_EXE_echopool")]].concat();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .args(["serve", "--echo", "127.0.0.1:0"])
        .args(arguments)
        .env_remove("RUST_LOG");
    let mut program = Program::spawn(command);
    let address = program.wait_for_listener("echo");
    (program, address)
}

/// Starts the program on an address that another one had before it.
pub fn serve_again(address: SocketAddr, arguments: &[&str]) -> Program {
    let address = address.to_string();
    let mut program = Program::start([&["serve", "--echo", &address], arguments].concat());
    program.wait_for_listener("echo");
    program
}

/// Signals the program and waits for its end. Returns its exit code and the time it took.
pub fn stop(program: &mut Program, signal: Signal) -> (Option<i32>, Duration) {
    let start = Instant::now();
    program.signal(signal);
    let status = program.wait();
    (status.code(), start.elapsed())
}

/// Ends the program and checks that it had nothing to complain of.
pub fn stop_cleanly(mut program: Program) -> Program {
    let (code, _) = stop(&mut program, Signal::TERM);
    assert_eq!(code, Some(0), "{:#?}", program.log);
    program
}

/// Ends the program, which must succeed, and returns all that it logged.
pub fn log_of(program: Program) -> Vec<String> {
    std::mem::take(&mut stop_cleanly(program).log)
}

/// The first line of a log that has these words, from them on.
pub fn reported<'a>(log: &'a [String], words: &str) -> &'a str {
    let line = log.iter().find_map(|line| Some(&line[line.find(words)?..]));
    line.unwrap_or_else(|| panic!("no {words:?} in {log:#?}"))
}

/// The connections and the bytes in a program's closing report.
pub fn totals(program: &Program) -> (u64, u64) {
    let line = program.log.iter().find(|line| line.contains("total: "));
    let line = line.unwrap_or_else(|| panic!("no total in {:#?}", program.log));
    let (_, counts) = line.split_once("workers, ").unwrap();
    let mut numbers = counts
        .split_whitespace()
        .filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// How often accepting failed, by the log: a line, and the failures that it left out.
pub fn failed_accepts(program: &Program) -> u64 {
    let lines = program.log.iter();
    let failures = lines.filter_map(|line| line.split_once("could not accept")?.1.split_once(" ("));
    let suppressed =
        failures.map(|(_, rest)| rest.split(' ').next().unwrap().parse::<u64>().unwrap());
    suppressed.map(|count| count + 1).sum()
}

/// Lets a running program have so many descriptors; its hard limit stays.
#[cfg(target_os = "linux")]
pub fn limit_descriptors(program: &Program, most: u64) {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

    let limit = Rlimit {
        current: Some(most),
        ..getrlimit(Resource::Nofile)
    };
    let pid = Pid::from_child(&program.child);
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
}

/// What the descriptors of a process are open to.
fn open_files(pid: u32) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
    targets
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// How many descriptors a process has.
pub fn descriptors(pid: u32) -> usize {
    open_files(pid).len()
}

/// How many of a program's descriptors are ends of pipes.
pub fn pipe_ends(program: &Program) -> usize {
    let files = open_files(program.child.id());
    files
        .iter()
        .filter(|file| file.starts_with("pipe:"))
        .count()
}

/// What all threads of a program together have had of the processors.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessorTimes {
    /// How long they ran.
    pub used: Duration,
    /// How long they could have run, and others had the processors.
    pub waited: Duration,
}

pub fn processor_times(program: &Program) -> ProcessorTimes {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.child.id())).unwrap();
    let mut all = ProcessorTimes::default();
    for task in tasks.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap();
        let mut times = text.split_whitespace().map(|time| time.parse().unwrap());
        all.used += Duration::from_nanos(times.next().unwrap());
        all.waited += Duration::from_nanos(times.next().unwrap());
    }
    all
}

/// The processor time that all threads of a program have used.
pub fn processor_time(program: &Program) -> Duration {
    processor_times(program).used
}

/// A field of `/proc/PID/status`, without its unit.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned());
    let value = text.lines().find_map(value).unwrap();
    value.split_whitespace().next().unwrap().to_owned()
}

/// Whether a socket listens there, without connecting to it, by IPv4 in the
/// network namespace of this thread.
pub fn is_listening(address: SocketAddr) -> bool {
    let local = format!(":{:04X} ", address.port());
    let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let mut rows = table.lines();
    rows.any(|row| row.contains(&local) && row.contains(" 00000000:0000 0A "))
}

/// The memory that a process occupies, in bytes.
pub fn memory(pid: u32) -> u64 {
    status(pid, "VmRSS").parse::<u64>().unwrap() * 1024
}

/// Stops a program, and waits until each of its threads has stopped.
pub fn suspend(program: &Program) {
    program.signal(Signal::STOP);
    let pid = program.child.id();
    super::wait_until("every thread to stop", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let mut states = tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap());
        states.all(|state| state.contains(") T "))
    });
}

/// The memory that all TCP sockets of the machine have, in bytes.
pub fn tcp_memory() -> usize {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap();
    let (_, pages) = line.split_once(" mem ").unwrap();
    pages.trim().parse::<usize>().unwrap() * rustix::param::page_size()
}

/// A counter of `/proc/net/netstat`: a line of names, then one of values.
pub fn counter(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap();
    let lines: Vec<_> = text.lines().map(|line| line.split(' ')).collect();
    let tables = lines.chunks_exact(2);
    let mut pairs = tables.flat_map(|table| table[0].clone().zip(table[1].clone()));
    let (_, value) = pairs.find(|(key, _)| *key == name).unwrap();
    value.parse().unwrap()
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    status(pid, "Threads").parse().unwrap()
}

/// Whether a signal is in a set of a process: `SigCgt`, those it catches, or
/// `SigIgn`, those it ignores.
pub fn has_signal(pid: u32, set: &str, signal: Signal) -> bool {
    let mask = u64::from_str_radix(&status(pid, set), 16).unwrap();
    mask & (1 << (signal.as_raw() - 1)) != 0
}
