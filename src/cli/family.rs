//! The options `-4` and `-6`, which all probes share.

use clap::Args;

use crate::base::address::Family;

/// The family of addresses that a probe connects to.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct FamilyArgs {
    /// Use IPv4 addresses only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// Use IPv6 addresses only
    #[arg(short = '6', long)]
    ipv6: bool,
}

impl FamilyArgs {
    /// The family; `None` for both.
    pub(super) const fn family(self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::Ipv4),
            (_, true) => Some(Family::Ipv6),
            _ => None,
        }
    }
}
