//! One thread's load of datagrams: its flows with a socket each, and the loop that sends and
//! receives.

mod event_loop;
mod flow;
mod generator;
mod pace;
mod port;
mod sizes;

pub(super) use generator::{address, works};
