//! A cause of failed clauses, as it is reported. Its fields are the keys of the JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// How sure a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// An experiment, or what was seen itself, would have come out otherwise without it.
    Certain,
    /// It explains what was seen, and was not proved.
    Likely,
}

/// A cause of failed clauses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Its name: lower case, with hyphens.
    pub cause: &'static str,
    /// What is the matter, in a sentence.
    pub text: String,
    /// What to do.
    pub advice: &'static str,
    /// How sure it is.
    pub confidence: Confidence,
    /// The failed clauses that follow from it.
    pub explains: Vec<&'static str>,
    /// Those of them that ended otherwise, by another cause, and would have by this one.
    #[serde(skip)]
    pub(super) hidden: Vec<&'static str>,
    /// The figures and words that prove it; units are in the keys.
    pub evidence: BTreeMap<&'static str, Value>,
}

impl Diagnosis {
    /// A proved cause, without evidence.
    pub(super) fn certain(
        cause: &'static str,
        text: impl Into<String>,
        advice: &'static str,
        explains: Vec<&'static str>,
    ) -> Self {
        Self {
            cause,
            text: text.into(),
            advice,
            confidence: Confidence::Certain,
            explains,
            hidden: Vec::new(),
            evidence: BTreeMap::new(),
        }
    }

    /// The same, not proved.
    pub(super) fn likely(self) -> Self {
        Self {
            confidence: Confidence::Likely,
            ..self
        }
    }

    /// The same, with clauses that would have failed by it if they had not otherwise.
    pub(super) fn hiding(mut self, clauses: Vec<&'static str>) -> Self {
        let hidden = clauses.into_iter();
        let hidden = hidden.filter(|clause| !self.explains.contains(clause));
        self.hidden = hidden.collect();
        self.explains.extend(&self.hidden);
        self
    }

    /// The same, with one more piece of evidence.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.evidence.insert(key, value.into());
        self
    }
}

/// Two lines: the cause and its figures, and what to do.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let likely = match self.confidence {
            Confidence::Certain => "",
            Confidence::Likely => " (likely)",
        };
        writeln!(f, "CAUSE {}{likely}: {}", self.cause, self.text)?;
        write!(f, "    to do: {}", self.advice)
    }
}
