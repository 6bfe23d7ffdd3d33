//! A minimal HTTP/1.0 client of the admin socket.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{DEADLINE, Program};

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

/// Where a program answers that was started with `--admin`.
pub fn admin_of(program: &mut Program) -> SocketAddr {
    let mark = "metrics and health on http://";
    let line = program.wait_for(mark);
    line.split(mark).nth(1).unwrap().parse().unwrap()
}

/// Sends `request` and reads the answer until its end.
pub fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(request)?;
    answer(&mut stream)
}

/// Reads an answer until its end.
pub fn answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let ended = io::ErrorKind::UnexpectedEof;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(ended)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        code: code.ok_or(ended)?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// What is at `path`.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap()
}

/// Every sample of `/metrics`, by its name and labels as they stand there.
#[track_caller]
pub fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let text = get(address, "/metrics").body;
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(sample).collect()
}
