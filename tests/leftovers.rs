//! What the tests start ends with them, and what does not is found by `.ci/nothing-left`.
#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::serve::serve_under;
use common::{Program, parent};
use rustix::process::{Pid, Signal, kill_process};

/// A shell that waits for a job, and that job, whose number it prints.
fn with_a_job() -> (Program, u32) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 1000 > /dev/null & echo $!; wait"]);
    let mut program = Program::spawn({
        shell.stdout(Stdio::piped());
        shell
    });
    let mut line = String::new();
    let stdout = program.child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    (program, line.trim().parse().unwrap())
}

#[test]
fn a_program_that_is_dropped_takes_along_what_it_has_started() {
    let (program, job) = with_a_job();
    assert_eq!(parent(job), Some(program.child.id()));
    drop(program);
    assert_eq!(parent(job), None, "process {job} is left");
}

#[test]
fn a_test_that_fails_leaves_nothing_behind() {
    let (tell, told) = std::sync::mpsc::channel();
    let failing = std::thread::spawn(move || {
        let (_program, job) = with_a_job();
        tell.send(job).unwrap();
        std::panic::resume_unwind(Box::new("it fails"));
    });
    let job = told.recv().unwrap();
    assert!(failing.join().is_err());
    assert_eq!(parent(job), None, "process {job} is left");
}

#[test]
#[ignore = "needs strace"]
fn a_server_ends_with_the_strace_that_was_to_trace_it() {
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null"];
    let (strace, address) = serve_under(&strace, &[]);
    common::round_trip(&mut common::connect(address), b"hello");
    drop(strace);
    let refused = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// What `.ci/nothing-left` says of a shell's commands.
fn nothing_left(commands: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/nothing-left");
    let mut command = Command::new(script);
    command.args(["sh", "-c", commands]);
    command.stdout(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_command_that_leaves_nothing_ends_as_it_ends() {
    let clean = "file=$(mktemp) && rm $file && true & wait";
    for (commands, code) in [(clean, 0), ("exit 7", 7)] {
        let output = nothing_left(commands);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(output.stderr, b"", "{output:?}");
    }
}

/// Leaves a file behind, and a process that this command starts as `sleep 1000`.
fn assert_both_are_named(sleep: &str) {
    let output = nothing_left(&format!("touch $TMPDIR/lost; exec 2> /dev/null; {sleep} &"));
    let said = String::from_utf8(output.stderr).unwrap();
    let mut numbers = said.split_whitespace().map(str::parse);
    let left = numbers.find_map(Result::ok);
    let left = left.unwrap_or_else(|| panic!("no process in {said}"));
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let named = format!("process is left: {left} sleep 1000");
    assert!(said.contains(&named), "{said}");
    let (_, file) = said.split_once("temporary file is left: ").unwrap();
    let file = Path::new(file.trim());
    assert!(file.ends_with("lost"), "{said}");
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn a_process_and_a_file_that_are_left_are_named() {
    assert_both_are_named("sleep 1000");
}

#[test]
#[ignore = "needs python3"]
fn a_process_with_a_session_and_an_environment_of_its_own_is_named() {
    assert_both_are_named("env -i setsid sleep 1000");
}
