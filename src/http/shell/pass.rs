//! The way in: the head of a request is read once, and what can be decided without waiting is decided.

use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::encoded::Encoded;
use super::head::{Call, accepts_gzip, check, is_request_id, text};
use super::limits::{forwarded, household};
use super::link::Link;
use super::routes::{Door, Route};
use super::{Shell, hex};
use crate::actors::auth::rules::allow;
use crate::error::Error;
use crate::http::error::Refusal;
use crate::telemetry::trace_of;

/// A route, and the method and target that stand in for those of the request.
type Found = (usize, Option<(Method, Uri)>);

/// What the shell decided.
pub(super) enum Next {
    Ready(Arc<Encoded>),
    Preflight(HeaderValue),
    Handler { moved: Option<(Method, Uri)> },
}

impl Shell {
    /// Reads the head once, and keeps of it what the way back needs.
    pub(super) fn open(&self, link: &Link, parts: &Parts) -> Call {
        let (started, number) = (Instant::now(), self.number());
        let (mut id, mut trace, mut traced) = (None, None, false);
        let mut call = Call {
            started,
            moment: self.app.clock.moment_at(started),
            id: HeaderValue::from_static(""),
            trace: number,
            traceparent: None,
            method: parts.method.clone(),
            address: link.peer,
            operation: link.operation,
            origin: None,
            gzip: false,
            route: None,
            caller: None,
            left: None,
            code: None,
        };
        for (name, value) in &parts.headers {
            match name.as_str() {
                "origin" => call.origin = Some(value.clone()),
                "accept-encoding" => call.gzip = accepts_gzip(value),
                "traceparent" => (traced, trace) = (true, trace_of(value.as_bytes())),
                "x-request-id" if is_request_id(value.as_bytes()) => id = Some(value.clone()),
                "x-forwarded-for" if link.trusted => {
                    call.address = forwarded(link.peer, &self.app.config.http.trusted_proxies, text(value));
                }
                _ => {}
            }
        }
        call.trace = trace.unwrap_or(number);
        call.id = id.unwrap_or_else(|| hex(number));
        if traced {
            let line = format!("00-{:032x}-{:016x}-01", call.trace, number as u64);
            call.traceparent = HeaderValue::from_str(&line).ok();
        }
        call
    }

    /// Everything that can be decided without waiting.
    pub(super) fn admit(&self, call: &mut Call, link: &Link, parts: &Parts, body: &Incoming) -> Result<Next, Refusal> {
        check(parts)?;
        if parts.headers.contains_key(header::TRANSFER_ENCODING) && link.was_framed_twice() {
            let refusal = Refusal::from(Error::Malformed("send a length or chunks, not both"));
            return Err(refusal.with(header::CONNECTION, HeaderValue::from_static("close")));
        }
        let serves = |it: &matchit::Match<'_, '_, &usize>| self.serves(*it.value, call.operation);
        let direct = self.tree.at(parts.uri.path()).ok().filter(serves);
        let takes = |at: usize| call.method == Method::OPTIONS || self.routes[at].meter(&call.method).is_some();
        let (at, moved) = match &direct {
            Some(it) if takes(*it.value) => (*it.value, None),
            _ => self.find_moved(call, parts, direct.as_ref().map(|it| *it.value))?,
        };
        let route = &self.routes[at];
        call.route = Some(at);
        if let Some((method, _)) = &moved {
            call.method = method.clone();
        }
        if parts.method == Method::OPTIONS {
            return Ok(Next::Preflight(route.allow.clone()));
        }
        if route.policy.limited {
            self.limit_address(call)?;
        }
        if route.meter(&call.method).is_none() {
            return Err(refuse_method(parts, route));
        }
        if let Some(line) = parts.headers.get(header::AUTHORIZATION) {
            self.identify(call, line, route.policy.limited)?;
        }
        allow(route.policy.right, call.caller.as_ref())?;
        check_body(parts, body, self.body_bytes_max(route))?;
        let Some(ready) = route.ready.filter(|_| matches!(call.method, Method::GET | Method::HEAD)) else {
            return Ok(Next::Handler { moved });
        };
        let found = moved.as_ref().map_or(direct, |it| self.tree.at(it.1.path()).ok());
        let ready = found.and_then(|found| ready(&self.app, &found.params));
        Ok(ready.map_or(Next::Handler { moved }, Next::Ready))
    }

    /// Finds the route of a path that stands for another; else the route that refuses the method.
    fn find_moved(&self, call: &mut Call, parts: &Parts, direct: Option<usize>) -> Result<Found, Refusal> {
        let asked = match parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD) {
            Some(asked) if call.method == Method::OPTIONS => {
                Method::from_bytes(asked.as_bytes()).unwrap_or(Method::GET)
            }
            _ => call.method.clone(),
        };
        let moved = (self.rewrite)(&asked, parts.uri.path()).filter(|_| !call.operation);
        let (status, code, why) = match (moved, direct) {
            (Some((method, path)), _) => {
                if let Some(at) = self.tree.at(&path).ok().map(|it| *it.value).filter(|it| self.serves(*it, false)) {
                    let query = parts.uri.query().map(|it| format!("?{it}")).unwrap_or_default();
                    let target = format!("{path}{query}").parse::<Uri>();
                    let target = target.map_err(|_| Error::Malformed("the path is not valid"))?;
                    return Ok((at, Some((method, target))));
                }
                let why = "this path is known, but what it stands for is not built yet";
                (StatusCode::NOT_IMPLEMENTED, "not_implemented", why)
            }
            (None, Some(at)) => return Ok((at, None)),
            (None, None) => (StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"),
        };
        self.limit_address(call)?;
        Err(Refusal::new(status, code, why))
    }

    /// Whether a route is served where a request came in.
    fn serves(&self, route: usize, operation: bool) -> bool {
        match self.routes[route].policy.door {
            Door::Public => !operation,
            Door::Operation => operation || self.app.config.http.ops_listen.is_none(),
            Door::Both => true,
        }
    }

    fn limit_address(&self, call: &mut Call) -> Result<(), Refusal> {
        let Some(limit) = &self.by_address else { return Ok(()) };
        let taken = limit.take(household(call.address), call.moment);
        call.left = Some(taken.unwrap_or(0));
        taken.map(|_| ()).map_err(|retry_after| {
            self.traffic.limited_by_address.add();
            Error::TooMany { retry_after }.into()
        })
    }

    fn identify(&self, call: &mut Call, line: &HeaderValue, limited: bool) -> Result<(), Refusal> {
        let token = line.as_bytes().split_at_checked(7).filter(|it| it.0.eq_ignore_ascii_case(b"bearer "));
        let (_, token) = token.ok_or(Error::Unauthenticated("send a bearer token"))?;
        let caller = *call.caller.insert((self.identify)(&self.app, token, self.app.clock.now())?);
        let Some(limit) = self.by_user.as_ref().filter(|_| limited) else { return Ok(()) };
        let taken = limit.take(caller.number(), call.moment);
        call.left = Some(taken.unwrap_or(0));
        taken.map(|_| ()).map_err(|retry_after| {
            self.traffic.limited_by_user.add();
            Error::TooMany { retry_after }.into()
        })
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
    let known =
        matches!(parts.method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "TRACE" | "CONNECT");
    let (status, code) = match known {
        true => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        false => (StatusCode::NOT_IMPLEMENTED, "not_implemented"),
    };
    Refusal::new(status, code, "this path does not take this method").with(header::ALLOW, route.allow.clone())
}

fn check_body(parts: &Parts, body: &Incoming, bytes_max: usize) -> Result<(), Refusal> {
    if body.is_end_stream() {
        return Ok(());
    }
    if bytes_max == 0 {
        return Err(Error::Malformed("this takes no body").into());
    }
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Error::TooLarge("the body is larger than this route takes").into());
    }
    match parts.headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => {
            Err(Error::Unsupported("send the body without a content coding").into())
        }
        _ => Ok(()),
    }
}
