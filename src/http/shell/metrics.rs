//! What the shell counts: plain atomics, found with the route, so that recording is a few additions.

use std::time::Duration;

use hyper::StatusCode;

use super::routes::Route;
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
    pub(super) limited_by_address: Counter,
    pub(super) limited_by_user: Counter,
    pub(super) shed_deadline: Counter,
    pub(super) shed_unavailable: Counter,
    pub(super) refused_total: Counter,
    pub(super) refused_address: Counter,
    pub(super) accept_failures: Counter,
}

impl Traffic {
    /// Notes a refusal that says the server could not do more.
    pub(super) fn shed(&self, status: StatusCode) {
        match status {
            StatusCode::GATEWAY_TIMEOUT => self.shed_deadline.add(),
            StatusCode::SERVICE_UNAVAILABLE => self.shed_unavailable.add(),
            _ => {}
        }
    }

    /// Writes everything, every series from the first scrape on.
    pub(super) fn collect(&self, routes: &[Route], out: &mut Exposition) {
        let of = |route: &'_ Route| -> Vec<(String, String)> {
            route.methods.iter().map(|it| (it.0.to_string(), route.template.clone())).collect()
        };
        let names: Vec<_> = routes.iter().flat_map(of).chain([("other".into(), "unmatched".into())]).collect();
        let meters = routes.iter().flat_map(|it| it.methods.iter().map(|it| &it.1)).chain([&self.unmatched]);
        let meters: Vec<_> = names.iter().zip(meters).collect();
        let name = "folio_http_requests_total";
        out.family(name, "counter", "Requests answered, by route and class of status.");
        for ((method, route), meter) in &meters {
            for (class, count) in CLASSES.iter().zip(&meter.by_class).skip(1) {
                out.sample(name, &[("method", method), ("route", route), ("status_class", class)], count.get());
            }
        }
        let name = "folio_http_request_duration_seconds";
        out.family(name, "histogram", "From the head of a request to its answer.");
        for ((method, route), meter) in &meters {
            out.histogram(name, &[("method", method), ("route", route)], &meter.took);
        }
        let flying = self.in_flight.get();
        out.single("folio_http_requests_in_flight", "gauge", "Requests inside a handler.", flying);
        out.single("folio_http_connections", "gauge", "Connections that are open.", self.connections.get());
        let limited = [("address", &self.limited_by_address), ("user", &self.limited_by_user)];
        labelled(out, "folio_rate_limited_total", "class", "Requests over a limit on rates.", &limited);
        let shed = [("deadline", &self.shed_deadline), ("unavailable", &self.shed_unavailable)];
        labelled(out, "folio_http_shed_total", "reason", "Requests that could not be done in time or now.", &shed);
        let refused = [("total", &self.refused_total), ("address", &self.refused_address)];
        let name = "folio_http_connections_refused_total";
        labelled(out, name, "limit", "Connections over a limit on connections.", &refused);
        let failures = self.accept_failures.get();
        out.single("folio_http_accept_failures_total", "counter", "Connections that could not be accepted.", failures);
    }
}

fn labelled(out: &mut Exposition, name: &str, label: &str, help: &str, counts: &[(&str, &Counter)]) {
    out.family(name, "counter", help);
    for (value, count) in counts {
        out.sample(name, &[(label, value)], count.get());
    }
}
