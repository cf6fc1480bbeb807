//! Counters of our own, and the text in which a scraper reads them.
//!
//! Whoever counts keeps its own counters and writes them into an [`Exposition`] when it is asked; there is no global
//! registry. Recording is a few additions; fixed buckets keep no samples between two scrapes.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The bounds of every histogram of durations, in milliseconds; each objective is one of them.
pub const BUCKETS_MS: [f64; 13] =
    [1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0];

/// Goes up only.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Counts one more while the answer lives.
    pub fn hold(&self) -> Held<'_> {
        self.0.fetch_add(1, Relaxed);
        Held(self)
    }

    /// How many there are.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// One that a [`Gauge`] counts.
#[derive(Debug)]
pub struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// How long something took, in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MS.partition_point(|bound| bound * 1_000.0 < micros as f64);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }
}

/// What a scraper reads: families of samples, each under its help and type.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family; its samples follow. The kind is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes one sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(name, labels, None, value);
    }

    /// Writes a family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// Writes the samples of one histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let bounds = BUCKETS_MS.iter().map(|ms| (ms / 1_000.0).to_string()).chain(["+Inf".into()]);
        let mut so_far = 0;
        for (bound, bucket) in bounds.zip(&histogram.buckets) {
            so_far += bucket.load(Relaxed);
            self.line(&format!("{name}_bucket"), labels, Some(&bound), so_far);
        }
        let seconds = histogram.micros.load(Relaxed) as f64 / 1e6;
        self.line(&format!("{name}_sum"), labels, None, seconds);
        self.line(&format!("{name}_count"), labels, None, so_far);
    }

    /// Gives the whole text.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl Display) {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let labels: Vec<String> = labels.map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{name} {value}"),
            false => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }
}

/// Writes what the operating system knows about this process, under the names that every exporter shares.
pub fn process(out: &mut Exposition) {
    // The kernel counts in hundredths of a second for every program that reads /proc.
    const TICKS: f64 = 100.0;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    // The name of the program stands in brackets and may hold spaces.
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect())
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let after = |text: &str, key: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
    };
    let cpu = (field(14) + field(15)) / TICKS;
    let resident = after(&read("/proc/self/status"), "VmRSS:").unwrap_or_default() * 1_024.0;
    let started = after(&read("/proc/stat"), "btime").unwrap_or_default() + field(22) / TICKS;
    let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    let limit = after(&read("/proc/self/limits"), "Max open files").unwrap_or_default();
    out.single("process_cpu_seconds_total", "counter", "CPU time of user and system, in seconds.", cpu);
    out.single("process_resident_memory_bytes", "gauge", "Resident memory, in bytes.", resident);
    out.single("process_open_fds", "gauge", "Open file descriptors.", open);
    out.single("process_max_fds", "gauge", "Limit of open file descriptors.", limit);
    out.single("process_start_time_seconds", "gauge", "Start of the process, in seconds since 1970.", started);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_and_labels_are_escaped() {
        let histogram = Histogram::default();
        for ms in [1, 2, 30, 20_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let mut out = Exposition::default();
        out.histogram("x_seconds", &[("route", "a\"b\\c\nd")], &histogram);
        let text = out.finish();
        for line in ["le=\"0.001\"} 1", "le=\"0.0025\"} 2", "le=\"0.05\"} 3", "le=\"10\"} 3", "le=\"+Inf\"} 4"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.contains(r#"x_seconds_sum{route="a\"b\\c\nd"} 20.033"#), "{text}");
    }

    #[test]
    fn the_process_is_described_from_what_the_system_knows() {
        let mut out = Exposition::default();
        process(&mut out);
        let text = out.finish();
        let value = |name: &str| -> f64 {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).expect("a sample")
        };
        assert!(value("process_resident_memory_bytes ") > 1e6 && value("process_open_fds ") >= 3.0);
        assert!(value("process_start_time_seconds ") > 1.5e9 && value("process_max_fds ") >= 64.0);
    }
}
