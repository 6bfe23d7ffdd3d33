//! One worker's mailbox: a bounded channel, and the word that something lies in it.
//!
//! A channel does not interrupt a poller, so the main thread pushes and *then*
//! wakes; a worker that is woken takes all that is there. Either it finds what
//! was pushed, or the wake-up for it is still to come.

use crate::worker::sync::{Arc, Receiver, Sender, Waker, bounded};
use crate::worker::waker::Bell;

/// A mailbox for `capacity` letters. Returns what its [`Outbox`] is made of, and
/// the end that takes them out, which rings `bell`.
pub(crate) fn mailbox<T>(capacity: usize, bell: &Arc<Bell>) -> (Sender<T>, Inbox<T>) {
    let (sender, receiver) = bounded(capacity);
    let bell = Arc::clone(bell);
    (sender, Inbox { receiver, bell })
}

/// The main thread's end.
pub(crate) struct Outbox<T> {
    /// The worker's number, for the log.
    worker: usize,
    sender: Sender<T>,
    waker: Arc<Waker>,
    /// Something lies in it that its worker has not been woken for.
    pushed: bool,
}

impl<T> Outbox<T> {
    pub(crate) const fn new(worker: usize, sender: Sender<T>, waker: Arc<Waker>) -> Self {
        Self {
            worker,
            sender,
            waker,
            pushed: false,
        }
    }

    /// Never blocks: what there is no room for comes back. The worker hears of
    /// it at [`wake_pushed`](Self::wake_pushed).
    pub(crate) fn push(&mut self, letter: T) -> Result<(), T> {
        self.sender
            .try_send(letter)
            .map_err(|refused| refused.into_inner())?;
        self.pushed = true;
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.sender.is_full()
    }

    /// Wakes the worker for all that was pushed since the last call.
    pub(crate) fn wake_pushed(&mut self) {
        if std::mem::take(&mut self.pushed) {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            let cause = crate::base::error::cause(&error);
            log::error!("could not wake worker {}: {cause}", self.worker);
        }
    }

    /// Another worker reads it from now on, and finds what came meanwhile.
    pub(crate) fn hand_on(&mut self, waker: Arc<Waker>) {
        self.waker = waker;
        self.wake();
    }
}

/// A worker's end.
pub(crate) struct Inbox<T> {
    receiver: Receiver<T>,
    bell: Arc<Bell>,
}

impl<T> Inbox<T> {
    /// The next letter. Where there is none left, the main thread hears of the room.
    pub(crate) fn pop(&self) -> Option<T> {
        let letter = self.receiver.try_recv().ok();
        if letter.is_none() {
            self.bell.room_made();
        }
        letter
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self {
            receiver: self.receiver.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}
