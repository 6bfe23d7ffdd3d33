//! How many packets are lost each way, and what a sample of them proves.

/// A path that loses more than so many in 100 is not sound. One that loses one is.
pub(super) const SOUND: f64 = 2.0;

/// The interval in which a share lies is as wide as so many deviations: what is beyond it one
/// way happens by chance once in 700 times.
const DEVIATIONS: f64 = 3.0;

/// Packets lost, of those that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// Messages of a packet each of which it is known what became of them.
    pub(super) packets: u64,
    /// Those that did not arrive.
    pub(super) there: u64,
    /// Those that did, and whose echo was lost.
    pub(super) back: u64,
}

/// What a sample of packets proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proves {
    /// No more are lost than on a sound path, either way.
    Sound,
    /// More are.
    Lossy,
    /// Nothing: they were too few.
    Nothing,
}

impl Loss {
    /// Both together.
    pub(super) const fn with(self, more: Self) -> Self {
        Self {
            packets: self.packets + more.packets,
            there: self.there + more.there,
            back: self.back + more.back,
        }
    }

    /// In percent, of the messages.
    pub(super) fn to_server(self) -> f64 {
        percent(self.there, self.packets)
    }

    /// In percent, of the echoes: of what did not arrive there was none.
    pub(super) fn to_client(self) -> f64 {
        percent(self.back, self.packets - self.there)
    }

    /// Of the direction that loses more.
    pub(super) fn worst(self) -> f64 {
        self.to_server().max(self.to_client())
    }

    /// Whether that is more than on a sound path, be it by chance.
    pub(super) fn seems_lossy(self) -> bool {
        self.worst() > SOUND
    }

    /// Whether more than so many in 100 are lost either way, and not by chance.
    pub(super) fn is_above(self, percent: f64) -> bool {
        let there = interval(self.there, self.packets);
        let back = interval(self.back, self.packets - self.there);
        there.0 > percent || back.0 > percent
    }

    pub(super) fn proves(self) -> Proves {
        let there = interval(self.there, self.packets);
        let back = interval(self.back, self.packets - self.there);
        if self.is_above(SOUND) {
            Proves::Lossy
        } else if there.1 < SOUND && back.1 < SOUND {
            Proves::Sound
        } else {
            Proves::Nothing
        }
    }
}

fn percent(some: u64, of: u64) -> f64 {
    some as f64 * 100.0 / (of as f64).max(1.0)
}

/// Between which bounds the share lies of which so many were drawn, in percent: the score
/// interval (Wilson 1927), which holds for few and for none.
fn interval(some: u64, of: u64) -> (f64, f64) {
    let (share, number) = (percent(some, of) / 100.0, (of as f64).max(1.0));
    let square = DEVIATIONS * DEVIATIONS / number;
    let middle = share + square / 2.0;
    let half = DEVIATIONS * (share * (1.0 - share) / number + square / (4.0 * number)).sqrt();
    let bound = |at: f64| 100.0 * at / (1.0 + square);
    (bound(middle - half), bound(middle + half))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(packets: u64, there: u64, back: u64) -> Loss {
        Loss {
            packets,
            there,
            back,
        }
    }

    #[test]
    fn echoes_are_lost_of_those_there_were() {
        let loss = loss(1000, 100, 45);
        assert_eq!((loss.to_server(), loss.to_client()), (10.0, 5.0));
        assert_eq!(loss.worst(), 10.0);
        assert_eq!(Loss::default().worst(), 0.0);
    }

    #[test]
    fn a_share_is_judged_by_the_interval_in_which_it_lies() {
        for (packets, lost, proves) in [
            (0, 0, Proves::Nothing),
            (300, 0, Proves::Nothing),
            (600, 0, Proves::Sound),
            // One in a hundred, and as many as chance makes of it.
            (600, 6, Proves::Nothing),
            (2500, 25, Proves::Sound),
            (600, 14, Proves::Nothing),
            (2500, 50, Proves::Nothing),
            // Five in a hundred.
            (600, 30, Proves::Lossy),
            (100, 5, Proves::Nothing),
            (100, 10, Proves::Lossy),
            (2500, 100, Proves::Lossy),
        ] {
            assert_eq!(
                loss(packets, lost, 0).proves(),
                proves,
                "{lost} of {packets}"
            );
            assert_eq!(
                loss(packets, 0, lost).proves(),
                proves,
                "{lost} of {packets}"
            );
        }
    }

    #[test]
    fn the_interval_is_that_of_wilson() {
        let (low, high) = interval(10, 100);
        assert!((low - 4.07).abs() < 0.01, "{low}");
        assert!((high - 22.53).abs() < 0.01, "{high}");
    }
}
