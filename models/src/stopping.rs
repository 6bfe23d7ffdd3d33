//! The order to stop, to the main thread and from it to the workers.

use shuttle::thread;

use crate::every_order;
use crate::stop::Stop;
use crate::worker::channel::{HandOverSender, hand_over_channel};
use crate::worker::sync::{Arc, OnceLock, Poller, Waker};
use crate::worker::waker::MainWaker;

#[test]
fn a_request_ends_the_server_whether_it_comes_before_the_start_or_after() {
    every_order(|| {
        let stop = Stop::new();
        let asking = thread::spawn({
            let stop = stop.clone();
            move || assert!(stop.request())
        });
        let poller = Arc::new(Poller::default());
        stop.attach(&Arc::new(MainWaker::new(Waker::new(&poller))));
        while !stop.is_requested() {
            poller.wait();
        }
        asking.join().unwrap();
        assert!(!stop.request());
    });
}

#[test]
fn of_two_requests_at_once_one_is_the_first() {
    every_order(|| {
        let stop = Stop::new();
        let asking = thread::spawn({
            let stop = stop.clone();
            move || stop.request()
        });
        let first = stop.request();
        assert!(first != asking.join().unwrap());
    });
}

#[test]
fn a_worker_ends_only_after_every_client_that_was_handed_over_before_the_order() {
    every_order(|| {
        let main = Arc::new(Poller::default());
        let main_waker = Arc::new(MainWaker::new(Waker::new(&main)));
        let (sender, receiver) = hand_over_channel(2, &main_waker);
        let poller = Arc::new(Poller::default());
        let mut sender = HandOverSender::new(0, sender, Arc::new(Waker::new(&poller)));
        let order = Arc::new(OnceLock::default());
        let worker = thread::spawn({
            let order = Arc::clone(&order);
            move || {
                let (mut served, mut stopping) = (0, false);
                while !(stopping && receiver.is_empty()) {
                    poller.wait();
                    stopping |= order.get().is_some();
                    served += std::iter::from_fn(|| receiver.pop()).count();
                }
                served
            }
        });
        sender.push(0).unwrap();
        sender.wake_pushed();
        assert!(order.set(()).is_ok());
        sender.wake();
        assert_eq!(worker.join().unwrap(), 1);
    });
}
