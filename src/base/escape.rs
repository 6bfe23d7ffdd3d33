//! Escapes control characters in untrusted bytes, so that a terminal prints them and does not act
//! on them.

use std::fmt::Write as _;
use std::io::{self, Write};

/// A writer that passes printable text, newlines and tabs, and escapes everything else:
/// control characters, bytes that are not UTF-8, and characters that reorder the text
/// around them.
pub(crate) struct Escaped<W> {
    inner: W,
    /// The first bytes of a character that is not complete yet.
    partial: Vec<u8>,
}

impl<W: Write> Escaped<W> {
    pub(crate) const fn new(inner: W) -> Self {
        Self {
            inner,
            partial: Vec::new(),
        }
    }

    /// Writes the bytes of a character that was never completed, and flushes.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.partial);
        self.inner.write_all(bytes(&rest).as_bytes())?;
        self.inner.flush()
    }
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, arrived: &[u8]) -> io::Result<usize> {
        self.partial.extend_from_slice(arrived);
        let whole = self.partial.len() - incomplete_tail(&self.partial);
        let rest = self.partial.split_off(whole);
        let shown = escape(&std::mem::replace(&mut self.partial, rest));
        self.inner.write_all(shown.as_bytes())?;
        Ok(arrived.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns the bytes as text that is safe to print on a terminal.
pub(crate) fn escape(arrived: &[u8]) -> String {
    let mut shown = String::with_capacity(arrived.len());
    for chunk in arrived.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => shown.push(c),
                c if c.is_ascii_control() => shown.push_str(&bytes(&[c as u8])),
                c if c.is_control() || reorders(c) => shown.extend(c.escape_unicode()),
                c => shown.push(c),
            }
        }
        shown.push_str(&bytes(chunk.invalid()));
    }
    shown
}

/// `arrived`, escaped, in one line: newlines and tabs are escaped as well.
pub(crate) fn escape_line(arrived: &[u8]) -> String {
    escape(arrived).replace('\n', "\\n").replace('\t', "\\t")
}

fn bytes(raw: &[u8]) -> String {
    raw.iter().fold(String::new(), |mut shown, byte| {
        let _ = write!(shown, "\\x{byte:02x}");
        shown
    })
}

/// The bidirectional controls of Unicode (UAX #9) and the line separators.
const fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The number of bytes at the end that begin an incomplete character.
fn incomplete_tail(text: &[u8]) -> usize {
    match std::str::from_utf8(&text[text.len().saturating_sub(3)..]) {
        Ok(_) => 0,
        Err(_) => text
            .utf8_chunks()
            .last()
            .filter(|chunk| {
                let tail = chunk.invalid();
                std::str::from_utf8(tail).is_err_and(|e| e.error_len().is_none())
            })
            .map_or(0, |chunk| chunk.invalid().len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Bytes among which control characters and parts of UTF-8 sequences are frequent.
    fn tricky() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), Just(0x1b), 0x80..0xa0_u8, 0xc2..0xf5_u8];
        vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn the_output_does_not_depend_on_how_bytes_are_split(pieces in vec(tricky(), 0..6)) {
            let mut shown = Vec::new();
            let mut writer = Escaped::new(&mut shown);
            for piece in &pieces {
                writer.write_all(piece).unwrap();
            }
            writer.finish().unwrap();
            prop_assert_eq!(String::from_utf8(shown).unwrap(), escape(&pieces.concat()));
        }

        #[test]
        fn no_control_character_is_printed(raw in tricky()) {
            let shown = escape(&raw);
            let acted_on = |c: char| (c.is_control() && c != '\n' && c != '\t') || reorders(c);
            prop_assert!(!shown.contains(acted_on), "{:?}", shown);
        }
    }

    #[test]
    fn text_passes_and_control_characters_are_escaped() {
        for (raw, shown) in [
            (&b"a\tb\n"[..], "a\tb\n"),
            ("안녕".as_bytes(), "안녕"),
            (b"\x1b[2J\x07\r\x00\x7f", "\\x1b[2J\\x07\\x0d\\x00\\x7f"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("\u{202e}evil".as_bytes(), "\\u{202e}evil"),
            (b"\xff\xc3(", "\\xff\\xc3("),
        ] {
            assert_eq!(escape(raw), shown);
        }
    }

    #[test]
    fn a_line_has_no_line_ends() {
        assert_eq!(escape_line(b"a\nb\t\r\x1b[m"), "a\\nb\\t\\x0d\\x1b[m");
    }

    #[test]
    fn a_character_in_two_pieces_is_shown_whole() {
        let raw = "안녕 \u{1f980}\x1b".as_bytes();
        for cut in 0..=raw.len() {
            let mut shown = Vec::new();
            let mut writer = Escaped::new(&mut shown);
            writer.write_all(&raw[..cut]).unwrap();
            writer.write_all(&raw[cut..]).unwrap();
            writer.finish().unwrap();
            assert_eq!(String::from_utf8(shown).unwrap(), "안녕 \u{1f980}\\x1b");
        }
    }

    #[test]
    fn an_incomplete_character_is_escaped_byte_by_byte() {
        let mut shown = Vec::new();
        let mut writer = Escaped::new(&mut shown);
        writer.write_all(b"x\xec\x95").unwrap();
        writer.finish().unwrap();
        assert_eq!(shown, b"x\\xec\\x95");
    }
}
