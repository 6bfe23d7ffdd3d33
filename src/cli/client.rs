//! `echopool client`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::error::Error;
use super::exit::Exit;
use super::family::FamilyArgs;
use super::values::some_time;
use crate::base::address::Address;
use crate::client::Client;
use crate::proto::Protocol;

/// Talk to an echo server and compare what comes back
///
/// On a terminal it holds a dialogue until Ctrl-D. With TEXT it sends that and
/// prints the echo. Otherwise all of standard input goes out and what comes
/// back goes to standard output.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, this machine; without a \
port, 20162, 4000 with --counted, or 4001 with --whoami.

Of several addresses of a name the first one that answers is used, the families in turn, each \
tried 250 ms after the one before (RFC 8305).

Exit codes: 0 all that was sent came back unchanged and nothing else, 1 it did not, \
2 wrong usage, 130 Ctrl-C in the dialogue.")]
pub(super) struct ClientArgs {
    /// Speak the counted one-shot protocol
    #[arg(long)]
    counted: bool,

    /// Ask which address the server sees this client under: its --whoami port
    #[arg(long, conflicts_with_all = ["counted", "text"])]
    whoami: bool,

    /// How long a connection may take, how long nothing may move while an echo is awaited, and
    /// how long a whole answer of --counted or --whoami may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = some_time)]
    timeout: Duration,

    #[command(flatten)]
    family: FamilyArgs,

    /// The server
    #[arg(value_name = "ADDR")]
    address: Address,

    /// What to send; several are joined by spaces
    #[arg(value_name = "TEXT")]
    text: Vec<OsString>,
}

impl ClientArgs {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let client = Client {
            protocol: match (self.counted, self.whoami) {
                (true, _) => Protocol::Counted,
                (_, true) => Protocol::Whoami,
                _ => Protocol::Echo,
            },
            address: self.address,
            family: self.family.family(),
            timeout: self.timeout,
        };
        let words: Vec<_> = self
            .text
            .iter()
            .map(|word| word.as_encoded_bytes())
            .collect();
        let text = (!words.is_empty()).then(|| words.join(&b' '));
        client.run(text.as_deref())?;
        Ok(Exit::Success)
    }
}
