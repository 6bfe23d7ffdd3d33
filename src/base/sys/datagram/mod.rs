//! System calls for datagrams: in batches for a server, one at a time for a probe, with what
//! the kernel knows of each.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod answers;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod control;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod name;
mod received;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod retry;

#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "batch_none.rs"
)]
mod batch;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "joins_none.rs"
)]
mod joins;
// Android's libraries have it, the crate that calls it has not.
#[cfg_attr(not(target_os = "linux"), path = "many_none.rs")]
mod many;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "single_none.rs"
)]
mod single;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "switches_none.rs"
)]
mod switches;

pub(crate) use batch::Batch;
pub(crate) use joins::Joins;
pub(crate) use many::send_many;
#[cfg(test)]
pub(crate) use received::Local;
pub(crate) use received::{Origin, Received, Wanted};
pub(crate) use single::{receive, receive_error};
#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
pub(crate) use switches::send_segmented;
pub(crate) use switches::{
    dropped, never_fragment, path_mtu, receive_joined, receive_nothing, request,
};

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;
