//! `echopool client`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::error::Error;
use super::exit::Exit;
use super::family::FamilyArgs;
use super::values::{bytes, some_time};
use crate::base::address::Address;
use crate::client::{Client, Cut, Transport};
use crate::probe::datagram::payload::MOST_BYTES;
use crate::proto::Protocol;

/// Send text or data to an echo server and verify what comes back
///
/// On a terminal it is a dialogue until Ctrl-D. With TEXT it sends that and prints the
/// echo. Otherwise it sends standard input and writes the echo to standard output.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, this machine; without a \
port, 20162, 4000 with --counted, or 4001 with --whoami.

If a name has several addresses, the first that answers is used. Attempts start 250 ms apart, and \
alternate between IPv6 and IPv4 (RFC 8305).

With --udp, a TEXT, a line, or --size bytes of standard input is one datagram; it may be empty. \
The next one is sent once the echo of the last is back. UDP does not retransmit, so a lost \
datagram is a failure. So is an echo that is duplicated, changed, cut or from another address, \
and an ICMP error. If a name has several addresses, each is sent 8 bytes first, and the first \
address that echoes them is used.

Examples:
  echopool client 10.0.0.7               a dialogue with port 20162
  echopool client 10.0.0.7:7 hello       one text
  echopool client :7 < file | cmp file   a file, through port 7 of this machine
  echopool client --udp 10.0.0.7 hello   one datagram
  echopool client --whoami 10.0.0.7      the address that the server sees

Exit codes:
  0    everything sent came back unchanged, and nothing else
  1    it did not, or another error
  2    wrong usage
  130  Ctrl-C in the dialogue")]
pub(super) struct ClientArgs {
    /// Speak the counted one-shot protocol
    #[arg(long)]
    counted: bool,

    /// Ask a --whoami port for this client's address as the server sees it
    #[arg(long, conflicts_with_all = ["counted", "text"])]
    whoami: bool,

    /// Send datagrams, to the same port number
    #[arg(long, conflicts_with_all = ["counted", "whoami"])]
    udp: bool,

    /// Bytes of standard input per datagram [default: one line]
    #[arg(long, value_name = "SIZE", requires = "udp", conflicts_with = "text",
          value_parser = bytes(MOST_BYTES))]
    size: Option<usize>,

    /// Time limit for connecting, for a pause while an echo is awaited, for a whole answer
    /// of --counted or --whoami, and for each echo of --udp
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = some_time)]
    timeout: Duration,

    #[command(flatten)]
    family: FamilyArgs,

    /// The server
    #[arg(value_name = "ADDR", value_hint = ValueHint::Hostname)]
    address: Address,

    /// Text to send; several words are joined by spaces
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
            transport: match (self.udp, self.size) {
                (false, _) => Transport::Tcp,
                (true, None) => Transport::Udp(Cut::Lines),
                (true, Some(size)) => Transport::Udp(Cut::Bytes(size)),
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
