//! One metric: what it is called, what it means, and where it is read.

use std::fmt::{self, Display};
use std::ops::Deref;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Sources;
use crate::node::histogram::Histogram;
use crate::node::process::{Usage, usage};
use crate::node::replica::Replica;
use crate::node::store::StoreStats;

/// What a value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from 0 at the node's start.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Observations, counted in buckets.
    Histogram,
}

/// A metric of a node.
#[derive(Debug)]
pub struct Metric {
    /// As it is told, but for a histogram's suffixes.
    pub name: &'static str,
    pub kind: Kind,
    pub label: Option<&'static str>,
    /// What it is, in a sentence without its full stop.
    pub help: &'static str,
    /// What a value out of the ordinary says, and what to look at then.
    pub advice: &'static str,
    read: Read,
}

/// Tells the values of a metric.
type Read = fn(&Look<'_>, &mut Samples<'_>) -> fmt::Result;

/// A metric without a label.
pub(super) const fn plain(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    advice: &'static str,
    read: Read,
) -> Metric {
    Metric { name, kind, label: None, help, advice, read }
}

/// A metric with a value for each value of a label.
pub(super) const fn labelled(
    kind: Kind,
    (name, label): (&'static str, &'static str),
    help: &'static str,
    advice: &'static str,
    read: Read,
) -> Metric {
    Metric { name, kind, label: Some(label), help, advice, read }
}

/// One look at a node: what several metrics are read from is read once.
pub(super) struct Look<'a> {
    sources: &'a Sources,
    pub replicas: Vec<(Arc<Replica>, StoreStats)>,
    pub usage: Usage,
}

impl Look<'_> {
    pub fn new(sources: &Sources) -> Look<'_> {
        let replicas = sources.shards.all();
        let replicas = replicas.iter().map(|replica| (replica.clone(), replica.store.stats())).collect();
        Look { sources, replicas, usage: usage() }
    }
}

impl Deref for Look<'_> {
    type Target = Sources;

    fn deref(&self) -> &Sources {
        self.sources
    }
}

/// A value as it is told.
pub(super) enum Value<'a> {
    Whole(u64),
    Real(f64),
    Observed(&'a Histogram),
}

/// Where the values of one metric go.
pub(super) struct Samples<'a> {
    kind: Kind,
    label: Option<&'static str>,
    encoder: MetricEncoder<'a>,
}

impl Samples<'_> {
    /// The only value.
    pub fn one<'v>(&mut self, value: impl Into<Value<'v>>) -> fmt::Result {
        encode(self.kind, &value.into(), &mut self.encoder)
    }

    /// The value for one value of the label.
    pub fn of<'v>(&mut self, label: impl Display, value: impl Into<Value<'v>>) -> fmt::Result {
        let labels = [(self.label.expect("only a metric with a label has values for it"), label.to_string())];
        encode(self.kind, &value.into(), &mut self.encoder.encode_family(&labels)?)
    }

    /// A value for each replica, by its shard.
    pub fn of_shards<'v, V: Into<Value<'v>>>(
        &mut self,
        look: &'v Look<'_>,
        value: impl Fn(&'v Replica, &'v StoreStats) -> V,
    ) -> fmt::Result {
        look.replicas.iter().try_for_each(|(replica, stats)| self.of(replica.shard.0, value(replica, stats)))
    }
}

fn encode(kind: Kind, value: &Value<'_>, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, u64, f64>(value, None),
        (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, f64, f64>(value, None),
        // What is larger than any gauge can be is told as the largest.
        (Kind::Gauge, Value::Whole(value)) => {
            encoder.encode_gauge(&i64::try_from(*value).unwrap_or(i64::MAX))
        }
        (Kind::Gauge, Value::Real(value)) => encoder.encode_gauge(value),
        (Kind::Histogram, Value::Observed(histogram)) => {
            let read = histogram.read();
            encoder.encode_histogram::<NoLabelSet>(read.sum, read.count, &read.buckets, None)
        }
        _ => unreachable!("a {kind:?} is read from what is one"),
    }
}

impl Metric {
    /// What it is measured in, if that is in its name.
    pub fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
    }

    pub(super) fn encode(&self, look: &Look<'_>, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // The encoder adds both suffixes itself.
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let (name, unit) = match self.unit() {
            Some("seconds") => (name.trim_end_matches("_seconds"), Some(Unit::Seconds)),
            Some("bytes") => (name.trim_end_matches("_bytes"), Some(Unit::Bytes)),
            _ => (name, None),
        };
        let encoder = encoder.encode_descriptor(name, self.help, unit.as_ref(), self.kind.metric_type())?;
        (self.read)(look, &mut Samples { kind: self.kind, label: self.label, encoder })
    }
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        })
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Value::Whole(value as u64)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

impl<'a> From<&'a Histogram> for Value<'a> {
    fn from(histogram: &'a Histogram) -> Self {
        Value::Observed(histogram)
    }
}
