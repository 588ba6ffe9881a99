//! What the controller counts, under the names that Flux's dashboards know where there is one.
//!
//! Invariant: nothing is decided by a count, and no label has a value of unbounded many: a series goes with its object. What is
//! counted, and when, is not known here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of a reconciled object, as Flux names them.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reconciled {
    kind: &'static str,
    name: String,
    namespace: String,
}

/// Labels of a written object.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Written {
    kind: String,
}

type Durations = Family<Reconciled, Histogram, fn() -> Histogram>;

/// All metrics of the controller.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Durations,
    panics: Counter,
    writes: Family<Written, Counter>,
    queue: Gauge,
    downloads: Counter,
    cpu_seconds: Counter<f64, AtomicU64>,
    resident_bytes: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // Flux: ten buckets from 10 ms to 30 minutes.
        let reconciles: Durations =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 3.84, 10)));
        let metrics = Self {
            registry: Registry::default(),
            reconciles,
            panics: Counter::default(),
            writes: Family::default(),
            queue: Gauge::default(),
            downloads: Counter::default(),
            cpu_seconds: Counter::default(),
            resident_bytes: Gauge::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let seconds = "The duration in seconds of a reconcile of an object";
        registry.register("gotk_reconcile_duration_seconds", seconds, self.reconciles.clone());
        registry.register("porter_flux_reconcile_panics", "Reconciles that panicked", self.panics.clone());
        registry.register(
            "porter_flux_writes",
            "Objects, statuses and events written to the API server, and deletions",
            self.writes.clone(),
        );
        registry.register("porter_flux_queue_depth", "BundleSyncs that are due or running", self.queue.clone());
        registry.register("porter_flux_artifact_downloads", "Artifacts downloaded", self.downloads.clone());
        let seconds = "CPU time of this process, user and system, in seconds";
        registry.register("process_cpu_seconds", seconds, self.cpu_seconds.clone());
        let bytes = "Resident memory of this process in bytes";
        registry.register("process_resident_memory_bytes", bytes, self.resident_bytes.clone());
        self
    }

    /// A reconcile of a BundleSync took this long.
    pub fn reconciled(&self, namespace: &str, name: &str, took: Duration) {
        let labels = Reconciled { kind: "BundleSync", name: name.to_owned(), namespace: namespace.to_owned() };
        self.reconciles.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A BundleSync is gone: its series go too.
    pub fn forget(&self, namespace: &str, name: &str) {
        let labels = Reconciled { kind: "BundleSync", name: name.to_owned(), namespace: namespace.to_owned() };
        self.reconciles.remove(&labels);
    }

    /// A reconcile panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// An object of a kind was written.
    pub fn wrote(&self, kind: &str) {
        self.writes.get_or_create(&Written { kind: kind.to_owned() }).inc();
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self, queue_depth: usize, downloads: u64) -> String {
        self.queue.set(i64::try_from(queue_depth).unwrap_or(i64::MAX));
        self.downloads.inner().store(downloads, Ordering::Relaxed);
        if let Some(usage) = Usage::of_this_process() {
            self.cpu_seconds.inner().store(usage.cpu_seconds.to_bits(), Ordering::Relaxed);
            self.resident_bytes.set(usage.resident_bytes);
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// What the kernel says of this process (proc(5)); none where there is no `/proc`.
struct Usage {
    cpu_seconds: f64,
    resident_bytes: i64,
}

impl Usage {
    /// Unit of times in `/proc/self/stat`: USER_HZ, 100 on every platform that Rust and Kubernetes share.
    const TICKS: f64 = 100.0;

    fn of_this_process() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the name in parentheses, which may hold anything; the third follows the last of them.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let user: f64 = fields.next()?.parse().ok()?;
        let system: f64 = fields.next()?.parse().ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: i64 = resident.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { cpu_seconds: (user + system) / Self::TICKS, resident_bytes: kibibytes * 1024 })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// docs/controller.md has a row for each metric, with its name and type.
    #[test]
    fn every_metric_is_in_the_manual() {
        let manual = include_str!("../../docs/controller.md");
        let (_, section) = manual.split_once("\n## Metrics\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let row = |line: &str| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            Some(format!("{} {}", name.split('{').next()?, rest.split(" | ").next()?))
        };
        let told: BTreeSet<String> = section.lines().filter_map(row).collect();
        let metrics = Metrics::default();
        metrics.reconciled("ns", "apps", Duration::ZERO);
        metrics.wrote("Installation");
        let text = metrics.render(0, 0);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let total = |kind: &str| if kind == "counter" { "_total" } else { "" };
        let known: BTreeSet<String> = types.map(|(name, kind)| format!("{name}{} {kind}", total(kind))).collect();
        assert_eq!(told, known);
    }

    #[test]
    fn what_was_counted_is_rendered_and_forgotten() {
        let metrics = Metrics::default();
        metrics.reconciled("ns", "apps", Duration::from_millis(20));
        metrics.wrote("Installation");
        let text = metrics.render(3, 1);
        for line in [
            "gotk_reconcile_duration_seconds_count{kind=\"BundleSync\",name=\"apps\",namespace=\"ns\"} 1",
            "porter_flux_writes_total{kind=\"Installation\"} 1",
            "porter_flux_queue_depth 3",
            "porter_flux_artifact_downloads_total 1",
            "process_cpu_seconds_total ",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        metrics.forget("ns", "apps");
        assert!(!metrics.render(0, 0).contains("apps"));
    }
}
