//! A rival: tokio's current-thread runtime, one task that receives a datagram and sends
//! it back.

use std::error::Error;

use compare::rival::Arguments;
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(Arguments::read()?.echo_datagrams())?;
    Ok(())
}
