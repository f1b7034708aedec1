//! Counters for `/metrics` and for the tests that hold the number of passes and writes; labels come from enums only.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// A kind of object.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    /// Its name.
    pub kind: String,
}

/// What the controller counts. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    passes: Family<KindLabel, Counter>,
    writes: Family<KindLabel, Counter>,
}

impl Metrics {
    /// Adds the counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("davit_reconcile", "Passes over objects", self.passes.clone());
        registry.register("davit_status_writes", "Writes of status", self.writes.clone());
    }

    /// A pass over an object of this kind.
    pub fn pass(&self, kind: &str) {
        self.passes
            .get_or_create(&KindLabel {
                kind: kind.to_owned(),
            })
            .inc();
    }

    /// A write of a status of this kind.
    pub fn status_write(&self, kind: &str) {
        self.writes
            .get_or_create(&KindLabel {
                kind: kind.to_owned(),
            })
            .inc();
    }

    /// How many passes there have been over objects of a kind.
    pub fn passes(&self, kind: &str) -> u64 {
        self.passes
            .get_or_create(&KindLabel {
                kind: kind.to_owned(),
            })
            .get()
    }

    /// How many writes of status there have been, of a kind.
    pub fn writes(&self, kind: &str) -> u64 {
        self.writes
            .get_or_create(&KindLabel {
                kind: kind.to_owned(),
            })
            .get()
    }
}
