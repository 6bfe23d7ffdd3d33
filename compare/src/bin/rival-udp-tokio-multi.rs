//! A rival: tokio's multi-thread runtime, a task a thread that receives a datagram and
//! sends it back.

use std::error::Error;

use compare::rival::Arguments;
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::read()?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(arguments.threads)
        .enable_io()
        .build()?;
    runtime.block_on(async move {
        let tasks = (0..arguments.threads).map(|_| tokio::spawn(arguments.echo_datagrams()));
        for task in tasks.collect::<Vec<_>>() {
            task.await??;
        }
        Ok(())
    })
}
