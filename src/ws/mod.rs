//! How Folio is heard: the live connections.
//!
//! A session is one client, whatever it speaks: an outbox that publishers write into, and the topics it follows. Native
//! clients and Socket.IO clients have a socket each, long polling and server-sent events take what waits in answers.
//!
//! A route that wants a socket takes an [`Upgrade`]. The handshake is a request like every other: it has its ids, limits,
//! token, log line and counters. Then the session runs in the connection's own task, which still counts as one, and
//! hears when the server stops.

mod bonds;
pub mod calls;
mod chat_calls;
mod fanout;
pub mod following;
pub mod frames;
mod heartbeat;
pub mod house;
pub mod native;
mod newcomers;
pub mod outbox;
pub mod presence;
pub mod recall;
pub mod requests;
pub mod roll;
pub mod session;
pub mod socket;
pub mod socketio;
pub mod sse;
pub mod topic;
pub mod topics;
pub mod wire;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::Response;
use futures_util::FutureExt;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use tokio_tungstenite::tungstenite::handshake::server::create_response;

use self::heartbeat::millis;
use self::recall::{Offset, Recall};
use self::requests::Talk;
use self::roll::Roll;
use self::session::Session;
use self::topics::{History, Topics};
use self::wire::Reader;
use crate::actors::kernel::Root;
use crate::clock::Clock;
use crate::config::SocketsConfig;
use crate::error::Error;
use crate::http::error::Refusal;
use crate::http::extract::{About, Client};
use crate::http::shell::{Link, Taken};
use crate::telemetry;

/// What all sessions share.
pub struct Sockets {
    /// What each may hold, say and cost.
    pub config: SocketsConfig,
    /// Tells the time.
    pub clock: Clock,
    /// Where tasks are started.
    pub root: Root,
    /// Everybody who is connected.
    pub roll: Roll,
    /// What stock clients have heard.
    pub recall: Recall,
    /// Everything that somebody listens to.
    pub topics: Topics,
    /// When the last beat was.
    beaten_ms: AtomicU64,
    /// Whether everybody was sent away.
    stopping: AtomicBool,
}

impl Sockets {
    /// Starts what all sessions share.
    pub fn start(root: &Root, clock: &Clock, config: SocketsConfig, history: History) -> Arc<Sockets> {
        let sockets = Arc::new(Sockets {
            beaten_ms: AtomicU64::new(millis(clock)),
            stopping: AtomicBool::new(false),
            topics: Topics::new(root, history, config.replay_entries_max),
            roll: Roll::default(),
            recall: Recall::default(),
            root: root.clone(),
            clock: clock.clone(),
            config,
        });
        let beating = sockets.clone();
        root.keep("heartbeat", move |_| beating.clone().watch());
        sockets
    }

    /// Whether a position is young enough to come back to.
    pub fn recovers(&self, offset: &Offset) -> bool {
        let age = (self.clock.now() - offset.at).to_std().unwrap_or_default();
        age <= self.config.recovers_within
    }
}

/// A valid handshake: 426 without one, 403 from a page that may not call.
pub struct Upgrade {
    /// Who sends it.
    pub client: Client,
    accept: Response<()>,
    link: Arc<Link>,
}

impl Upgrade {
    /// Answers the handshake; the session runs once the answer has gone.
    pub fn take_over<F, S>(self, session: F) -> Response
    where
        F: FnOnce(Taken) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let trace = telemetry::trace();
        let session = move |taken| telemetry::traced(trace, session(taken)).boxed();
        *self.link.session.lock() = Some(Box::new(session));
        self.accept.map(|()| Body::empty())
    }

    /// Answers the handshake; the session gets the socket once the answer has gone, and says what waits.
    pub(crate) fn converse<T: Talk>(self, session: Arc<Session>, talk: Arc<T>) -> Response {
        self.take_over(move |(stream, early)| async move {
            let reader = Reader::new(session.sockets.config.message_bytes_max);
            if session.attach(stream).is_ok() {
                socket::converse(session, talk, reader, early.to_vec()).await;
            }
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let client = Client::from_request_parts(parts, &()).await?;
        let accept = create_response(&Request::from_parts(parts.clone(), ())).map_err(|_| {
            Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this speaks WebSocket in version 13")
                .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
        })?;
        let link = &About::of(parts).link;
        let text = |name| parts.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        if parts.headers.get(header::ORIGIN).is_some_and(|it| !link.shell.allows_origin(it)) {
            let (origin, host) = (text(header::ORIGIN), text(header::HOST));
            if origin.split_once("://").is_none_or(|it| !it.1.eq_ignore_ascii_case(host)) {
                return Err(Error::Forbidden("pages of this origin may not connect").into());
            }
        }
        Ok(Upgrade { client, accept, link: link.clone() })
    }
}

#[cfg(test)]
mod tests;
