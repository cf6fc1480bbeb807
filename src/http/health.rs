//! How Folio is: for balancers, orchestrators and people.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::extract::About;
use crate::storage::health::Check;

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
