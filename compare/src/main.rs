//! Measures echopool beside its rivals: see `compare --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match compare::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
