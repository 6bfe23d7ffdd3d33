//! A rival: tokio's current-thread runtime, a task a client.

use std::error::Error;
use std::io;

use compare::rival::Order;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let order = Order::read()?;
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(order))?;
    Ok(())
}

async fn serve(order: Order) -> io::Result<()> {
    let listener = TcpListener::bind(order.address()).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream, order.buffer));
    }
}

async fn echo(mut stream: TcpStream, size: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Not zeroed, so that an idle client touches only the pages that it used.
    let mut buffer = Vec::with_capacity(size);
    while stream.read_buf(&mut buffer).await? > 0 {
        stream.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}
