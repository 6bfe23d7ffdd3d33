//! The program `echopool`.

use std::process::ExitCode;

fn main() -> ExitCode {
    echopool::cli::main()
}
