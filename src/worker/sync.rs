//! What the threads tell each other things with. The checks in `models/` put in
//! its place what tries every order of their steps.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, OnceLock};

pub(crate) use crossbeam_channel::{Receiver, Sender, bounded};
pub(crate) use mio::Waker;
