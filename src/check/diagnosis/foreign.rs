//! Bytes of other connections, and addresses of others.

use crate::base::units::whole;
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::Findings;
use crate::check::observation::{End, Wrong};
use crate::probe::pattern::{Damage, Location};

/// `bytes-of-others`: a connection gets what another one sent.
pub(super) fn bytes_of_others(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let foreign = |failure: &Failure| match &failure.observed.end {
        End::Wrong(Wrong {
            damage: Some(Damage::Foreign(from)),
            at,
            ..
        }) => Some((*from, *at)),
        _ => None,
    };
    let (
        Location {
            connection,
            position,
        },
        at,
    ) = facts.failures.iter().find_map(foreign)?;
    let text = format!(
        "bytes of another connection came: of our connection {connection}, from its offset {}, at \
         offset {} of this one. Clients see what others sent",
        whole(position),
        whole(at)
    );
    let advice = "stop the server or the proxy that does so: a buffer or a pipe goes from one \
                  connection to the next with bytes in it, most likely after a reset";
    let explains = facts.clauses(|at| foreign(at).is_some());
    let diagnosis = Diagnosis::certain("bytes-of-others", text, advice, explains);
    let diagnosis = diagnosis.with("whose", format!("connection {connection} of this check"));
    Some(diagnosis.with("offset", position).with("at", at))
}

/// `address-translated`: the server sees another address than the connection has here.
pub(super) fn translated(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let told = |failure: &Failure| match failure.observed.end {
        End::Address { seen, own } => Some((seen, own)),
        _ => None,
    };
    let (seen, own) = facts.failures.iter().find_map(told)?;
    let what = match seen.ip() == own.ip() {
        true => "another port",
        false => "another address",
    };
    let text = format!(
        "the server sees {what} than the connection has here: {seen}, not {own}. An address \
         translation, a proxy or a balancer stands between"
    );
    let advice = "where the server must know its clients, have the proxy send the PROXY protocol \
                  (echopool serve --proxy-protocol), or route without translation";
    let explains = facts.clauses(|at| told(at).is_some());
    let diagnosis = Diagnosis::certain("address-translated", text, advice, explains);
    let diagnosis = diagnosis.with("seen", seen.to_string());
    Some(diagnosis.with("own", own.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::made::{facts, failure};

    #[test]
    fn whose_bytes_came_is_told() {
        let foreign = End::Wrong(Wrong {
            at: 3,
            damage: Some(Damage::Foreign(Location {
                connection: 7,
                position: 512,
            })),
            sent: vec![1],
            came: vec![2],
        });
        let facts = facts(
            &[failure("reset", foreign), failure("urgent", End::Reset)],
            &[],
        );
        let diagnosis = bytes_of_others(&facts, &Findings::default()).unwrap();
        assert_eq!(diagnosis.explains, ["reset"]);
        assert_eq!(diagnosis.evidence["offset"], 512);
        assert_eq!(translated(&facts, &Findings::default()), None);
    }

    #[test]
    fn another_address_is_told_from_another_port() {
        let of = |seen: &str| {
            let end = End::Address {
                seen: seen.parse().unwrap(),
                own: "10.0.0.1:40".parse().unwrap(),
            };
            let facts = facts(&[failure("source-address", end)], &["connect"]);
            translated(&facts, &Findings::default()).unwrap()
        };
        let port = of("10.0.0.1:41");
        assert!(port.text.starts_with("the server sees another port "));
        let address = of("10.9.0.1:40");
        assert!(address.text.starts_with("the server sees another address "));
        assert_eq!(address.evidence["seen"], "10.9.0.1:40");
        assert_eq!(address.evidence["own"], "10.0.0.1:40");
    }
}
