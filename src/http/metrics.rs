//! What a scraper reads. Whoever counts writes its own families; this is the list of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use hyper::header;

use super::App;
use super::extract::About;
use crate::storage::cache::Counts;
use crate::telemetry::{Exposition, process};

/// Shows every metric in the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String)))]
pub(super) async fn show(State(app): State<App>, Extension(about): Extension<Arc<About>>) -> impl IntoResponse {
    let mut out = Exposition::default();
    out.family("folio_build_info", "gauge", "The build that runs.");
    out.sample("folio_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    about.link.shell.collect(&mut out);
    app.actors.collect(&mut out);
    let Counts { hits, misses, failures } = app.storage.cache.counts();
    for (name, help, count) in [
        ("folio_cache_hits_total", "Reads of the cache that found a value.", hits),
        ("folio_cache_misses_total", "Reads of the cache that found none.", misses),
        ("folio_cache_failures_total", "Reads and writes that the cache did not answer.", failures),
    ] {
        out.single(name, "counter", help, count.load(Relaxed));
    }
    process(&mut out);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out.finish())
}
