//! A client goes from the main thread to a worker.

use shuttle::thread::{self, JoinHandle};

use crate::every_order;
use crate::worker::channel::{Inbox, Outbox, mailbox};
use crate::worker::sync::{Arc, Poller, Waker};
use crate::worker::waker::Bell;

/// A mailbox for two, and its worker's poller.
fn route() -> (Outbox<u32>, Inbox<u32>, Arc<Poller>) {
    let main = Arc::new(Poller::default());
    let bell = Arc::new(Bell::new(Waker::new(&main)));
    let (sender, inbox) = mailbox(2, &bell);
    let poller = Arc::new(Poller::default());
    let outbox = Outbox::new(0, sender, Arc::new(Waker::new(&poller)));
    (outbox, inbox, poller)
}

/// A worker that ends once it has taken `count`.
fn worker(inbox: Inbox<u32>, poller: Arc<Poller>, count: usize) -> JoinHandle<Vec<u32>> {
    thread::spawn(move || {
        let mut taken = Vec::new();
        while taken.len() < count {
            poller.wait();
            taken.extend(std::iter::from_fn(|| inbox.pop()));
        }
        taken
    })
}

#[test]
fn a_worker_gets_every_client_that_was_pushed_before_it_was_woken() {
    every_order(|| {
        let (mut outbox, inbox, poller) = route();
        let worker = worker(inbox, poller, 2);
        for client in 0..2 {
            outbox.push(client).unwrap();
            outbox.wake_pushed();
        }
        assert_eq!(worker.join().unwrap(), [0, 1]);
    });
}

#[test]
fn one_wake_up_does_for_many_clients() {
    every_order(|| {
        let (mut outbox, inbox, poller) = route();
        let worker = worker(inbox, poller, 2);
        outbox.push(0).unwrap();
        outbox.push(1).unwrap();
        outbox.wake_pushed();
        assert_eq!(worker.join().unwrap(), [0, 1]);
    });
}

/// That the models find a lost wake-up.
#[test]
#[should_panic(expected = "deadlock")]
fn a_worker_that_is_woken_before_the_push_may_sleep_for_ever() {
    every_order(|| {
        let (mut outbox, inbox, poller) = route();
        let worker = worker(inbox, poller, 1);
        outbox.wake();
        outbox.push(0).unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn a_client_that_there_is_no_room_for_comes_back_and_nothing_blocks() {
    every_order(|| {
        let (mut outbox, inbox, poller) = route();
        let worker = worker(inbox, poller, 2);
        // The third comes back unless the worker was woken and has made room.
        outbox.push(0).unwrap();
        outbox.wake_pushed();
        outbox.push(1).unwrap();
        let refused = outbox.push(2).err();
        outbox.wake_pushed();
        let mut clients = worker.join().unwrap();
        clients.extend(refused);
        assert!(
            [&[0, 1][..], &[0, 1, 2]].contains(&&*clients),
            "{clients:?}"
        );
    });
}

#[test]
fn whoever_came_while_nobody_sat_there_is_served_by_the_successor() {
    every_order(|| {
        let (mut outbox, inbox, first) = route();
        let dying = thread::spawn({
            let inbox = inbox.clone();
            move || {
                first.wait();
                // It dies with the client that it has taken.
                inbox.pop()
            }
        });
        outbox.push(0).unwrap();
        outbox.push(1).unwrap();
        outbox.wake_pushed();
        let lost = dying.join().unwrap();
        let second = Arc::new(Poller::default());
        let successor = worker(inbox, Arc::clone(&second), 1);
        outbox.hand_on(Arc::new(Waker::new(&second)));
        assert_eq!((lost, successor.join().unwrap()), (Some(0), vec![1]));
    });
}
