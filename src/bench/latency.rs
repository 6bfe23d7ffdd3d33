//! Durations and how they are spread.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{
    Deserializer as Reader, Serializer as Writer, V2DeflateSerializer,
};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Three significant digits: an error of at most 0.1 %.
const DIGITS: u8 = 3;

/// Durations, in nanoseconds, in a log-linear histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// In nanoseconds; it grows as needed.
    pub histogram: Histogram<u64>,
}

impl Latency {
    /// Without a single duration.
    ///
    /// # Panics
    /// Never: the number of digits is one that histograms have.
    pub fn new() -> Self {
        let histogram = Histogram::new(DIGITS).expect("three digits are allowed");
        Self { histogram }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// The whole histogram, so that runs can be merged exactly: HdrHistogram's V2
/// encoding, compressed, in base64, as its other implementations read it.
#[derive(Serialize, Deserialize)]
struct Written {
    histogram_v2: String,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.histogram, &mut bytes)
            .map_err(S::Error::custom)?;
        let histogram_v2 = BASE64.encode(bytes);
        Written { histogram_v2 }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(from)?;
        let bytes = BASE64
            .decode(written.histogram_v2)
            .map_err(D::Error::custom)?;
        let histogram = Reader::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(D::Error::custom)?;
        Ok(Self { histogram })
    }
}
