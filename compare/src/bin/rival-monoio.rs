//! A rival: monoio on io_uring, a runtime and a listener a thread, a task a client.

use std::error::Error;
use std::io;
use std::thread;

use compare::rival::{Arguments, BACKLOG};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::read()?;
    thread::scope(|scope| {
        for _ in 1..arguments.threads {
            scope.spawn(move || run(arguments));
        }
        run(arguments)
    })?;
    Ok(())
}

fn run(arguments: Arguments) -> io::Result<()> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(4096)
        .build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> io::Result<()> {
    let options = ListenerOpts::new().reuse_port(true).backlog(BACKLOG);
    let listener = TcpListener::bind_with_config(arguments.address(), &options)?;
    loop {
        let (stream, _) = listener.accept().await?;
        monoio::spawn(echo(stream, arguments.buffer));
    }
}

async fn echo(mut stream: TcpStream, size: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(size);
    loop {
        let received;
        (received, buffer) = stream.read(buffer).await;
        if received? == 0 {
            return Ok(());
        }
        let sent;
        (sent, buffer) = stream.write_all(buffer).await;
        sent?;
        buffer.clear();
    }
}
