//! Folio's own protocol: JSON texts on a WebSocket. Every frame stands in `docs/protocol.md`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::following::{Following, floors_of, follow, follow_all, settle};
use super::frames::{Chunk, Protocol};
use super::requests::{Proof, Requests, TOO_OFTEN, Talk};
use super::session::Session;
use super::topics::Position;
use super::wire::{Close, Incoming};
use super::{Sockets, Upgrade};
use crate::error::{Error, Result};
use crate::http::error::Refusal;
use crate::ids::StreamId;

/// Everything that a client may say.
pub const OPS: [&str; 7] = ["connect", "follow", "ping", "pong", "request", "token", "unfollow"];

const NO_STREAM: Error = Error::Malformed("a stream is needed");

/// Answers a handshake and serves the client that follows.
///
/// # Errors
/// When there is no place for it.
pub fn serve<R: Requests>(upgrade: Upgrade, sockets: &Arc<Sockets>, requests: &Arc<R>) -> Result<Response, Refusal> {
    let session = Session::of(sockets, Protocol::Native, &upgrade.client)?;
    Ok(upgrade.converse(session, Arc::new(Native(requests.clone()))))
}

/// One client of ours.
struct Native<R>(Arc<R>);

/// What a client may say. What is not known is not read.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    id: Option<u64>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    token: Option<String>,
    ticket: Option<String>,
    ping_ms: Option<u64>,
    device: Option<Value>,
    #[serde(default)]
    streams: Vec<Place>,
    stream: Option<StreamId>,
    epoch: Option<i64>,
    seq: Option<i64>,
}

/// A stream to follow; without a position, from its end.
#[derive(Deserialize)]
struct Place {
    stream: StreamId,
    epoch: Option<i64>,
    seq: Option<i64>,
}

fn following(&Place { stream, epoch, seq }: &Place) -> Following {
    (stream, epoch.zip(seq).map(|(epoch, seq)| Position { epoch, seq }))
}

impl<R: Requests> Talk for Native<R> {
    fn heard(&self, from: &Arc<Session>, message: Incoming<'_>) -> Result<(), Close> {
        let Incoming::Text(text) = message else { return Err(Close::new(Close::UNSUPPORTED, "text only")) };
        let (id, done) = match read(text) {
            Ok(said) => (said.id, if from.allow() { self.act(from, said)? } else { Err(TOO_OFTEN) }),
            Err(error) => (None, Err(error)),
        };
        if let Err(error) = &done {
            from.queue(refused(id, error));
        }
        from.count(done.is_ok())
    }
}

fn read(text: &str) -> Result<Said<'_>> {
    let said = serde_json::from_str(text).ok().filter(|_| text.trim_start().starts_with('{'));
    said.ok_or(Error::Malformed("the frame is no object with an op, or a field has another type"))
}

/// A frame, without the fields that say nothing.
fn frame(op: &str, mut told: Value) -> Chunk {
    if let Value::Object(fields) = &mut told {
        fields.retain(|_, it| !it.is_null());
    }
    Chunk::told(Protocol::Native, op, &told.to_string())
}

/// A refusal as a frame.
fn refused(id: Option<u64>, error: &Error) -> Chunk {
    if let Error::Internal(source) = error {
        tracing::error!(event = "ws.internal", %source, "a request failed");
    }
    let wait = error.retry_after().map(|it| it.as_millis() as u64);
    let fields = if let Error::Invalid { fields, .. } = error { Some(fields) } else { None };
    let (code, message) = (error.code(), error.to_string());
    let told = json!({ "id": id, "code": code, "message": message, "temporary": wait.is_some(), "retry_after_ms": wait, "fields": fields });
    frame("error", told)
}

/// An answer as a frame.
fn answer(id: Option<u64>, done: Result<impl Display>) -> Chunk {
    let number = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
    let reply = |body| Chunk::told(Protocol::Native, "reply", &format!(r#"{{{number}"body":{body}}}"#));
    done.map_or_else(|error| refused(id, &error), reply)
}

impl<R: Requests> Native<R> {
    /// Does what a frame says. The inner result is an answer, the outer one the end.
    fn act(&self, from: &Arc<Session>, said: Said<'_>) -> Result<Result<()>, Close> {
        let id = said.id;
        Ok(match &*said.op {
            "pong" => Ok(()),
            "ping" => {
                from.queue(Chunk::told(Protocol::Native, "pong", "{}"));
                Ok(())
            }
            "connect" | "token" => self.sign_in(from, said),
            _ if from.who().is_none() => Err(Error::Unauthenticated("connect first")),
            "request" => self.request(from, said),
            "follow" => said.stream.ok_or(NO_STREAM).and_then(|stream| {
                let (session, requests) = (from.clone(), self.0.clone());
                let following = following(&Place { stream, epoch: said.epoch, seq: said.seq });
                from.begin(async move {
                    let followed = follow(&*requests, &session, &HashMap::new(), following).await?;
                    settle(&*requests, &session, vec![following]).await?;
                    Ok(Some(answer(id, followed.map(|()| "{}"))))
                })
            }),
            "unfollow" => said.stream.ok_or(NO_STREAM).map(|stream| {
                from.sockets.topics.leave(from, stream);
                from.queue(answer(id, Ok("{}")));
            }),
            _ => Err(Error::Malformed("there is no such op")),
        })
    }

    /// Signs in, and resumes what a first frame names; or goes on with another token.
    fn sign_in(&self, from: &Arc<Session>, said: Said<'_>) -> Result<()> {
        let proof = Proof::either(said.token, said.ticket)?;
        from.calls_itself(said.device);
        let (session, requests, connects) = (from.clone(), self.0.clone(), said.op == "connect");
        let (id, wish, streams) = (said.id, said.ping_ms, said.streams);
        from.begin(async move {
            let who = match requests.sign_in(&session, proof).await {
                Err(Error::Forbidden(why)) => return Err(Close::new(Close::OUT_OF_TURN, why)),
                Err(error) if session.who().is_none() => return Err(nobody(&session, id, &error)),
                Ok(who) if connects => who,
                done => return Ok(Some(answer(id, done.map(|_| "{}")))),
            };
            session.send(&welcome(&session, id, wish));
            if !streams.is_empty() {
                let floors = floors_of(&*requests, who, streams.len()).await?;
                follow_all(&*requests, &session, &floors, streams.iter().map(following).collect()).await?;
            }
            Ok(None)
        })
    }

    fn request(&self, from: &Arc<Session>, said: Said<'_>) -> Result<()> {
        let name = said.name.ok_or_else(|| Error::invalid("name", "is needed"))?;
        let (called, id) = (self.0.call(from, &name, said.body.unwrap_or(RawValue::NULL)), said.id);
        from.begin(async move { Ok(Some(answer(id, called.await))) })
    }
}

/// Nobody whom we know, or nobody can tell at the moment: then the client may come back with the same.
fn nobody(session: &Arc<Session>, id: Option<u64>, error: &Error) -> Close {
    session.send(&refused(id, error));
    match error.retry_after() {
        Some(_) => Close::new(Close::STORE, "sign_in_unavailable"),
        None => Close::new(Close::UNAUTHENTICATED, error.code()),
    }
}

/// The answer to a connect: who it is, and what it may count on.
fn welcome(session: &Arc<Session>, id: Option<u64>, wish_ms: Option<u64>) -> Chunk {
    let config = &session.sockets.config;
    let limits = json!({
        "message_bytes_max": config.message_bytes_max,
        "messages_per_second": config.messages.map(|it| it.per_second),
        "messages_burst": config.messages.map(|it| it.burst),
        "requests_waiting_max": config.requests_waiting_max,
        "streams_max": config.topics_max,
        "replay_entries_max": config.replay_entries_max,
        "outbox_bytes_max": config.outbox_bytes_max,
        "outbox_frames_max": config.outbox_frames_max,
    });
    let ping_ms = session.agree(wish_ms.unwrap_or(u64::MAX));
    let (user, pong_ms) = (session.who().map(|it| it.user), config.pong_within.as_millis() as u64);
    frame("connected", json!({ "id": id, "user": user, "ping_ms": ping_ms, "pong_ms": pong_ms, "limits": limits }))
}
