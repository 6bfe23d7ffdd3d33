//! Encodes a drawn buffer for a terminal, below its present content.

use std::io::{self, Write};

use ratatui::backend::IntoCrossterm;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::cursor::{MoveTo, MoveToPreviousLine};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::{Attribute, Print, ResetColor, SetAttribute, SetForegroundColor};
use ratatui::crossterm::terminal::{Clear, ClearType};
use ratatui::style::Modifier;

/// The bytes that write the first `height` lines of `buffer` over the `shown` lines
/// above the cursor. One write of them leaves no half-drawn view.
pub(super) fn paint(buffer: &Buffer, height: u16, shown: u16) -> io::Result<Vec<u8>> {
    let mut out = up(shown)?;
    let width = usize::from(buffer.area.width.max(1));
    for row in buffer.content.chunks(width).take(height.into()) {
        // A style holds until it changes; each line begins without one.
        for alike in row.chunk_by(|a, b| (a.fg, a.modifier) == (b.fg, b.modifier)) {
            run(&mut out, alike)?;
        }
        // A carriage return as well: other programs may have left the terminal raw.
        queue!(out, Clear(ClearType::UntilNewLine), Print("\r\n"))?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    Ok(out)
}

/// The bytes that erase the `shown` lines above the cursor.
pub(super) fn erase(shown: u16) -> io::Result<Vec<u8>> {
    let mut out = up(shown)?;
    if shown > 0 {
        queue!(out, Clear(ClearType::FromCursorDown))?;
    }
    Ok(out)
}

/// The bytes that clear the terminal.
pub(super) fn clear() -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    queue!(out, Clear(ClearType::All), MoveTo(0, 0))?;
    Ok(out)
}

/// Moves the cursor up. A terminal takes a move by 0 lines for one by 1 line.
fn up(lines: u16) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    if lines > 0 {
        queue!(out, MoveToPreviousLine(lines))?;
    }
    Ok(out)
}

/// Writes cells of one style.
fn run(out: &mut Vec<u8>, cells: &[Cell]) -> io::Result<()> {
    let Some(first) = cells.first() else {
        return Ok(());
    };
    queue!(out, SetForegroundColor(first.fg.into_crossterm()))?;
    for (modifier, attribute) in [
        (Modifier::BOLD, Attribute::Bold),
        (Modifier::DIM, Attribute::Dim),
    ] {
        if first.modifier.contains(modifier) {
            queue!(out, SetAttribute(attribute))?;
        }
    }
    for cell in cells {
        out.write_all(cell.symbol().as_bytes())?;
    }
    queue!(out, SetAttribute(Attribute::Reset), ResetColor)
}
