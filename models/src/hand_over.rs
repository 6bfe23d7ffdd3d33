//! A client goes from the main thread to a worker.

use shuttle::thread::{self, JoinHandle};

use crate::every_order;
use crate::worker::channel::{HandOverReceiver, HandOverSender, hand_over_channel};
use crate::worker::sync::{Arc, Poller, Waker};
use crate::worker::waker::MainWaker;

/// A mailbox for two, and its worker's poller.
fn route() -> (HandOverSender<u32>, HandOverReceiver<u32>, Arc<Poller>) {
    let main = Arc::new(Poller::default());
    let main_waker = Arc::new(MainWaker::new(Waker::new(&main)));
    let (sender, receiver) = hand_over_channel(2, &main_waker);
    let poller = Arc::new(Poller::default());
    let sender = HandOverSender::new(0, sender, Arc::new(Waker::new(&poller)));
    (sender, receiver, poller)
}

/// A worker that ends once it has taken `count`.
fn worker(
    receiver: HandOverReceiver<u32>,
    poller: Arc<Poller>,
    count: usize,
) -> JoinHandle<Vec<u32>> {
    thread::spawn(move || {
        let mut taken = Vec::new();
        while taken.len() < count {
            poller.wait();
            taken.extend(std::iter::from_fn(|| receiver.pop()));
        }
        taken
    })
}

#[test]
fn a_worker_gets_every_client_that_was_pushed_before_it_was_woken() {
    every_order(|| {
        let (mut sender, receiver, poller) = route();
        let worker = worker(receiver, poller, 2);
        for client in 0..2 {
            sender.push(client).unwrap();
            sender.wake_pushed();
        }
        assert_eq!(worker.join().unwrap(), [0, 1]);
    });
}

#[test]
fn one_wake_up_does_for_many_clients() {
    every_order(|| {
        let (mut sender, receiver, poller) = route();
        let worker = worker(receiver, poller, 2);
        sender.push(0).unwrap();
        sender.push(1).unwrap();
        sender.wake_pushed();
        assert_eq!(worker.join().unwrap(), [0, 1]);
    });
}

/// That the models find a lost wake-up.
#[test]
#[should_panic(expected = "deadlock")]
fn a_worker_that_is_woken_before_the_push_may_sleep_for_ever() {
    every_order(|| {
        let (mut sender, receiver, poller) = route();
        let worker = worker(receiver, poller, 1);
        sender.wake();
        sender.push(0).unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn a_client_that_there_is_no_room_for_comes_back_and_nothing_blocks() {
    every_order(|| {
        let (mut sender, receiver, poller) = route();
        let worker = worker(receiver, poller, 2);
        // The third comes back unless the worker was woken and has made room.
        sender.push(0).unwrap();
        sender.wake_pushed();
        sender.push(1).unwrap();
        let refused = sender.push(2).err();
        sender.wake_pushed();
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
        let (mut sender, receiver, first) = route();
        let dying = thread::spawn({
            let receiver = receiver.clone();
            move || {
                first.wait();
                // It dies with the client that it has taken.
                receiver.pop()
            }
        });
        sender.push(0).unwrap();
        sender.push(1).unwrap();
        sender.wake_pushed();
        let lost = dying.join().unwrap();
        let second = Arc::new(Poller::default());
        let successor = worker(receiver, Arc::clone(&second), 1);
        sender.reconnect(Arc::new(Waker::new(&second)));
        assert_eq!((lost, successor.join().unwrap()), (Some(0), vec![1]));
    });
}
