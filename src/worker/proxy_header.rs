//! The PROXY protocol's header, in which a load balancer names the client of a
//! connection ahead of the client's bytes.
//!
//! Versions 1 (a line of text) and 2 (binary), as in HAProxy's
//! `doc/proxy-protocol.txt`; the library proxy-header parses both.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol as Transport, ProxyHeader};

/// The longest header that is accepted, in bytes. The specification asks senders to
/// stay within 536, which every path carries in one segment.
const LONGEST: usize = 4096;

/// The longest line of version 1, in bytes, with its CR LF: section 2.1.
const LONGEST_LINE: usize = 107;

/// The first bytes of a header of version 1 and of version 2.
const BEGINNINGS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// Parses a header that arrives in any number of segments, and keeps the bytes that
/// follow it.
#[derive(Debug, Default)]
pub struct HeaderParser {
    arrived: Vec<u8>,
    header: Option<Header>,
}

/// A parsed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The client's address.
    Client(SocketAddr),
    /// The connection is the load balancer's own, or the client is unknown to it.
    Unnamed,
    /// The bytes are not a valid header, for this reason.
    Malformed(&'static str),
}

impl HeaderParser {
    /// Adds the next segment. Must not be called once the header is complete.
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

    /// The input has ended. An incomplete header is malformed; a connection that sent
    /// nothing at all has no fault, since it may be a check that the port is open.
    pub fn finish(&mut self) {
        if self.header.is_none() && !self.arrived.is_empty() {
            self.header = Some(Header::Malformed("its PROXY header is cut off"));
        }
    }

    /// The header, once it is complete or known to be malformed.
    pub const fn header(&self) -> Option<Header> {
        self.header
    }

    /// The bytes that followed the header.
    pub fn into_payload(self) -> Vec<u8> {
        self.arrived
    }
}

/// The header at the front of `arrived` and its length. `Err(None)` means that more
/// bytes are needed, `Err(Some(fault))` that the bytes can't become a valid header.
fn parse(arrived: &[u8]) -> Result<(Header, usize), Option<&'static str>> {
    let may_begin = |beginning: &&[u8]| arrived.iter().zip(*beginning).all(|(a, b)| a == b);
    if !BEGINNINGS.iter().any(may_begin) {
        return Err(Some("it sent other data in place of a PROXY header"));
    }
    let length = match arrived.first() {
        Some(b'P') => length_of_line(arrived)?,
        _ => length_of_binary(arrived)?,
    };
    let whole = arrived.get(..length).ok_or(None)?;
    Ok((read(whole).map_err(Some)?, length))
}

/// Reads a complete header. The library accepts more than the specification allows; the
/// difference is refused here.
fn read(whole: &[u8]) -> Result<Header, &'static str> {
    // The body of a header with the command LOCAL must be ignored, whatever it holds.
    if whole[0] == b'\r' && whole[12] == 0x20 {
        return Ok(Header::Unnamed);
    }
    if whole[0] == b'P' && !is_plain_line(whole) {
        return Err(MALFORMED);
    }
    let parsed = ProxyHeader::parse(whole, ParseConfig::default());
    let (header, _) = parsed.map_err(|_| MALFORMED)?;
    match header.proxied_address() {
        // Without addresses of a known family, the body must be ignored.
        None => Ok(Header::Unnamed),
        Some(_) if header.tlvs().any(|field| field.is_err()) => Err(MALFORMED),
        Some(address) if address.protocol == Transport::Stream => {
            Ok(Header::Client(address.source))
        }
        Some(_) => Err("its PROXY header is for a datagram"),
    }
}

const MALFORMED: &str = "its PROXY header is malformed";
const TOO_LONG: &str = "its PROXY header is too long";

/// The length of a header of version 1, with its CR LF.
fn length_of_line(arrived: &[u8]) -> Result<usize, Option<&'static str>> {
    // A CR without an LF is refused at once.
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

/// The length of a header of version 2. Bytes 14 and 15 hold the length of its body.
fn length_of_binary(arrived: &[u8]) -> Result<usize, Option<&'static str>> {
    let body = arrived.get(14..16).ok_or(None)?;
    let length = 16 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    match length <= LONGEST {
        true => Ok(length),
        false => Err(Some(TOO_LONG)),
    }
}

/// Whether a line is of printable words with one space between, has ports in plain
/// decimal, and ends in CR LF.
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
    fn the_client_of_a_text_header_is_its_source_address() {
        let v4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 7\r\n";
        assert_eq!(header(v4), client("192.0.2.7:40112"));
        let v6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 7\r\n";
        assert_eq!(header(v6), client("[2001:db8::7]:65535"));
        assert_eq!(header(b"PROXY UNKNOWN\r\n"), Some(Header::Unnamed));
        assert_eq!(header(b"PROXY UNKNOWN a b 1 2\r\n"), Some(Header::Unnamed));
    }

    #[test]
    fn the_client_of_a_binary_header_is_its_source_address_and_a_local_one_names_none() {
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
        // Fields after the addresses are ignored.
        let more = [&v4[..], &[0x04, 0, 2, 9, 9]].concat();
        assert_eq!(
            header(&binary(0x21, 0x11, &more)),
            client("192.0.2.7:40112")
        );
    }

    #[test]
    fn an_incomplete_header_is_malformed_and_an_empty_connection_has_no_fault() {
        for (bytes, is_fault) in [(&b""[..], false), (b"PROXY", true), (SIGNATURE, true)] {
            let mut parser = HeaderParser::default();
            parser.push(bytes);
            parser.finish();
            let fault = matches!(parser.header(), Some(Header::Malformed(_)));
            assert_eq!(fault, is_fault, "{bytes:?}");
        }
    }

    #[test]
    fn malformed_bytes_are_refused_as_soon_as_they_cannot_become_a_header() {
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
        fn a_header_is_the_same_in_any_segments_and_the_bytes_after_it_are_kept(
            (v4, port, version) in (any::<[u8; 4]>(), any::<u16>(), any::<bool>()),
            payload in vec(any::<u8>(), 0..40),
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
            bytes.extend(&payload);
            let mut parser = HeaderParser::default();
            let mut arrived = 0;
            for segment in bytes.chunks(size) {
                prop_assert!(parser.header().is_none());
                parser.push(segment);
                arrived += segment.len();
                if parser.header().is_some() {
                    break;
                }
            }
            prop_assert_eq!(parser.header(), Some(Header::Client(source)));
            prop_assert_eq!(parser.into_payload(), &bytes[length..arrived]);
        }
    }
}
