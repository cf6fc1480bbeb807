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
pub mod close;
mod fanout;
pub mod following;
pub mod frames;
pub mod heartbeat;
pub mod house;
mod members;
pub mod native;
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
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use self::heartbeat::Heartbeat;
use self::offset::Offset;
use self::outbox::Room;
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
    room: Room,
    stop: OnceLock<()>,
}

impl Sockets {
    /// Starts what all sessions share.
    pub fn start(root: &Root, clock: &Clock, config: SocketsConfig, history: History) -> Arc<Sockets> {
        let sockets = Arc::new(Sockets {
            heartbeat: Heartbeat::new(&config, clock),
            room: Room { bytes_max: config.outbox_bytes_max, frames_max: config.outbox_frames_max },
            topics: Topics::new(root, history, config.replay_entries_max),
            roll: Roll::default(),
            recall: Recall::default(),
            root: root.clone(),
            clock: clock.clone(),
            stop: OnceLock::new(),
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

    /// Hears of the server's stop from the first socket that comes: then everybody is sent away, to come back.
    fn heed(self: &Arc<Self>, stopping: &watch::Receiver<bool>) {
        self.stop.get_or_init(|| {
            let (sockets, mut stopping) = (self.clone(), stopping.clone());
            self.root.task("heartbeat", async move {
                if stopping.wait_for(|stop| *stop).await.is_ok() {
                    sockets.heartbeat.send_away();
                }
            });
        });
    }
}

/// A valid handshake: 400 or 426 without one, 403 from a page that may not call.
pub struct Upgrade {
    /// From where it comes, seen past the proxies that are trusted.
    pub address: IpAddr,
    /// What sends it, as far as it says.
    pub device: DeviceKind,
    accept: HeaderValue,
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
        let websocket = HeaderValue::from_static("websocket");
        let upgrade = HeaderValue::from_static("upgrade");
        let headers =
            [(header::CONNECTION, upgrade), (header::UPGRADE, websocket), (header::SEC_WEBSOCKET_ACCEPT, self.accept)];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

impl Upgrade {
    /// Answers the handshake; the session gets the socket once the answer has gone, and `greet` has the first word.
    pub(crate) fn converse<T: Talk>(
        self,
        session: Arc<Session>,
        talk: Arc<T>,
        greet: impl FnOnce(&T) + Send + 'static,
    ) -> Response {
        self.take_over(move |taken| async move {
            session.sockets.heed(&taken.stopping);
            let reader = Reader::new(session.sockets.config.message_bytes_max);
            if session.attach(taken.stream).is_ok() {
                greet(&talk);
                socket::converse(session, talk, reader, taken.early.to_vec(), Vec::new()).await;
            }
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        let about = About::of(parts);
        if parts.version != Version::HTTP_11 {
            return Err(Error::Malformed("a handshake needs HTTP/1.1").into());
        }
        if !has_word(headers, &header::UPGRADE, "websocket") || !has_word(headers, &header::CONNECTION, "upgrade") {
            let websocket = HeaderValue::from_static("websocket");
            return Err(required("this speaks WebSocket").with(header::UPGRADE, websocket));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|it| it != "13") {
            let version = HeaderValue::from_static("13");
            return Err(required("this speaks version 13").with(header::SEC_WEBSOCKET_VERSION, version));
        }
        let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let key = keys.next().filter(|it| keys.next().is_none() && is_key(it.as_bytes()));
        let key = key.ok_or(Error::Malformed("the key of the handshake is not valid"))?;
        if let Some(origin) = headers.get(header::ORIGIN).filter(|it| !about.link.shell.allows_origin(it)) {
            let host = headers.get(header::HOST).map(text).unwrap_or_default();
            if text(origin).split_once("://").is_none_or(|it| !it.1.eq_ignore_ascii_case(host)) {
                return Err(Error::Forbidden("pages of this origin may not connect").into());
            }
        }
        let accept = derive_accept_key(key.as_bytes());
        let accept = HeaderValue::from_str(&accept).expect("base64 is header text");
        let agent = headers.get(header::USER_AGENT).map(text).unwrap_or_default();
        Ok(Upgrade { accept, device: DeviceKind::of(agent), address: about.address, link: about.link.clone() })
    }
}

fn required(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", why)
}

/// Sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let (digits, end) = key.split_at_checked(22).unwrap_or_default();
    end == b"==" && digits.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/'))
}

fn has_word(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().any(|line| text(line).split(',').any(|it| it.trim().eq_ignore_ascii_case(word)))
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
