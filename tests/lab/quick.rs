//! The paths that every change is tried with.

/// What `LAB` says to play them.
pub(crate) const WORD: &str = "quick";

/// Paths of every kind that are diagnosed without long waits, and for certain also where the
/// machine has other work: it only takes longer.
pub(crate) const QUICK: [&str; 82] = [
    "refused",
    "host-unreachable",
    "prohibited",
    "rejected",
    "prohibited-v6",
    "nobody-behind",
    "haproxy-without-servers",
    "http",
    "nginx-http",
    "tls",
    "ssh",
    "smtp",
    "black-hole-1280",
    "quota-100k-reset",
    "quota-300k-close",
    "lifetime-1s-reset",
    "lifetime-1s-close",
    "idle-2s-close",
    "limit-16-close",
    "limit-20-far",
    "four-at-a-time",
    "first-syn-dropped",
    "half-close-truncates",
    "half-close-resets",
    "nginx-without-half-close",
    "seven-bit",
    "lf-to-crlf",
    "upper-case",
    "utf-8",
    "filter-reset",
    "filter-close",
    "urgent-taken-out",
    "urgent-moved",
    "haproxy-urgent",
    "loss-5-without-dsack",
    "bytes-of-others",
    "whoami-translated",
    "answers-5-reset",
    "gone",
    "unread-100ms",
    "stalls-when-full",
    // Healthy ones.
    "plain",
    "routed",
    "routed-v6",
    "narrow-1280",
    "clamped",
    "far-200ms",
    "reorders",
    "duplicates",
    "loss-1",
    "without-sack",
    "without-options",
    "ecn-bleached",
    "translated",
    "haproxy",
    "socat",
    "nginx",
    "answers-often",
    "unread-20s",
    // Datagrams.
    "udp-refused",
    "udp-dropped",
    "udp-prohibited",
    "udp-hole-1280",
    "udp-fragments",
    "udp-ports",
    "udp-rate-200",
    "udp-reorders",
    "udp-duplicates",
    "udp-dscp",
    "udp-ecn",
    "udp-elsewhere",
    "udp-seven-bit",
    "udp-cut",
    "udp-other",
    "udp-twice",
    "udp-plain",
    "udp-routed",
    "udp-routed-v6",
    "udp-narrow-1280",
    "udp-translated",
    "udp-far-200ms",
    "udp-loss-1",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;
    use crate::paths::paths;

    #[test]
    fn every_kind_of_path_is_tried_with_every_change() {
        let mut quick = paths();
        quick.retain(|path| QUICK.contains(&path.name));
        assert_eq!(quick.len(), QUICK.len(), "a name is of no path, or twice");
        let count = |of_datagrams, healthy| {
            let is_wanted = |path: &&Path| {
                path.is_of_datagrams() == of_datagrams && path.is_healthy() == healthy
            };
            quick.iter().filter(is_wanted).count()
        };
        let (broken, sound) = (count(false, false), count(false, true));
        assert!(broken >= 30 && sound >= 10, "{broken} and {sound} of TCP");
        let (broken, sound) = (count(true, false), count(true, true));
        assert!(broken >= 12 && sound >= 4, "{broken} and {sound} of UDP");
    }
}
