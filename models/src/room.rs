//! The main thread waits for room, which a worker makes.

use shuttle::thread;

use crate::every_order;
use crate::worker::channel::{HandOverSender, hand_over_channel};
use crate::worker::live_count::LiveCount;
use crate::worker::sync::{Arc, Poller, Waker};
use crate::worker::waker::MainWaker;

fn main_waker() -> (Arc<MainWaker>, Arc<Poller>) {
    let poller = Arc::new(Poller::default());
    let main_waker = Arc::new(MainWaker::new(Waker::new(&poller)));
    (main_waker, poller)
}

/// So many places, all taken.
fn live(count: usize, main_waker: &Arc<MainWaker>) -> Arc<LiveCount> {
    let live = LiveCount::new(Arc::clone(main_waker));
    (0..count).for_each(|_| live.add());
    Arc::new(live)
}

#[test]
fn the_main_thread_hears_of_every_place_that_it_waits_for() {
    every_order(|| {
        let (main_waker, poller) = main_waker();
        let live = live(2, &main_waker);
        let worker = thread::spawn({
            let live = Arc::clone(&live);
            move || {
                live.remove();
                live.remove();
            }
        });
        for most in [2, 1] {
            while main_waker.is_full(|| live.get() >= most) {
                poller.wait();
            }
        }
        worker.join().unwrap();
    });
}

#[test]
fn two_workers_that_make_room_at_once_do_not_hide_each_other() {
    every_order(|| {
        let (main_waker, poller) = main_waker();
        let live = live(2, &main_waker);
        let leave = || {
            let live = Arc::clone(&live);
            thread::spawn(move || live.remove())
        };
        let workers = [leave(), leave()];
        while main_waker.is_full(|| live.get() > 1) {
            poller.wait();
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn the_main_thread_hears_of_a_mailbox_that_was_emptied() {
    every_order(|| {
        let (main_waker, main) = main_waker();
        let (sender, receiver) = hand_over_channel(1, &main_waker);
        let poller = Arc::new(Poller::default());
        let mut sender = HandOverSender::new(0, sender, Arc::new(Waker::new(&poller)));
        sender.push(0).unwrap();
        sender.wake_pushed();
        let worker = thread::spawn(move || {
            poller.wait();
            std::iter::from_fn(|| receiver.pop()).count()
        });
        while main_waker.is_full(|| sender.is_full()) {
            main.wait();
        }
        sender.push(1).unwrap();
        assert!(worker.join().unwrap() > 0);
    });
}

/// That the models find a place given back between a look and the wish.
#[test]
#[should_panic(expected = "deadlock")]
fn a_main_thread_that_does_not_look_again_may_sleep_for_ever() {
    every_order(|| {
        let (main_waker, poller) = main_waker();
        let live = live(1, &main_waker);
        let worker = thread::spawn({
            let live = Arc::clone(&live);
            move || live.remove()
        });
        let seen = live.get() > 0;
        if main_waker.is_full(|| seen) {
            poller.wait();
        }
        worker.join().unwrap();
    });
}
