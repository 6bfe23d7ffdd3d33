//! Servers on loopback that each have one fault of servers and proxies in the wild.
//! All else they do well, so also urgent data stays in its place.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use socket2::SockRef;

use crate::common::faulty::{BLOCK, Faulty, echo_some, swallow};
use crate::common::unfaithful::{echo_all, keep_urgent, nagling, pool};
use crate::common::{is_reset, reset, unfaithful};
use crate::made::Server;
use crate::sys;

const MIB: usize = 1 << 20;

/// No client of the laboratory stays so long.
const LONG: Duration = Duration::from_secs(120);

/// How a server leaves a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// By FIN, and what comes then is taken.
    Close,
    /// By RST.
    Reset,
    /// By doing nothing any more.
    Silence,
}

impl Leave {
    pub(crate) fn act(self, stream: TcpStream) {
        match self {
            Self::Close => {
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(LONG));
                swallow(&stream);
            }
            Self::Reset => reset(stream),
            Self::Silence => hold(&stream),
        }
    }
}

/// Keeps a connection, unread, until its client resets it.
pub(crate) fn hold(stream: &TcpStream) {
    let until = Instant::now() + LONG;
    while !is_reset(stream) && Instant::now() < until {
        sleep(Duration::from_millis(50));
    }
}

pub(crate) fn serve(behave: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
    let server = Faulty::serve(move |stream, _| behave(stream));
    Server::new(server.address, server)
}

/// An echo of what `change` makes of the bytes of each read; it gets `None` at their end.
fn changing<C>(new: impl Fn() -> C + Send + Sync + 'static) -> Server
where
    C: FnMut(Option<&[u8]>) -> Vec<u8>,
{
    serve(move |mut stream| {
        keep_urgent(&stream);
        let (mut change, mut block) = (new(), vec![0; BLOCK]);
        while let Ok(length @ 1..) = stream.read(&mut block) {
            if stream.write_all(&change(Some(&block[..length]))).is_err() {
                return;
            }
        }
        let _ = stream.write_all(&change(None));
    })
}

/// An echo of what becomes of each byte by itself; `None` is left out.
fn mapping(map: fn(u8) -> Option<u8>) -> Server {
    changing(move || {
        move |bytes: Option<&[u8]>| {
            let bytes = bytes.unwrap_or_default().iter();
            bytes.filter_map(|byte| map(*byte)).collect()
        }
    })
}

/// Carries seven bits of each byte, like a serial line with parity.
pub(crate) fn seven_bit() -> Server {
    mapping(|byte| Some(byte & 0x7f))
}

/// Takes NULs out, like what keeps bytes as C strings.
pub(crate) fn without_nul() -> Server {
    mapping(|byte| (byte != 0).then_some(byte))
}

/// Takes letters for one case.
pub(crate) fn upper_case() -> Server {
    mapping(|byte| Some(byte.to_ascii_uppercase()))
}

/// Takes XON and XOFF for itself, like a terminal.
pub(crate) fn without_flow_control() -> Server {
    mapping(|byte| (byte != 0x11 && byte != 0x13).then_some(byte))
}

/// Takes the bytes for UTF-8, and has a mark in the place of what is none.
pub(crate) fn utf_8() -> Server {
    changing(|| {
        |bytes: Option<&[u8]>| {
            let text = String::from_utf8_lossy(bytes.unwrap_or_default());
            text.into_owned().into_bytes()
        }
    })
}

/// Sends LF for CR LF, like a file opened as text.
pub(crate) fn crlf_to_lf() -> Server {
    changing(|| {
        let mut held = false;
        move |bytes: Option<&[u8]>| {
            let Some(bytes) = bytes else {
                return if held { vec![b'\r'] } else { Vec::new() };
            };
            let mut changed = Vec::with_capacity(bytes.len() + 1);
            for byte in bytes {
                if held && *byte != b'\n' {
                    changed.push(b'\r');
                }
                held = *byte == b'\r';
                if !held {
                    changed.push(*byte);
                }
            }
            changed
        }
    })
}

/// Sends CR LF for LF, like a terminal.
pub(crate) fn lf_to_crlf() -> Server {
    changing(|| {
        |bytes: Option<&[u8]>| {
            let mut changed = Vec::new();
            for byte in bytes.unwrap_or_default() {
                if *byte == b'\n' {
                    changed.push(b'\r');
                }
                changed.push(*byte);
            }
            changed
        }
    })
}

/// Where a telnet server is in a command (RFC 854).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telnet {
    Data,
    /// Behind an IAC.
    Command,
    /// Behind WILL, WONT, DO or DONT.
    Option,
    /// Behind SB, before its IAC SE.
    Sub,
    SubCommand,
}

/// Speaks telnet: what follows 0xff is a command, and left out.
pub(crate) fn telnet() -> Server {
    const IAC: u8 = 0xff;
    changing(|| {
        let mut state = Telnet::Data;
        move |bytes: Option<&[u8]>| {
            let mut changed = Vec::new();
            for byte in bytes.unwrap_or_default() {
                state = match (state, *byte) {
                    (Telnet::Data, IAC) => Telnet::Command,
                    (Telnet::Data, data) => {
                        changed.push(data);
                        Telnet::Data
                    }
                    (Telnet::Command, IAC) => {
                        changed.push(IAC);
                        Telnet::Data
                    }
                    (Telnet::Command, 251..=254) => Telnet::Option,
                    (Telnet::Command, 250) => Telnet::Sub,
                    (Telnet::Sub, IAC) => Telnet::SubCommand,
                    (Telnet::SubCommand, 240) | (Telnet::Command | Telnet::Option, _) => {
                        Telnet::Data
                    }
                    (Telnet::Sub | Telnet::SubCommand, _) => Telnet::Sub,
                };
            }
            changed
        }
    })
}

/// Passes whole lines on.
pub(crate) fn line_buffered() -> Server {
    holding(|held| {
        let end = held.iter().rposition(|byte| *byte == b'\n');
        end.map_or(0, |at| at + 1)
    })
}

/// Passes on so many of the bytes that it holds, each time that more come.
fn holding(passed: fn(&[u8]) -> usize) -> Server {
    changing(move || {
        let mut held = Vec::new();
        move |bytes: Option<&[u8]>| {
            let Some(bytes) = bytes else {
                return std::mem::take(&mut held);
            };
            held.extend_from_slice(bytes);
            let rest = held.split_off(passed(&held));
            std::mem::replace(&mut held, rest)
        }
    })
}

/// Passes full buffers on, like a program that writes to a pipe by stdio.
pub(crate) fn block_buffered(size: usize) -> Server {
    changing(move || {
        let mut held = Vec::new();
        move |bytes: Option<&[u8]>| {
            let Some(bytes) = bytes else {
                return std::mem::take(&mut held);
            };
            held.extend_from_slice(bytes);
            let rest = held.split_off(held.len() / size * size);
            std::mem::replace(&mut held, rest)
        }
    })
}

/// Answers when all has come.
pub(crate) fn stores_until_the_end() -> Server {
    changing(|| {
        let mut held = Vec::new();
        move |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => {
                held.extend_from_slice(bytes);
                Vec::new()
            }
            None => std::mem::take(&mut held),
        }
    })
}

/// Begins to serve a connection so long after its first byte, as one does that looks up a name first.
pub(crate) fn begins_after(time: Duration) -> Server {
    serve(move |stream| {
        let _ = stream.peek(&mut [0]);
        sleep(time);
        echo_all(stream);
    })
}

/// Collects for so long from the first byte on, and passes it on then.
pub(crate) fn stores_for(time: Duration) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let mut block = vec![0; BLOCK];
        loop {
            let _ = stream.set_read_timeout(None);
            let mut held = match stream.read(&mut block) {
                Ok(length @ 1..) => block[..length].to_vec(),
                _ => return,
            };
            let until = Instant::now() + time;
            let is_over = loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break false;
                }
                let _ = stream.set_read_timeout(Some(left));
                match stream.read(&mut block) {
                    Ok(0) => break true,
                    Ok(length) => held.extend_from_slice(&block[..length]),
                    Err(_) => {}
                }
            };
            if stream.write_all(&held).is_err() || is_over {
                return;
            }
        }
    })
}

/// What is read and not written yet.
#[derive(Default)]
struct Pending {
    blocks: VecDeque<Vec<u8>>,
    is_over: bool,
}

/// At the client's half-close leaves it with what is pending unsent: reads and writes on
/// two threads, as proxies do, and is a little late with small writes.
pub(crate) fn no_half_close(leave: Leave) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let shared = Arc::new((Mutex::new(Pending::default()), Condvar::new()));
        let writer = spawn({
            let (shared, stream) = (Arc::clone(&shared), stream.try_clone().unwrap());
            move || write_pending(&stream, &shared)
        });
        let (pending, changed) = &*shared;
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            let mut pending = pending.lock().unwrap();
            // What the client does not take is not read.
            while pending.blocks.len() > 4 && !writer.is_finished() {
                let waited = changed.wait_timeout(pending, Duration::from_millis(50));
                pending = waited.unwrap().0;
            }
            pending.blocks.push_back(block[..length].to_vec());
            changed.notify_all();
        }
        pending.lock().unwrap().is_over = true;
        changed.notify_all();
        let _ = writer.join();
        match leave {
            // Input that is unread would make it a reset; there is none behind the end.
            Leave::Close => drop(stream),
            other => other.act(stream),
        }
    })
}

fn write_pending(mut stream: &TcpStream, shared: &(Mutex<Pending>, Condvar)) {
    let (pending, changed) = shared;
    loop {
        let waits = |pending: &mut Pending| pending.blocks.is_empty() && !pending.is_over;
        let mut now = changed.wait_while(pending.lock().unwrap(), waits).unwrap();
        let is_small = now.blocks.front().is_some_and(|block| block.len() < 4096);
        if is_small {
            drop(now);
            sleep(Duration::from_millis(2));
            now = pending.lock().unwrap();
        }
        if now.is_over {
            return;
        }
        let Some(block) = now.blocks.pop_front() else {
            continue;
        };
        drop(now);
        changed.notify_all();
        if stream.write_all(&block).is_err() {
            return;
        }
    }
}

/// Serves so many connections at a time, each to its end; the others wait.
pub(crate) fn at_a_time(workers: usize) -> Server {
    Server::new(pool(workers, 4096, Duration::ZERO, echo_all), ())
}

/// Takes one connection every so often, with a short queue for the others.
pub(crate) fn slow_to_accept(backlog: i32, pause: Duration) -> Server {
    let serve = |stream| drop(spawn(move || echo_all(stream)));
    Server::new(pool(1, backlog, pause, serve), ())
}

/// Has so many connections; the next ones are left at once.
pub(crate) fn full_at(number: usize, leave: Leave) -> Server {
    let open = AtomicUsize::new(0);
    serve(move |stream| {
        if open.fetch_add(1, Ordering::SeqCst) < number {
            echo_all(stream);
        } else {
            leave.act(stream);
        }
        open.fetch_sub(1, Ordering::SeqCst);
    })
}

/// Leaves each client so long after it came, whatever it does.
pub(crate) fn lifetime(time: Duration, leave: Leave) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let until = Instant::now() + time;
        let mut block = vec![0; BLOCK];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return leave.act(stream);
            }
            let _ = stream.set_read_timeout(Some(left));
            let _ = stream.set_write_timeout(Some(left));
            match stream.read(&mut block) {
                Ok(0) => return,
                // One that does not take its bytes in time is left as well.
                Ok(length) => drop(stream.write_all(&block[..length])),
                Err(_) => {}
            }
        }
    })
}

/// Leaves each client on which nothing came for so long.
pub(crate) fn idle(time: Duration, leave: Leave) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let _ = stream.set_read_timeout(Some(time));
        let mut block = vec![0; BLOCK];
        loop {
            match stream.read(&mut block) {
                Ok(0) => return,
                Ok(length) if stream.write_all(&block[..length]).is_err() => return,
                Ok(_) => {}
                Err(_) => return leave.act(stream),
            }
        }
    })
}

/// Leaves each client after so many bytes.
pub(crate) fn quota(bytes: usize, leave: Leave) -> Server {
    serve(move |stream| {
        keep_urgent(&stream);
        if echo_some(&stream, bytes) {
            leave.act(stream);
        }
    })
}

/// Keeps the last byte until more comes.
pub(crate) fn keeps_the_last() -> Server {
    holding(|held| held.len().saturating_sub(1))
}

/// Leaves the first byte out, like what looks at it and does not put it back.
pub(crate) fn without_the_first() -> Server {
    changing(|| {
        let mut is_first = true;
        move |bytes: Option<&[u8]>| {
            let bytes = bytes.unwrap_or_default();
            let from = usize::from(std::mem::take(&mut is_first)).min(bytes.len());
            bytes[from..].to_vec()
        }
    })
}

/// Reads once each time that its poller tells it, which is once for all that came since: what is
/// left waits until more comes.
pub(crate) fn reads_once_an_event(most: usize) -> Server {
    use rustix::event::epoll;
    serve(move |mut stream| {
        keep_urgent(&stream);
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let wanted = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&poller, &stream, epoll::EventData::new_u64(0), wanted).unwrap();
        let (mut block, mut events) = (vec![0; most], Vec::with_capacity(1));
        loop {
            events.clear();
            let _ = epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None);
            match stream.read(&mut block) {
                Ok(length @ 1..) if stream.write_all(&block[..length]).is_ok() => {}
                _ => return,
            }
        }
    })
}

/// Resets all clients for `time` once more than `number` came within `within`.
pub(crate) fn banning(number: usize, within: Duration, time: Duration) -> Server {
    let state = Mutex::new((VecDeque::new(), None::<Instant>));
    serve(move |stream| {
        let now = Instant::now();
        let is_denied = {
            let (came, until) = &mut *state.lock().unwrap();
            came.push_back(now);
            while came.front().is_some_and(|first| now - *first > within) {
                came.pop_front();
            }
            if until.is_none_or(|until| now >= until) && came.len() > number {
                *until = Some(now + time);
                came.clear();
            }
            until.is_some_and(|until| now < until)
        };
        match is_denied {
            true => reset(stream),
            false => echo_all(stream),
        }
    })
}

/// Leaves each client that sends these bytes, like what looks for attacks.
pub(crate) fn filtering(bytes: &'static [u8], leave: Leave) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let (mut seen, mut block) = (Vec::new(), vec![0; BLOCK]);
        while let Ok(length @ 1..) = stream.read(&mut block) {
            seen.extend_from_slice(&block[..length]);
            if seen.windows(bytes.len()).any(|part| part == bytes) {
                return leave.act(stream);
            }
            // They may come in two reads.
            seen.drain(..seen.len().saturating_sub(bytes.len() - 1));
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
    })
}

/// Sends `hello`, and `answer` for the first bytes that come; with none it says no more.
fn speaking(hello: &'static [u8], answer: Option<&'static [u8]>) -> Server {
    serve(move |mut stream| {
        let _ = stream.write_all(hello);
        let Some(answer) = answer else {
            return swallow(&stream);
        };
        if matches!(stream.read(&mut [0; 1024]), Ok(1..)) {
            let _ = stream.write_all(answer);
            Leave::Close.act(stream);
        }
    })
}

/// A web server.
pub(crate) fn http() -> Server {
    let answer = b"HTTP/1.1 400 Bad Request\r\nServer: httpd\r\nContent-Length: 0\r\n\
                   Connection: close\r\n\r\n";
    speaking(b"", Some(answer))
}

/// A TLS server: what is no handshake is answered by an alert (RFC 8446 section 6.2).
pub(crate) fn tls() -> Server {
    speaking(b"", Some(&[0x15, 3, 1, 0, 2, 2, 10]))
}

/// An SSH server.
pub(crate) fn ssh() -> Server {
    let answer = b"Invalid SSH identification string.\r\n";
    speaking(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n", Some(answer))
}

/// A mail server.
pub(crate) fn smtp() -> Server {
    let answer = b"502 5.5.2 Error: command not recognized\r\n";
    speaking(b"220 mail.example.org ESMTP Postfix\r\n", Some(answer))
}

/// Takes everything and says nothing (RFC 863).
pub(crate) fn discard() -> Server {
    speaking(b"", None)
}

/// Sends characters without end, whatever comes (RFC 864).
pub(crate) fn chargen() -> Server {
    serve(|mut stream| {
        let line: Vec<u8> = (b' '..b' ' + 72).chain(*b"\r\n").collect();
        while stream.write_all(&line).is_ok() {}
    })
}

/// Accepts and closes, like a balancer without servers.
pub(crate) fn nobody() -> Server {
    serve(drop)
}

/// Reads urgent data past its place: it is left out.
pub(crate) fn urgent_taken_out() -> Server {
    serve(|stream| crate::common::faulty::echo(&stream))
}

/// Sends an urgent byte on behind what follows it.
pub(crate) fn urgent_moved() -> Server {
    serve(|mut stream| {
        let mut block = vec![0; BLOCK];
        let mut held = None;
        loop {
            // It can be had only before what follows it is read.
            let mut polled = [PollFd::new(&stream, PollFlags::IN | PollFlags::PRI)];
            let _ = poll(&mut polled, None);
            if polled[0].revents().contains(PollFlags::PRI) {
                held = sys::receive_urgent(&stream);
            }
            if !polled[0].revents().contains(PollFlags::IN) {
                continue;
            }
            let Ok(length @ 1..) = stream.read(&mut block) else {
                break;
            };
            let mut bytes = block[..length].to_vec();
            bytes.extend(held.take());
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = stream.write_all(held.as_slice());
    })
}

/// Resets a client that has more than so many bytes unread, beside what the system holds of
/// them.
pub(crate) fn impatient(ip: IpAddr, most: usize) -> Server {
    let server = Faulty::serve_at(ip, move |stream, _| {
        keep_urgent(&stream);
        // The system's buffer grows otherwise to several MiB.
        let _ = SockRef::from(&stream).set_send_buffer_size(BLOCK);
        stream.set_nonblocking(true).unwrap();
        let mut block = vec![0; BLOCK];
        let mut owed = VecDeque::new();
        loop {
            let waits = match owed.is_empty() {
                true => PollFlags::IN,
                false => PollFlags::IN | PollFlags::OUT,
            };
            let _ = poll(&mut [PollFd::new(&stream, waits)], None);
            match (&stream).read(&mut block) {
                Ok(0) => break,
                Ok(length) => owed.extend(&block[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if owed.len() > most {
                return reset(stream);
            }
            if let Ok(length) = (&stream).write(owed.make_contiguous()) {
                owed.drain(..length);
            }
        }
        let _ = stream.set_nonblocking(false);
        let _ = (&stream).write_all(owed.make_contiguous());
    });
    Server::new(server.address, server)
}

/// A pool of four workers that each serve a connection to its end, and carry seven bits.
pub(crate) fn seven_bit_four_at_a_time() -> Server {
    let serve = |mut stream: TcpStream| {
        keep_urgent(&stream);
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            let bytes = &mut block[..length];
            bytes.iter_mut().for_each(|byte| *byte &= 0x7f);
            if stream.write_all(bytes).is_err() {
                return;
            }
        }
    };
    Server::new(pool(4, 4096, Duration::ZERO, serve), ())
}

/// Answers small writes in two, under Nagle's algorithm.
pub(crate) fn nagle() -> Server {
    let server = nagling();
    Server::new(server.address, server)
}

/// Gives what it could not send to a reset connection to the next one.
pub(crate) fn leaking() -> Server {
    let server = unfaithful::leaking();
    Server::new(server.address, server)
}

/// Sends back what it reads so many times, and leaves then: like a program that reads once.
pub(crate) fn answers(times: usize, leave: Leave) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let mut block = vec![0; BLOCK];
        for _ in 0..times {
            let Ok(length @ 1..) = stream.read(&mut block) else {
                return;
            };
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
        leave.act(stream);
    })
}

/// Serves so many connections, and none any more: its port is closed then.
pub(crate) fn ends_after(number: usize) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming().take(number).flatten() {
            spawn(move || echo_all(stream));
        }
    });
    Server::new(address, ())
}

/// Writes what the system takes at once, and once that is not all it waits for more input and
/// not for room: nothing wakes it any more.
pub(crate) fn stalls_when_full() -> Server {
    serve(|mut stream| {
        keep_urgent(&stream);
        // Of what is on its way when a client receives all the time it holds all.
        let _ = SockRef::from(&stream).set_send_buffer_size(MIB);
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            let _ = stream.set_nonblocking(true);
            let mut rest = &block[..length];
            while !rest.is_empty() {
                match stream.write(rest) {
                    Ok(length) => rest = &rest[length..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return hold(&stream),
                    Err(_) => return,
                }
            }
            let _ = stream.set_nonblocking(false);
        }
    })
}

/// Leaves a client that does not take its bytes for so long.
pub(crate) fn unread_for(time: Duration) -> Server {
    let server = unfaithful::impatient(time);
    Server::new(server.address, server)
}
