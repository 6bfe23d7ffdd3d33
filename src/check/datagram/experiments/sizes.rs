//! How long packets and datagrams may be.

use super::direction::direction;
use crate::check::datagram::findings::Sizes;
use crate::check::datagram::mtu::{LONGEST, largest, measure};
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::sizes::headers;
use crate::check::datagram::target::Target;

/// The least packet that is counted for the headers of a fragment.
const FIRST: usize = 1500;

/// Looks for the largest packet, and for the longest datagram of fragments.
pub(super) fn sizes(target: &mut Target<'_>) -> Result<Sizes, NotPassed> {
    let mtu = measure(target)?;
    let headers = headers(target);
    let in_one = mtu.packet.unwrap_or(0).saturating_sub(headers);
    if let (true, Some(packet)) = (mtu.is_hole, mtu.packet) {
        return Ok(Sizes {
            mtu,
            direction: direction(target, packet, mtu.own)?,
            datagram: None,
            in_one,
        });
    }
    if let (LONGEST, Some(..LONGEST)) = (mtu.own, mtu.packet) {
        return Ok(Sizes {
            mtu,
            direction: None,
            datagram: Some(in_one),
            in_one,
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
    })
}
