//! A rival: tokio's multi-thread runtime, a task a client.

use std::error::Error;
use std::io;

use compare::rival::Arguments;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::read()?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(arguments.threads)
        .enable_io()
        .build()?;
    runtime.block_on(serve(arguments))?;
    Ok(())
}

async fn serve(arguments: Arguments) -> io::Result<()> {
    let listener = TcpListener::bind(arguments.address()).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream, arguments.buffer));
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
