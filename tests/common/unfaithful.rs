//! Servers of which each breaks one promise that `echopool check` looks for, and
//! keeps all others.
//!
//! Most of them know the clause by what it sends: where a server would break several
//! promises at once, it is of no use to tell whether each is looked for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Condvar, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

use echopool::proto::Message;
use socket2::{Domain, SockRef, Socket, Type};

use super::DEADLINE;
use super::faulty::{BLOCK, Faulty, swallow};

/// An echo that keeps urgent data in its place. `fault` gets what came next, and
/// how many bytes had come before; what it leaves is sent. Once it says no, nothing
/// is sent any more.
pub fn echo_but(fault: impl Fn(u64, &mut Vec<u8>) -> bool + Send + Sync + 'static) -> Faulty {
    Faulty::serve(move |stream, _| echo(&stream, |before, bytes| fault(before, bytes)))
}

fn echo(mut stream: &TcpStream, mut fault: impl FnMut(u64, &mut Vec<u8>) -> bool) {
    keep_urgent(stream);
    let mut block = vec![0; BLOCK];
    let mut before = 0;
    while let Ok(length @ 1..) = stream.read(&mut block) {
        let mut bytes = block[..length].to_vec();
        if !fault(before, &mut bytes) {
            return swallow(stream);
        }
        before += length as u64;
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// Has urgent data read in its place.
pub fn keep_urgent(stream: &TcpStream) {
    SockRef::from(stream).set_out_of_band_inline(true).unwrap();
}

/// Reads urgent bytes out of line, and loses the byte at a place of what is left.
pub fn out_of_line_and_losing(place: usize) -> Faulty {
    Faulty::serve(move |mut stream, _| {
        let mut block = vec![0; BLOCK];
        let mut before = 0;
        while let Ok(length @ 1..) = stream.read(&mut block) {
            let mut bytes = block[..length].to_vec();
            if (before..before + length).contains(&place) {
                bytes.remove(place - before);
            }
            before += length;
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    })
}

/// Takes a stream that begins with two NULs for text, and its line ends for one byte.
pub fn textual() -> Faulty {
    Faulty::serve(|stream, _| {
        let mut is_text = false;
        echo(&stream, |before, bytes| {
            is_text |= before == 0 && bytes.starts_with(&[0, 0]);
            if is_text && let Some(at) = bytes.windows(2).position(|pair| pair == b"\r\n") {
                bytes.remove(at);
            }
            true
        });
    })
}

/// Loses the last of so many bytes, if just so many have come.
pub fn losing(number: u64) -> Faulty {
    echo_but(move |before, bytes| {
        if before + bytes.len() as u64 == number {
            bytes.pop();
        }
        true
    })
}

/// Passes nothing on from a place, of a stream whose first message has so many bytes.
pub fn stalling(first: u64, place: u64) -> Faulty {
    Faulty::serve(move |stream, _| {
        let mut is_it = false;
        echo(&stream, |before, bytes| {
            let now = before + bytes.len() as u64;
            is_it |= now == first;
            !is_it || now < place
        });
    })
}

/// Passes nothing on once so many bytes have come.
pub fn stalling_at(place: u64) -> Faulty {
    echo_but(move |before, bytes| before + bytes.len() as u64 <= place)
}

/// Drops what has not been sent at the end of its input: what came last, if it is
/// a few bytes with the end right behind.
pub fn hasty() -> Faulty {
    Faulty::serve(|mut stream, _| {
        keep_urgent(&stream);
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            // Long enough for an end that was sent with it to be there.
            if length <= 10 {
                sleep(Duration::from_millis(10));
                stream.set_nonblocking(true).unwrap();
                let is_over = matches!(stream.peek(&mut [0]), Ok(0));
                stream.set_nonblocking(false).unwrap();
                if is_over {
                    return;
                }
            }
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
    })
}

/// Does not end its side when the client has ended its own, if just so many bytes
/// had come.
pub fn endless(number: u64) -> Faulty {
    Faulty::serve(move |stream, _| {
        let mut all = 0;
        echo(&stream, |before, bytes| {
            all = before + bytes.len() as u64;
            true
        });
        if all == number {
            // Until the client has given it up.
            sleep(Duration::from_secs(5));
        }
    })
}

/// Ends by RST a connection on which nothing came before its end.
pub fn offended() -> Faulty {
    Faulty::serve(|stream, _| {
        let mut all = 0;
        echo(&stream, |_, bytes| {
            all += bytes.len();
            true
        });
        if all == 0 {
            super::reset(stream);
        }
    })
}

/// Ends connections that do not take their bytes for so long.
pub fn impatient(time: Duration) -> Faulty {
    Faulty::serve(move |stream, _| {
        stream.set_write_timeout(Some(time)).unwrap();
        echo(&stream, |_, _| true);
    })
}

/// Waits until there are so many bytes before it sends the first.
pub fn hoarding(least: usize) -> Faulty {
    Faulty::serve(move |stream, _| {
        let mut held = Vec::new();
        echo(&stream, |before, bytes| {
            if before < least as u64 {
                held.append(bytes);
                if held.len() >= least {
                    bytes.append(&mut held);
                }
            }
            true
        });
    })
}

/// Sends a byte at a time, one every so often.
pub fn dripping(pause: Duration) -> Faulty {
    Faulty::serve(move |stream, _| {
        keep_urgent(&stream);
        let mut byte = [0];
        while let Ok(1) = (&stream).read(&mut byte) {
            sleep(pause);
            if (&stream).write_all(&byte).is_err() {
                return;
            }
        }
    })
}

/// Sends the second half of a small echo under Nagle's algorithm.
pub fn nagling() -> Faulty {
    Faulty::serve(|stream, _| {
        stream.set_nodelay(false).unwrap();
        echo(&stream, |_, bytes| {
            if bytes.len() <= 40 {
                let half = bytes.len() / 2;
                let _ = (&stream).write_all(&bytes[..half]);
                bytes.drain(..half);
            }
            true
        });
    })
}

/// Ends every connection when one of them is reset.
pub fn collapsing() -> Faulty {
    let all = Mutex::new(Vec::new());
    Faulty::serve(move |stream, _| {
        keep_urgent(&stream);
        all.lock().unwrap().push(stream.try_clone().unwrap());
        let mut block = vec![0; BLOCK];
        loop {
            let came = (&stream).read(&mut block);
            let went = came.and_then(|length| {
                (&stream).write_all(&block[..length])?;
                Ok(length)
            });
            match went {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => {
                    for other in all.lock().unwrap().drain(..) {
                        let _ = other.shutdown(Shutdown::Both);
                    }
                }
            }
        }
        // The list's own keeps it open.
        let _ = stream.shutdown(Shutdown::Both);
    })
}

/// Streams pass through buffers from a pool, to which each goes back whatever is in it:
/// what could not be sent when a connection was reset is sent to the next one.
pub fn leaking() -> Faulty {
    /// Less is a message, and copied as it came.
    const STREAM: usize = 16 * 1024;
    let pool = Mutex::new(Vec::new());
    Faulty::serve(move |mut stream, _| {
        keep_urgent(&stream);
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            let bytes = &block[..length];
            if length < STREAM {
                let _ = stream.write_all(bytes);
                continue;
            }
            let mut buffer: Vec<u8> = pool.lock().unwrap().pop().unwrap_or_default();
            buffer.extend_from_slice(bytes);
            while let Ok(length @ 1..) = stream.write(&buffer) {
                buffer.drain(..length);
            }
            pool.lock().unwrap().push(buffer);
        }
    })
}

/// Ends connections that are silent for so long.
pub fn forgetful(time: Duration) -> Faulty {
    Faulty::serve(move |stream, _| {
        stream.set_read_timeout(Some(time)).unwrap();
        echo(&stream, |_, _| true);
    })
}

/// A server that serves so many connections at a time, each to its end, and takes
/// each so late. Like any program that is never told to stop, it runs to the end of
/// the test.
pub fn pool(workers: usize, backlog: i32, lateness: Duration, serve: fn(TcpStream)) -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    socket.listen(backlog).unwrap();
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    for _ in 0..workers {
        let listener = listener.try_clone().unwrap();
        spawn(move || {
            for stream in listener.incoming().flatten() {
                sleep(lateness);
                stream.set_nodelay(true).unwrap();
                serve(stream);
            }
        });
    }
    address
}

/// An echo that serves nobody before so many connections have been accepted.
pub fn gathering(number: usize) -> Faulty {
    let accepted = (Mutex::new(0), Condvar::new());
    Faulty::serve(move |stream, _| {
        let (count, all_there) = &accepted;
        let mut count = count.lock().unwrap();
        *count += 1;
        all_there.notify_all();
        let there = all_there.wait_timeout_while(count, DEADLINE, |count| *count < number);
        drop(there.unwrap());
        echo(&stream, |_, _| true);
    })
}

/// An echo, for a [`pool`].
pub fn echo_all(stream: TcpStream) {
    echo(&stream, |_, _| true);
}

/// A counted server of which `fault` may change the answer to a text; it is told
/// whether the client had half-closed. Nothing at all is answered to `None`.
pub fn counted_but(
    fault: impl Fn(&[u8], bool, Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Faulty {
    Faulty::serve(move |stream, _| counted(&stream, &fault))
}

fn counted(mut stream: &TcpStream, fault: impl Fn(&[u8], bool, Vec<u8>) -> Option<Vec<u8>>) {
    let (mut message, mut text) = (Message::default(), Vec::new());
    let mut block = vec![0; BLOCK];
    let (answer, ended) = loop {
        match stream.read(&mut block) {
            Ok(0) => break (message.finish(), true),
            Ok(length) => {
                text.extend_from_slice(&block[..length]);
                if let Some(answer) = message.push(&block[..length]) {
                    break (answer, false);
                }
            }
            Err(_) => return,
        }
    };
    if let Some(answer) = fault(&text, ended, answer) {
        let _ = stream.write_all(&answer);
    }
    let _ = stream.shutdown(Shutdown::Write);
    swallow(stream);
}

/// A counted server, for a [`pool`].
pub fn counted_all(stream: TcpStream) {
    counted(&stream, |_, _, answer| Some(answer));
}

/// A counted server that closes with what follows a text unread.
pub fn abrupt() -> Faulty {
    Faulty::serve(|stream, _| {
        let mut start = [0; 9];
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        if matches!(stream.peek(&mut start), Ok(9)) && start == *b"answer me" {
            let _ = (&stream).read(&mut start);
            let _ = (&stream).write_all(b"9 : answer me\0");
            return;
        }
        counted(&stream, |_, _, answer| Some(answer));
    })
}

/// A counted server that ends every connection when one of them is reset.
pub fn collapsing_counted() -> Faulty {
    let all = Mutex::new(Vec::new());
    Faulty::serve(move |stream, _| {
        all.lock().unwrap().push(stream.try_clone().unwrap());
        counted(&stream, |text, _, answer| {
            if text.len() > 1024 && !text.starts_with(b"answer me") {
                // What comes behind it is read, until it is reset.
                let _ = (&stream).write_all(&answer);
                swallow(&stream);
                for other in all.lock().unwrap().drain(..) {
                    let _ = other.shutdown(Shutdown::Both);
                }
            }
            Some(answer)
        });
        let _ = stream.shutdown(Shutdown::Both);
    })
}

/// A counted server that ends connections that are silent for so long.
pub fn forgetful_counted(time: Duration) -> Faulty {
    Faulty::serve(move |stream, _| {
        stream.set_read_timeout(Some(time)).unwrap();
        counted_all(stream);
    })
}
