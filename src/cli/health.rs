//! The command `echopool health`: asks a running server whether it is healthy.

use std::env;
use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::error::Error;
use super::exit::{Exit, usage_error};
use super::values::some_time;
use crate::admin::{DEFAULT_PORT, ask_health};
use crate::base;
use crate::base::address::Address;
use crate::base::escape::escape;

/// The variable of the server's `--admin`.
const ADMIN: &str = "ECHOPOOL_ADMIN";

/// Ask a server's admin socket whether it is healthy
///
/// A server is healthy while each of its threads responds: /healthz of --admin. One that is
/// full or about to stop is healthy as well. A container's health check needs no other program.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is what serve --admin was given: HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, \
or with * for HOST, this machine.

Examples:
  echopool health             the server whose --admin has port 20163
  echopool health :9000       another port of this machine

Exit codes:
  0    the server is healthy
  1    it is not, or does not answer
  2    wrong usage")]
pub(super) struct HealthArgs {
    /// How long the answer may take in all
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = some_time)]
    timeout: Duration,

    /// The server's admin socket [default: ECHOPOOL_ADMIN, or port 20163]
    #[arg(value_name = "ADDR")]
    address: Option<Address>,
}

impl HealthArgs {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let address = self.address.unwrap_or_else(of_environment);
        ask_health(&address, self.timeout)?;
        writeln!(std::io::stdout(), "ok").map_err(base::error::Error::Output)?;
        Ok(Exit::Success)
    }
}

/// The admin address of a server that has the same environment variables.
fn of_environment() -> Address {
    let value = env::var(ADMIN).unwrap_or_default();
    match value.trim() {
        "" => Address::from_port(DEFAULT_PORT),
        text => text.parse().unwrap_or_else(|error| {
            usage_error(&format!(
                "the environment has {ADMIN}={}: {error}",
                escape(text.as_bytes())
            ))
        }),
    }
}
