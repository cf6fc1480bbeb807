//! What every request passes: one pass on the way in, one on the way out, whatever its route.
//!
//! A request meets, in this order: framing, ids and trace, path rules, route (404, 501, 405, preflight), limit by
//! address, token (401), limit by user, size and coding of the body (413, 415), then an answer that is already
//! encoded, or a handler under deadline and panic guard; on the way out compression, common headers, metrics, log
//! line. What needs no waiting is decided without a future.

mod answer;
mod connections;
mod encoded;
mod head;
mod limits;
mod link;
mod log;
mod metrics;
mod pass;
mod routes;
mod socket;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::header::HeaderValue;
use tokio::sync::watch;

pub use connections::{Listeners, serve};
pub use encoded::Encoded;
pub use link::Taken;
pub(crate) use link::{Link, Takeover};
pub use routes::{Door, Identify, Policy, Ready, Rewrite, Routes};

use self::limits::Limit;
use self::metrics::Traffic;
use self::routes::Route;
use super::{App, openapi};
use crate::telemetry::{Exposition, Log};

/// The shell around the handlers: decides without waiting what it can, and hands the rest on.
pub struct Shell {
    app: App,
    origins: Vec<HeaderValue>,
    routes: Vec<Route>,
    tree: matchit::Router<usize>,
    identify: Identify,
    rewrite: Rewrite,
    router: axum::Router,
    by_address: Option<Limit>,
    by_user: Option<Limit>,
    traffic: Traffic,
    log: Log,
    stopping: watch::Sender<bool>,
    seed: u64,
    users: RandomState,
    requests: AtomicU64,
}

impl Shell {
    /// Puts the shell around routes.
    pub fn new(app: App, routes: Routes, log: Log) -> Shell {
        let Routes { tree, all: routes, handlers, identify, rewrite } = routes;
        let (router, api) = handlers.split_for_parts();
        app.description.get_or_init(|| Encoded::json(&openapi::complete(api), "public, max-age=300").into());
        let limits = app.config.http.rate_limit;
        let origin = |it: &String| HeaderValue::from_str(it).ok();
        let seed = RandomState::new().hash_one(0);
        Shell {
            origins: app.config.http.origins.iter().filter_map(origin).collect(),
            by_address: limits.map(|it| Limit::new(it.per_address_burst, it.per_address_minute)),
            by_user: limits.map(|it| Limit::new(it.per_user_burst, it.per_user_minute)),
            router: router.with_state(app.clone()),
            log,
            traffic: Traffic::default(),
            stopping: watch::Sender::new(false),
            users: RandomState::new(),
            requests: AtomicU64::new(seed),
            app,
            routes,
            tree,
            identify,
            rewrite,
            seed,
        }
    }

    /// Writes what is known about the traffic.
    pub fn collect(&self, out: &mut Exposition) {
        self.traffic.collect(&self.routes, out);
        self.log.collect(out);
    }

    /// A number unlike any other of any process: it names a request, and its trace where none was sent.
    fn number(&self) -> u128 {
        let low = self.requests.fetch_add(1, Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        u128::from(self.seed) << 64 | u128::from(low)
    }

    /// Whether pages of an origin may call.
    pub(crate) fn allows_origin(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin)
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

/// Thirty-two hex digits.
fn hex(number: u128) -> HeaderValue {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&text).expect("hex is header text")
}
