//! Stand-ins for the synchronization primitives, which give the scheduler control of every step.

use std::collections::VecDeque;
use std::io;

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use shuttle::sync::{Arc, Condvar, Mutex};

/// A cell that is set once.
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        let is_set = self.is_set.load(Ordering::SeqCst);
        is_set.then(|| self.value.get()).flatten()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.is_set.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            value: std::sync::OnceLock::new(),
        }
    }
}

/// A poller with one event, the wake-up. Wake-ups before a wait count as one, which
/// ends the next wait.
#[derive(Default)]
pub(crate) struct Poller {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Poller {
    pub(crate) fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.wake.wait(woken).unwrap();
        }
        *woken = false;
    }
}

pub(crate) struct Waker(Arc<Poller>);

impl Waker {
    pub(crate) fn new(poller: &Arc<Poller>) -> Self {
        Self(Arc::clone(poller))
    }

    pub(crate) fn wake(&self) -> io::Result<()> {
        *self.0.woken.lock().unwrap() = true;
        self.0.wake.notify_one();
        Ok(())
    }
}

struct Queue<T> {
    waiting: Mutex<VecDeque<T>>,
    capacity: usize,
}

pub(crate) struct Sender<T>(Arc<Queue<T>>);

pub(crate) struct Receiver<T>(Arc<Queue<T>>);

/// A value that was not sent.
pub(crate) struct Refused<T>(T);

impl<T> Refused<T> {
    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

/// A queue of at most `capacity` values.
pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue {
        waiting: Mutex::default(),
        capacity,
    });
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

impl<T> Sender<T> {
    pub(crate) fn try_send(&self, value: T) -> Result<(), Refused<T>> {
        let mut waiting = self.0.waiting.lock().unwrap();
        if waiting.len() == self.0.capacity {
            return Err(Refused(value));
        }
        waiting.push_back(value);
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.waiting.lock().unwrap().len() == self.0.capacity
    }
}

impl<T> Receiver<T> {
    pub(crate) fn try_recv(&self) -> Result<T, ()> {
        self.0.waiting.lock().unwrap().pop_front().ok_or(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.waiting.lock().unwrap().is_empty()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
