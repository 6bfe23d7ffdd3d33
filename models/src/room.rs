//! The main thread waits for room, which a worker makes.

use shuttle::thread;

use crate::every_order;
use crate::worker::channel::{Outbox, mailbox};
use crate::worker::live_count::Places;
use crate::worker::sync::{Arc, Poller, Waker};
use crate::worker::waker::Bell;

fn bell() -> (Arc<Bell>, Arc<Poller>) {
    let poller = Arc::new(Poller::default());
    let bell = Arc::new(Bell::new(Waker::new(&poller)));
    (bell, poller)
}

/// So many places, all taken.
fn taken(count: usize, bell: &Arc<Bell>) -> Arc<Places> {
    let places = Places::new(Arc::clone(bell));
    (0..count).for_each(|_| places.take());
    Arc::new(places)
}

#[test]
fn the_main_thread_hears_of_every_place_that_it_waits_for() {
    every_order(|| {
        let (bell, poller) = bell();
        let places = taken(2, &bell);
        let worker = thread::spawn({
            let places = Arc::clone(&places);
            move || {
                places.give_back();
                places.give_back();
            }
        });
        for most in [2, 1] {
            while bell.is_full(|| places.taken() >= most) {
                poller.wait();
            }
        }
        worker.join().unwrap();
    });
}

#[test]
fn two_workers_that_make_room_at_once_do_not_hide_each_other() {
    every_order(|| {
        let (bell, poller) = bell();
        let places = taken(2, &bell);
        let leave = || {
            let places = Arc::clone(&places);
            thread::spawn(move || places.give_back())
        };
        let workers = [leave(), leave()];
        while bell.is_full(|| places.taken() > 1) {
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
        let (bell, main) = bell();
        let (sender, inbox) = mailbox(1, &bell);
        let poller = Arc::new(Poller::default());
        let mut outbox = Outbox::new(0, sender, Arc::new(Waker::new(&poller)));
        outbox.push(0).unwrap();
        outbox.wake_pushed();
        let worker = thread::spawn(move || {
            poller.wait();
            std::iter::from_fn(|| inbox.pop()).count()
        });
        while bell.is_full(|| outbox.is_full()) {
            main.wait();
        }
        outbox.push(1).unwrap();
        assert!(worker.join().unwrap() > 0);
    });
}

/// That the models find a place given back between a look and the wish.
#[test]
#[should_panic(expected = "deadlock")]
fn a_main_thread_that_does_not_look_again_may_sleep_for_ever() {
    every_order(|| {
        let (bell, poller) = bell();
        let places = taken(1, &bell);
        let worker = thread::spawn({
            let places = Arc::clone(&places);
            move || places.give_back()
        });
        let seen = places.taken() > 0;
        if bell.is_full(|| seen) {
            poller.wait();
        }
        worker.join().unwrap();
    });
}
