//! DSCP and ECN: the byte of the IP header that says how a packet is to be treated.

use std::fmt;

use serde::Serialize;

/// The names of code points: RFC 2474, 2597, 3246, 5865, 8622.
const NAMES: [(u8, &str); 23] = [
    (0, "CS0"),
    (1, "LE"),
    (8, "CS1"),
    (10, "AF11"),
    (12, "AF12"),
    (14, "AF13"),
    (16, "CS2"),
    (18, "AF21"),
    (20, "AF22"),
    (22, "AF23"),
    (24, "CS3"),
    (26, "AF31"),
    (28, "AF32"),
    (30, "AF33"),
    (32, "CS4"),
    (34, "AF41"),
    (36, "AF42"),
    (38, "AF43"),
    (40, "CS5"),
    (44, "VA"),
    (46, "EF"),
    (48, "CS6"),
    (56, "CS7"),
];

/// The names of ECN's code points: RFC 3168.
const ECN_NAMES: [&str; 4] = ["not-ect", "ect1", "ect0", "ce"];

/// DSCP, the upper six bits, and ECN, the lower two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Marks {
    /// The differentiated services code point, from 0 to 63.
    pub dscp: u8,
    /// The explicit congestion notification, from 0 to 3.
    pub ecn: u8,
}

impl Marks {
    /// Those in the byte of an IP header.
    pub const fn of_byte(byte: u8) -> Self {
        Self {
            dscp: byte >> 2,
            ecn: byte & 3,
        }
    }

    /// The byte of an IP header.
    pub const fn byte(self) -> u8 {
        self.dscp << 2 | self.ecn & 3
    }

    /// The code point of this name or number.
    pub fn dscp_of(text: &str) -> Option<u8> {
        let named = NAMES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text));
        let number = || number(text).filter(|number| *number < 64);
        named.map(|(number, _)| *number).or_else(number)
    }

    /// The ECN code point of this name or number.
    pub fn ecn_of(text: &str) -> Option<u8> {
        let named = ECN_NAMES
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|place| u8::try_from(place).ok());
        named.or_else(|| number(text).filter(|number| *number < 4))
    }

    /// The byte of this number.
    pub fn byte_of(text: &str) -> Option<u8> {
        number(text)
    }
}

/// A number, in decimal or with 0x in hexadecimal.
fn number(text: &str) -> Option<u8> {
    let is_plain = |digits: &str| !digits.starts_with('+');
    match text.strip_prefix("0x") {
        Some(digits) if is_plain(digits) => u8::from_str_radix(digits, 16).ok(),
        None if is_plain(text) => text.parse().ok(),
        _ => None,
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DSCP {}", self.dscp)?;
        if let Some((_, name)) = NAMES.iter().find(|(number, _)| *number == self.dscp) {
            write!(f, " ({name})")?;
        }
        write!(f, " ECN {}", ECN_NAMES[usize::from(self.ecn & 3)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_point_is_shifted_once() {
        let marks = Marks { dscp: 46, ecn: 2 };
        assert_eq!(marks.byte(), 0xba);
        assert_eq!(Marks::of_byte(0xba), marks);
        assert_eq!(marks.to_string(), "DSCP 46 (EF) ECN ect0");
        let odd = Marks { dscp: 63, ecn: 3 };
        assert_eq!((odd.byte(), &*odd.to_string()), (0xff, "DSCP 63 ECN ce"));
    }

    #[test]
    fn names_and_numbers_are_read() {
        for (text, want) in [
            ("46", Some(46)),
            ("0x2e", Some(46)),
            ("ef", Some(46)),
            ("AF41", Some(34)),
            ("cs0", Some(0)),
            ("64", None),
            ("+1", None),
            ("0x+1", None),
            ("", None),
            ("best", None),
        ] {
            assert_eq!(Marks::dscp_of(text), want, "{text}");
        }
        for (text, want) in [
            ("ect0", Some(2)),
            ("ECT1", Some(1)),
            ("3", Some(3)),
            ("4", None),
        ] {
            assert_eq!(Marks::ecn_of(text), want, "{text}");
        }
        assert_eq!(
            [Marks::byte_of("0xb8"), Marks::byte_of("256")],
            [Some(184), None]
        );
    }
}
