//! A histogram of durations, its percentiles, and its JSON.

use std::io::{self, ErrorKind, Read as _};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{
    Deserializer as Reader, Serializer as Writer, V2DeflateSerializer,
};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Three significant digits: an error of at most 0.1 %.
const DIGITS: u8 = 3;

/// The percentiles that reports show, where the number of durations supports them.
pub const PERCENTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999];

/// The durations that must lie above a percentile: with fewer, a few outliers decide it and
/// the next run differs.
const ABOVE: u64 = 10;

/// The durations that the median needs: half of them lie on either side, so it is stable
/// earlier.
const FOR_MEDIAN: u64 = 3;

/// A log-linear histogram of durations in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// The histogram, in nanoseconds; it grows as needed.
    pub histogram: Histogram<u64>,
}

impl Latency {
    /// An empty histogram.
    ///
    /// # Panics
    /// Never: the number of digits is one that histograms have.
    pub fn new() -> Self {
        let histogram = Histogram::new(DIGITS).expect("three digits are allowed");
        Self { histogram }
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// A percentile in nanoseconds; `None` with too few durations.
    ///
    /// A percentile needs at least ten durations above it: p90 needs 100, p99 1,000, p99.9
    /// 10,000. The median and lower percentiles need three.
    pub fn percentile(&self, percentile: f64) -> Option<u64> {
        (self.count() >= needed(percentile)).then(|| self.value_at(percentile))
    }

    /// Those of [`PERCENTILES`] that have enough durations, each with its value in
    /// nanoseconds.
    pub fn percentiles(&self) -> impl Iterator<Item = (f64, u64)> {
        PERCENTILES
            .into_iter()
            .filter_map(|percentile| Some((percentile, self.percentile(percentile)?)))
    }

    /// The shortest duration, in nanoseconds.
    pub fn min(&self) -> Option<u64> {
        self.of_some(Histogram::min)
    }

    /// The mean, in nanoseconds.
    pub fn mean(&self) -> Option<f64> {
        self.of_some(Histogram::mean)
    }

    /// The standard deviation of the population, in nanoseconds.
    pub fn stddev(&self) -> Option<f64> {
        self.of_some(Histogram::stdev)
    }

    /// The longest duration, in nanoseconds.
    pub fn max(&self) -> Option<u64> {
        self.of_some(Histogram::max)
    }

    /// Adds all durations of another histogram.
    ///
    /// # Panics
    /// Never on a system whose addresses have 64 bits: there the histogram
    /// can grow to any duration.
    pub fn add(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("the histogram can grow");
    }

    fn of_some<T>(&self, value: impl Fn(&Histogram<u64>) -> T) -> Option<T> {
        (!self.histogram.is_empty()).then(|| value(&self.histogram))
    }

    /// The value of the nearest rank, computed so that 99.9 % of 10,000 is the 9,990th and
    /// not, through the rounding of 0.999, the next one.
    fn value_at(&self, percentile: f64) -> u64 {
        let count = to_float(self.count());
        let rank = (count * percentile / 100.0 - TOLERANCE * count)
            .ceil()
            .max(1.0);
        self.histogram.value_at_quantile((rank - 0.5) / count)
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// More than the rounding error of a percentile as a binary fraction.
const TOLERANCE: f64 = 1e-12;

/// The number of durations that a percentile needs.
pub(crate) fn needed(percentile: f64) -> u64 {
    if percentile <= 50.0 {
        return FOR_MEDIAN;
    }
    let above = (100.0 - percentile) / 100.0;
    let needed = to_float(ABOVE) / above;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float converts to the nearest integer"
    )]
    let needed = (needed * (1.0 - 1e-9)).ceil() as u64;
    needed
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
const fn to_float(count: u64) -> f64 {
    count as f64
}

/// The longest encoding that is unpacked, in bytes: all counts of a histogram of three
/// digits, each of the greatest length, take 1 MB.
const LONGEST: u64 = 2 << 20;

/// More durations than any run has; sums of such counts can't overflow and are exact as
/// floats.
const MOST: u64 = 1 << 53;

/// The magic number of the compressed encoding.
const PACKED: [u8; 4] = 0x1c84_9314_u32.to_be_bytes();

/// The length of the header before the compressed part, in bytes.
const HEAD_PACKED: usize = 8;

/// The length of the header before the counts, in bytes; its second four are their length.
const HEAD: usize = 40;

/// The JSON of a histogram. `histogram_v2` is the whole histogram, so that runs can be merged
/// exactly: HdrHistogram's V2 encoding, compressed, in base64, as other implementations read
/// it. The other fields are for people and scripts; they are not read back.
#[derive(Serialize)]
struct Written {
    count: u64,
    min_ns: Option<u64>,
    mean_ns: Option<f64>,
    stddev_ns: Option<f64>,
    max_ns: Option<u64>,
    percentiles: Vec<Percentile>,
    histogram_v2: String,
}

#[derive(Serialize)]
struct Percentile {
    percentile: f64,
    ns: u64,
}

#[derive(Deserialize)]
struct Read {
    histogram_v2: String,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.histogram, &mut bytes)
            .map_err(S::Error::custom)?;
        let percentiles = self.percentiles();
        let written = Written {
            count: self.count(),
            min_ns: self.min(),
            mean_ns: self.mean(),
            stddev_ns: self.stddev(),
            max_ns: self.max(),
            percentiles: percentiles
                .map(|(percentile, ns)| Percentile { percentile, ns })
                .collect(),
            histogram_v2: BASE64.encode(bytes),
        };
        written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = Read::deserialize(from)?;
        let bytes = BASE64.decode(read.histogram_v2).map_err(D::Error::custom)?;
        let bytes = unpack(&bytes).map_err(D::Error::custom)?;
        let histogram: Histogram<u64> = Reader::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(D::Error::custom)?;
        // The histogram read has the bounds of its writer; the new one grows.
        let mut latency = Self::new();
        if histogram.sigfig() != DIGITS {
            return Err(D::Error::custom("its histogram has not three digits"));
        }
        if histogram.len() > MOST {
            return Err(D::Error::custom(
                "its histogram has more counts than any run",
            ));
        }
        latency.histogram.add(histogram).map_err(D::Error::custom)?;
        Ok(latency)
    }
}

/// Decompresses a histogram's encoding and verifies the length that it declares: the decoder
/// would allocate 4 GiB if a damaged file declared so.
fn unpack(encoded: &[u8]) -> io::Result<Vec<u8>> {
    if !encoded.starts_with(&PACKED) {
        // For another encoding the decoder gets only its magic number, and rejects it.
        return Ok(encoded[..encoded.len().min(PACKED.len())].to_vec());
    }
    let mut inside = Vec::new();
    let packed = encoded.get(HEAD_PACKED..).ok_or(ErrorKind::UnexpectedEof)?;
    let unpacked = ZlibDecoder::new(packed);
    unpacked.take(LONGEST).read_to_end(&mut inside)?;
    let declared = inside.get(4..).and_then(<[u8]>::first_chunk);
    let declared = declared.ok_or(ErrorKind::UnexpectedEof)?;
    match usize::try_from(u32::from_be_bytes(*declared)) {
        Ok(length) if length.saturating_add(HEAD) <= inside.len() => Ok(inside),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::read::ZlibEncoder;

    use super::*;

    fn latency(values: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        for value in values {
            latency.histogram.record(value).unwrap();
        }
        latency
    }

    #[test]
    fn statistics_of_few_durations_are_exact() {
        let latency = latency([2, 4, 4, 4, 5, 5, 7, 9]);
        assert_eq!(latency.count(), 8);
        assert_eq!(latency.min(), Some(2));
        assert_eq!(latency.mean(), Some(5.0));
        assert_eq!(latency.stddev(), Some(2.0));
        assert_eq!(latency.max(), Some(9));
        assert_eq!(latency.percentile(50.0), Some(4));
    }

    #[test]
    fn an_empty_histogram_has_no_statistics() {
        let latency = Latency::new();
        assert_eq!(latency.count(), 0);
        assert_eq!((latency.min(), latency.max()), (None, None));
        assert_eq!((latency.mean(), latency.stddev()), (None, None));
        assert_eq!(latency.percentiles().count(), 0);
    }

    #[test]
    fn a_percentile_is_the_value_of_its_nearest_rank() {
        let hundred = latency(1..=100);
        assert_eq!(hundred.percentile(50.0), Some(50));
        assert_eq!(hundred.percentile(90.0), Some(90));
        assert_eq!(hundred.percentile(0.5), Some(1));
        let thousand = latency(1..=1000);
        assert_eq!(thousand.percentile(7.0), Some(70));
        assert_eq!(thousand.percentile(99.0), Some(990));
        // The 9,991st is 2.
        let mostly_one = latency((0..10_000).map(|n| if n < 9990 { 1 } else { 2 }));
        assert_eq!(mostly_one.percentile(99.9), Some(1));
        assert_eq!(mostly_one.max(), Some(2));
    }

    #[test]
    fn a_percentile_needs_enough_durations() {
        for (percentile, enough) in [
            (50.0, 3),
            (25.0, 3),
            (75.0, 40),
            (90.0, 100),
            (99.0, 1000),
            (99.9, 10_000),
            (99.99, 100_000),
        ] {
            assert_eq!(needed(percentile), enough, "p{percentile}");
            let mut latency = latency(1..enough);
            assert_eq!(latency.percentile(percentile), None, "p{percentile}");
            latency.histogram.record(1).unwrap();
            assert!(latency.percentile(percentile).is_some(), "p{percentile}");
        }
        assert_eq!(needed(99.999), 1_000_000);
        assert_eq!(latency(1..=1000).percentiles().last(), Some((99.0, 990)));
    }

    #[test]
    fn no_value_is_off_by_a_hundredth() {
        let mut nanoseconds = 100_u64;
        while nanoseconds < 3_600_000_000_000 {
            let latency = latency([nanoseconds; 3]);
            let values = [latency.min(), latency.percentile(50.0), latency.max()];
            for value in values {
                let off = value.unwrap().abs_diff(nanoseconds);
                assert!(off * 100 <= nanoseconds, "{nanoseconds}: {value:?}");
            }
            nanoseconds = nanoseconds * 21 / 20 + 7;
        }
    }

    #[test]
    fn a_histogram_reads_back_from_its_json_without_the_statistics() {
        let latency = latency((1..=1000).map(|n| n * 1000));
        let mut json = serde_json::to_value(&latency).unwrap();
        assert_eq!(json["count"], 1000);
        assert_eq!(json["min_ns"], 1000);
        assert_eq!(json["percentiles"][1]["percentile"], 90.0);
        assert_eq!(json["percentiles"].as_array().unwrap().len(), 3);
        assert_eq!(
            serde_json::from_value::<Latency>(json.clone()).unwrap(),
            latency
        );
        json["count"] = 7.into();
        json.as_object_mut().unwrap().remove("percentiles");
        assert_eq!(serde_json::from_value::<Latency>(json).unwrap(), latency);
        let empty = serde_json::to_string(&Latency::new()).unwrap();
        let empty = serde_json::from_str::<Latency>(&empty).unwrap();
        assert_eq!(empty, Latency::new());
    }

    #[test]
    fn a_histogram_that_was_read_back_can_grow() {
        let json = serde_json::to_string(&latency([5])).unwrap();
        let mut merged: Latency = serde_json::from_str(&json).unwrap();
        merged.add(&latency([1_000_000_000, 7]));
        assert_eq!(merged, latency([1_000_000_000, 5, 7]));
        merged.histogram.record(u64::MAX / 2).unwrap();
    }

    #[test]
    fn a_histogram_that_declares_a_wrong_length_is_refused() {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&latency([7]).histogram, &mut bytes)
            .unwrap();
        let mut counts = unpack(&bytes).unwrap();
        assert!(counts.len() < 100);
        counts[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut packed = bytes[..HEAD_PACKED].to_vec();
        ZlibEncoder::new(counts.as_slice(), Compression::fast())
            .read_to_end(&mut packed)
            .unwrap();
        assert!(unpack(&packed).is_err());
    }

    #[test]
    fn more_counts_than_can_be_added_up_are_refused() {
        let mut many = Latency::new();
        many.histogram.record_n(7, MOST).unwrap();
        let json = serde_json::to_string(&many).unwrap();
        assert_eq!(serde_json::from_str::<Latency>(&json).unwrap(), many);
        many.histogram.record(9).unwrap();
        let json = serde_json::to_string(&many).unwrap();
        assert!(serde_json::from_str::<Latency>(&json).is_err());
    }

    #[test]
    fn a_damaged_histogram_is_refused() {
        for text in ["", "!", "AAAA", "HISTFAAAAA"] {
            let json = serde_json::json!({ "histogram_v2": text });
            assert!(serde_json::from_value::<Latency>(json).is_err(), "{text}");
        }
    }
}
