//! A rival: smol, a task a client on its global executor. `SMOL_THREADS` in the
//! environment sets the number of threads, as the crate documents.

use std::error::Error;
use std::io;

use compare::rival::Arguments;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::read()?;
    smol::block_on(serve(arguments))?;
    Ok(())
}

async fn serve(arguments: Arguments) -> io::Result<()> {
    let listener = TcpListener::bind(arguments.address()).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        smol::spawn(echo(stream, arguments.buffer)).detach();
    }
}

async fn echo(mut stream: TcpStream, size: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; size];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}
