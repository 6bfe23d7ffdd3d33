//! A rival: monoio on io_uring, a runtime and a listener a thread, a task a client.

use std::error::Error;
use std::io;
use std::thread;

use compare::rival::{BACKLOG, Order};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let order = Order::read()?;
    thread::scope(|scope| {
        for _ in 1..order.threads {
            scope.spawn(move || run(order));
        }
        run(order)
    })?;
    Ok(())
}

fn run(order: Order) -> io::Result<()> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(4096)
        .build()?;
    runtime.block_on(serve(order))
}

async fn serve(order: Order) -> io::Result<()> {
    let options = ListenerOpts::new().reuse_port(true).backlog(BACKLOG);
    let listener = TcpListener::bind_with_config(order.address(), &options)?;
    loop {
        let (stream, _) = listener.accept().await?;
        monoio::spawn(echo(stream, order.buffer));
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
