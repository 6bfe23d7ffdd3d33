//! Only some connections fail: one of several servers, workers or links is bad.

use super::answer::looks_like;
use crate::base::escape::escape;
use crate::base::units;
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Ending, Findings, Several, Sort};
use crate::check::observation::End;

const SERVERS: &str = "look for the bad one of several servers behind the address, or of several \
     workers of one server: ask each of them by itself (check its own address), read the \
     balancer's health checks and log, and take it out until it is mended";

const LINKS: &str = "look for the bad one of several links or firewalls between which the path \
     divides connections by their ports (a bundle, equal-cost routes), or of several workers of \
     the server that share its port (SO_REUSEPORT): count errors and drops on each, and trace \
     from a port that fails and from one that does not (tcptraceroute --source-port)";

/// `one-of-several`: some connections fail and others don't, whatever they carry.
pub(super) fn several(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let several = findings.several.as_ref()?;
    let is_mute =
        |at: &Failure| several.behind.is_none() && at.came() == 0 && at.is_of_half_close();
    let explains = facts.clauses(|at| is_such(&several.sort, at) || is_mute(at));
    let advice = if several.is_by_port { LINKS } else { SERVERS };
    let diagnosis = Diagnosis::certain("one-of-several", text(several), advice, explains)
        .with("tried", several.tried)
        .with("failed", several.failed)
        .with("ends_by", word(&several.sort));
    let diagnosis = match &several.sort {
        Sort::Answers(bytes) => diagnosis
            .with("looks_like", looks_like(bytes))
            .with("first_bytes", escape(bytes).to_string()),
        _ => diagnosis,
    };
    let diagnosis = match several.every {
        Some(every) => diagnosis.with("every", every),
        None => diagnosis.with("by_source_port", several.is_by_port),
    };
    Some(match several.behind {
        // Something that ends connections by chance looks the same.
        Some(bytes) => diagnosis.with("bytes", bytes).likely(),
        None => diagnosis,
    })
}

const fn word(sort: &Sort) -> &'static str {
    match sort {
        Sort::Refused => "refused",
        Sort::Ends(end) => end.word(),
        Sort::Answers(_) => "other-bytes",
    }
}

fn text(several: &Several) -> String {
    let Several {
        failed,
        tried,
        behind,
        ..
    } = *several;
    let order = match behind {
        None => ", made one after another,",
        Some(_) => "",
    };
    let within = behind.map_or_else(String::new, |bytes| {
        format!(" within {}", units::count(bytes, "byte", "bytes"))
    });
    let how = match &several.sort {
        Sort::Refused => String::from("are refused"),
        Sort::Ends(Ending::Silence) => format!("get no answer{within}"),
        Sort::Ends(Ending::Close) => format!("are closed{within}"),
        Sort::Ends(Ending::Reset) => format!("are reset{within}"),
        Sort::Answers(bytes) => format!("are answered by other bytes ({})", escape(bytes)),
    };
    let which = match (several.every, several.is_by_port) {
        (Some(every), _) => format!("; of {every} connections in a row it is always the same one"),
        (None, true) => {
            String::from("; those from the same source ports fail each time, the others never")
        }
        (None, false) => String::new(),
    };
    let one = match several.is_by_port {
        true => "one of several links, or of a server's workers, is bad",
        false => "one of several servers or workers behind the address is bad",
    };
    format!(
        "{failed} of {tried} connections{order} {how}, and the others are \
         served{which}: {one}"
    )
}

/// Whether a clause ended as such a connection does.
fn is_such(sort: &Sort, at: &Failure) -> bool {
    let end = &at.observed.end;
    match sort {
        Sort::Refused => matches!(end, End::NotMade(_)),
        Sort::Ends(Ending::Silence) => at.is_silent() || matches!(end, End::NotMade(_)),
        // What is sent after a close is answered by a reset.
        Sort::Ends(Ending::Close | Ending::Reset) => {
            matches!(end, End::Close | End::Reset | End::NotMade(_))
        }
        Sort::Answers(_) => matches!(end, End::Wrong(_) | End::Close | End::Reset | End::Silence),
    }
}
