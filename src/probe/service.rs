//! Guesses which service sent bytes that were not expected.

use crate::proto;

/// Up to this many bytes may be right by chance before a service is told by its first ones.
pub(crate) const BY_CHANCE: u64 = 8;

/// The service that `received` looks like an answer of, after `sent` was sent to it; `None`
/// if it looks like none of those known here.
pub(crate) fn looks_like(sent: &[u8], received: &[u8]) -> Option<&'static str> {
    const STARTS: [(&[u8], &str); 14] = [
        (b"HTTP/", "an HTTP server"),
        (b"SSH-", "an SSH server"),
        (b"220 ", "an SMTP or FTP server"),
        (b"220-", "an SMTP or FTP server"),
        (b"+OK", "a POP3 or Redis server"),
        (b"-ERR", "a POP3 or Redis server"),
        (b"* OK", "an IMAP server"),
        (b"RFB 0", "a VNC server"),
        (b"\x15\x03", "a TLS server"),
        (b"\x16\x03", "a TLS server"),
        (b"PROXY ", "the PROXY header of a load balancer"),
        (
            b"\r\n\r\n\0\r\nQUIT\n",
            "the PROXY header of a load balancer",
        ),
        (b"\xff\xfb", "a Telnet server"),
        (b"\xff\xfd", "a Telnet server"),
    ];
    if received.is_empty() {
        return None;
    }
    if !sent.is_empty() && (sent.starts_with(received) || received.starts_with(sent)) {
        return Some("an echo server");
    }
    if proto::seen(received).is_some() {
        return Some("a --whoami port");
    }
    if is_counted_answer(received) {
        return Some("a --counted port");
    }
    let known = STARTS.iter().find(|(start, _)| received.starts_with(start));
    known.map(|(_, name)| *name)
}

/// Whether it begins with a number and ` : `.
fn is_counted_answer(received: &[u8]) -> bool {
    let digits = received.iter().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    digits > 0 && received[digits..].starts_with(b" : ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_recognised_by_its_first_bytes() {
        for (received, want) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], Some("an HTTP server")),
            (b"SSH-2.0-OpenSSH_9.2p1\r\n", Some("an SSH server")),
            (b"220 mail.example ESMTP\r\n", Some("an SMTP or FTP server")),
            (b"\x15\x03\x01\x00\x02", Some("a TLS server")),
            (b"127.0.0.1:4000\n", Some("a --whoami port")),
            (b"5 : hello\0", Some("a --counted port")),
            (b"hello", Some("an echo server")),
            (b"hel", Some("an echo server")),
            (b"5 hello", None),
            (b"127.0.0.1", None),
            (b"", None),
        ] {
            assert_eq!(looks_like(b"hello", received), want, "{received:?}");
        }
        assert_eq!(looks_like(b"", b"anything"), None);
    }
}
