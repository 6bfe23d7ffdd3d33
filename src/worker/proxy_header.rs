//! The PROXY protocol's header, in which a load balancer says whose connection it
//! brings, before the first byte of it.
//!
//! Versions 1 (a line of text) and 2 (binary), as in HAProxy's
//! `doc/proxy-protocol.txt`; the library proxy-header parses both.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol as Transport, ProxyHeader};

/// The longest header that is taken, in bytes: the specification asks senders to
/// stay within the 536 that every path carries in one segment.
const LONGEST: usize = 4096;

/// The longest line of version 1, in bytes, its end included: section 2.1.
const LONGEST_LINE: usize = 107;

/// How headers begin.
const BEGINNINGS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// A header while it arrives, in any number of segments, and what came behind it.
#[derive(Debug, Default)]
pub struct HeaderParser {
    arrived: Vec<u8>,
    header: Option<Header>,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// This is the client.
    Client(SocketAddr),
    /// The connection is the load balancer's own, or it does not know the client.
    Unnamed,
    /// Nothing: it is none, for this reason.
    Malformed(&'static str),
}

impl HeaderParser {
    /// Takes the next segment. Nothing more must come once the header is there.
    pub fn push(&mut self, segment: &[u8]) {
        self.arrived.extend_from_slice(segment);
        self.header = match parse(&self.arrived) {
            Ok((header, length)) => {
                self.arrived.drain(..length);
                Some(header)
            }
            Err(None) => None,
            Err(Some(fault)) => Some(Header::Malformed(fault)),
        };
    }

    /// Nothing more comes. A connection on which nothing came at all has no fault: it
    /// only looked whether somebody listens.
    pub fn finish(&mut self) {
        if self.header.is_none() && !self.arrived.is_empty() {
            self.header = Some(Header::Malformed("its PROXY header breaks off"));
        }
    }

    /// The header, once it is complete or can't become one any more.
    pub const fn header(&self) -> Option<Header> {
        self.header
    }

    /// What came behind the header.
    pub fn into_rest(self) -> Vec<u8> {
        self.arrived
    }
}

/// The header at the front of `arrived` and its length. Without an error's reason
/// it may become one with what is still to come.
fn parse(arrived: &[u8]) -> Result<(Header, usize), Option<&'static str>> {
    let may_begin = |beginning: &&[u8]| arrived.iter().zip(*beginning).all(|(a, b)| a == b);
    if !BEGINNINGS.iter().any(may_begin) {
        return Err(Some("it sent something else in place of a PROXY header"));
    }
    let length = match arrived.first() {
        Some(b'P') => length_of_line(arrived)?,
        _ => length_of_binary(arrived)?,
    };
    let whole = arrived.get(..length).ok_or(None)?;
    Ok((read(whole).map_err(Some)?, length))
}

/// What a whole header says. The library takes more than the specification has:
/// what that is, is refused here.
fn read(whole: &[u8]) -> Result<Header, &'static str> {
    // The rest of a header with the command LOCAL must be passed over, whatever it is.
    if whole[0] == b'\r' && whole[12] == 0x20 {
        return Ok(Header::Unnamed);
    }
    if whole[0] == b'P' && !is_plain_line(whole) {
        return Err(MALFORMED);
    }
    let parsed = ProxyHeader::parse(whole, ParseConfig::default());
    let (header, _) = parsed.map_err(|_| MALFORMED)?;
    match header.proxied_address() {
        // What it has in place of addresses is not to be looked at.
        None => Ok(Header::Unnamed),
        Some(_) if header.tlvs().any(|field| field.is_err()) => Err(MALFORMED),
        Some(address) if address.protocol == Transport::Stream => {
            Ok(Header::Client(address.source))
        }
        Some(_) => Err("its PROXY header is that of a datagram"),
    }
}

const MALFORMED: &str = "its PROXY header is malformed";
const TOO_LONG: &str = "its PROXY header is too long";

/// The length of a header of version 1, its line's end included.
fn length_of_line(arrived: &[u8]) -> Result<usize, Option<&'static str>> {
    // A return that ends no line is seen at once.
    match arrived.iter().position(|&byte| byte == b'\r') {
        Some(end) if end + 2 > LONGEST_LINE => Err(Some(TOO_LONG)),
        Some(end) => match arrived.get(end + 1) {
            Some(b'\n') => Ok(end + 2),
            Some(_) => Err(Some(MALFORMED)),
            None => Err(None),
        },
        None if arrived.len() < LONGEST_LINE => Err(None),
        None => Err(Some(TOO_LONG)),
    }
}

/// The length of a header of version 2, which it tells itself in bytes 14 and 15.
fn length_of_binary(arrived: &[u8]) -> Result<usize, Option<&'static str>> {
    let told = arrived.get(14..16).ok_or(None)?;
    let length = 16 + usize::from(u16::from_be_bytes([told[0], told[1]]));
    match length <= LONGEST {
        true => Ok(length),
        false => Err(Some(TOO_LONG)),
    }
}

/// Whether a line is of words with one space between, ports in plain decimal, and
/// ends in CR LF.
fn is_plain_line(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else {
        return false;
    };
    let mut words = line.split(|&byte| byte == b' ');
    let is_printable = line.iter().all(|byte| (b' '..=b'~').contains(byte));
    let is_port = |word: &&[u8]| {
        word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || !word.starts_with(b"0"))
    };
    is_printable
        && match words.nth(1) {
            Some(b"UNKNOWN") => true,
            Some(b"TCP4" | b"TCP6") => words.skip(2).all(|word| is_port(&word)),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(bytes: &[u8]) -> Option<Header> {
        let mut parser = HeaderParser::default();
        parser.push(bytes);
        parser.header()
    }

    fn client(text: &str) -> Option<Header> {
        Some(Header::Client(text.parse().unwrap()))
    }

    /// A header of version 2 with this command, family and body.
    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    #[test]
    fn the_client_of_a_line_of_text_is_its_source() {
        let v4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 7\r\n";
        assert_eq!(header(v4), client("192.0.2.7:40112"));
        let v6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 7\r\n";
        assert_eq!(header(v6), client("[2001:db8::7]:65535"));
        assert_eq!(header(b"PROXY UNKNOWN\r\n"), Some(Header::Unnamed));
        assert_eq!(header(b"PROXY UNKNOWN a b 1 2\r\n"), Some(Header::Unnamed));
    }

    #[test]
    fn the_client_of_a_binary_header_is_its_source_and_a_local_one_has_none() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0xb0, 0, 7];
        assert_eq!(header(&binary(0x21, 0x11, &v4)), client("192.0.2.7:40112"));
        assert_eq!(header(&binary(0x20, 0x11, &v4)), Some(Header::Unnamed));
        assert_eq!(header(&binary(0x20, 0x00, &[])), Some(Header::Unnamed));
        assert_eq!(header(&binary(0x20, 0x11, &[])), Some(Header::Unnamed));
        assert_eq!(header(&binary(0x20, 0x41, &[1])), Some(Header::Unnamed));
        assert_eq!(
            header(&binary(0x21, 0x31, &[0; 216])),
            Some(Header::Unnamed)
        );
        // What it says beside the addresses is passed over.
        let more = [&v4[..], &[0x04, 0, 2, 9, 9]].concat();
        assert_eq!(
            header(&binary(0x21, 0x11, &more)),
            client("192.0.2.7:40112")
        );
    }

    #[test]
    fn a_header_that_breaks_off_is_none_and_nothing_at_all_no_fault() {
        for (bytes, is_fault) in [(&b""[..], false), (b"PROXY", true), (SIGNATURE, true)] {
            let mut parser = HeaderParser::default();
            parser.push(bytes);
            parser.finish();
            let fault = matches!(parser.header(), Some(Header::Malformed(_)));
            assert_eq!(fault, is_fault, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_that_is_seen() {
        for bytes in [
            &b"G"[..],
            b"PROXYTCP4",
            b"PROXY SCTP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX",
            b"\r\n\r\n\0\r\nQUIT\r",
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 11]),
            &binary(0x21, 0x12, &[0; 12]),
            &[b"PROXY TCP4 ", &[b'1'; 120][..]].concat(),
            &[b"PROXY UNKNOWN ", &[b'1'; 120][..], b"\r\n"].concat(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 02\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
            b"PROXY UNKNOWNxyz\r\n",
            b"PROXY UNKNOWN \0\x01\r\n",
            b"PROXY \r\n",
            &binary(0x21, 0x11, &[&[0; 12][..], &[0x04, 0xff, 0xff]].concat()),
            &binary(0x21, 0x11, &vec![0; LONGEST]),
            &binary(0x21, 0x11, &vec![0; LONGEST])[..LONGEST + 1],
        ] {
            let header = header(bytes);
            assert!(matches!(header, Some(Header::Malformed(_))), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_header_is_the_same_in_any_segments_and_what_follows_is_kept(
            (v4, port, version) in (any::<[u8; 4]>(), any::<u16>(), any::<bool>()),
            rest in vec(any::<u8>(), 0..40),
            size in 1..40_usize,
        ) {
            let source = SocketAddr::from((v4, port));
            let header = ProxyHeader::with_address(ProxiedAddress::stream(source, source));
            let mut bytes = Vec::new();
            match version {
                true => header.encode_v1(&mut bytes).unwrap(),
                false => header.encode_v2(&mut bytes).unwrap(),
            }
            let length = bytes.len();
            bytes.extend(&rest);
            let mut parser = HeaderParser::default();
            let mut taken = 0;
            for segment in bytes.chunks(size) {
                prop_assert!(parser.header().is_none());
                parser.push(segment);
                taken += segment.len();
                if parser.header().is_some() {
                    break;
                }
            }
            prop_assert_eq!(parser.header(), Some(Header::Client(source)));
            prop_assert_eq!(parser.into_rest(), &bytes[length..taken]);
        }
    }
}
