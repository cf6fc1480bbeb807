//! How Folio is: for balancers, orchestrators, scrapers and people. Whoever counts writes its own families of metrics;
//! here is the list of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use hyper::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::extract::About;
use crate::storage::cache::Counts;
use crate::storage::health::Check;
use crate::telemetry::{Exposition, process};

/// What is said about health.
#[derive(Serialize, ToSchema)]
pub(super) struct HealthReport {
    /// `healthy`, `degraded` or `unhealthy`.
    status: &'static str,
    /// Always `folio`.
    service: &'static str,
    /// Each part that Folio depends on, where details may be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Check>,
}

type Answer = (StatusCode, Json<HealthReport>);

/// Shows how Folio is, with each part that it depends on.
#[utoipa::path(get, path = "/health", tag = "operation",
    responses((status = 200, body = HealthReport), (status = 503, body = HealthReport)))]
pub(super) async fn show(State(app): State<App>, Extension(about): Extension<Arc<About>>) -> Answer {
    answer(&app, &about, app.health.status() != "unhealthy")
}

/// Says that the process runs; asks no part that it depends on.
#[utoipa::path(get, path = "/health/live", tag = "operation", responses((status = 200, body = HealthReport)))]
pub(super) async fn live() -> Json<HealthReport> {
    Json(HealthReport { status: "healthy", service: "folio", checks: Vec::new() })
}

/// Says whether new work is taken: started, not stopping, and every required part there.
#[utoipa::path(get, path = "/health/ready", tag = "operation",
    responses((status = 200, body = HealthReport), (status = 503, body = HealthReport)))]
pub(super) async fn ready(State(app): State<App>, Extension(about): Extension<Arc<About>>) -> Answer {
    answer(&app, &about, app.health.is_ready())
}

fn answer(app: &App, about: &About, good: bool) -> Answer {
    let (code, status) =
        if good { (StatusCode::OK, app.health.status()) } else { (StatusCode::SERVICE_UNAVAILABLE, "unhealthy") };
    let checks = if about.details() { app.health.checks() } else { Vec::new() };
    (code, Json(HealthReport { status, service: "folio", checks }))
}

/// Shows every metric in the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(app): State<App>, Extension(about): Extension<Arc<About>>) -> impl IntoResponse {
    let mut out = Exposition::default();
    out.family("folio_build_info", "gauge", "The build that runs.");
    out.sample("folio_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    about.link.shell.collect(&mut out);
    app.actors.collect(&mut out);
    let Counts { hits, misses, failures } = app.storage.cache.counts();
    out.single("folio_cache_hits_total", "counter", "Reads of the cache that found a value.", hits.load(Relaxed));
    out.single("folio_cache_misses_total", "counter", "Reads of the cache that found none.", misses.load(Relaxed));
    out.single("folio_cache_failures_total", "counter", "What the cache did not answer.", failures.load(Relaxed));
    process(&mut out);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out.finish())
}
