//! The way in: what can be decided without waiting is decided, and only a handler costs a future.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::Shell;
use super::answer::{Sent, handle, preflight};
use super::head::{About, check, names_length, token};
use super::limits::household;
use super::link::{Link, Phase};
use super::routes::{Door, Route};
use crate::actors::auth::Right;
use crate::actors::auth::rules::allow;
use crate::error::Error;
use crate::http::cookies;
use crate::http::error::Refusal;

/// A route, and the parts of the path.
type Found<'r, 'p> = matchit::Match<'r, 'p, &'r usize>;
type Answered = Result<Response<Sent>, Infallible>;

/// Answers a request: at once where nothing has to be waited for.
pub(super) fn answer(
    link: &Arc<Link>,
    request: Request<Incoming>,
) -> Either<Ready<Answered>, BoxFuture<'static, Answered>> {
    link.enter(Phase::Busy);
    let (mut parts, body) = request.into_parts();
    let mut about = About::new(link, &parts);
    let decided = catch_unwind(AssertUnwindSafe(|| link.shell.admit(&mut about, &mut parts, &body)));
    let response = match decided.unwrap_or_else(|_panic| Err(Error::internal("the shell panicked").into())) {
        Ok(Some(response)) => about.close(None, response),
        Ok(None) => return Either::Right(handle(Arc::new(about), parts, body).map(Ok).boxed()),
        Err(refusal) => about.refuse(refusal, parts.headers),
    };
    Either::Left(ready(Ok(response)))
}

impl Shell {
    /// Everything that can be decided without waiting; no answer sends the request to its handler.
    fn admit(&self, about: &mut About, parts: &mut Parts, body: &Incoming) -> Result<Option<Response<Sent>>, Refusal> {
        check(parts)?;
        let head = std::mem::take(&mut *about.link.head.lock());
        if names_length(&head) && parts.headers.contains_key(header::TRANSFER_ENCODING) {
            let refusal = Refusal::from(Error::Malformed("send a length or chunks, not both"));
            return Err(refusal.with(header::CONNECTION, HeaderValue::from_static("close")));
        }
        let takes = |it: &Found<'_, '_>| {
            parts.method == Method::OPTIONS || self.routes.all[*it.value].meter(&parts.method).is_some()
        };
        let found = match self.find(about, parts.uri.path()).filter(takes) {
            Some(found) => Ok(found),
            None => match self.replace(about, parts) {
                Ok(nothing) => self.find(about, parts.uri.path()).ok_or(nothing),
                Err(refusal) => Err(refusal),
            },
        };
        let found = found.or_else(|refusal| {
            self.by_address.take(household(about.address), about.moment, &mut about.quota)?;
            Err(refusal)
        })?;
        let route = &self.routes.all[*found.value];
        about.route = Some(*found.value);
        if parts.method == Method::OPTIONS {
            return Ok(Some(preflight(about, route.allow.clone(), std::mem::take(&mut parts.headers))));
        }
        if route.policy.limited {
            self.by_address.take(household(about.address), about.moment, &mut about.quota)?;
        }
        if route.meter(&parts.method).is_none() {
            return Err(refuse_method(parts, route));
        }
        let identify = |token: &[u8]| (self.routes.identify)(&self.app, token);
        about.caller = match token(parts)? {
            Some(token) => Some(identify(token)?),
            None => cookies::caller(&self.app, parts, route.policy.right == Right::Look, identify)?,
        };
        if let Some(caller) = about.caller.filter(|_| route.policy.limited) {
            self.by_user.take(caller.number(), about.moment, &mut about.quota)?;
        }
        allow(route.policy.right, about.caller.as_ref())?;
        check_body(parts, body, self.body_bytes_max(route))?;
        let Some(ready) = route.ready.filter(|_| matches!(parts.method, Method::GET | Method::HEAD)) else {
            return Ok(None);
        };
        let encoded = ready(&self.app, about.caller.as_ref(), &found.params);
        Ok(encoded.map(|it| about.ready(&it, std::mem::take(&mut parts.headers))))
    }

    /// Puts the path in place that the one which was sent stands for, if it does. Gives what to say if no route takes it.
    fn replace(&self, about: &mut About, parts: &mut Parts) -> Result<Refusal, Refusal> {
        let preflight = parts.method == Method::OPTIONS;
        let asked = match parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD) {
            Some(it) if preflight => Method::from_bytes(it.as_bytes()).unwrap_or(Method::GET),
            _ => parts.method.clone(),
        };
        let moved = (self.routes.rewrite)(&asked, parts.uri.path()).filter(|_| !about.link.operation);
        let Some((method, path)) = moved else {
            return Ok(Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"));
        };
        let query = parts.uri.query().map(|it| format!("?{it}")).unwrap_or_default();
        parts.uri = format!("{path}{query}").parse().map_err(|_| Error::Malformed("the path is not valid"))?;
        if !preflight {
            (parts.method, about.method) = (method.clone(), method);
        }
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

    pub(super) fn body_bytes_max(&self, route: &Route) -> usize {
        route.policy.body_bytes_max.unwrap_or(self.app.config.http.body_bytes_max)
    }
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
    Refusal::new(status, code, "this path does not take this method").with(header::ALLOW, route.allow.clone())
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
