//! What a scraper reads. Whoever counts writes its own families; this is the list of them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use hyper::header;

use super::App;
use super::extract::About;
use crate::telemetry::{Exposition, process};

/// Shows every metric in the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String)))]
pub(super) async fn show(State(app): State<App>, Extension(about): Extension<Arc<About>>) -> impl IntoResponse {
    let mut out = Exposition::default();
    out.family("folio_build_info", "gauge", "The build that runs.");
    out.sample("folio_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    about.shell.collect(&mut out);
    app.actors.collect(&mut out);
    process(&mut out);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out.finish())
}
