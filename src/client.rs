//! The interactive client: a dialogue on a terminal, one text, or a pipe.
//!
//! In every mode the echo is compared with what was sent.

mod datagrams;

use std::io::{self, Cursor, ErrorKind, IsTerminal, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

pub use datagrams::Cut;
use datagrams::Datagrams;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::base::address::{Address, Family};
use crate::base::error::{self as base, cause};
use crate::base::escape::{Escaped, escape};
use crate::base::kernel::NOT_AVAILABLE;
use crate::base::output::{Output, write_standard};
use crate::base::sys;
use crate::base::units;
use crate::probe::answer::Asked;
use crate::probe::connect::{Connected, connect_to_first};
use crate::probe::error::Error as ProbeError;
use crate::probe::exchange::{
    CLOSE_TIME, echo_pieces, exchange, extra_byte, first_difference, guess_by_start, is_timeout,
    no_data, peer_name,
};
use crate::proto::{self, COUNTED_MAX, Protocol};

/// The prompt of the dialogue.
const PROMPT: &str = "message to send :: ";

/// Behind the number of bytes of a reply. The same for one byte: scripts wait for it.
const BYTES_READ: &str = " bytes read";

/// The size of the parts, in bytes, in which a line of the dialogue is sent. Each part's
/// echo is received before the next one is sent; a part fits any path's buffers.
const PART: usize = 16 * 1024;

/// The longest reply of the whoami protocol that is read, in bytes; an address is shorter than
/// 128.
const ANSWER_MOST: usize = 128 + proto::WHOAMI_TCP_MAX;

/// How long an echo, or an answer of the whoami protocol, is awaited at the least before our
/// half-close shows whether the server waits for us.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the client failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be resolved, or standard output could not be written.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// No connection could be made, or the echo was wrong.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A text that the counted protocol can't carry.
    #[error(transparent)]
    Counted(#[from] proto::BadText),
    /// The line editor failed.
    #[error("could not read from the terminal: {0}")]
    Terminal(#[from] ReadlineError),
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// UDP datagrams, of the echo protocol alone; standard input is cut so.
    Udp(Cut),
}

/// A client: which server it connects to, and how.
#[derive(Clone, Debug)]
pub struct Client {
    /// The protocol that the server is expected to speak.
    pub protocol: Protocol,
    /// How it is reached.
    pub transport: Transport,
    /// The server. Without a host it is this machine, without a port the protocol's default.
    pub address: Address,
    /// Connect to addresses of this family alone.
    pub family: Option<Family>,
    /// The limit on connecting to each address, on a whole answer of the counted and whoami
    /// protocols, and on how long no byte may move in either direction while an echo is
    /// outstanding.
    pub timeout: Duration,
}

impl Client {
    /// Runs the client. In the whoami protocol, prints this client's address as the server
    /// sees it. Otherwise sends `text` if there is one; holds a dialogue if standard input
    /// and output are a terminal; else sends standard input and writes the echo to standard
    /// output.
    ///
    /// # Errors
    /// The operation that failed, the address and the cause; a wrong, missing or extra byte
    /// with its offset. [`base::Error::Output`] with `BrokenPipe` when the reader of
    /// standard output has closed it.
    pub fn run(&self, text: Option<&[u8]>) -> Result<(), Error> {
        Output::Standard.check()?;
        match text {
            _ if self.protocol == Protocol::Whoami => {
                let lines = self.query_address()?;
                lines
                    .iter()
                    .try_for_each(|line| print_line(line.as_bytes()))
            }
            Some(text) => self.send_text(text),
            None if io::stdin().is_terminal() && io::stdout().is_terminal() => self.dialogue(),
            None => self.pipe(),
        }
    }

    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// [`base::Error::Resolve`]; [`ProbeError::Connect`] with every address tried.
    pub fn connect(&self) -> Result<TcpStream, Error> {
        Ok(self.connect_to_first()?.stream)
    }

    fn connect_to_first(&self) -> Result<Connected, Error> {
        Ok(connect_to_first(&self.addresses()?, self.timeout)?)
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let default_port = self.protocol.default_port();
        let resolved = self
            .address
            .resolve_of(self.family, "localhost", default_port);
        Ok(resolved?)
    }

    fn datagrams(&self) -> Result<Datagrams, Error> {
        Ok(Datagrams::new(&self.addresses()?, self.timeout)?)
    }

    /// Sends one text and prints the reply.
    fn send_text(&self, text: &[u8]) -> Result<(), Error> {
        if self.protocol == Protocol::Counted {
            return print_line(without_nul(&self.exchange_counted(text)?));
        }
        if let Transport::Udp(_) = self.transport {
            let mut datagrams = self.datagrams()?;
            print_line(datagrams.echo(text)?)?;
            return Ok(datagrams.finish()?);
        }
        let mut reply = Vec::new();
        self.exchange(
            self.connect_to_first()?,
            Cursor::new(text.to_vec()),
            &mut reply,
        )?;
        print_line(&reply)
    }

    /// Sends all of `source` and writes its echo to `sink`.
    fn exchange(
        &self,
        connected: Connected,
        source: impl Read + Send + 'static,
        sink: &mut dyn Write,
    ) -> Result<(), Error> {
        let Connected { stream, took, .. } = connected;
        let (pieces, patience) = (echo_pieces(source), patience(took));
        exchange(stream, pieces, sink, self.timeout, patience)?;
        Ok(())
    }

    /// Receives this client's address as the server sees it, and what both ends know of the
    /// connection if the server tells that, each a line.
    fn query_address(&self) -> Result<Vec<String>, Error> {
        let Connected { stream, took, .. } = self.connect_to_first()?;
        let mut asked = Asked::new(stream, self.timeout);
        let answer = asked.receive(ANSWER_MOST, patience(took))?;
        let Some(seen) = proto::seen(answer) else {
            return Err(asked.unexpected("this client's address as a line").into());
        };
        let mut lines = vec![seen.to_string()];
        if let Some(server) = proto::seen_tcp(answer) {
            let own = asked.kernel_view();
            let own = own.map_or_else(|| NOT_AVAILABLE.to_owned(), |view| view.all_figures());
            lines.push(format!("server: {}", server.all_figures()));
            lines.push(format!("client: {own}"));
        }
        Ok(lines)
    }

    /// Exchanges one message of the counted protocol. Returns the answer with its NUL.
    fn exchange_counted(&self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let request = proto::request(text)?;
        let asked = Asked::new(self.connect()?, self.timeout);
        Ok(asked.exchange(&request, &proto::answer(text))?)
    }

    /// Sends standard input as one counted message; its NUL is optional.
    fn pipe_counted(&self) -> Result<(), Error> {
        let mut text = Vec::new();
        // More than a message may have, so that a longer one is detected.
        let mut stdin = io::stdin().lock().take(COUNTED_MAX as u64 + 2);
        stdin.read_to_end(&mut text).map_err(ProbeError::Input)?;
        let answer = self.exchange_counted(text.strip_suffix(&[0]).unwrap_or(&text))?;
        match io::stdout().is_terminal() {
            true => print_line(without_nul(&answer)),
            false => write_out(&answer),
        }
    }

    /// Sends standard input and writes the echo to standard output.
    fn pipe(&self) -> Result<(), Error> {
        if self.protocol == Protocol::Counted {
            return self.pipe_counted();
        }
        let mut stdout = sys::standard_output().map_err(base::Error::Output)?;
        if let Transport::Udp(cut) = self.transport {
            let (datagrams, mut stdin) = (self.datagrams()?, io::stdin().lock());
            if !stdout.is_terminal() {
                return Ok(datagrams.pipe(&mut stdin, &mut stdout, cut)?);
            }
            let mut escaped = Escaped::new(stdout);
            datagrams.pipe(&mut stdin, &mut escaped, cut)?;
            return Ok(escaped.finish().map(drop).map_err(base::Error::Output)?);
        }
        let connected = self.connect_to_first()?;
        if !stdout.is_terminal() {
            return self.exchange(connected, io::stdin(), &mut stdout);
        }
        let mut escaped = Escaped::new(stdout);
        self.exchange(connected, io::stdin(), &mut escaped)?;
        Ok(escaped.finish().map_err(base::Error::Output)?)
    }

    /// Sends each line that is typed and prints its echo, until Ctrl-D.
    fn dialogue(&self) -> Result<(), Error> {
        let mut editor = DefaultEditor::new()?;
        let mut session = match (self.transport, self.protocol) {
            (Transport::Udp(_), _) => Session::Datagrams(self.datagrams()?),
            // A counted message has a connection of its own each time.
            (_, Protocol::Counted) => Session::Counted,
            _ => Session::Stream(Dialogue::new(self.connect()?, self.timeout)?),
        };
        loop {
            let line = match editor.readline(PROMPT) {
                Ok(line) => line,
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error.into()),
            };
            editor.add_history_entry(&line)?;
            let (bytes, reply) = match &mut session {
                // An empty line sends nothing, so there is no echo to wait for.
                Session::Stream(_) if line.is_empty() => continue,
                Session::Stream(dialogue) => (line.len(), dialogue.echo(line.as_bytes())?),
                Session::Datagrams(datagrams) => {
                    (line.len(), datagrams.echo(line.as_bytes())?.to_vec())
                }
                Session::Counted => {
                    let answer = self.exchange_counted(line.as_bytes())?;
                    (answer.len(), without_nul(&answer).to_vec())
                }
            };
            let shown = format!("{bytes}{BYTES_READ}\n{}\n", escape(&reply));
            write_out(shown.as_bytes())?;
        }
        match session {
            Session::Stream(dialogue) => Ok(dialogue.close()?),
            Session::Datagrams(datagrams) => Ok(datagrams.finish()?),
            Session::Counted => Ok(()),
        }
    }
}

/// What a dialogue speaks over.
enum Session {
    Stream(Dialogue),
    Datagrams(Datagrams),
    Counted,
}

/// The connection of an echo dialogue.
struct Dialogue {
    stream: TcpStream,
    server: String,
    timeout: Duration,
    /// Bytes received so far.
    received: u64,
}

impl Dialogue {
    fn new(stream: TcpStream, timeout: Duration) -> Result<Self, ProbeError> {
        let dialogue = Self {
            server: peer_name(&stream),
            stream,
            timeout,
            received: 0,
        };
        dialogue.set_read_timeout(timeout)?;
        Ok(dialogue)
    }

    /// Sends one text and returns all of its echo.
    fn echo(&mut self, text: &[u8]) -> Result<Vec<u8>, ProbeError> {
        let mut reply = vec![0; text.len()];
        for (part, received) in text.chunks(PART).zip(reply.chunks_mut(PART)) {
            self.stream
                .write_all(part)
                .map_err(|source| ProbeError::Send {
                    address: self.server.clone(),
                    source,
                })?;
            self.stream
                .read_exact(received)
                .map_err(|error| self.missing(&error))?;
            if let Some(fault) = first_difference(part, received, self.received) {
                let guess = guess_by_start(self.received, received);
                return Err(self.bad_echo(fault + &guess));
            }
            self.received += part.len() as u64;
        }
        Ok(reply)
    }

    /// Half-closes, and checks that no extra byte arrives.
    fn close(mut self) -> Result<(), ProbeError> {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return Ok(());
        }
        self.set_read_timeout(self.timeout.min(CLOSE_TIME))?;
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(1..) => Err(self.bad_echo(extra_byte(byte[0], self.received))),
            // End of file, or a peer that is slow to close or has reset: the echo was complete.
            Ok(0) | Err(_) => Ok(()),
        }
    }

    fn set_read_timeout(&self, time: Duration) -> Result<(), ProbeError> {
        self.stream
            .set_read_timeout(Some(time))
            .map_err(|source| ProbeError::Receive {
                address: self.server.clone(),
                source,
            })
    }

    /// The error for an echo that ended early.
    fn missing(&self, error: &io::Error) -> ProbeError {
        let why = match error.kind() {
            ErrorKind::UnexpectedEof => String::from("the connection was closed"),
            _ if is_timeout(error) => no_data(self.timeout),
            _ => cause(error),
        };
        let after = units::count(self.received, "byte", "bytes");
        self.bad_echo(format!(
            "{why} before the echo was whole, {after} had come back before"
        ))
    }

    fn bad_echo(&self, fault: String) -> ProbeError {
        ProbeError::Echo {
            address: self.server.clone(),
            fault,
        }
    }
}

/// How long nothing may come on a path that took so long to connect before our half-close.
fn patience(took: Duration) -> Duration {
    PATIENCE.max(took * 4)
}

/// A counted answer without its NUL.
fn without_nul(answer: &[u8]) -> &[u8] {
    answer.strip_suffix(&[0]).unwrap_or(answer)
}

/// Writes a reply and a newline; on a terminal control characters are escaped.
fn print_line(reply: &[u8]) -> Result<(), Error> {
    if io::stdout().is_terminal() {
        return write_out(format!("{}\n", escape(reply)).as_bytes());
    }
    write_out(&[reply, b"\n"].concat())
}

fn write_out(bytes: &[u8]) -> Result<(), Error> {
    write_standard(bytes).map_err(|error| base::Error::Output(error).into())
}
