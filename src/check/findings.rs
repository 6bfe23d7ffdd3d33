//! What the experiments found, as data. An experiment that was not made, or came to
//! nothing that can be told, has none.

use std::time::Duration;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing came any more.
    Silence,
    /// By FIN.
    Close,
    /// By RST.
    Reset,
}

impl Ending {
    /// The word of the evidence.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Close => "close",
            Self::Reset => "reset",
        }
    }
}

/// What came of a greeting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// What came before anything was sent.
    pub(super) greeting: Vec<u8>,
    /// What came back for [`HELLO`].
    pub(super) answer: Vec<u8>,
    /// How it ended, if it did.
    pub(super) end: Option<Ending>,
}

impl Hello {
    /// Whether what came back is what was said, be it with other line ends, capitals or a
    /// parity bit, or the begin of it.
    pub(super) fn is_echoed(&self) -> bool {
        let plain = |byte: &u8| (byte & 0x7f).to_ascii_lowercase();
        let word = HELLO.iter().take_while(|byte| byte.is_ascii_alphabetic());
        !self.answer.is_empty()
            && self
                .answer
                .iter()
                .map(plain)
                .zip(word)
                .all(|(a, b)| a == *b)
    }
}

/// What is said to see who answers: web and mail servers take the line for a request.
pub(super) const HELLO: &[u8] = b"hello\r\n\r\n";

/// What makes a path pass on what it holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing is held.
    Nothing,
    /// The end of a line.
    Lines,
    /// More bytes.
    Blocks,
    /// Our half-close.
    UntilEnd,
    /// Time: what comes meanwhile is passed on with it.
    Collected(Duration),
    /// None of these: it never comes.
    Never,
}

/// Ways of packets that are too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
    Both,
}

impl Direction {
    /// The word of the evidence.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::ToServer => "to-server",
            Self::ToClient => "to-client",
            Self::Both => "both",
        }
    }
}

/// The largest packets that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    /// Those of the full size.
    All,
    /// IP packets of so many bytes, and none that is larger.
    UpTo { bytes: u32, direction: Direction },
}

/// How streams end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// They don't, as far as was tried.
    Endless,
    /// After so many bytes came back, however fast they go.
    AfterBytes { bytes: u64, by: Ending },
    /// At that age, however much they carry.
    AtAge { age: Duration, by: Ending },
}

/// What becomes of silent connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silences {
    /// They live, or how they end follows no rule.
    Alive,
    /// So long a silence they survive, and so long a one not.
    Forgotten {
        alive: Duration,
        dead: Duration,
        by: Ending,
    },
    /// They end at that age, and a busy one as well.
    Busy { age: Duration, by: Ending },
}

/// How many connections are served at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// As many as were tried.
    Enough,
    /// So many; what becomes of the next.
    UpTo { connections: usize, by: Denied },
}

/// What becomes of a connection that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Ended(Ending),
    /// It is made, and served once another one has ended.
    Waits,
}

impl Denied {
    /// The word of the evidence.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ended(by) => by.word(),
            Self::Waits => "waits",
        }
    }
}

/// How many connections can be begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// Of connections that were begun one after another.
    pub(super) tried: usize,
    /// Those that were made without a SYN sent again.
    pub(super) made: usize,
    /// Made a second, once the first one had not been.
    pub(super) per_s: f64,
    /// How long those of a burst that were made first waited for their first byte in the
    /// median, beyond what a single one waits.
    pub(super) wait: Duration,
}

/// What a half-close does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfClosed {
    /// It is answered in order.
    Sound,
    /// It ends the connection so, with bytes on their way, or after them.
    Ends(Ending),
}

/// What becomes of bytes of special values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// What was sent, and what came back, for each text that was changed.
    pub(super) changed: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What becomes of an urgent byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgent {
    Kept,
    TakenOut,
    Moved,
    /// Nothing comes back behind it.
    Dropped,
}

impl Urgent {
    /// The word of the evidence.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::TakenOut => "taken-out",
            Self::Moved => "moved",
            Self::Dropped => "dropped",
        }
    }
}

/// Packets lost, of those that were counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Loss {
    /// In percent.
    pub(super) to_server: f64,
    pub(super) to_client: f64,
    /// How many were counted each way.
    pub(super) packets: u64,
}

/// What all experiments found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) hello: Option<Hello>,
    pub(super) held: Option<Held>,
    pub(super) sizes: Option<Sizes>,
    pub(super) streams: Option<Streams>,
    pub(super) silences: Option<Silences>,
    pub(super) steps: Option<Steps>,
    pub(super) rate: Option<Rate>,
    pub(super) half_close: Option<HalfClosed>,
    pub(super) changes: Option<Changes>,
    pub(super) urgent: Option<Urgent>,
    pub(super) loss: Option<Loss>,
}
