//! What the shell counts and logs: plain atomics, found with the route, so that recording is a few additions.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::time::Duration;

use hyper::StatusCode;
use parking_lot::Mutex;
use serde_json::json;

use super::Shell;
use super::head::{About, text};
use super::limits::truncated;
use crate::telemetry::{Counter, Exposition, Gauge, Histogram};

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What happened on one method of one route.
#[derive(Default)]
pub(super) struct Meter {
    by_class: [Counter; 5],
    took: Histogram,
}

impl Meter {
    pub(super) fn record(&self, status: StatusCode, took: Duration) {
        if let Some(class) = self.by_class.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            class.add();
        }
        self.took.record(took);
    }
}

/// What happened in the shell as a whole.
#[derive(Default)]
pub(super) struct Traffic {
    /// Requests that no route took, and those refused before they had one.
    pub(super) unmatched: Meter,
    pub(super) in_flight: Gauge,
    pub(super) connections: Gauge,
    /// Refusals by their stable code, of which there is a closed list.
    pub(super) refused: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) accept_failures: Counter,
}

impl About {
    /// Counts an answer, and logs it: up to a number of lines a second, the server's own failures always. Neither
    /// query nor body is told, and nobody's whole address.
    pub(super) fn record(&self, status: StatusCode, code: Option<&'static str>, bytes: Option<u64>) {
        let (shell, now) = (&self.link.shell, self.link.shell.app.clock.moment());
        let took = now.since(self.moment);
        let route = self.route.map(|at| &shell.routes.all[at]);
        let operation = route.and_then(|it| it.operation(&self.method));
        operation.map_or(&shell.traffic.unmatched, |it| &it.meter).record(status, took);
        if let Some(code) = code {
            *shell.traffic.refused.lock().entry(code).or_default() += 1;
        }
        if !status.is_server_error() && !shell.log.takes(now, shell.app.config.log.access_per_second) {
            return;
        }
        let fields = json!({
            "target": "folio::http",
            "event": "http.request",
            "request_id": text(&self.id()),
            "trace_id": format!("{:032x}", self.trace),
            "method": self.method.as_str(),
            "route": route.map_or("unmatched", |it| &it.template),
            "status": status.as_u16(),
            "code": code,
            // What whoever looks after security counts: requests without a good token, or beyond a right.
            "security": matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN).then_some("refused"),
            "duration_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "bytes": bytes,
            "address": truncated(self.address),
            "user": self.caller.map(|it| format!("{:016x}", shell.by_user.hasher.hash_one(it.number()))),
        });
        shell.log.event(if status.is_server_error() { "WARN" } else { "INFO" }, fields);
    }
}

impl Shell {
    /// Writes what is known about the traffic, every series from the first scrape on.
    pub fn collect(&self, out: &mut Exposition) {
        let Traffic { unmatched, in_flight, connections, refused, accept_failures } = &self.traffic;
        let of = self.routes.all.iter().flat_map(|route| route.operations.iter().map(move |it| (&*route.template, it)));
        let of = of.map(|(template, it)| (it.method.as_str(), template, &it.meter));
        let meters = of.chain([("other", "unmatched", unmatched)]);
        let name = "folio_http_requests_total";
        out.family(name, "counter", "Requests answered, by route and class of status.");
        for (method, route, meter) in meters.clone() {
            for (class, count) in CLASSES.iter().zip(&meter.by_class).skip(1) {
                out.sample(name, &[("method", method), ("route", route), ("status_class", class)], count.get());
            }
        }
        let name = "folio_http_request_duration_seconds";
        out.family(name, "histogram", "From the head of a request to its answer.");
        for (method, route, meter) in meters {
            out.histogram(name, &[("method", method), ("route", route)], &meter.took);
        }
        out.single("folio_http_requests_in_flight", "gauge", "Requests inside a handler.", in_flight.get());
        out.single("folio_http_connections", "gauge", "Connections that are open.", connections.get());
        out.single("folio_http_accept_failures_total", "counter", "Accepts that failed.", accept_failures.get());
        let mut codes = refused.lock().clone();
        let shed = ["deadline", "unavailable"].map(|it| (it, *codes.entry(it).or_default()));
        let limited = [("address", self.by_address.refused.get()), ("user", self.by_user.refused.get())];
        for (name, label, help, counts) in [
            ("folio_http_shed_total", "reason", "Requests that could not be done in time or now.", Vec::from(shed)),
            ("folio_http_refusals_total", "code", "Requests refused, by code.", Vec::from_iter(codes)),
            ("folio_rate_limited_total", "class", "Requests over a limit on rates.", Vec::from(limited)),
        ] {
            out.family(name, "counter", help);
            counts.iter().for_each(|(value, count)| out.sample(name, &[(label, value)], count));
        }
        self.log.collect(out);
    }
}
