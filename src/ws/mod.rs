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
pub mod heartbeat;
pub mod house;
pub mod native;
mod newcomers;
pub mod offset;
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
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::Response;
use futures_util::FutureExt;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use tokio_tungstenite::tungstenite::error::{Error as HandshakeError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::create_response;

use self::heartbeat::Heartbeat;
use self::offset::Offset;
use self::recall::Recall;
use self::requests::Talk;
use self::roll::Roll;
use self::session::Session;
use self::topics::{History, Topics};
use self::wire::Reader;
use crate::actors::kernel::Root;
use crate::actors::presence::rules::DeviceKind;
use crate::clock::Clock;
use crate::config::SocketsConfig;
use crate::error::Error;
use crate::http::error::Refusal;
use crate::http::extract::About;
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
    heartbeat: Heartbeat,
}

impl Sockets {
    /// Starts what all sessions share.
    pub fn start(root: &Root, clock: &Clock, config: SocketsConfig, history: History) -> Arc<Sockets> {
        let sockets = Arc::new(Sockets {
            heartbeat: Heartbeat::new(&config, clock),
            topics: Topics::new(root, history, config.replay_entries_max),
            roll: Roll::default(),
            recall: Recall::default(),
            root: root.clone(),
            clock: clock.clone(),
            config,
        });
        let beating = sockets.clone();
        root.keep("heartbeat", move |_| {
            let sockets = beating.clone();
            async move {
                let mut beat = sockets.clock.every(sockets.heartbeat.tick());
                loop {
                    beat.tick().await;
                    sockets.heartbeat.turn(&sockets.clock);
                }
            }
        });
        sockets
    }

    /// Whether a position is young enough to come back to.
    pub fn recovers(&self, offset: &Offset) -> bool {
        let age = (self.clock.now() - offset.at).to_std().unwrap_or_default();
        age <= self.config.recovers_within
    }

    /// Sends everybody away, to come back: the server stops.
    pub(crate) fn send_away(&self) {
        self.heartbeat.send_away();
    }
}

/// A valid handshake: 400 or 426 without one, 403 from a page that may not call.
pub struct Upgrade {
    /// From where it comes, seen past the proxies that are trusted.
    pub address: IpAddr,
    /// What sends it, as far as it says.
    pub device: DeviceKind,
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
        self.take_over(move |taken| async move {
            let reader = Reader::new(session.sockets.config.message_bytes_max);
            if session.attach(taken.stream).is_ok() {
                socket::converse(session, talk, reader, taken.early.to_vec()).await;
            }
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let about = About::of(parts);
        let accept = create_response(&Request::from_parts(parts.clone(), ())).map_err(|error| refused(&error))?;
        let text = |name| parts.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        if parts.headers.get_all(header::SEC_WEBSOCKET_KEY).iter().nth(1).is_some() {
            return Err(Error::Malformed("a handshake has one key").into());
        }
        if parts.headers.get(header::ORIGIN).is_some_and(|it| !about.link.shell.allows_origin(it)) {
            let (origin, host) = (text(header::ORIGIN), text(header::HOST));
            if origin.split_once("://").is_none_or(|it| !it.1.eq_ignore_ascii_case(host)) {
                return Err(Error::Forbidden("pages of this origin may not connect").into());
            }
        }
        let device = DeviceKind::of(text(header::USER_AGENT));
        Ok(Upgrade { accept, device, address: about.address, link: about.link.clone() })
    }
}

fn refused(error: &HandshakeError) -> Refusal {
    match error {
        HandshakeError::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this speaks WebSocket in version 13")
            .with(header::UPGRADE, HeaderValue::from_static("websocket"))
            .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        _ => Error::Malformed("the handshake is not valid").into(),
    }
}

#[cfg(test)]
mod tests;
