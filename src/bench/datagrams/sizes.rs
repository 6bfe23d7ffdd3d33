//! The sizes of a flow's datagrams. They are drawn from their numbers, so that none has to be
//! remembered until its echo is back.

use std::ops::RangeInclusive;

/// The sizes of the datagrams of one flow, all equally likely.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    range: RangeInclusive<usize>,
    seed: u64,
}

impl Sizes {
    pub(super) fn new(range: &RangeInclusive<usize>, seed: u64, flow: u64) -> Self {
        Self {
            range: range.clone(),
            seed: mixed(seed ^ flow.rotate_left(32)),
        }
    }

    /// The fewest bytes of a datagram.
    pub(super) const fn least(&self) -> usize {
        *self.range.start()
    }

    /// The most bytes of a datagram.
    pub(super) const fn most(&self) -> usize {
        *self.range.end()
    }

    /// The bytes of the datagram with this number.
    pub(super) fn of(&self, number: u64) -> usize {
        let (least, most) = (*self.range.start(), *self.range.end());
        match (most - least) as u64 {
            0 => least,
            more => least + (mixed(self.seed.wrapping_add(number)) % (more + 1)) as usize,
        }
    }
}

/// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014 (`SplitMix64`).
const fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sizes_are_as_likely_and_a_seed_gives_them_again() {
        let sizes = Sizes::new(&(10..=19), 7, 3);
        let mut seen = [0; 10];
        for number in 0..10_000 {
            let size = sizes.of(number);
            assert_eq!(size, Sizes::new(&(10..=19), 7, 3).of(number));
            seen[size - 10] += 1;
        }
        assert!(
            seen.iter().all(|count| (900..1100).contains(count)),
            "{seen:?}"
        );
        let other = Sizes::new(&(10..=19), 7, 4);
        assert!((0..100).any(|number| other.of(number) != sizes.of(number)));
    }

    #[test]
    fn one_size_is_always_it() {
        let sizes = Sizes::new(&(64..=64), 7, 3);
        assert!((0..100).all(|number| sizes.of(number) == 64));
        assert_eq!(sizes.most(), 64);
    }
}
