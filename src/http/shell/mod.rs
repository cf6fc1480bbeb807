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
mod pass;
mod routes;
mod socket;
mod traffic;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::header::HeaderValue;
use tokio::sync::watch;
use uuid::Uuid;

pub use connections::{Listeners, serve};
pub use encoded::Encoded;
pub(crate) use head::{About, text};
pub(crate) use link::Link;
pub use link::Taken;
pub use routes::{Door, Identify, Policy, Ready, Rewrite, Routes};

use self::limits::Limit;
use self::traffic::Traffic;
use super::{App, openapi};
use crate::config::RateLimitConfig;
use crate::telemetry::{Exposition, Log};

/// The shell around the handlers: decides without waiting what it can, and hands the rest on.
pub struct Shell {
    app: App,
    origins: Vec<HeaderValue>,
    routes: Routes,
    router: axum::Router,
    by_address: Limit,
    by_user: Limit,
    traffic: Traffic,
    log: Log,
    stopping: watch::Sender<bool>,
    hasher: RandomState,
    requests: AtomicU64,
}

impl Shell {
    /// Puts the shell around routes.
    pub fn new(app: App, mut routes: Routes, log: Log) -> Shell {
        let (router, api) = std::mem::take(&mut routes.handlers).split_for_parts();
        app.description.get_or_init(|| Encoded::json(&openapi::complete(&api, &routes), "public, max-age=300").into());
        let origin = |it: &String| HeaderValue::from_str(it).ok();
        let shell = Shell {
            origins: app.config.http.origins.iter().filter_map(origin).collect(),
            router: router.with_state(app.clone()),
            app,
            routes,
            by_address: Limit::default(),
            by_user: Limit::default(),
            traffic: Traffic::default(),
            log,
            stopping: watch::Sender::new(false),
            hasher: RandomState::new(),
            requests: AtomicU64::new(0),
        };
        shell.limit(shell.app.config.http.rate_limit);
        shell
    }

    /// Sets the limits on rates, also while requests are served; `None` lifts all of them.
    pub fn limit(&self, limits: Option<RateLimitConfig>) {
        self.by_address.set(limits.map(|it| (it.per_address_burst, it.per_address_minute)));
        self.by_user.set(limits.map(|it| (it.per_user_burst, it.per_user_minute)));
    }

    /// Writes what is known about the traffic.
    pub fn collect(&self, out: &mut Exposition) {
        self.traffic.collect(&self.routes.all, [&self.by_address, &self.by_user], out);
        self.log.collect(out);
    }

    /// Whether pages of an origin may call.
    pub(crate) fn allows_origin(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin)
    }

    /// A number unlike any other of any process, which tells nobody how many there were: it names a request, and its
    /// trace where none was sent.
    fn number(&self) -> u128 {
        let count = self.requests.fetch_add(1, Relaxed);
        let half = |which: u8| u128::from(self.hasher.hash_one((count, which)));
        half(0) << 64 | half(1)
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

/// Thirty-two hex digits.
fn hex(number: u128) -> HeaderValue {
    let text = Uuid::from_u128(number);
    HeaderValue::from_str(text.simple().encode_lower(&mut [0; 32])).expect("hex is header text")
}
