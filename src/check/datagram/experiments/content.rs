//! Who answers, and which bytes come back as others.

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::target::{TRIES, Target};
use crate::check::experiments::TEXTS;
use crate::check::findings::{Changes, HELLO, Hello};

/// Says hello, and keeps what comes.
pub(super) fn hello(target: &mut Target<'_>) -> Result<Hello, NotPassed> {
    let answer = returned(target, HELLO)?;
    Ok(Hello {
        answer: answer.unwrap_or_default(),
        ..Hello::default()
    })
}

/// Sends texts of bytes with a meaning, and keeps those that come back otherwise.
pub(super) fn changes(target: &mut Target<'_>) -> Result<Changes, NotPassed> {
    let mut changed = Vec::new();
    for text in TEXTS {
        if let Some(came) = returned(target, text)?
            && came != text
        {
            changed.push((text.to_vec(), came));
        }
    }
    Ok(Changes {
        changed,
        ..Changes::default()
    })
}

/// What comes back for a text; `None` where nothing does.
fn returned(target: &mut Target<'_>, text: &[u8]) -> Result<Option<Vec<u8>>, NotPassed> {
    let mut port = target.open()?;
    // What comes is not known for an answer where it is too different.
    for _ in 0..TRIES {
        let at = target.ask(&mut port, text.to_vec(), 1)?;
        let answer = port.sent[at].answers.first();
        let came = answer.map(|answer| match answer.change {
            Some(_) => answer.came.clone(),
            None => text.to_vec(),
        });
        let came = came.or_else(|| port.strange.first().cloned());
        if came.is_some() {
            return Ok(came);
        }
    }
    Ok(None)
}
