use proptest::prelude::*;

use super::*;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// Two copies of it reach the reflector, and each answer comes.
    Doubled,
    /// Its answer comes twice.
    AnsweredTwice,
    LostThere,
    LostBack,
    NotSent,
}

/// Plays a session with a reflector that counts. Answers come in an order that `swaps` says.
fn play(fates: &[Fate], swaps: &[bool]) -> (Directions, u64) {
    let mut directions = Directions::default();
    let (mut own, mut answers, mut lost) = (0_u32, Vec::new(), 0);
    for (number, fate) in (1..).zip(fates) {
        let copies = match fate {
            Fate::NotSent | Fate::LostThere => 0,
            Fate::Doubled => 2,
            _ => 1,
        };
        lost += u64::from(matches!(fate, Fate::LostThere | Fate::LostBack));
        if *fate == Fate::NotSent {
            directions.not_sent(number);
        }
        for _ in 0..copies {
            if *fate != Fate::LostBack {
                answers.push((number, own));
            }
            if *fate == Fate::AnsweredTwice {
                answers.push((number, own));
            }
            own += 1;
        }
    }
    for (place, swap) in swaps.iter().enumerate() {
        if *swap && place + 1 < answers.len() {
            answers.swap(place, place + 1);
        }
    }
    let mut known = Vec::new();
    for (number, own) in answers {
        directions.answered(number, own, !known.contains(&number));
        known.push(number);
    }
    (directions, lost)
}

fn fates(of: &'static [Fate]) -> impl Strategy<Value = Vec<Fate>> {
    prop::collection::vec(prop::sample::select(of), 1..80)
}

const ALL: &[Fate] = &[
    Fate::Answered,
    Fate::Answered,
    Fate::Doubled,
    Fate::AnsweredTwice,
    Fate::LostThere,
    Fate::LostBack,
    Fate::NotSent,
];

proptest! {
    #[test]
    fn the_losses_before_the_last_answer_are_exact(fates in fates(ALL), swaps: Vec<bool>) {
        let (directions, lost) = play(&fates, &swaps);
        let answers = |fate: &Fate| matches!(fate, Fate::Answered | Fate::Doubled | Fate::AnsweredTwice);
        let Some(last) = fates.iter().rposition(answers) else {
            prop_assert_eq!(directions.lost(lost, 0), None);
            return Ok(());
        };
        let count = |of: &[Fate], fate| of.iter().filter(|&&it| it == fate).count() as u64;
        let (known, tail) = fates.split_at(last);
        let want = LostByWay {
            to_server: count(known, Fate::LostThere),
            to_client: count(known, Fate::LostBack),
            unknown: count(tail, Fate::LostThere) + count(tail, Fate::LostBack),
        };
        let sees_a_count = directions.is_stateful() == Some(true);
        // A doubled first request whose first answer is overtaken looks like a copied number.
        if sees_a_count && fates.iter().position(answers) == Some(0) && !swaps.first().unwrap_or(&false) {
            prop_assert_eq!(directions.lost(lost, 0), Some(want), "{:?}", directions);
        }
    }

    #[test]
    fn what_is_said_of_one_packet_is_true(fates in fates(ALL)) {
        let (directions, _) = play(&fates, &[]);
        let sent = (1..).zip(&fates).filter(|(_, fate)| **fate != Fate::NotSent);
        for (number, fate) in sent {
            match directions.way_of(number) {
                Some(Way::ToServer) => prop_assert_eq!(*fate, Fate::LostThere),
                // With a doubled request between, a gap has an answer more than requests.
                Some(Way::ToClient) if fates.contains(&Fate::Doubled) => {}
                Some(Way::ToClient) => prop_assert_eq!(*fate, Fate::LostBack),
                None => {}
            }
        }
    }

    #[test]
    fn any_answers_can_be_taken(answers: Vec<(u64, u32, bool)>, lost: u64, open: u64) {
        let mut directions = Directions::default();
        for (request, own, is_first) in answers {
            directions.answered(request % 100_000, own, is_first);
        }
        if let Some(by_way) = directions.lost(lost % 1_000_000, open % 1000) {
            let _ = by_way.to_server + by_way.to_client + by_way.unknown;
        }
    }
}

#[test]
fn a_reflector_that_copies_the_number_knows_no_direction() {
    let mut directions = Directions::default();
    assert_eq!(directions.is_stateful(), None);
    for number in [1, 2, 5, 6] {
        directions.answered(number, number as u32, true);
    }
    assert_eq!(directions.is_stateful(), Some(false));
    assert_eq!((directions.lost(2, 0), directions.way_of(3)), (None, None));
}

#[test]
fn a_count_that_began_before_is_taken_as_it_is() {
    let mut directions = Directions::default();
    for (number, own) in [(3, 900), (4, 901), (7, 903)] {
        directions.answered(number, own, true);
    }
    let want = LostByWay {
        to_server: 1,
        to_client: 1,
        unknown: 2,
    };
    assert_eq!(directions.lost(4, 0), Some(want));
}

#[test]
fn a_count_that_begins_anew_loses_what_was_around_it() {
    let mut directions = Directions::default();
    for (number, own) in [(1, 0), (2, 1), (4, 2), (8, 1), (9, 2), (10, 3)] {
        directions.answered(number, own, true);
    }
    assert_eq!(directions.restarts(), 1);
    let want = LostByWay {
        to_server: 1,
        to_client: 1,
        unknown: 2,
    };
    assert_eq!(directions.lost(4, 0), Some(want));
}

#[test]
fn a_count_wraps() {
    let mut directions = Directions::default();
    for (number, own) in [(1, u32::MAX - 1), (2, u32::MAX), (4, 0), (6, 2)] {
        directions.answered(number, own, true);
    }
    let want = LostByWay {
        to_server: 1,
        to_client: 1,
        unknown: 0,
    };
    assert_eq!(
        (directions.lost(2, 0), directions.restarts()),
        (Some(want), 0)
    );
}

#[test]
fn what_is_awaited_may_be_either() {
    let mut directions = Directions::default();
    for (number, own) in [(1, 0), (5, 2)] {
        directions.answered(number, own, true);
    }
    // Of 2, 3 and 4 two are lost; the missing answer may be that of the third.
    let want = LostByWay {
        to_server: 1,
        to_client: 0,
        unknown: 1,
    };
    assert_eq!(directions.lost(2, 1), Some(want));
}
