//! `launch PROGRAM ARGUMENT…` becomes that program, which the kernel ends with
//! the process that started it, however that one ends.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

fn main() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut words = env::args_os().skip(1);
    let program = words.next().unwrap_or_default();
    let error = Command::new(&program).args(words).exec();
    let program = program.display();
    Err(io::Error::new(
        error.kind(),
        format!("could not start {program}: {error}"),
    ))
}
