//! What every request passes: one pass on the way in, one on the way out, whatever its route.
//!
//! A request meets, in this order: framing, ids and trace, path rules, route (404, 501, 405, preflight), limit by
//! address, token (401), limit by user, size and coding of the body (413, 415), then an answer that is already
//! encoded, or a handler under deadline and panic guard; on the way out compression, common headers, metrics, log
//! line. What needs no waiting is decided without a future.

mod answer;
mod connections;
mod head;
mod limits;
mod routes;
mod traffic;

use std::borrow::Cow;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, Ready as Done, ready};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

pub use answer::Encoded;
pub(crate) use connections::Link;
pub use connections::{Listeners, Taken, serve};
pub(crate) use head::{About, is_word, text};
pub use routes::{Handled, Policy, Ready, Routes, Run, run};

use self::answer::{Sent, handle, preflight};
use self::connections::Phase;
use self::head::{check, token};
use self::limits::{Limit, household};
use self::routes::{Operation, Route};
use self::traffic::Traffic;
use super::error::Refusal;
use super::{App, cookies, seed_paths};
use crate::actors::auth::Right;
use crate::actors::auth::rules::allow;
use crate::config::RateLimitConfig;
use crate::error::Error;
use crate::telemetry::Log;

/// A route, and the parts of the path.
type Found<'r, 'p> = matchit::Match<'r, 'p, &'r usize>;
type Answered = Result<Response<Sent>, Infallible>;

/// The shell around the handlers: decides without waiting what it can, and hands the rest on.
pub struct Shell {
    pub(super) app: App,
    routes: Routes,
    /// The description of every route.
    pub(super) description: Arc<Encoded>,
    by_address: Limit,
    by_user: Limit,
    traffic: Traffic,
    log: Log,
    stopping: watch::Sender<bool>,
}

impl Shell {
    /// Puts the shell around routes.
    pub fn new(app: App, mut routes: Routes, log: Log) -> Shell {
        let description = Encoded::json(&std::mem::take(&mut routes.api), "public, max-age=300").into();
        let (by_address, by_user, traffic, stopping) = Default::default();
        let shell = Shell { app, routes, description, by_address, by_user, traffic, log, stopping };
        shell.limit(shell.app.config.http.rate_limit);
        shell
    }

    /// Sets the limits on rates, also while requests are served; `None` lifts all of them.
    pub fn limit(&self, limits: Option<RateLimitConfig>) {
        self.by_address.set(limits.map(|it| (it.per_address_burst, it.per_address_minute)));
        self.by_user.set(limits.map(|it| (it.per_user_burst, it.per_user_minute)));
    }

    /// Whether pages of an origin may call.
    pub(crate) fn allows_origin(&self, origin: &HeaderValue) -> bool {
        self.app.config.http.origins.iter().any(|it| it.as_str() == origin)
    }

    /// Everything that can be decided without waiting: the answer, or what the handler's would be.
    fn admit<'r>(
        &'r self,
        about: &mut About,
        parts: &mut Parts,
        body: &Incoming,
    ) -> Result<Either<Response<Sent>, &'r Operation>, Refusal> {
        check(parts, &std::mem::take(&mut *about.link.head.lock()))?;
        let preflights = parts.method == Method::OPTIONS;
        let takes = |it: &Found<'_, '_>| preflights || self.routes.all[*it.value].operation(&parts.method).is_some();
        let found = match self.find(about, parts.uri.path()).filter(takes) {
            Some(found) => Ok(found),
            None => replace(parts).and_then(|nothing| self.find(about, parts.uri.path()).ok_or(nothing)),
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
        let found = found?;
        let route = &self.routes.all[*found.value];
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

    /// The route of a path, if it is served where the request came in.
    fn find<'r, 'p>(&'r self, about: &About, path: &'p str) -> Option<Found<'r, 'p>> {
        let found = self.routes.tree.at(path).ok();
        found.filter(|it| self.routes.all[*it.value].policy.public || about.details())
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

/// Puts the path in place that the one which was sent stands for, if it does. Gives what to say if no route takes it.
fn replace(parts: &mut Parts) -> Result<Refusal, Refusal> {
    let Some(path) = seed_paths::rewrite(parts.uri.path()) else {
        return Ok(Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"));
    };
    let query = parts.uri.query().map(|it| format!("?{it}")).unwrap_or_default();
    parts.uri = format!("{path}{query}").parse().map_err(|_| Error::Malformed("the path is not valid"))?;
    let why = "this path is known, but what it stands for is not built yet";
    Ok(Refusal::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", why))
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
    let coded = || parts.headers.get(header::CONTENT_ENCODING).is_some_and(|it| it != "identity");
    Err(match () {
        () if body.is_end_stream() => return Ok(()),
        () if bytes_max == 0 => Error::Malformed("this takes no body"),
        () if body.size_hint().lower() > bytes_max as u64 => Error::TooLarge("the body is larger than is taken here"),
        () if coded() => Error::Unsupported("send the body without a content coding"),
        () => return Ok(()),
    })
}
