//! The part of HTTP/1.1 (RFC 9112) that the admin socket speaks: one request, one answer.

use std::fmt::Write as _;

/// The longest head of a request, in bytes.
pub(super) const HEAD_LIMIT: usize = 8 * 1024;

/// The most header lines of a request.
const HEADERS: usize = 64;

/// The page may fetch data from its own origin only, text can't become markup, and no
/// other page can frame it.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'";

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The path, without the query.
    pub(super) path: String,
    /// Only the head of the answer is wanted.
    pub(super) head_only: bool,
    /// The values of the Accept headers, with commas between; empty where there is none.
    pub(super) accept: String,
}

/// The status code of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Ok = 200,
    BadRequest = 400,
    NotFound = 404,
    MethodNotAllowed = 405,
    HeadTooLarge = 431,
    InternalError = 500,
    Unavailable = 503,
}

impl Code {
    const fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad Request",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::InternalError => "Internal Server Error",
            Self::Unavailable => "Service Unavailable",
        }
    }
}

/// The head of a request, as far as it has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// More is to come.
    Incomplete,
    Complete(Request),
    /// No request that can be served: it is answered with this code.
    Refused(Code),
}

/// Reads the head of a request as far as it has arrived.
pub(super) fn read(arrived: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(arrived) {
        Ok(httparse::Status::Complete(_)) => interpret(&request),
        Ok(httparse::Status::Partial) if arrived.len() >= HEAD_LIMIT => {
            Head::Refused(Code::HeadTooLarge)
        }
        Ok(httparse::Status::Partial) => Head::Incomplete,
        Err(httparse::Error::TooManyHeaders) => Head::Refused(Code::HeadTooLarge),
        Err(_) => Head::Refused(Code::BadRequest),
    }
}

fn interpret(request: &httparse::Request<'_, '_>) -> Head {
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Head::Refused(Code::BadRequest);
    };
    let is_host = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("host");
    // Section 3.2: exactly one, since HTTP/1.1.
    match (request.headers.iter().filter(is_host).count(), version) {
        (1, _) | (0, 0) => {}
        _ => return Head::Refused(Code::BadRequest),
    }
    let head_only = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Head::Refused(Code::MethodNotAllowed),
    };
    Head::Complete(Request {
        path: path(target).to_owned(),
        head_only,
        accept: values(request.headers, "accept"),
    })
}

/// The values of all headers of one name, with commas between: RFC 9110, section 5.3.
fn values(headers: &[httparse::Header<'_>], name: &str) -> String {
    let named = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name));
    let values: Vec<_> = named
        .map(|header| String::from_utf8_lossy(header.value))
        .collect();
    values.join(",")
}

/// The path of a target, which may be a whole URL (section 3.2.2).
fn path(target: &str) -> &str {
    const SCHEME: &str = "http://";

    let is_whole = target.get(..SCHEME.len());
    let is_whole = is_whole.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
    let path = match is_whole {
        true => {
            let rest = &target[SCHEME.len()..];
            rest.find(['/', '?', '#']).map_or("", |at| &rest[at..])
        }
        false => target,
    };
    match path.split(['?', '#']).next() {
        None | Some("") => "/",
        Some(path) => path,
    }
}

/// An answer, after which the connection ends.
pub(super) fn answer(code: Code, kind: &str, body: &str, head_only: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {} {}\r\n", code as u16, code.reason());
    let length = body.len();
    let _ = write!(
        text,
        "Content-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: {POLICY}\r\nCross-Origin-Resource-Policy: same-origin\r\n\
         Referrer-Policy: no-referrer\r\n"
    );
    if code == Code::MethodNotAllowed {
        text.push_str("Allow: GET, HEAD\r\n");
    }
    text.push_str("\r\n");
    if !head_only {
        text.push_str(body);
    }
    text.into_bytes()
}

/// An answer of one line of text.
pub(super) fn line(code: Code, line: &str, head_only: bool) -> Vec<u8> {
    let kind = "text/plain; charset=utf-8";
    answer(code, kind, &format!("{line}\n"), head_only)
}

/// An answer that says no more than what its code means.
pub(super) fn refusal(code: Code, head_only: bool) -> Vec<u8> {
    line(code, &code.reason().to_lowercase(), head_only)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete(path: &str, head_only: bool) -> Head {
        Head::Complete(Request {
            path: path.to_owned(),
            head_only,
            accept: String::new(),
        })
    }

    #[test]
    fn a_request_is_understood_or_refused_with_the_code_that_fits() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        let endless = format!("GET /{}", "a".repeat(HEAD_LIMIT));
        for (text, want) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", complete("/", false)),
            (
                "HEAD /x?y=1 HTTP/1.1\r\nhost: a\r\n\r\n",
                complete("/x", true),
            ),
            ("GET /readyz HTTP/1.0\r\n\r\n", complete("/readyz", false)),
            ("GET /a HTTP/1.0\n\n", complete("/a", false)),
            (
                "GET http://a:1/b HTTP/1.1\r\nHost: a\r\n\r\n",
                complete("/b", false),
            ),
            (
                "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
                complete("/", false),
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\n", Head::Incomplete),
            ("", Head::Incomplete),
            ("GET / HTTP/1.1\r\n\r\n", Head::Refused(Code::BadRequest)),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                Head::Refused(Code::BadRequest),
            ),
            (
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                Head::Refused(Code::BadRequest),
            ),
            ("\x16\x03\x01\x02", Head::Refused(Code::BadRequest)),
            (
                "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
                Head::Refused(Code::MethodNotAllowed),
            ),
            (&many, Head::Refused(Code::HeadTooLarge)),
            (&endless, Head::Refused(Code::HeadTooLarge)),
        ] {
            assert_eq!(read(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn every_accept_header_counts() {
        let text = b"GET /a HTTP/1.0\r\nAccept: b/c;q=1\r\nX: y\r\naccept: d/e, f/g\r\n\r\n";
        let Head::Complete(request) = read(text) else {
            panic!("it is a request");
        };
        assert_eq!(request.accept, "b/c;q=1,d/e, f/g");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }

        #[test]
        fn a_request_may_arrive_in_any_pieces(
            path in "/[a-z?]{0,8}", name in "[A-Za-z-]{1,8}", value in "[ -~]{0,20}"
        ) {
            let text = format!("GET {path} HTTP/1.0\r\nX-{name}: {value}\r\n\r\n");
            for cut in 0..text.len() {
                prop_assert_eq!(read(&text.as_bytes()[..cut]), Head::Incomplete);
            }
            let want = path.split('?').next().unwrap();
            prop_assert_eq!(read(text.as_bytes()), complete(want, false));
        }
    }

    #[test]
    fn an_answer_to_head_has_the_length_of_the_body_that_it_leaves_out() {
        let whole = String::from_utf8(line(Code::Ok, "ok", false)).unwrap();
        let head = String::from_utf8(line(Code::Ok, "ok", true)).unwrap();
        assert_eq!(whole.strip_suffix("ok\n"), Some(&*head));
        assert!(head.contains("\r\nContent-Length: 3\r\n"), "{head}");
        let other = refusal(Code::MethodNotAllowed, false);
        let other = String::from_utf8(other).unwrap();
        assert!(other.contains("\r\nAllow: GET, HEAD\r\n"), "{other}");
    }
}
