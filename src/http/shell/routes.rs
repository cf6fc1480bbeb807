//! The table of routes: one lookup a request gives 404, 405, bounds, metrics and ready answers.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderValue;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::encoded::Encoded;
use super::traffic::Meter;
use crate::actors::auth::{Caller, Right};
use crate::error::{Error, Result};
use crate::http::{App, openapi};

/// What a route allows itself and its callers.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long an answer may take; the setting where it says nothing.
    pub answer_within: Option<Duration>,
    /// How large a body may be; the setting where it says nothing.
    pub body_bytes_max: Option<usize>,
    /// What a caller has to be allowed.
    pub right: Right,
    /// Whether limits on rates count its requests.
    pub limited: bool,
    /// Where it is served.
    pub door: Door,
}

/// The listeners on which a route is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The one for everybody.
    Public,
    /// The one for operation, if there is one; else the one for everybody.
    Operation,
    /// Both.
    Both,
}

impl Policy {
    /// For reads: no body.
    pub const READ: Policy =
        Policy { answer_within: None, body_bytes_max: Some(0), right: Right::Look, limited: true, door: Door::Public };
    /// For writes.
    pub const WRITE: Policy = Policy { body_bytes_max: None, ..Policy::READ };
    /// The same, for those alone who hold a right.
    #[must_use]
    pub const fn of(self, right: Right) -> Policy {
        Policy { right, ..self }
    }

    /// For long polling: answers wait, bodies are bounded by who takes them, and rates by the session.
    pub const POLLING: Policy = Policy {
        answer_within: Some(Duration::from_secs(30)),
        body_bytes_max: Some(usize::MAX),
        limited: false,
        ..Policy::READ
    };
    /// For probes: everywhere, and never too often.
    pub const PROBE: Policy = Policy { limited: false, door: Door::Both, ..Policy::READ };
    /// For those who run Folio.
    pub const OPERATION: Policy = Policy { door: Door::Operation, ..Policy::PROBE };
}

/// Finds an answer that is already encoded, for whoever asks; `None` sends the request to the handler.
pub type Ready = fn(&App, Option<&Caller>, &matchit::Params<'_, '_>) -> Option<Arc<Encoded>>;
/// Tells whose token this is, if it is good now.
pub type Identify = fn(&App, &[u8]) -> Result<Caller>;
/// The method and path that a seed's method and path stand for.
pub type Rewrite = fn(&Method, &str) -> Option<(Method, String)>;

/// One path template: what may be done there, within what bounds, and how it went.
pub(super) struct Route {
    pub(super) template: String,
    pub(super) policy: Policy,
    /// Each method with its counters; `HEAD` is counted as `GET`.
    pub(super) methods: Vec<(Method, Meter)>,
    pub(super) allow: HeaderValue,
    pub(super) ready: Option<Ready>,
}

impl Route {
    pub(super) fn meter(&self, method: &Method) -> Option<&Meter> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.methods.iter().find(|it| it.0 == *method).map(|it| &it.1)
    }
}

/// Every route. Filled once, before the shell is made of it.
pub struct Routes {
    pub(super) tree: matchit::Router<usize>,
    pub(super) all: Vec<Route>,
    pub(super) handlers: OpenApiRouter<App>,
    pub(super) identify: Identify,
    pub(super) rewrite: Rewrite,
}

impl Default for Routes {
    fn default() -> Routes {
        Routes {
            tree: matchit::Router::new(),
            all: Vec::new(),
            handlers: OpenApiRouter::with_openapi(openapi::base()),
            identify: |_, _| Err(Error::Unauthenticated("the token is not valid")),
            rewrite: |_, _| None,
        }
    }
}

impl Routes {
    /// Adds the handlers of one path. Template and methods come from their own description.
    ///
    /// # Panics
    /// When two routes overlap.
    #[must_use]
    pub fn add(mut self, policy: Policy, handlers: UtoipaMethodRouter<App>) -> Routes {
        for (template, item) in &handlers.1.paths {
            let declared = [&item.get, &item.post, &item.put, &item.patch, &item.delete].map(Option::is_some);
            let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].into_iter();
            let methods: Vec<_> = known.zip(declared).filter(|it| it.1).map(|it| (it.0, Meter::default())).collect();
            let names: String = methods.iter().map(|it| format!("{}, ", it.0)).collect();
            let allow = format!("{names}OPTIONS").replace("GET", "GET, HEAD");
            let allow = HeaderValue::try_from(allow).expect("method names are header text");
            self.tree.insert(template, self.all.len()).expect("routes do not overlap");
            self.all.push(Route { template: template.clone(), policy, methods, allow, ready: None });
        }
        self.handlers = self.handlers.routes(handlers);
        self
    }

    /// Lets reads of the route added last be answered before any handler runs.
    ///
    /// # Panics
    /// When no route was added yet.
    #[must_use]
    pub fn ready(mut self, ready: Ready) -> Routes {
        self.all.last_mut().expect("a route was added").ready = Some(ready);
        self
    }

    /// Every route: method, template, and the right it takes.
    pub fn rights(&self) -> impl Iterator<Item = (&Method, &str, Right)> {
        self.all.iter().flat_map(|it| it.methods.iter().map(|of| (&of.0, it.template.as_str(), it.policy.right)))
    }

    /// Says how tokens are told apart. Without it every token is refused.
    #[must_use]
    pub fn identify(self, identify: Identify) -> Routes {
        Routes { identify, ..self }
    }

    /// Says which paths stand for others. It is asked where no route takes the request.
    #[must_use]
    pub fn rewrite(self, rewrite: Rewrite) -> Routes {
        Routes { rewrite, ..self }
    }
}
