//! What Folio offers to stock clients: the main namespace, whose events are requests, and recovery out of the streams.
//!
//! A client shows a token or a ticket when it enters. What it was given then, `pid` and the offset of the last event,
//! brings it back to where it was: on any node, and after a restart, because the streams remember and nobody else does.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::packet::Args;
use super::peer::{Namespaces, Welcome, refusal};
use crate::error::{Error, Result};
use crate::ws::following::follow_own;
use crate::ws::recall::{LETTERS_MAX, Offset};
use crate::ws::requests::{Proof, Requests};
use crate::ws::session::Session;
use crate::ws::wire::Close;

/// The main namespace.
pub struct Lobby<R>(pub Arc<R>);

/// What a client shows when it enters; what else there is belongs to others.
#[derive(Deserialize)]
struct Auth {
    token: Option<String>,
    ticket: Option<String>,
    pid: Option<String>,
    offset: Option<String>,
    device: Option<Value>,
}

impl Auth {
    fn read(auth: &RawValue, session: &Session) -> Result<(Proof, Option<String>, Option<Offset>)> {
        let auth: Auth =
            serde_json::from_str(auth.get()).map_err(|_| Error::Malformed("not what is shown at a door"))?;
        let proof = Proof::either(auth.token, auth.ticket)?;
        session.calls_itself(auth.device);
        // What another server gave out means nothing here, nor does what is too old: begin afresh.
        let offset = auth.offset.and_then(|it| it.parse().ok()).filter(|it| session.sockets.recovers(it));
        let pid = auth.pid.filter(|it| it.len() <= LETTERS_MAX && offset.is_some());
        Ok((proof, pid, offset))
    }
}

impl<R: Requests> Namespaces for Lobby<R> {
    const NAMES: &'static [&'static str] = &["/"];

    fn connect(&self, from: &Arc<Session>, _: &'static str, auth: &RawValue) -> BoxFuture<'static, Result<Welcome>> {
        let (auth, session, requests) = (Auth::read(auth, from), from.clone(), self.0.clone());
        async move {
            let (proof, pid, offset) = auth?;
            let person = requests.sign_in(&session, proof).await?;
            // A position that is served no more is told by `reset`, stream by stream.
            let (pid, marks) = session.sockets.recall.enter(pid, person.user, &session);
            let mut streams = requests.streams(person, offset).await?;
            offset.iter().for_each(|it| marks.lock().raise(&mut streams, it));
            let then = async move { follow_own(&*requests, &session, streams).await };
            Ok(Welcome { pid: Some(pid), then: then.boxed() })
        }
        .boxed()
    }

    fn event(&self, from: &Arc<Session>, _: &'static str, name: &str, args: Args) -> BoxFuture<'static, Option<Args>> {
        let body = if args.json.is_empty() { Ok(RawValue::NULL) } else { serde_json::from_str(&args.json) };
        let answer = match body {
            Ok(body) if args.attachments.is_empty() => self.0.call(from, name, body),
            _ => ready(Err(Error::Unsupported("a request has one argument and no bytes"))).boxed(),
        };
        async move {
            let json = answer.await.unwrap_or_else(|error| format!(r#"{{"error":{}}}"#, refusal(&error)));
            Some(Args { json, attachments: Vec::new() })
        }
        .boxed()
    }

    /// Whoever leaves the one namespace has left.
    fn left(&self, from: &Arc<Session>) {
        from.close(&Close::new(Close::NORMAL, "left"));
    }
}
