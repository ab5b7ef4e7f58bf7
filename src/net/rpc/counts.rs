//! What the answering side of a machine's connections counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::net::transport::Class;

/// Shared by all connections that a machine serves.
#[derive(Debug, Default)]
pub struct ServeCounts {
    /// Connections being served, by class.
    open: [Gauge; Class::ALL.len()],
    /// Connections closed because what came over them is no frame, or too large a one.
    pub malformed: Counter,
    /// Connections closed because their answers were not taken.
    pub not_taken: Counter,
    /// Calls and streams whose handler panicked; their connections were closed.
    pub panics: Counter,
}

impl ServeCounts {
    /// Connections of this class being served.
    pub fn open(&self, class: Class) -> &Gauge {
        &self.open[class as usize]
    }
}
