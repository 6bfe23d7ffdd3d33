//! The table: every path of the laboratory, how it is made, what plain sockets must see
//! of it, and what `echopool check` must say of it.
//!
//! To add a path, add an entry to one of the lists below. What it does belongs into
//! `middlebox.rs`, `faulty.rs`, `relay.rs` or `proxies.rs`; a claim that no other path
//! makes, into `claims.rs`.

mod begun;
mod bytes;
mod combined;
mod crowd;
mod cut;
mod distant;
mod healthy;
mod list;
mod make;
mod program;
mod unreachable;

pub(crate) use list::paths;
