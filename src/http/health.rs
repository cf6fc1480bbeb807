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
    let checks = if about.details() { app.health.checks() } else { Vec::new() };
    answer(app.health.status(), app.health.status() != "unhealthy", checks)
}

/// Says that the process runs; asks no part that it depends on.
#[utoipa::path(get, path = "/health/live", tag = "operation", responses((status = 200, body = HealthReport)))]
pub(super) async fn live() -> Answer {
    answer("healthy", true, Vec::new())
}

/// Says whether new work is taken: started, not stopping, and every required part there.
#[utoipa::path(get, path = "/health/ready", tag = "operation",
    responses((status = 200, body = HealthReport), (status = 503, body = HealthReport)))]
pub(super) async fn ready(State(app): State<App>, Extension(about): Extension<Arc<About>>) -> Answer {
    let checks = if about.details() { app.health.checks() } else { Vec::new() };
    let ready = app.health.is_ready();
    answer(if ready { app.health.status() } else { "unhealthy" }, ready, checks)
}

fn answer(status: &'static str, good: bool, checks: Vec<Check>) -> Answer {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(HealthReport { status, service: "folio", checks }))
}
