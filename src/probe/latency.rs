//! Durations and how they are spread.

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

/// So many durations must lie above a percentile, or a few of them decide it
/// and the next run tells another.
const ABOVE: u64 = 10;

/// The median has half of the durations on either side and settles earlier.
const FOR_MEDIAN: u64 = 3;

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

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The duration that `percentile` of a hundred durations do not exceed, in
    /// nanoseconds; `None` where there are too few to tell.
    ///
    /// A percentile is told when at least ten durations lie above it: p90 from
    /// 100 on, p99 from 1,000, p99.9 from 10,000. The median and what is below
    /// it are told from three on.
    pub fn percentile(&self, percentile: f64) -> Option<u64> {
        (self.count() >= needed(percentile)).then(|| self.value_at(percentile))
    }

    /// [`PERCENTILES`] that there are enough durations for, in nanoseconds.
    pub fn percentiles(&self) -> impl Iterator<Item = (f64, u64)> {
        PERCENTILES
            .into_iter()
            .filter_map(|percentile| Some((percentile, self.percentile(percentile)?)))
    }

    /// The shortest duration, in nanoseconds.
    pub fn min(&self) -> Option<u64> {
        self.of_some(Histogram::min)
    }

    /// The average, in nanoseconds.
    pub fn mean(&self) -> Option<f64> {
        self.of_some(Histogram::mean)
    }

    /// How far the durations lie from their average, in nanoseconds: the
    /// standard deviation of all of them.
    pub fn stddev(&self) -> Option<f64> {
        self.of_some(Histogram::stdev)
    }

    /// The longest duration, in nanoseconds.
    pub fn max(&self) -> Option<u64> {
        self.of_some(Histogram::max)
    }

    /// Takes over all of another's durations.
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

    /// By nearest rank, in whole numbers: 99.9 % of 10,000 is the 9,990th and
    /// not, for a rounding of 0.999, the one after.
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

/// What a percentile as a binary fraction may be off, and more.
const TOLERANCE: f64 = 1e-12;

/// How many durations a percentile needs.
pub(crate) fn needed(percentile: f64) -> u64 {
    if percentile <= 50.0 {
        return FOR_MEDIAN;
    }
    let above = (100.0 - percentile) / 100.0;
    let needed = to_float(ABOVE) / above;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float turns into the nearest number there is"
    )]
    let needed = (needed * (1.0 - 1e-9)).ceil() as u64;
    needed
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
const fn to_float(count: u64) -> f64 {
    count as f64
}

/// The longest encoding, in bytes, that is unpacked: all counts of a histogram of
/// three digits, each as long as can be, take 1 MB.
const LONGEST: u64 = 2 << 20;

/// No run has more durations; sums of such counts can't overflow, and are exact as floats.
const MOST: u64 = 1 << 53;

/// The name of the compressed encoding.
const PACKED: [u8; 4] = 0x1c84_9314_u32.to_be_bytes();

/// What stands before the compressed part: its name and its length.
const HEAD_PACKED: usize = 8;

/// What stands before the counts, in bytes; its second four are their length.
const HEAD: usize = 40;

/// The whole histogram, so that runs can be merged exactly: HdrHistogram's V2
/// encoding, compressed, in base64, as its other implementations read it. The
/// numbers beside it are for people and their scripts; nothing reads them back.
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
        let bytes = inside(&bytes).map_err(D::Error::custom)?;
        let histogram: Histogram<u64> = Reader::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(D::Error::custom)?;
        // What was read has the bounds and digits of its writer; ours grows.
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

/// A histogram's encoding without its compression, no longer than it says: the
/// reader would make room for 4 GiB if a damaged file said so.
fn inside(encoded: &[u8]) -> io::Result<Vec<u8>> {
    if !encoded.starts_with(&PACKED) {
        // Of another encoding the reader sees the name alone, and says that it is wrong.
        return Ok(encoded[..encoded.len().min(PACKED.len())].to_vec());
    }
    let mut inside = Vec::new();
    let packed = encoded.get(HEAD_PACKED..).ok_or(ErrorKind::UnexpectedEof)?;
    let unpacked = ZlibDecoder::new(packed);
    unpacked.take(LONGEST).read_to_end(&mut inside)?;
    let told = inside.get(4..).and_then(<[u8]>::first_chunk);
    let told = told.ok_or(ErrorKind::UnexpectedEof)?;
    match usize::try_from(u32::from_be_bytes(*told)) {
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
    fn the_numbers_of_few_durations_are_exact() {
        let latency = latency([2, 4, 4, 4, 5, 5, 7, 9]);
        assert_eq!(latency.count(), 8);
        assert_eq!(latency.min(), Some(2));
        assert_eq!(latency.mean(), Some(5.0));
        assert_eq!(latency.stddev(), Some(2.0));
        assert_eq!(latency.max(), Some(9));
        assert_eq!(latency.percentile(50.0), Some(4));
    }

    #[test]
    fn nothing_has_no_numbers() {
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
        // The 9,991st would be 2 already.
        let mostly_one = latency((0..10_000).map(|n| if n < 9990 { 1 } else { 2 }));
        assert_eq!(mostly_one.percentile(99.9), Some(1));
        assert_eq!(mostly_one.max(), Some(2));
    }

    #[test]
    fn a_percentile_that_too_few_durations_support_is_not_told() {
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
            let told = [latency.min(), latency.percentile(50.0), latency.max()];
            for told in told {
                let off = told.unwrap().abs_diff(nanoseconds);
                assert!(off * 100 <= nanoseconds, "{nanoseconds}: {told:?}");
            }
            nanoseconds = nanoseconds * 21 / 20 + 7;
        }
    }

    #[test]
    fn what_is_written_reads_back_and_its_numbers_are_not_needed() {
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
    fn what_was_read_back_can_take_more() {
        let json = serde_json::to_string(&latency([5])).unwrap();
        let mut merged: Latency = serde_json::from_str(&json).unwrap();
        merged.add(&latency([1_000_000_000, 7]));
        assert_eq!(merged, latency([1_000_000_000, 5, 7]));
        merged.histogram.record(u64::MAX / 2).unwrap();
    }

    #[test]
    fn a_histogram_that_says_it_is_longer_than_it_is_is_refused() {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&latency([7]).histogram, &mut bytes)
            .unwrap();
        let mut counts = inside(&bytes).unwrap();
        assert!(counts.len() < 100);
        counts[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut packed = bytes[..HEAD_PACKED].to_vec();
        ZlibEncoder::new(counts.as_slice(), Compression::fast())
            .read_to_end(&mut packed)
            .unwrap();
        assert!(inside(&packed).is_err());
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
