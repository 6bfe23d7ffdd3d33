//! What the experiments found, as data. An experiment that was not made, or came to
//! nothing that can be told, has none.

use std::net::IpAddr;
use std::time::Duration;

use super::facts::Failure;
use super::lost::Loss;
use super::observation::{End, MOST_UNDER_WAY};

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

/// Who says that no connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// That ICMP message, by who sent it.
    Icmp {
        icmp: &'static str,
        by: Option<IpAddr>,
    },
    /// That ICMP message, by this machine: a rule for what goes out.
    OwnRule { icmp: &'static str },
    /// This machine, which finds no neighbour on the link that has the address.
    NoNeighbour,
    /// This machine, by one of these two.
    Own,
    /// This machine, before anything is sent: its routes.
    Route,
    /// The peer, or who speaks for it, by RST.
    Peer,
    /// Nobody: this time it was made.
    Made,
}

/// What came of a greeting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// What came before anything was sent.
    pub(super) greeting: Vec<u8>,
    /// What came back for [`HELLO`].
    pub(super) answer: Vec<u8>,
    /// How it ended, if it did; and at which age, if by the peer.
    pub(super) end: Option<Ending>,
    pub(super) ended_at: Option<Duration>,
    /// Whether the peer's system acknowledged [`HELLO`], where nothing came back and the
    /// system tells.
    pub(super) is_taken: Option<bool>,
    /// What came of another one on which nothing was said, if that was tried.
    pub(super) silent: Option<Silent>,
}

/// What came of a connection on which nothing was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Silent {
    pub(super) greeting: Vec<u8>,
    /// How it ended; `Silence` where it stayed open.
    pub(super) end: Option<Ending>,
}

impl Hello {
    /// What came unasked on either connection.
    pub(super) fn greeting(&self) -> &[u8] {
        match (&self.greeting[..], &self.silent) {
            ([], Some(silent)) => &silent.greeting,
            (greeting, _) => greeting,
        }
    }

    /// How both connections ended, if without a byte and on their own.
    pub(super) fn nobody(&self) -> Option<Ending> {
        let is_end = |end: &Ending| *end != Ending::Silence;
        let silent = self.silent.as_ref()?.end.filter(is_end)?;
        let is_mute = self.greeting().is_empty() && self.answer.is_empty();
        self.end.filter(is_end).filter(|_| is_mute)?;
        Some(silent)
    }

    /// How a connection ended once something was said, while one lives on which nothing is.
    pub(super) fn taken_amiss(&self) -> Option<Ending> {
        let is_mute = self.greeting().is_empty() && self.answer.is_empty();
        let lives = self.silent.as_ref()?.end == Some(Ending::Silence);
        let end = self.end.filter(|end| *end != Ending::Silence);
        end.filter(|_| is_mute && lives)
    }

    /// Whether nothing that was sent behind the handshake arrived, or its acknowledgement did
    /// not.
    pub(super) fn is_lost(&self) -> bool {
        let is_mute = self.greeting().is_empty() && self.answer.is_empty();
        is_mute && self.is_taken == Some(false)
    }

    /// What came beside what was said, if that came back whole.
    pub(super) fn added(&self) -> Option<Vec<u8>> {
        let all = [&self.greeting[..], &self.answer].concat();
        let at = all.windows(HELLO.len()).position(|part| part == HELLO)?;
        let added = [&all[..at], &all[at + HELLO.len()..]].concat();
        (!added.is_empty()).then_some(added)
    }

    /// Whether what came back is what was said, be it with other line ends, capitals or a
    /// parity bit, or the begin of it.
    pub(super) fn is_echoed(&self) -> bool {
        let plain = |byte: &u8| (byte & 0x7f).to_ascii_lowercase();
        let word = HELLO.iter().take_while(|byte| byte.is_ascii_alphabetic());
        // Where the first byte is lost, the rest is what was said.
        let is_rest = self.answer.len() + 1 == HELLO.len() && HELLO.ends_with(&self.answer);
        is_rest
            || !self.answer.is_empty()
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
    /// More bytes: until then the last ones are kept, so many.
    Last(u64),
    /// More bytes: of what comes at once so many are passed on, and some more each time that
    /// something more is sent.
    Unread(u64),
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
    /// After so many bytes came back; proved, if a slow one did so as well, later.
    AfterBytes {
        bytes: u64,
        by: Ending,
        is_proved: bool,
    },
    /// After so many messages were answered, of any size; proved, if others did so that came at
    /// another pace.
    AfterMessages {
        messages: u64,
        by: Ending,
        is_proved: bool,
    },
    /// At that age, however much they carry.
    AtAge {
        age: Duration,
        by: Ending,
        since: Since,
    },
}

/// From when on an age is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// From when the connection was made.
    Made,
    /// From the first byte: a silent one lives longer.
    FirstByte,
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
    /// So many; what becomes of the next. Not proved where some that were reset may still count.
    UpTo {
        connections: usize,
        by: Denied,
        is_proved: bool,
    },
}

/// What becomes of a connection that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Ended(Ending),
    /// It is not made: an ICMP message says so.
    Prohibited,
    /// It is made, and served once another one has ended.
    Waits,
}

impl Denied {
    /// The word of the evidence.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ended(by) => by.word(),
            Self::Prohibited => "icmp",
            Self::Waits => "waits",
        }
    }
}

/// How many connections can be begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// Of connections that were begun at once.
    pub(super) tried: usize,
    /// Those that were made and served without a SYN sent again.
    pub(super) made: usize,
    /// Those that were then begun one after another.
    pub(super) fast: Paced,
    /// How many were begun at half the pace that was served, and how many of these were
    /// served; `None` where that was not tried.
    pub(super) slow: Option<(usize, usize)>,
}

/// Connections that were begun one after another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Paced {
    /// How many were begun once one was denied, or all where none was.
    pub(super) tried: usize,
    /// How many of these were served, and how many that is a second.
    pub(super) served: usize,
    pub(super) per_s: f64,
    /// How long those waited for their first byte in the median once they were made, beyond
    /// what a single one waits.
    pub(super) wait: Duration,
}

/// A share of what happens by chance is not taken for a limit where it would come out as it
/// did once in so many times.
const BY_CHANCE: f64 = 0.001;

/// Where fewer connections of a burst are made, more is the matter than a lost packet.
const FEW: f64 = 0.7;

/// Of as many connections as a limit serves, all are but one in so many.
const MOST: f64 = 0.9;

/// Whether there is a limit of connections that are begun in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    /// There is none, or as many are denied at any pace: by lost packets, or a dead server.
    No,
    /// Only those of one instant are too many.
    AtOnce,
    /// So many a second are served; proved, if at half the pace all are.
    PerSecond { is_proved: bool },
}

impl Paced {
    /// The share that is served; all where none was begun.
    pub(super) fn share(&self) -> f64 {
        match self.tried {
            0 => 1.0,
            tried => self.served as f64 / tried as f64,
        }
    }

    /// How many wait at a time in the mean: as many come a second as are served, times how
    /// long each waits (Little's law).
    pub(super) fn waiting(&self) -> f64 {
        self.per_s * self.wait.as_secs_f64()
    }
}

impl Rate {
    /// Whether there is a limit.
    pub(super) fn limited(&self) -> Limited {
        if self.made as f64 >= FEW * self.tried as f64 {
            return Limited::No;
        }
        let share = self.fast.share();
        if share >= MOST {
            return Limited::AtOnce;
        }
        match self.slow {
            // How many there are at half of hardly any takes too long to see.
            None => Limited::PerSecond { is_proved: false },
            Some((tried, served)) if (served as f64) < MOST * tried as f64 => Limited::No,
            Some((tried, _)) => {
                let by_chance = share.powi(i32::try_from(tried).unwrap_or(i32::MAX));
                Limited::PerSecond {
                    is_proved: by_chance < BY_CHANCE,
                }
            }
        }
    }

    /// All of a burst were served.
    pub(super) fn unlimited(tried: usize) -> Self {
        Self {
            tried,
            made: tried,
            fast: Paced::default(),
            slow: None,
        }
    }
}

/// What a half-close does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfClosed {
    /// It is answered in order.
    Sound,
    /// It ends the connection so; whether all bytes had come before.
    Ends { by: Ending, all_came: bool },
    /// It is never acknowledged: it does not arrive.
    Unheard { all_came: bool },
}

/// What becomes of bytes of special values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// What was sent, and what came back, for each text that was changed.
    pub(super) changed: Vec<(Vec<u8>, Vec<u8>)>,
    /// The texts at which the connection ended before all had come back, and how.
    pub(super) ended: Vec<(Vec<u8>, Ending)>,
    /// What came back for one that was changed, and not each time.
    pub(super) fickle: Option<Vec<u8>>,
}

/// Bytes at which a connection ends, while others of the same length come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) by: Ending,
}

impl Content {
    /// Whether that failure had them on its way, or so many bytes that they are likely among
    /// those that are not known.
    pub(super) fn explains(&self, failure: &Failure) -> bool {
        let seen = &failure.observed;
        let is_ended = matches!(seen.end, End::Close | End::Reset | End::Silence | End::Slow);
        let mut places = seen.under_way.windows(self.bytes.len().max(1));
        let is_long = seen.under_way.len() >= MOST_UNDER_WAY;
        is_ended && (is_long || places.any(|part| part == self.bytes))
    }
}

/// What becomes of an urgent byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgent {
    Kept,
    TakenOut,
    Moved,
    /// Nothing comes back behind it, and it did not arrive.
    Dropped,
    /// The same, and it did.
    Stalled,
    /// The connection ends so at it.
    Ended(Ending),
}

impl Urgent {
    /// The word of the evidence.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::TakenOut => "taken-out",
            Self::Moved => "moved",
            Self::Dropped => "dropped",
            Self::Stalled => "stalled",
            Self::Ended(Ending::Reset) => "reset",
            Self::Ended(Ending::Close | Ending::Silence) => "closed",
        }
    }
}

/// How those connections fail that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// They are not made: a RST answers.
    Refused,
    /// They end so, or are not made as nothing answers.
    Ends(Ending),
    /// They are answered by these bytes, which were not sent.
    Answers(Vec<u8>),
}

/// Some connections fail, and others do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Several {
    pub(super) tried: usize,
    pub(super) failed: usize,
    pub(super) sort: Sort,
    /// Each so many-th one fails.
    pub(super) every: Option<usize>,
    /// Those from the same ports of ours fail each time.
    pub(super) is_by_port: bool,
    /// They fail behind no more than so many bytes; `None` where they do at once.
    pub(super) behind: Option<u64>,
}

/// Connections are denied for a while, once many were begun in a short time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Banned {
    /// How many were served before one was denied, and in which time.
    pub(super) served: usize,
    pub(super) within: Duration,
    /// For so long all were denied that were tried now and then.
    pub(super) lasted: Duration,
    pub(super) by: Denied,
    /// As many were served again while others were held. Otherwise a limit of those that are
    /// open may count them for a while after their end.
    pub(super) is_proved: bool,
}

/// No connection is made any more, where some were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// For so long each one failed.
    pub(super) time: Duration,
    pub(super) by: Denied,
    /// Who said so, where the last one failed by an ICMP message, or by this machine.
    pub(super) says: Option<Says>,
}

/// What all experiments found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// No experiments were made, on purpose or since no connection was: then guesses are made,
    /// from what was seen.
    pub(super) is_untried: bool,
    /// The experiments that were not made, or not to their end, as their time was over: what
    /// they were to tell is guessed as well.
    pub(super) cut_short: Vec<&'static str>,
    /// No connection was made any more, for so long, and how the last one failed.
    pub(super) gone: Option<Gone>,
    pub(super) says: Option<Says>,
    pub(super) banned: Option<Banned>,
    pub(super) hello: Option<Hello>,
    pub(super) several: Option<Several>,
    pub(super) held: Option<Held>,
    pub(super) sizes: Option<Sizes>,
    pub(super) streams: Option<Streams>,
    pub(super) silences: Option<Silences>,
    pub(super) steps: Option<Steps>,
    pub(super) rate: Option<Rate>,
    pub(super) half_close: Option<HalfClosed>,
    pub(super) changes: Option<Changes>,
    pub(super) content: Option<Content>,
    pub(super) urgent: Option<Urgent>,
    pub(super) loss: Option<Loss>,
}

impl Findings {
    /// Whether that experiment has told nothing for want of time, or as none was made.
    pub(super) fn is_open(&self, experiment: &str) -> bool {
        self.is_untried || self.cut_short.contains(&experiment)
    }

    /// Whether a wrong byte of that clause may be an urgent one that came late.
    pub(super) fn may_move_urgent(&self, clause: &str) -> bool {
        let is_it = self.urgent == Some(Urgent::Moved) || self.is_open("urgent");
        clause == "urgent" && is_it
    }
}
