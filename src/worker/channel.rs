//! The hand-over channel to one worker: a bounded queue and the worker's waker.
//!
//! A channel does not interrupt a poller, so the main thread pushes and *then*
//! wakes; a worker that is woken takes all that is there. Either it finds what
//! was pushed, or the wake-up for it is still to come.

use super::sync::{Arc, Receiver, Sender, Waker, bounded};
use super::waker::MainWaker;

/// A channel for `capacity` items. Returns what its [`HandOverSender`] is made of, and
/// the worker's end, which wakes the main thread where it waits for room.
pub(crate) fn hand_over_channel<T>(
    capacity: usize,
    main_waker: &Arc<MainWaker>,
) -> (Sender<T>, HandOverReceiver<T>) {
    let (sender, receiver) = bounded(capacity);
    let main_waker = Arc::clone(main_waker);
    let receiver = HandOverReceiver {
        receiver,
        main_waker,
    };
    (sender, receiver)
}

/// The main thread's end.
pub(crate) struct HandOverSender<T> {
    /// The worker's number, for the log.
    worker: usize,
    sender: Sender<T>,
    waker: Arc<Waker>,
    /// An item was pushed that the worker has not been woken for.
    pushed: bool,
}

impl<T> HandOverSender<T> {
    pub(crate) const fn new(worker: usize, sender: Sender<T>, waker: Arc<Waker>) -> Self {
        Self {
            worker,
            sender,
            waker,
            pushed: false,
        }
    }

    /// Never blocks: an item without room comes back. The worker is woken at
    /// [`wake_pushed`](Self::wake_pushed).
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        self.sender
            .try_send(item)
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

    /// Another worker reads it from now on, and finds what was pushed meanwhile.
    pub(crate) fn reconnect(&mut self, waker: Arc<Waker>) {
        self.waker = waker;
        self.wake();
    }
}

/// A worker's end.
pub(crate) struct HandOverReceiver<T> {
    receiver: Receiver<T>,
    main_waker: Arc<MainWaker>,
}

impl<T> HandOverReceiver<T> {
    /// The next item. Where there is none left, the main thread is told of the room.
    pub(crate) fn pop(&self) -> Option<T> {
        let item = self.receiver.try_recv().ok();
        if item.is_none() {
            self.main_waker.notify_room();
        }
        item
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}

impl<T> Clone for HandOverReceiver<T> {
    fn clone(&self) -> Self {
        Self {
            receiver: self.receiver.clone(),
            main_waker: Arc::clone(&self.main_waker),
        }
    }
}
