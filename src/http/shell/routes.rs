//! The table of routes: one lookup a request gives 404, 405, bounds, metrics, ready answers and handlers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use futures_util::future::BoxFuture;
use hyper::Method;
use hyper::header::HeaderValue;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::UtoipaMethodRouter;

use super::answer::Encoded;
use super::traffic::Meter;
use crate::actors::auth::{Caller, Right};
use crate::error::Result;
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
    /// Whether it is for everybody; else it moves to the listener of operation, where there is one.
    pub public: bool,
}

impl Policy {
    /// For reads: no body.
    pub const READ: Policy =
        Policy { answer_within: None, body_bytes_max: Some(0), right: Right::Look, limited: true, public: true };
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
    /// For probes: never too often.
    pub const PROBE: Policy = Policy { limited: false, ..Policy::READ };
    /// For those who run Folio.
    pub const OPERATION: Policy = Policy { public: false, ..Policy::PROBE };
}

/// Finds an answer that is already encoded, for whoever asks; `None` sends the request to the handler.
pub type Ready = fn(&App, Option<&Caller>, &matchit::Params<'_, '_>) -> Option<Arc<Encoded>>;
/// A handler, called at once: the shell knows the route already.
pub type Run = Arc<dyn Fn(Request, App) -> BoxFuture<'static, Response> + Send + Sync>;

/// A handler with its description.
pub type Handled = (UtoipaMethodRouter<App>, Run);

/// Makes a handler one of many.
pub fn run<T, H: Handler<T, App, Future = BoxFuture<'static, Response>>>(handler: H) -> Run {
    Arc::new(move |request, app| handler.clone().call(request, app))
}

/// The handlers of one path, each with its description.
#[macro_export]
macro_rules! routes {
    ($($handler:path),+) => { [$((utoipa_axum::routes!($handler), $crate::http::shell::run($handler))),+] };
}

/// What one method does, and how it went.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) meter: Meter,
    pub(super) run: Run,
}

/// One path template: what may be done there, and within what bounds.
pub(super) struct Route {
    pub(super) template: String,
    pub(super) policy: Policy,
    pub(super) operations: Vec<Operation>,
    pub(super) ready: Option<Ready>,
}

impl Route {
    /// What a method does here; `HEAD` is a `GET` whose body stays here.
    pub(super) fn operation(&self, method: &Method) -> Option<&Operation> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.operations.iter().find(|it| it.method == *method)
    }

    /// The methods that are taken here.
    pub(super) fn allow(&self) -> HeaderValue {
        let names: String = self.operations.iter().map(|it| format!("{}, ", it.method)).collect();
        let names = format!("{names}OPTIONS").replace("GET", "GET, HEAD");
        HeaderValue::try_from(names).expect("method names are header text")
    }
}

/// Every route. Filled once, before the shell is made of it.
pub struct Routes {
    /// Tells whose token this is, if it is good now.
    pub identify: fn(&App, &[u8]) -> Result<Caller>,
    pub(super) tree: matchit::Router<usize>,
    pub(super) all: Vec<Route>,
    pub(super) api: OpenApi,
}

impl Default for Routes {
    fn default() -> Routes {
        let (tree, all) = Default::default();
        let identify = |app: &App, token: &[u8]| app.actors.identify(token, &app.clock);
        Routes { identify, tree, all, api: openapi::base() }
    }
}

impl Routes {
    /// Adds the handlers of one path. Template and methods come from their own description.
    ///
    /// # Panics
    /// When two routes overlap.
    #[must_use]
    pub fn add<const N: usize>(mut self, policy: Policy, handlers: [Handled; N]) -> Routes {
        let (mut template, mut operations) = (String::new(), Vec::new());
        for ((schemas, mut paths, _), run) in handlers {
            for (path, item) in &mut paths.paths {
                let described = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
                let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
                let both = methods.into_iter().zip(described);
                for (method, described) in both.filter_map(|(method, it)| Some((method, it.as_mut()?))) {
                    openapi::complete(described, method.as_str(), path, policy.right);
                    operations.push(Operation { method, meter: Meter::default(), run: run.clone() });
                }
                template.clone_from(path);
            }
            self.api.paths.merge(paths);
            self.api.components.get_or_insert_default().schemas.extend(schemas);
        }
        self.tree.insert(&template, self.all.len()).expect("routes do not overlap");
        self.all.push(Route { template, policy, operations, ready: None });
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
}
