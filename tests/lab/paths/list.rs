//! The whole table.

use super::begun::begun;
use super::bytes::{changed, filtered, half_closes, held, others, urgent};
use super::combined::combined;
use super::crowd::{limits, rates};
use super::cut::{black_holes, idles, lifetimes, quotas};
use super::distant::distant_faults;
use super::healthy::healthy;
use super::program::{patient_programs, programs};
use super::unreachable::{not_an_echo, unreachable};
use crate::path::Path;
use crate::{datagram_kinds, datagram_paths};

/// All, the broken ones first.
pub(crate) fn paths() -> Vec<Path> {
    let mut paths = unreachable();
    paths.extend(not_an_echo());
    paths.extend(black_holes());
    paths.extend(quotas());
    paths.extend(lifetimes());
    paths.extend(idles());
    paths.extend(limits());
    paths.extend(rates());
    paths.extend(begun());
    paths.extend(half_closes());
    paths.extend(changed());
    paths.extend(filtered());
    paths.extend(held());
    paths.extend(urgent());
    paths.extend(others());
    paths.extend(programs());
    paths.extend(combined());
    paths.extend(distant_faults());
    paths.extend(healthy());
    paths.extend(patient_programs());
    paths.extend(datagram_paths::paths());
    paths.extend(datagram_kinds::paths());
    paths
}
