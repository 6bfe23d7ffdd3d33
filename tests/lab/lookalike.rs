//! Servers on loopback that look like a fault that they don't have: what is taken for proved
//! too early names the wrong one.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionread;
use socket2::{Domain, SockRef, Socket, Type};

use crate::common::faulty::{BLOCK, echo_some, swallow};
use crate::common::unfaithful::{echo_all, keep_urgent, pool};
use crate::faulty::{Leave, hold, serve};
use crate::made::Server;

/// A balancer with one dead server in so many, which it takes at random, or in turn.
pub(crate) fn one_dead_of(number: usize, in_turn: bool) -> Server {
    let came = AtomicUsize::new(0);
    serve(move |stream| {
        let at = came.fetch_add(1, Ordering::SeqCst);
        // The upper bits of a product are mixed well (Knuth, vol. 3, section 6.4).
        let drawn = (at as u32).wrapping_mul(2_654_435_769) >> 16;
        let is_dead = match in_turn {
            true => at.is_multiple_of(number),
            false => (drawn as usize).is_multiple_of(number),
        };
        match is_dead {
            true => Leave::Reset.act(stream),
            false => echo_all(stream),
        }
    })
}

/// Leaves each connection of so many, in turn, so.
pub(crate) fn one_of(number: usize, leave: Leave) -> Server {
    let came = AtomicUsize::new(0);
    serve(
        move |stream| match came.fetch_add(1, Ordering::SeqCst).is_multiple_of(number) {
            true => leave.act(stream),
            false => echo_all(stream),
        },
    )
}

/// Closes each connection of so many, in turn, once it has echoed so many bytes.
pub(crate) fn one_truncates_of(number: usize, bytes: usize) -> Server {
    let came = AtomicUsize::new(0);
    serve(
        move |stream| match came.fetch_add(1, Ordering::SeqCst).is_multiple_of(number) {
            true => {
                keep_urgent(&stream);
                if echo_some(&stream, bytes) {
                    Leave::Close.act(stream);
                }
            }
            false => echo_all(stream),
        },
    )
}

/// Resets those that are more than so many at once, and counts each for `after` its end.
pub(crate) fn forgets_late(number: usize, after: Duration) -> Server {
    let open = Arc::new(AtomicUsize::new(0));
    serve(move |stream| {
        if open.load(Ordering::SeqCst) >= number {
            return Leave::Reset.act(stream);
        }
        open.fetch_add(1, Ordering::SeqCst);
        echo_all(stream);
        let open = Arc::clone(&open);
        spawn(move || {
            sleep(after);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    })
}

/// Serves so many new connections a second, and a few at once; the others are left.
pub(crate) fn rate_limited(per_s: f64, burst: f64, leave: Leave) -> Server {
    let tokens = Mutex::new((burst, Instant::now()));
    serve(move |stream| {
        let is_served = {
            let (left, since) = &mut *tokens.lock().unwrap();
            *left = (*left + since.elapsed().as_secs_f64() * per_s).min(burst);
            *since = Instant::now();
            let is_served = *left >= 1.0;
            *left -= f64::from(u8::from(is_served));
            is_served
        };
        match is_served {
            true => echo_all(stream),
            false => leave.act(stream),
        }
    })
}

/// Closes at the first bytes without an answer, like a data base that is spoken to in another
/// protocol.
pub(crate) fn closes_on_garbage() -> Server {
    serve(|mut stream| drop(stream.read(&mut [0; 1024])))
}

/// Reads no more than so many bytes each time that some come, like a program that is told of
/// each arrival once and takes it for the whole.
pub(crate) fn reads_once_an_arrival(most: usize) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let mut block = vec![0; most];
        loop {
            let Ok(length @ 1..) = stream.read(&mut block) else {
                return;
            };
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
            let left = ioctl_fionread(&stream).unwrap_or(0);
            let until = Instant::now() + Duration::from_secs(60);
            while left > 0 && ioctl_fionread(&stream).is_ok_and(|now| now == left) {
                // The end is no byte, and here it is a close of both sides.
                if crate::common::is_reset(&stream) || Instant::now() > until {
                    return;
                }
                sleep(Duration::from_millis(1));
            }
        }
    })
}

/// Echoes all so long after it came, and takes our half-close for nothing.
pub(crate) fn late_without_end(time: Duration) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let (read, next) = mpsc::channel::<(Instant, Vec<u8>)>();
        let mut writer = stream.try_clone().unwrap();
        let writes = spawn(move || {
            for (came, bytes) in next {
                sleep((came + time).saturating_duration_since(Instant::now()));
                if writer.write_all(&bytes).is_err() {
                    return;
                }
            }
        });
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            if read
                .send((Instant::now(), block[..length].to_vec()))
                .is_err()
            {
                break;
            }
        }
        drop(read);
        let _ = writes.join();
        hold(&stream);
    })
}

/// Takes so long for each message now and then, as one does that is stopped for a while.
pub(crate) fn pauses(time: Duration, one_of: usize) -> Server {
    let came = AtomicUsize::new(0);
    serve(move |mut stream| {
        keep_urgent(&stream);
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            if came.fetch_add(1, Ordering::SeqCst) % one_of == one_of - 1 {
                sleep(time);
            }
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
    })
}

/// Answers each connection of so many, in turn, so long after its first byte.
pub(crate) fn one_begins_late_of(number: usize, time: Duration) -> Server {
    let came = AtomicUsize::new(0);
    serve(move |stream| {
        if came.fetch_add(1, Ordering::SeqCst).is_multiple_of(number) {
            let _ = stream.peek(&mut [0]);
            sleep(time);
        }
        echo_all(stream);
    })
}

/// Takes connections as fast as they come, with a short queue for those of one instant.
pub(crate) fn short_queue(backlog: i32) -> Server {
    let serve = |stream| drop(spawn(move || echo_all(stream)));
    Server::new(pool(1, backlog, Duration::ZERO, serve), ())
}

/// Serves so many at a time, each to its end, with so short a queue for the next ones.
pub(crate) fn serves_with_queue(workers: usize, backlog: i32) -> Server {
    Server::new(pool(workers, backlog, Duration::ZERO, echo_all), ())
}

/// Greets after a while, and understands nothing.
pub(crate) fn late_greeting(time: Duration, greeting: &'static [u8]) -> Server {
    serve(move |mut stream| {
        sleep(time);
        let _ = stream.write_all(greeting);
        swallow(&stream);
    })
}

/// Sends all back, and no end behind it: takes a half-close for nothing, or for an error.
pub(crate) fn without_end(leave: Leave) -> Server {
    serve(move |stream| {
        echo_all(stream.try_clone().unwrap());
        // What was sent is out before it is left.
        sleep(Duration::from_millis(20));
        leave.act(stream);
    })
}

/// Leaves who sends more than so many bytes within a second.
pub(crate) fn policed(bytes: usize, leave: Leave) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let (mut block, mut left) = (vec![0; BLOCK], bytes as f64);
        let mut since = Instant::now();
        while let Ok(length @ 1..) = stream.read(&mut block) {
            left += since.elapsed().as_secs_f64() * bytes as f64;
            left = left.min(bytes as f64) - length as f64;
            since = Instant::now();
            if left < 0.0 {
                return leave.act(stream);
            }
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// Leaves each client so long after its first byte, whatever it does: one that is silent stays.
pub(crate) fn lives_from_first_byte(time: Duration, leave: Leave) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let (mut block, mut until) = (vec![0; BLOCK], None);
        loop {
            let left = until.map(|until: Instant| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return leave.act(stream);
            }
            let _ = stream.set_read_timeout(left);
            let _ = stream.set_write_timeout(left);
            match stream.read(&mut block) {
                Ok(0) => return,
                // One that does not take its bytes in time is left as well.
                Ok(length) => drop(stream.write_all(&block[..length])),
                Err(_) => {}
            }
            until.get_or_insert_with(|| Instant::now() + time);
        }
    })
}

/// Has so many connections, and its port is closed to the next ones.
pub(crate) fn refuses_above(number: usize) -> Server {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // One that was asked for keeps its port also while nobody listens.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.set_reuse_address(true).unwrap();
    listener.bind(&address.into()).unwrap();
    let open = Arc::new((Mutex::new(0), Condvar::new()));
    spawn(move || {
        loop {
            listener.listen(128).unwrap();
            loop {
                let Ok((stream, _)) = listener.accept() else {
                    return;
                };
                let (count, fewer) = &*open;
                *count.lock().unwrap() += 1;
                let mine = Arc::clone(&open);
                spawn(move || {
                    echo_all(stream.into());
                    *mine.0.lock().unwrap() -= 1;
                    mine.1.notify_all();
                });
                let count = count.lock().unwrap();
                if *count >= number {
                    let _ = listener.shutdown(Shutdown::Read);
                    drop(fewer.wait_while(count, |count| *count >= number).unwrap());
                    break;
                }
            }
        }
    });
    Server::new(address, socket)
}

/// Serves one client after the other, and passes what comes on after a while.
pub(crate) fn one_that_collects(time: Duration) -> Server {
    let (given, serves) = mpsc::channel::<TcpStream>();
    spawn(move || {
        for mut stream in serves {
            keep_urgent(&stream);
            let mut block = vec![0; BLOCK];
            while let Ok(length @ 1..) = stream.read(&mut block) {
                sleep(time);
                if stream.write_all(&block[..length]).is_err() {
                    break;
                }
            }
        }
    });
    let given = Mutex::new(given);
    serve(move |stream| drop(given.lock().unwrap().send(stream)))
}

/// Writes what the system takes at once, which is little, keeps the rest, and at the end of its input forgets
/// what it has kept: what it has sent is still received.
pub(crate) fn forgets_pending() -> Server {
    serve(|mut stream| {
        keep_urgent(&stream);
        SockRef::from(&stream).set_send_buffer_size(BLOCK).unwrap();
        let (mut block, mut pending) = (vec![0; BLOCK], VecDeque::new());
        stream.set_nonblocking(true).unwrap();
        loop {
            match stream.read(&mut block) {
                Ok(0) => {
                    stream.set_nonblocking(false).unwrap();
                    return Leave::Close.act(stream);
                }
                Ok(length) => pending.extend(&block[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            match stream.write(pending.make_contiguous()) {
                Ok(length) => drop(pending.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            wait_for_room_or_input(&stream, !pending.is_empty());
        }
    })
}

fn wait_for_room_or_input(stream: &TcpStream, has_pending: bool) {
    let flags = match has_pending {
        true => PollFlags::IN | PollFlags::OUT,
        false => PollFlags::IN,
    };
    let _ = poll(&mut [PollFd::new(stream, flags)], None);
}

/// Leaves a client at a byte of that value, like a terminal at the end of its input.
pub(crate) fn ends_at(value: u8, leave: Leave) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            let end = block[..length].iter().position(|byte| *byte == value);
            if stream.write_all(&block[..end.unwrap_or(length)]).is_err() {
                return;
            }
            if end.is_some() {
                return leave.act(stream);
            }
        }
    })
}

/// Sends nothing back any more once a byte of that value has come, nor what came with it: like a
/// filter that drops the packet each time that it is sent.
pub(crate) fn drops_with(value: u8) -> Server {
    serve(move |mut stream| {
        keep_urgent(&stream);
        let mut block = vec![0; BLOCK];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            if block[..length].contains(&value) {
                return swallow(&stream);
            }
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
    })
}

/// Greets, and is an echo then.
pub(crate) fn greets(greeting: &'static [u8]) -> Server {
    serve(move |mut stream| {
        let _ = stream.write_all(greeting);
        echo_all(stream);
    })
}

/// A balancer with a web server among three, which it takes in turn.
pub(crate) fn one_other_of_three() -> Server {
    let came = AtomicUsize::new(0);
    serve(move |mut stream| {
        if came.fetch_add(1, Ordering::SeqCst) % 3 != 1 {
            return echo_all(stream);
        }
        if matches!(stream.read(&mut [0; 1024]), Ok(1..)) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            Leave::Close.act(stream);
        }
    })
}

/// Leaves a client that sends urgent data, like an intrusion prevention.
pub(crate) fn ends_at_urgent(leave: Leave) -> Server {
    serve(move |mut stream| {
        let mut block = vec![0; BLOCK];
        loop {
            let mut polled = [PollFd::new(&stream, PollFlags::IN | PollFlags::PRI)];
            let _ = poll(&mut polled, None);
            if polled[0].revents().contains(PollFlags::PRI) {
                return leave.act(stream);
            }
            let Ok(length @ 1..) = stream.read(&mut block) else {
                return;
            };
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
    })
}
