//! The server's metrics, as OpenMetrics and as Prometheus' older text.

use std::collections::BTreeMap;
use std::fmt;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::accept::Format;
use crate::server::metrics::Phase;
use crate::server::status::{Snapshot, Status, WorkerLoad};
use crate::worker::datagrams::refusal::Refusal;
use crate::worker::eviction::Reason;
use crate::worker::metrics::DELAY_CLASSES;

/// A registry that reads `status` anew each time it is encoded.
pub(super) fn registry(status: Status) -> Registry {
    let mut registry = Registry::with_prefix("echopool");
    registry.register_collector(Box::new(Metrics(status)));
    registry
}

/// All registered metrics, with their present values.
pub(super) fn text(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Text => as_prometheus(&text),
    })
}

/// OpenMetrics in Prometheus' older text format, in which a family has the name of its samples
/// and there are neither units, nor infos, nor an end.
fn as_prometheus(open_metrics: &str) -> String {
    let types = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let types: BTreeMap<_, _> = types.filter_map(|line| line.split_once(' ')).collect();
    let mut text = String::new();
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(word @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let (suffix, kind) = match types.get(name) {
                    Some(&"counter") => ("_total", "counter"),
                    Some(&"info") => ("_info", "gauge"),
                    Some(&kind) => ("", kind),
                    None => ("", "untyped"),
                };
                let rest = if word == "TYPE" { kind } else { rest };
                text.push_str(&format!("# {word} {name}{suffix} {rest}\n"));
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

struct Metrics(Status);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot();
        let mut writer = Writer(encoder);
        writer.process(&self.0, &snapshot)?;
        writer.clients(&snapshot)?;
        writer.datagrams(&snapshot)?;
        writer.delays(&snapshot)?;
        writer.workers(&snapshot.workers)
    }
}

/// A family's name without prefix and unit, its unit, and its help text.
type Family<'a> = (&'a str, Option<&'a Unit>, &'a str);

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counter(&mut self, (name, unit, help): Family<'_>, value: u64) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        count(&mut family, value)
    }

    fn gauge(&mut self, (name, unit, help): Family<'_>, value: f64) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        family.encode_gauge(&value)
    }

    fn whole(&mut self, (name, unit, help): Family<'_>, value: usize) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        family.encode_gauge(&value)
    }

    fn process(&mut self, status: &Status, snapshot: &Snapshot) -> fmt::Result {
        let help = "The version that runs.";
        let mut family = self
            .0
            .encode_descriptor("build", help, None, MetricType::Info)?;
        family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let since = status.started_at.duration_since(UNIX_EPOCH);
        let help = "When the server started, as Unix time.";
        let family = ("start_time", Some(&Unit::Seconds), help);
        self.gauge(family, since.unwrap_or_default().as_secs_f64())?;
        let help = "The state of the server: 1 for the current one.";
        let mut family = self
            .0
            .encode_descriptor("state", help, None, MetricType::Gauge)?;
        for phase in Phase::ALL {
            let is_it = u32::from(phase == snapshot.phase);
            let labels = [("state", phase.name())];
            family.encode_family(&labels)?.encode_gauge(&is_it)?;
        }
        Ok(())
    }

    fn clients(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let help = "Connections open now.";
        self.whole(("connections_open", None, help), snapshot.open())?;
        let help = "The most connections at once.";
        let family = ("connections_limit", None, help);
        self.whole(family, snapshot.max_connections)?;
        let help = "Connections accepted, including those refused at once.";
        self.counter(("connections_accepted", None, help), snapshot.accepted)?;
        let help = "Connections refused unserved, by limit.";
        self.turned_away(("connections_refused", None, help), snapshot, true)?;
        let help = "Connections evicted, by limit.";
        self.turned_away(("connections_evicted", None, help), snapshot, false)?;
        let help = "Bytes sent back.";
        let family = ("echoed", Some(&Unit::Bytes), help);
        self.counter(family, snapshot.bytes())?;
        let help = "Times that a worker sent a connection echo: the round trips of a client that \
                    waits for each reply.";
        self.counter(("echo_turns", None, help), snapshot.echoes())?;
        let help = "Times that accepting paused because the system refused it.";
        self.counter(("accept_pauses", None, help), snapshot.accept_pauses)?;
        let help = "1 while no client is accepted because memory is short.";
        let family = ("memory_short", None, help);
        self.whole(family, usize::from(snapshot.memory_short.is_some()))
    }

    fn turned_away(
        &mut self,
        (name, unit, help): Family<'_>,
        snapshot: &Snapshot,
        refused: bool,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        let reasons = Reason::ALL.into_iter();
        for reason in reasons.filter(|reason| reason.is_refusal() == refused) {
            let labels = [("reason", reason.word())];
            let mut one = family.encode_family(&labels)?;
            count(&mut one, snapshot.turned_away.of(reason))?;
        }
        Ok(())
    }

    fn datagrams(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let counts = snapshot.datagrams();
        let help = "Datagrams that came.";
        self.counter(("datagrams_received", None, help), counts.received)?;
        let help = "Datagrams that were answered.";
        self.counter(("datagrams_answered", None, help), counts.answered)?;
        let help = "Bytes sent back in datagrams.";
        let family = ("datagrams_echoed", Some(&Unit::Bytes), help);
        self.counter(family, counts.bytes)?;
        let help = "Datagrams whose answer the system refused to send.";
        self.counter(("datagrams_unsent", None, help), counts.unsent)?;
        let help = "Datagrams that the kernel dropped: the queue was full, or a checksum wrong.";
        self.counter(("datagrams_dropped", None, help), counts.dropped)?;
        let help = "Datagrams that were not answered, by reason.";
        let mut family =
            self.0
                .encode_descriptor("datagrams_refused", help, None, MetricType::Counter)?;
        for why in Refusal::ALL {
            let labels = [("reason", why.word())];
            count(&mut family.encode_family(&labels)?, counts.refused(why))?;
        }
        Ok(())
    }

    fn delays(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let help = "From a connection being accepted to its first bytes sent back.";
        let mut family = self.0.encode_descriptor(
            "first_echo",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let delays = &snapshot.first_echo;
        let ends = DELAY_CLASSES.iter().map(|end| end.as_secs_f64());
        let ends = ends.chain([f64::INFINITY]);
        let buckets: Vec<_> = ends.zip(delays.counts).collect();
        let count = delays.counts.iter().sum();
        family.encode_histogram::<NoLabelSet>(delays.sum.as_secs_f64(), count, &buckets, None)
    }

    fn workers(&mut self, workers: &[WorkerLoad]) -> fmt::Result {
        let bytes = Some(&Unit::Bytes);
        let help = "Connections open now or handed to this worker.";
        let family = ("worker_connections_open", None, help);
        self.each(family, workers, |worker| Value::Now(worker.open))?;
        let help = "Connections that this worker has served or serves.";
        let family = ("worker_connections", None, help);
        self.each(family, workers, |worker| Value::Sum(worker.connections))?;
        let help = "Bytes that this worker sent back.";
        let family = ("worker_echoed", bytes, help);
        self.each(family, workers, |worker| Value::Sum(worker.bytes))?;
        let help = "Times that this worker sent a connection echo.";
        let family = ("worker_echo_turns", None, help);
        self.each(family, workers, |worker| Value::Sum(worker.echoes))?;
        let help = "CPU time of this worker's thread; starts again at 0 when it is replaced.";
        let family = ("worker_cpu", Some(&Unit::Seconds), help);
        self.each(family, workers, |worker| {
            worker
                .cpu
                .map_or(Value::Unknown, |time| Value::Time(time.as_secs_f64()))
        })?;
        self.worker_datagrams(workers)?;
        let help = "Memory of the echo that this worker's clients have not accepted.";
        let family = ("worker_held", bytes, help);
        self.each(family, workers, |worker| Value::Now(worker.held))?;
        let help = "Times that this worker died and was replaced.";
        let family = ("worker_replaced", None, help);
        self.each(family, workers, |worker| Value::Sum(worker.replaced))
    }

    fn worker_datagrams(&mut self, workers: &[WorkerLoad]) -> fmt::Result {
        let help = "Datagrams that came to this worker.";
        let family = ("worker_datagrams_received", None, help);
        self.each(family, workers, |worker| {
            Value::Sum(worker.datagrams.received)
        })?;
        let help = "Datagrams that this worker answered.";
        let family = ("worker_datagrams_answered", None, help);
        self.each(family, workers, |worker| {
            Value::Sum(worker.datagrams.answered)
        })?;
        let help = "Bytes that this worker sent back in datagrams.";
        let family = ("worker_datagrams_echoed", Some(&Unit::Bytes), help);
        self.each(family, workers, |worker| Value::Sum(worker.datagrams.bytes))?;
        let help = "Datagrams for this worker that the kernel dropped.";
        let family = ("worker_datagrams_dropped", None, help);
        self.each(family, workers, |worker| {
            Value::Sum(worker.datagrams.dropped)
        })?;
        let help = "Datagrams that this worker did not answer, by reason.";
        let name = "worker_datagrams_refused";
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for worker in workers {
            for why in Refusal::ALL {
                let labels = [
                    ("worker", worker.id.to_string()),
                    ("reason", why.word().into()),
                ];
                let refused = worker.datagrams.refused(why);
                count(&mut family.encode_family(&labels)?, refused)?;
            }
        }
        Ok(())
    }

    /// A family with one sample a worker.
    fn each(
        &mut self,
        (name, unit, help): Family<'_>,
        workers: &[WorkerLoad],
        value: impl Fn(&WorkerLoad) -> Value,
    ) -> fmt::Result {
        let kind = match workers.first().map(&value) {
            Some(Value::Now(_)) => MetricType::Gauge,
            _ => MetricType::Counter,
        };
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for worker in workers {
            let labels = [("worker", worker.id)];
            let mut one = family.encode_family(&labels)?;
            match value(worker) {
                Value::Now(now) => one.encode_gauge(&now)?,
                Value::Sum(sum) => count(&mut one, sum)?,
                Value::Time(time) => one.encode_counter::<NoLabelSet, _, f64>(&time, None)?,
                Value::Unknown => {}
            }
        }
        Ok(())
    }
}

/// A sample of one worker, by the type of its metric.
enum Value {
    Now(usize),
    Sum(u64),
    Time(f64),
    Unknown,
}

fn count(family: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    family.encode_counter::<NoLabelSet, _, u64>(&value, None)
}
