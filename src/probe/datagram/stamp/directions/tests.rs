use proptest::prelude::*;

use super::*;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    /// Two copies of it reach the reflector, and each answer comes.
    Doubled,
    /// Its answer comes twice.
    AnsweredTwice,
    LostThere,
    LostBack,
    NotSent,
    /// Something else than the reflector answers it.
    Elsewhere,
}

impl Outcome {
    const fn is_loss(self) -> bool {
        matches!(self, Self::LostThere | Self::LostBack)
    }

    const fn is_answered(self) -> bool {
        matches!(self, Self::Answered | Self::Doubled | Self::AnsweredTwice)
    }
}

/// Plays a session with a reflector that counts, and behind it packets beside the count.
/// Answers come in an order that `swaps` says.
fn play(outcomes: &[Outcome], beside: &[Outcome], swaps: &[bool]) -> (Directions, u64) {
    let mut directions = Directions::default();
    let (mut own, mut answers) = (0_u32, Vec::new());
    let counted = outcomes.len() as u64;
    for (number, outcome) in (1..).zip(outcomes.iter().chain(beside)) {
        let copies = match outcome {
            Outcome::NotSent | Outcome::LostThere | Outcome::Elsewhere => 0,
            Outcome::Doubled => 2,
            _ => 1,
        };
        match outcome {
            Outcome::NotSent => directions.not_sent(number),
            _ if number > counted => directions.sent_uncounted(number),
            Outcome::Elsewhere => directions.answered_by_another(number),
            _ => {}
        }
        for _ in 0..copies {
            if *outcome != Outcome::LostBack {
                answers.push((number, own));
            }
            if *outcome == Outcome::AnsweredTwice {
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
        match number > counted {
            true => directions.answered_uncounted(number, own),
            false => directions.answered(number, own, !known.contains(&number)),
        }
        known.push(number);
    }
    let lost = outcomes.iter().filter(|outcome| outcome.is_loss()).count() as u64;
    (directions, lost)
}

fn outcomes(of: &'static [Outcome]) -> impl Strategy<Value = Vec<Outcome>> {
    prop::collection::vec(prop::sample::select(of), 1..80)
}

const ALL: &[Outcome] = &[
    Outcome::Answered,
    Outcome::Answered,
    Outcome::Doubled,
    Outcome::AnsweredTwice,
    Outcome::LostThere,
    Outcome::LostBack,
    Outcome::NotSent,
    Outcome::Elsewhere,
];

/// What becomes of a packet beside the count.
const BESIDE: &[Outcome] = &[
    Outcome::Answered,
    Outcome::Doubled,
    Outcome::AnsweredTwice,
    Outcome::LostThere,
    Outcome::LostBack,
    Outcome::NotSent,
];

fn beside() -> impl Strategy<Value = Vec<Outcome>> {
    prop::collection::vec(prop::sample::select(BESIDE), 0..4)
}

proptest! {
    #[test]
    fn the_losses_before_the_last_answer_are_exact(
        outcomes in outcomes(ALL),
        beside in beside(),
        swaps: Vec<bool>,
    ) {
        let (directions, lost) = play(&outcomes, &beside, &swaps);
        let all: Vec<_> = outcomes.iter().chain(&beside).copied().collect();
        let Some(last) = all.iter().rposition(|outcome| outcome.is_answered()) else {
            prop_assert_eq!(directions.lost(lost, 0), None);
            return Ok(());
        };
        let count = |of: &[Outcome], outcome| of.iter().filter(|&&it| it == outcome).count() as u64;
        let (known, tail) = outcomes.split_at(last.min(outcomes.len()));
        let want = LostByWay {
            to_server: count(known, Outcome::LostThere),
            to_client: count(known, Outcome::LostBack),
            unknown: count(tail, Outcome::LostThere) + count(tail, Outcome::LostBack),
        };
        let sees_a_count = directions.is_stateful() == Some(true);
        // A doubled first request whose first answer is overtaken looks like a copied number.
        let begins = outcomes[0].is_answered() && !swaps.first().unwrap_or(&false);
        if sees_a_count && begins {
            prop_assert_eq!(directions.restarts(), 0);
            let said = directions.lost(lost, 0).unwrap();
            // What the answers say of a packet beside the count may be of one that counts.
            let is_open = |place: usize| place < last && all[place].is_loss();
            let open = (outcomes.len()..all.len()).filter(|&place| is_open(place)).count() as u64;
            prop_assert_eq!(said.to_server + said.to_client + said.unknown, lost);
            prop_assert!(said.to_server <= want.to_server, "{:?} {:?}", said, want);
            prop_assert!(said.to_client <= want.to_client, "{:?} {:?}", said, want);
            prop_assert!(said.unknown <= want.unknown + open, "{:?} {:?}", said, want);
        }
    }

    #[test]
    fn what_is_said_of_one_packet_is_true(outcomes in outcomes(ALL), beside in beside()) {
        let (directions, _) = play(&outcomes, &beside, &[]);
        let counted = (1..).zip(&outcomes);
        let missing = counted.filter(|(_, outcome)| !matches!(outcome, Outcome::NotSent | Outcome::Elsewhere));
        for (number, outcome) in missing {
            match directions.way_of(number) {
                Some(Way::ToServer) => prop_assert_eq!(*outcome, Outcome::LostThere),
                // With a doubled request between, a gap has an answer more than requests.
                Some(Way::ToClient) if outcomes.iter().chain(&beside).any(|it| *it == Outcome::Doubled) => {}
                Some(Way::ToClient) => prop_assert_eq!(*outcome, Outcome::LostBack),
                None => {}
            }
        }
    }

    #[test]
    fn any_answers_can_be_taken(answers: Vec<(u64, u32, u8)>, lost: u64, open: u64) {
        let mut directions = Directions::default();
        for (request, own, what) in answers {
            let request = request % 100_000;
            match what % 6 {
                0 => directions.sent_uncounted(request),
                1 => directions.answered_uncounted(request, own),
                2 => directions.answered_by_another(request),
                3 => directions.not_sent(request),
                other => directions.answered(request, own, other == 4),
            }
        }
        if let Some(by_way) = directions.lost(lost % 1_000_000, open % 1000) {
            let _ = by_way.to_server + by_way.to_client + by_way.unknown;
        }
    }
}

#[test]
fn of_requests_that_are_forgotten_it_is_known_how_many_were_not_sent() {
    let mut directions = Directions::default();
    directions.answered(1, 0, true);
    // Every tenth is sent, and lost on its way there.
    for number in 2..=10_000 {
        if number % 10 != 0 {
            directions.not_sent(number);
        }
        directions.forget_below(number.saturating_sub(20));
        assert!(directions.without.len() <= 21, "{number}");
    }
    directions.answered(10_001, 1, true);
    let want = LostByWay {
        to_server: 1000,
        ..LostByWay::default()
    };
    assert_eq!(directions.lost(1000, 0), Some(want));
    // A new count begins without them.
    directions.not_sent(10_002);
    directions.forget_below(10_003);
    directions.answered(10_004, 0, true);
    assert_eq!(directions.restarts(), 1);
    directions.answered(10_006, 1, true);
    let by_way = directions.lost(1002, 0).unwrap();
    assert_eq!((by_way.to_server, by_way.unknown), (1001, 1), "{by_way:?}");
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
fn a_packet_beside_the_count_without_an_answer_changes_nothing_known() {
    let mut directions = Directions::default();
    for (number, own) in [(1, 0), (2, 1), (5, 2), (6, 3), (7, 4), (8, 5)] {
        directions.answered(number, own, true);
    }
    // 9 and 10 are lost, and so are all that ask for them.
    for number in 11..=13 {
        directions.sent_uncounted(number);
    }
    let want = LostByWay {
        to_server: 2,
        to_client: 0,
        unknown: 2,
    };
    assert_eq!(directions.lost(4, 0), Some(want));
}

#[test]
fn a_second_answer_to_a_packet_beside_the_count_is_a_copy() {
    // 5 was lost there, and so was 6, which does not count. 7 is answered twice, or doubled on
    // its way there.
    for second in [4, 5] {
        let mut directions = Directions::default();
        for number in 1..=4_u32 {
            directions.answered(number.into(), number - 1, true);
        }
        directions.sent_uncounted(6);
        directions.sent_uncounted(7);
        directions.answered_uncounted(7, 4);
        directions.answered_uncounted(7, second);
        let want = LostByWay {
            to_server: 1,
            to_client: 0,
            unknown: 0,
        };
        assert_eq!(directions.restarts(), 0, "{second}");
        assert_eq!(directions.lost(1, 0), Some(want), "{second}");
    }
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
