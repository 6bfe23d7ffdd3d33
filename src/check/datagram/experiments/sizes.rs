//! How long packets and datagrams may be.

use super::direction::direction;
use super::edge::{is_sharp, lost_lengths};
use crate::check::datagram::findings::Sizes;
use crate::check::datagram::mtu::{LONGEST, largest, measure};
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::sizes::headers;
use crate::check::datagram::target::Target;

/// The least packet that is counted for the headers of a fragment.
const FIRST: usize = 1500;

/// Looks for the largest packet, and for the longest datagram of fragments. What was found is
/// tried again: by chance, or where other lengths are lost as well, halving finds an edge too.
pub(super) fn sizes(target: &mut Target<'_>) -> Result<Sizes, NotPassed> {
    let mut found = look(target)?;
    let headers = headers(target);
    let edge = match (found.mtu.is_hole, found.datagram) {
        (true, _) => found
            .mtu
            .packet
            .map(|_| (found.in_one, found.mtu.own - headers)),
        (false, Some(bytes)) if bytes < LONGEST - 20 - 8 => Some((bytes, LONGEST - 20 - 8)),
        (false, _) => None,
    };
    if let Some((bytes, most)) = edge {
        found.is_sharp = is_sharp(target, bytes, most, found.mtu.is_hole)?;
        if !found.is_sharp {
            found.lost_lengths = lost_lengths(target)?;
        }
    }
    Ok(found)
}

/// The same without the second look.
fn look(target: &mut Target<'_>) -> Result<Sizes, NotPassed> {
    let mtu = measure(target)?;
    let headers = headers(target);
    let in_one = mtu.packet.unwrap_or(0).saturating_sub(headers);
    if let (true, Some(packet)) = (mtu.is_hole, mtu.packet) {
        return Ok(Sizes {
            mtu,
            direction: direction(target, packet, mtu.own)?,
            datagram: None,
            in_one,
            is_sharp: true,
            lost_lengths: None,
        });
    }
    if let (LONGEST, Some(..LONGEST)) = (mtu.own, mtu.packet) {
        return Ok(Sizes {
            mtu,
            direction: None,
            datagram: Some(in_one),
            in_one,
            is_sharp: true,
            lost_lengths: None,
        });
    }
    // The longest first: where it comes back, no other need be tried.
    let bytes = target.content(LONGEST - 20 - 8);
    let tries = Target::tries(bytes.len());
    let mut port = target.open()?;
    let at = target.ask(&mut port, bytes, tries)?;
    let is_longest = port.sent[at].is_whole();
    drop(port);
    let low = mtu.packet.unwrap_or(FIRST) + 1;
    let datagram = match is_longest {
        true => Some(LONGEST - 20 - 8),
        false => largest(target, low, LONGEST, false)?.map(|packet| packet - headers),
    };
    Ok(Sizes {
        mtu,
        direction: None,
        datagram,
        in_one,
        is_sharp: true,
        lost_lengths: None,
    })
}
