//! The synchronization primitives that the threads share. The models in `models/`
//! replace this file by stand-ins that try every order of the threads' steps.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, OnceLock};

pub(crate) use crossbeam_channel::{Receiver, Sender, bounded};
pub(crate) use mio::Waker;
