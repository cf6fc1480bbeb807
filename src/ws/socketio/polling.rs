//! Engine.IO's requests: handshake, poll, post, and the upgrade to a socket.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Limited};
use hyper::{Method, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use url::form_urlencoded;

use super::engine::{Engine, Engines, NOOP};
use super::payload::{self, Packet};
use crate::actors::presence::rules::DeviceKind;
use crate::http::error::Refusal;
use crate::http::extract::Client;
use crate::http::shell::Taken;
use crate::ws::requests::{Talk, Turn};
use crate::ws::session::Session;
use crate::ws::wire::{self, Incoming, Reader};
use crate::ws::{Upgrade, socket};

/// A poll that has nothing to say ends before a proxy or the route's deadline ends it.
const POLL_WITHIN: Duration = Duration::from_secs(20);
/// How long the upgrade may take.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);
/// What one poll carries away.
const POLL_BYTES: usize = 256 << 10;

/// Refuses a request in Engine.IO's own words and numbers.
fn bad(code: u8, message: &'static str) -> Response {
    let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn unknown_session() -> Response {
    bad(1, "Session ID unknown")
}

fn bad_request() -> Response {
    bad(3, "Bad request")
}

impl<T: Talk> Engines<T> {
    /// Answers one request of a client.
    ///
    /// # Errors
    /// When a handshake is none, or there is no place for one more session.
    pub async fn serve(self: &Arc<Self>, request: Request) -> Result<Response, Refusal> {
        let (mut parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let field = |name| form_urlencoded::parse(query.as_bytes()).find(|it| it.0 == name).map(|it| it.1);
        if field("EIO").as_deref() != Some("4") {
            return Ok(bad(5, "Unsupported protocol version"));
        }
        let websocket = match field("transport").as_deref() {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Ok(bad(0, "Transport unknown")),
        };
        let engine = match field("sid").map(|sid| self.polling.get(&*sid).map(|it| it.clone())) {
            Some(None) => return Ok(unknown_session()),
            Some(engine) => engine,
            None => None,
        };
        if websocket {
            let upgrade = Upgrade::from_request_parts(&mut parts, &()).await?;
            return Ok(match engine {
                None => self.open_socket(upgrade)?,
                Some(engine) if engine.upgrading.swap(true, AcqRel) => bad_request(),
                Some(engine) => upgrade.take_over(move |taken| engine.upgrade(taken)),
            });
        }
        Ok(match (engine, &parts.method) {
            (None, &Method::GET) => {
                let client = Client::from_request_parts(&mut parts, &()).await?;
                text(self.open(client.address, DeviceKind::of(&client.device))?.take())
            }
            (None, _) => bad(2, "Bad handshake method"),
            (Some(engine), &Method::GET) => engine.poll().await,
            (Some(engine), &Method::POST) => engine.post(body).await,
            _ => bad_request(),
        })
    }
}

fn text(body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8"), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

impl<T: Talk> Engine<T> {
    /// What waits, as the body of an answer.
    fn take(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let taken = self.session.outbox(|outbox| outbox.take(POLL_BYTES));
        taken.iter().for_each(|frames| payload::put(&mut body, frames));
        if self.session.outbox(|outbox| outbox.said_all()) {
            self.session.end();
        }
        body
    }

    /// Waits until there is something to say. A poll that its client gives up is the end of the session.
    async fn poll(self: &Arc<Self>) -> Response {
        if self.taking.swap(true, AcqRel) {
            self.session.close(&wire::Close::new(crate::ws::close::OUT_OF_TURN, "two polls at once"));
            return bad_request();
        }
        let poll = UnderWay(Some(self.clone()));
        let waits = timeout(POLL_WITHIN, poll_fn(|cx| self.poll_ready(cx))).await;
        let body = match waits {
            Ok(false) => None,
            Ok(true) | Err(_) => Some(self.take()),
        };
        poll.done();
        match body {
            None => unknown_session(),
            Some(body) if body.is_empty() => text(NOOP.to_vec()),
            Some(body) => text(body),
        }
    }

    /// Ready with true when there is something to say, if only that the poll has to end.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.session.io().is_some() {
            return Poll::Ready(false);
        }
        self.session.outbox(|outbox| {
            outbox.attend(cx.waker());
            match outbox.is_empty() {
                false => Poll::Ready(true),
                true if outbox.said_all() || outbox.was_cut() => Poll::Ready(false),
                true if self.upgrading.load(Acquire) => Poll::Ready(true),
                true => Poll::Pending,
            }
        })
    }

    /// Takes what a client sends.
    async fn post(self: &Arc<Self>, body: Body) -> Response {
        let bytes_max = self.session.sockets.config.message_bytes_max;
        let Ok(body) = Limited::new(body, bytes_max).collect().await else {
            self.session.cut();
            return Refusal::from(crate::error::Error::TooLarge("the payload is larger than maxPayload"))
                .into_response();
        };
        let body = body.to_bytes();
        let Some(packets) = payload::read(&body) else {
            self.session.cut();
            return bad_request();
        };
        let session = &self.session;
        session.heard.store(session.sockets.heartbeat.now(), Relaxed);
        let (mut turn, mut end) = (Turn::default(), None);
        for packet in &packets {
            if *packet == Packet::Text("1") {
                // The poll that waits ends with a packet that says nothing; then nobody asks any more.
                session.goodbye.store(true, Relaxed);
                session.outbox(|outbox| outbox.close(Some(wire::frame(wire::TEXT, NOOP))));
                session.sockets.heartbeat.bid_farewell(session);
                break;
            }
            let message = match packet {
                Packet::Text(text) => Incoming::Text(text),
                Packet::Binary(bytes) => Incoming::Binary(bytes),
            };
            end = self.heard(session, message, &mut turn).err();
            if end.is_some() {
                break;
            }
        }
        finish(session, turn);
        match end {
            None => (StatusCode::OK, [(header::CONTENT_TYPE, "text/html")], "ok").into_response(),
            Some(close) => {
                session.close(&close);
                bad_request()
            }
        }
    }

    /// Tries a socket. If the client does not go through with it, polling goes on.
    async fn upgrade(self: Arc<Self>, taken: Taken) {
        let session = self.session.clone();
        session.sockets.heed(&taken.stopping);
        let (mut stream, mut reader) = (taken.stream, Reader::new(session.sockets.config.message_bytes_max));
        let probe = timeout(UPGRADE_WITHIN, self.probe(&mut stream, &mut reader, taken.early.to_vec())).await;
        let first = match probe {
            Ok(Some(first)) if session.attach(stream).is_ok() => first,
            _ => return self.upgrading.store(false, Release),
        };
        // From now on its name means nothing to a poll, nor to another socket.
        if let Some(polling) = &self.polling {
            polling.remove(&self.sid);
        }
        socket::converse(session, self, reader, Vec::new(), first).await;
    }

    /// The socket answers, the poll under way ends, the client moves over. Returns what it said right behind that.
    async fn probe(
        &self,
        stream: &mut tokio::net::TcpStream,
        reader: &mut Reader,
        mut read: Vec<u8>,
    ) -> Option<Vec<(u8, Vec<u8>)>> {
        let mut heard: Vec<(u8, Vec<u8>)> = Vec::new();
        loop {
            let fed = reader.feed(&mut read, |message| match message {
                Incoming::Text(text) => heard.push((wire::TEXT, text.into())),
                Incoming::Binary(bytes) => heard.push((wire::BINARY, bytes.into())),
                Incoming::Close(_) => heard.push((wire::CLOSE, Vec::new())),
                _ => {}
            });
            fed.ok()?;
            while !heard.is_empty() {
                let (opcode, message) = heard.remove(0);
                match (opcode, &*message) {
                    (wire::TEXT, b"2probe") => {
                        stream.write_all(&wire::frame(wire::TEXT, b"3probe")).await.ok()?;
                        self.session.outbox(|outbox| outbox.wake());
                    }
                    (wire::TEXT, b"5") => return Some(heard),
                    _ => return None,
                }
            }
            read.clear();
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
    }
}

/// A poll under way.
struct UnderWay<T>(Option<Arc<Engine<T>>>);

impl<T> UnderWay<T> {
    fn done(mut self) {
        if let Some(engine) = self.0.take() {
            engine.taking.store(false, Release);
        }
    }
}

impl<T> Drop for UnderWay<T> {
    /// The client gave its poll up, and with it perhaps what was being said.
    fn drop(&mut self) {
        if let Some(engine) = self.0.take() {
            engine.session.cut();
        }
    }
}

/// Sends the answers, and lets work run in tasks of its own. It is begun here, in the order in which it was asked for.
fn finish(session: &Arc<Session>, turn: Turn) {
    let Turn { answers, work } = turn;
    if let Some(chunk) = answers.chunk() {
        session.send(&chunk);
    }
    for mut work in work {
        let conclude = |session: &Arc<Session>, done| match done {
            Ok(chunk) => Option::iter(&chunk).for_each(|it| session.send(it)),
            Err(close) => session.close(&close),
        };
        match work.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => conclude(session, done),
            Poll::Pending => {
                let session = session.clone();
                session.sockets.root.clone().task("requests", async move { conclude(&session, work.await) });
            }
        }
    }
}
