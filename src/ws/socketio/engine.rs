//! A session as Engine.IO sees it: opened over polling or a socket, upgraded once at most; and the requests that carry it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dashmap::DashMap;
use http_body_util::{BodyExt, Limited};
use hyper::{Method, StatusCode, header};
use scopeguard::{ScopeGuard, guard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use url::form_urlencoded;

use crate::error::{Error, Result};
use crate::http::error::Refusal;
use crate::http::extract::Client;
use crate::http::shell::Taken;
use crate::ws::frames::{Chunk, Protocol};
use crate::ws::recall::unguessable;
use crate::ws::requests::Talk;
use crate::ws::session::Session;
use crate::ws::wire::{self, Close, Incoming, Reader, broken};
use crate::ws::{Sockets, Upgrade, socket};

/// Ends a poll that has nothing to say.
const NOOP: &[u8] = b"6";
/// What stands between two packets of a body.
const BETWEEN: char = '\u{1e}';
/// A poll that has nothing to say ends before a proxy or the route's deadline ends it.
const POLL_WITHIN: Duration = Duration::from_secs(20);
/// How long the upgrade may take.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);
/// How long a poll waits for its client to move over, before it ends for the upgrade to go on.
const MOVES_WITHIN: Duration = Duration::from_millis(50);
/// What one poll carries away.
const POLL_BYTES: usize = 256 << 10;

/// Why a request is refused, in Engine.IO's own numbers and words.
type Why = (u8, &'static str);
const TRANSPORT: Why = (0, "Transport unknown");
const SESSION: Why = (1, "Session ID unknown");
const METHOD: Why = (2, "Bad handshake method");
const REQUEST: Why = (3, "Bad request");
const VERSION: Why = (5, "Unsupported protocol version");

/// One session, and what understands its messages.
pub struct Engine<T> {
    session: Arc<Session>,
    sid: String,
    upper: T,
    /// Held by the poll that is under way; two at once are a client out of its mind.
    taking: tokio::sync::Mutex<()>,
    /// Whether another transport is being tried: then polls are answered soon.
    upgrading: AtomicBool,
    /// Whether the client has moved over.
    moved: AtomicBool,
}

/// What makes for each session what understands its messages.
type Upper<T> = Box<dyn Fn(&Arc<Session>) -> T + Send + Sync>;

/// The sessions of one path.
pub struct Engines<T> {
    sockets: Arc<Sockets>,
    /// Those that poll, by their name.
    polling: DashMap<String, Arc<Engine<T>>>,
    upper: Upper<T>,
}

fn bad((code, message): Why) -> Response {
    let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Frames of a WebSocket as the body of an answer, binary ones as base64; a close frame is a packet that closes, or the
/// answer to one.
fn payload(taken: &[Bytes]) -> Response {
    let packet = |(opcode, bytes): (u8, &[u8])| match opcode {
        wire::TEXT => bytes.to_vec(),
        wire::CLOSE if bytes.starts_with(&Close::NORMAL.to_be_bytes()) => NOOP.to_vec(),
        wire::CLOSE => b"1".to_vec(),
        _ => format!("b{}", STANDARD.encode(bytes)).into_bytes(),
    };
    let mut packets: Vec<_> = taken.iter().flat_map(|it| wire::unframe(it)).map(packet).collect();
    if packets.is_empty() {
        packets.push(NOOP.to_vec());
    }
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8"), (header::CACHE_CONTROL, "no-store")];
    (headers, packets.join(&(BETWEEN as u8))).into_response()
}

impl<T: Talk> Engines<T> {
    /// No session yet. Each gets what understands its messages.
    pub fn new(sockets: &Arc<Sockets>, upper: impl Fn(&Arc<Session>) -> T + Send + Sync + 'static) -> Arc<Engines<T>> {
        Arc::new(Engines { sockets: sockets.clone(), polling: DashMap::new(), upper: Box::new(upper) })
    }

    /// Opens a session. The first packet says what the client may count on.
    fn open(&self, client: &Client, upgrades: &str) -> Result<Arc<Engine<T>>> {
        let session = Session::of(&self.sockets, Protocol::SocketIo, client)?;
        let (config, sid) = (&self.sockets.config, unguessable());
        let text = format!(
            r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            config.ping_every.as_millis(),
            config.pong_within.as_millis(),
            config.message_bytes_max,
        );
        session.queue(Chunk::new(wire::frame(wire::TEXT, text.as_bytes()), 1));
        let upper = (self.upper)(&session);
        let (taking, upgrading, moved) = Default::default();
        Ok(Arc::new(Engine { session, sid, upper, taking, upgrading, moved }))
    }

    /// Answers one request of a client.
    ///
    /// # Errors
    /// When a handshake is none, or there is no place for one more session.
    pub async fn serve(self: &Arc<Self>, request: Request) -> Result<Response, Refusal> {
        let (mut parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let field = |name| form_urlencoded::parse(query.as_bytes()).find(|it| it.0 == name).map(|it| it.1);
        if field("EIO").as_deref() != Some("4") {
            return Ok(bad(VERSION));
        }
        let websocket = match field("transport").as_deref() {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Ok(bad(TRANSPORT)),
        };
        let engine = field("sid").map(|sid| self.polling.get(&*sid).map(|it| it.clone()));
        if websocket && !matches!(engine, Some(None)) {
            let upgrade = Upgrade::from_request_parts(&mut parts, &()).await?;
            return Ok(match engine.flatten() {
                None => {
                    let engine = self.open(&upgrade.client, "")?;
                    upgrade.converse(engine.session.clone(), engine)
                }
                Some(engine) if engine.upgrading.swap(true, AcqRel) => bad(REQUEST),
                Some(engine) => {
                    let engines = self.clone();
                    upgrade.take_over(move |taken| async move { engine.upgrade(&engines, taken).await })
                }
            });
        }
        Ok(match (engine, &parts.method) {
            (Some(None), _) => bad(SESSION),
            (None, &Method::GET) => {
                let client = Client::from_request_parts(&mut parts, &()).await?;
                let engine = self.open(&client, r#""websocket""#)?;
                self.polling.insert(engine.sid.clone(), engine.clone());
                let (engines, sid) = (self.clone(), engine.sid.clone());
                engine.session.at_end(move |_| drop(engines.polling.remove(&sid)));
                payload(&engine.session.outbox(|it| it.take(POLL_BYTES)))
            }
            (None, _) => bad(METHOD),
            (Some(Some(engine)), &Method::GET) => engine.poll().await,
            (Some(Some(engine)), &Method::POST) => engine.post(body).await,
            _ => bad(REQUEST),
        })
    }
}

impl<T: Talk> Engine<T> {
    /// Waits until there is something to say.
    async fn poll(&self) -> Response {
        let Ok(_taking) = self.taking.try_lock() else {
            self.session.close(&Close::new(Close::OUT_OF_TURN, "two polls at once"));
            return bad(REQUEST);
        };
        // With a poll that its client gives up went perhaps what was being said.
        let given_up = guard((), |()| self.session.cut());
        let polled = poll_fn(|cx| match self.session.poll_take(POLL_BYTES, cx) {
            Poll::Pending if self.upgrading.load(Acquire) => Poll::Ready(Some(Vec::new())),
            taken => taken,
        });
        let taken = timeout(POLL_WITHIN, polled).await.unwrap_or(Some(Vec::new()));
        ScopeGuard::into_inner(given_up);
        if self.upgrading.load(Acquire) && taken.as_ref().is_some_and(Vec::is_empty) {
            // What its client said on the socket before this poll may be on its way.
            sleep(MOVES_WITHIN).await;
            if self.moved.load(Acquire) {
                return bad(SESSION);
            }
        }
        taken.map_or_else(|| bad(SESSION), |it| payload(&it))
    }

    /// Takes what a client sends; what is no packet ends the session.
    async fn post(&self, body: Body) -> Response {
        let session = &self.session;
        let bytes_max = session.sockets.config.message_bytes_max;
        let Ok(body) = Limited::new(body, bytes_max).collect().await else {
            session.cut();
            return Refusal::from(Error::TooLarge("the payload is larger than maxPayload")).into_response();
        };
        session.heard.store(session.sockets.now_ms(), Relaxed);
        let heard = self.take(&body.to_bytes());
        session.poll_work(&mut Context::from_waker(Waker::noop()));
        session.flush();
        match heard {
            // Said goodbye.
            Err(close) if close.code == Close::NORMAL => session.close(&close),
            Err(_) => {
                session.cut();
                return bad(REQUEST);
            }
            // The poll under way is the one that moves work on.
            Ok(()) => session.outbox(|it| it.wake()),
        }
        (StatusCode::OK, [(header::CONTENT_TYPE, "text/html")], "ok").into_response()
    }

    fn take(&self, body: &[u8]) -> Result<(), Close> {
        let text = std::str::from_utf8(body).map_err(|_| broken("not a packet"))?;
        text.split(BETWEEN).try_for_each(|packet| match packet.strip_prefix('b') {
            None => self.heard(&self.session, Incoming::Text(packet)),
            Some(base64) => {
                let bytes = STANDARD.decode(base64).map_err(|_| broken("not a packet"))?;
                self.heard(&self.session, Incoming::Binary(&bytes))
            }
        })
    }

    /// Tries a socket. If the client does not go through with it, polling goes on.
    async fn upgrade(self: Arc<Self>, engines: &Engines<T>, (mut stream, early): Taken) {
        let session = self.session.clone();
        let mut reader = Reader::new(session.sockets.config.message_bytes_max);
        let probe = timeout(UPGRADE_WITHIN, self.probe(&mut stream, &mut reader, early.to_vec())).await;
        let moved = match probe {
            Ok(Some(moved)) if session.attach(stream).is_ok() => moved,
            _ => return self.upgrading.store(false, Release),
        };
        // From now on its name means nothing to a poll, nor to another socket.
        self.moved.store(true, Release);
        engines.polling.remove(&self.sid);
        if let Err(close) = moved {
            session.close(&close);
        }
        socket::converse(session, self, reader, Vec::new()).await;
    }

    /// The socket answers, the poll under way ends, the client moves over. Returns what came of what it said right
    /// behind that, or nothing if it does not move.
    async fn probe(&self, stream: &mut TcpStream, reader: &mut Reader, mut read: Vec<u8>) -> Option<Result<(), Close>> {
        loop {
            let (mut probed, mut moved) = (false, false);
            let fed = reader.feed(&mut read, |message| {
                match message {
                    Incoming::Close(close) => return Err(close),
                    message if moved => return self.heard(&self.session, message),
                    Incoming::Text("2probe") => probed = true,
                    Incoming::Text("5") => moved = true,
                    _ => return Err(broken("not a probe")),
                }
                Ok(())
            });
            if moved {
                return Some(fed);
            }
            fed.ok()?;
            if probed {
                stream.write_all(&wire::frame(wire::TEXT, b"3probe")).await.ok()?;
                self.session.outbox(|outbox| outbox.wake());
            }
            read.clear();
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
    }
}

impl<T: Talk> Talk for Engine<T> {
    fn heard(&self, from: &Arc<Session>, message: Incoming<'_>) -> Result<(), Close> {
        let Incoming::Text(text) = message else { return self.upper.heard(from, message) };
        match text.as_bytes() {
            [b'4', ..] => self.upper.heard(from, Incoming::Text(&text[1..])),
            // A pong is life like everything that is heard; a ping is one of older clients.
            b"3" | b"6" => Ok(()),
            b"1" => Err(Close::new(Close::NORMAL, "")),
            _ => Err(broken("not a packet")),
        }
    }
}
