//! A rival: a fixed pool of blocking threads, each with one client at a time,
//! so that the clients served at once are never more than the threads.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use compare::rival::Arguments;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::read()?;
    let listener = TcpListener::bind(arguments.address())?;
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| work(&listener, arguments.buffer));
        }
    });
    Ok(())
}

fn work(listener: &TcpListener, size: usize) {
    let mut buffer = vec![0; size];
    loop {
        let served = listener
            .accept()
            .and_then(|(stream, _)| echo(stream, &mut buffer));
        // A client that leaves with a reset is no reason to stop.
        drop(served);
    }
}

fn echo(mut stream: TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        match stream.read(buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}
