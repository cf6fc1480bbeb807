//! The access log: one line a request up to a number of lines a second; the server's own failures always.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::clock::Moment;
use crate::telemetry::Log;

/// Offers lines to the log, within a budget for each second.
pub(super) struct AccessLog {
    pub(super) log: Log,
    per_second: u32,
    second: AtomicU64,
    written: AtomicU32,
}

/// What is said of a request: neither its query nor its body, and nobody's whole address.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) target: &'static str,
    pub(super) event: &'static str,
    pub(super) request_id: &'a str,
    pub(super) trace_id: String,
    pub(super) method: &'a str,
    pub(super) route: &'a str,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    pub(super) duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    pub(super) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
}

impl AccessLog {
    pub(super) fn new(log: Log, per_second: u32) -> AccessLog {
        AccessLog { log, per_second, second: AtomicU64::new(0), written: AtomicU32::new(0) }
    }

    /// Whether a request that ended now gets a line.
    pub(super) fn takes(&self, now: Moment, must: bool) -> bool {
        let second = now.nanos_since(Moment::default()) / 1_000_000_000;
        if self.second.load(Relaxed) != second && self.second.swap(second, Relaxed) != second {
            self.written.store(0, Relaxed);
        }
        must || (self.written.load(Relaxed) < self.per_second && self.written.fetch_add(1, Relaxed) < self.per_second)
    }
}
