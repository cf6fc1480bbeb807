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
mod routes;
mod traffic;

use std::borrow::Cow;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::FutureExt;
use futures_util::future::{Either, Ready as Done, ready};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::sync::watch;
use uuid::Uuid;

pub use connections::{Listeners, serve};
pub use encoded::Encoded;
pub(crate) use head::{About, text};
pub(crate) use link::Link;
pub use link::Taken;
pub use routes::{Door, Handled, Policy, Ready, Routes, Run, run, with};

use self::answer::{Sent, handle, preflight};
use self::head::{check, names_length, token};
use self::limits::{Limit, household};
use self::link::Phase;
use self::routes::{Operation, Route};
use self::traffic::Traffic;
use super::error::Refusal;
use super::{App, cookies, openapi};
use crate::actors::auth::Right;
use crate::actors::auth::rules::allow;
use crate::config::RateLimitConfig;
use crate::error::Error;
use crate::telemetry::{Exposition, Log};

/// A route, and the parts of the path.
type Found<'r, 'p> = matchit::Match<'r, 'p, &'r usize>;
type Answered = Result<Response<Sent>, Infallible>;

/// The shell around the handlers: decides without waiting what it can, and hands the rest on.
pub struct Shell {
    app: App,
    routes: Routes,
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
        let api = std::mem::take(&mut routes.api);
        app.description.get_or_init(|| Encoded::json(&openapi::complete(&api, &routes), "public, max-age=300").into());
        let shell = Shell {
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
        self.app.config.http.origins.iter().any(|it| it.as_str() == origin)
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

    /// Everything that can be decided without waiting: the answer, or what the handler's would be.
    fn admit<'r>(
        &'r self,
        about: &mut About,
        parts: &mut Parts,
        body: &Incoming,
    ) -> Result<Either<Response<Sent>, &'r Operation>, Refusal> {
        check(parts)?;
        let head = std::mem::take(&mut *about.link.head.lock());
        if names_length(&head) && parts.headers.contains_key(header::TRANSFER_ENCODING) {
            let refusal = Refusal::from(Error::Malformed("send a length or chunks, not both"));
            return Err(refusal.with(header::CONNECTION, HeaderValue::from_static("close")));
        }
        let preflights = parts.method == Method::OPTIONS;
        let takes = |it: &Found<'_, '_>| preflights || self.routes.all[*it.value].operation(&parts.method).is_some();
        let found = match self.find(about, parts.uri.path()).filter(takes) {
            Some(found) => Ok(found),
            None => self.replace(about, parts).and_then(|nothing| self.find(about, parts.uri.path()).ok_or(nothing)),
        };
        about.route = found.as_ref().ok().map(|it| *it.value);
        let route = about.route.map(|at| &self.routes.all[at]);
        if let Some(route) = route.filter(|_| preflights) {
            return Ok(Either::Left(preflight(route, std::mem::take(&mut parts.headers))));
        }
        let limited = route.is_none_or(|it| it.policy.limited);
        if limited {
            self.by_address.take(household(about.address), about.moment, &mut about.quota)?;
        }
        let (found, Some(route)) = (found?, route) else { unreachable!("what was found is a route") };
        let operation = route.operation(&parts.method).ok_or_else(|| refuse_method(parts, route))?;
        let (right, identify) = (route.policy.right, |token: &[u8]| (self.routes.identify)(&self.app, token));
        about.caller = match token(parts)? {
            Some(token) => Some(identify(token)?),
            None => cookies::caller(&self.app, parts, right == Right::Look, identify)?,
        };
        if let Some(caller) = about.caller.filter(|_| limited) {
            self.by_user.take(caller.number(), about.moment, &mut about.quota)?;
        }
        allow(right, about.caller.as_ref())?;
        check_body(parts, body, self.body_bytes_max(route))?;
        let ready = route.ready.filter(|_| operation.method == Method::GET);
        let ready = ready.and_then(|it| it(&self.app, about.caller.as_ref(), &found.params));
        Ok(match ready {
            Some(encoded) => Either::Left(encoded.answer(about, std::mem::take(&mut parts.headers))),
            None => Either::Right(operation),
        })
    }

    /// Puts the path in place that the one which was sent stands for, if it does. Gives what to say if no route takes it.
    fn replace(&self, about: &About, parts: &mut Parts) -> Result<Refusal, Refusal> {
        let Some(path) = (self.routes.rewrite)(parts.uri.path()).filter(|_| !about.link.operation) else {
            return Ok(Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"));
        };
        let query = parts.uri.query().map(|it| format!("?{it}")).unwrap_or_default();
        parts.uri = format!("{path}{query}").parse().map_err(|_| Error::Malformed("the path is not valid"))?;
        let why = "this path is known, but what it stands for is not built yet";
        Ok(Refusal::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", why))
    }

    /// The route of a path, if it is served where the request came in.
    fn find<'r, 'p>(&'r self, about: &About, path: &'p str) -> Option<Found<'r, 'p>> {
        let found = self.routes.tree.at(path).ok()?;
        let served = match self.routes.all[*found.value].policy.door {
            Door::Public => !about.link.operation,
            Door::Operation => about.details(),
            Door::Both => true,
        };
        served.then_some(found)
    }

    /// The parts of a path that are named in its template.
    pub(in crate::http) fn words<'p>(&self, path: &'p str) -> Vec<Cow<'p, str>> {
        let found = self.routes.tree.at(path).ok();
        found.iter().flat_map(|it| it.params.iter()).map(|it| percent_decode_str(it.1).decode_utf8_lossy()).collect()
    }

    fn body_bytes_max(&self, route: &Route) -> usize {
        route.policy.body_bytes_max.unwrap_or(self.app.config.http.body_bytes_max)
    }
}

/// Thirty-two hex digits.
fn hex(number: u128) -> HeaderValue {
    let text = Uuid::from_u128(number);
    HeaderValue::from_str(text.simple().encode_lower(&mut [0; 32])).expect("hex is header text")
}

/// Answers a request: at once where nothing has to be waited for.
fn answer_request(
    link: &Arc<Link>,
    request: Request<Incoming>,
) -> Either<Done<Answered>, impl Future<Output = Answered> + use<>> {
    link.enter(Phase::Busy);
    let (mut parts, body) = request.into_parts();
    let mut about = About::new(link, &parts);
    let decided = catch_unwind(AssertUnwindSafe(|| link.shell.admit(&mut about, &mut parts, &body)));
    let response = match decided.unwrap_or_else(|_panic| Err(Error::internal("the shell panicked").into())) {
        Ok(Either::Left(response)) => about.close(None, response),
        Ok(Either::Right(operation)) => {
            return Either::Right(handle(about, operation, parts, body).map(Ok));
        }
        Err(refusal) => about.refuse(refusal, parts.headers),
    };
    Either::Left(ready(Ok(response)))
}

/// The method is unknown here: 405, or 501 where it is unknown everywhere. A handshake with another method than `GET`
/// is no handshake.
fn refuse_method(parts: &Parts, route: &Route) -> Refusal {
    if parts.headers.contains_key(header::UPGRADE) {
        return Error::Malformed("a handshake is a GET").into();
    }
    let known = "GET HEAD POST PUT PATCH DELETE TRACE CONNECT".split(' ').any(|it| it == parts.method);
    let (status, code) = match known {
        true => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        false => (StatusCode::NOT_IMPLEMENTED, "not_implemented"),
    };
    Refusal::new(status, code, "this path does not take this method").with(header::ALLOW, route.allow())
}

fn check_body(parts: &Parts, body: &Incoming, bytes_max: usize) -> Result<(), Error> {
    let coded = |it: &HeaderValue| it != "identity";
    match () {
        () if body.is_end_stream() => Ok(()),
        () if bytes_max == 0 => Err(Error::Malformed("this takes no body")),
        () if body.size_hint().lower() > bytes_max as u64 => {
            Err(Error::TooLarge("the body is larger than this route takes"))
        }
        () if parts.headers.get(header::CONTENT_ENCODING).is_some_and(coded) => {
            Err(Error::Unsupported("send the body without a content coding"))
        }
        () => Ok(()),
    }
}
