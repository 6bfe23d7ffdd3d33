//! What the threads synchronize with. The checks in `models/` replace it by stand-ins
//! that try every order of their steps.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, OnceLock};

pub(crate) use crossbeam_channel::{Receiver, Sender, bounded};
pub(crate) use mio::Waker;
