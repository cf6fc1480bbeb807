//! One Socket.IO client: the namespaces it has entered, its events and what they are acknowledged with.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::packet::{self, Args, Packet, encode};
use crate::error::{Error, Result};
use crate::ws::frames::{Chunk, quoted};
use crate::ws::recall::unguessable;
use crate::ws::requests::{TOO_OFTEN, Talk};
use crate::ws::session::Session;
use crate::ws::wire::{Close, Incoming, broken};

/// What a client that was let in is told.
pub struct Welcome {
    /// What it shows when it comes back, where that means something.
    pub pid: Option<String>,
    /// What follows the answer.
    pub then: BoxFuture<'static, Result<(), Close>>,
}

/// What stands behind the namespaces.
pub trait Namespaces: Send + Sync + 'static {
    /// Those that there are.
    const NAMES: &'static [&'static str];

    /// Lets a client in.
    fn connect(&self, from: &Arc<Session>, to: &'static str, auth: &RawValue) -> BoxFuture<'static, Result<Welcome>>;

    /// Hears an event; what it returns is the acknowledgement, if the client asked for one.
    fn event(&self, from: &Arc<Session>, to: &'static str, name: &str, args: Args) -> BoxFuture<'static, Option<Args>>;

    /// Hears that a client has left a namespace.
    fn left(&self, from: &Arc<Session>);
}

/// One client, as the namespaces see it.
pub struct Peer<N> {
    namespaces: Arc<N>,
    /// Those entered, or about to be.
    entered: Arc<Mutex<HashSet<&'static str>>>,
    /// A packet whose attachments are still to come, and those that have.
    partial: Mutex<Option<(String, Vec<Vec<u8>>)>>,
}

impl<N: Namespaces> Peer<N> {
    /// A client that has entered no namespace yet; it has to before long.
    pub fn new(namespaces: &Arc<N>) -> Peer<N> {
        Peer { namespaces: namespaces.clone(), entered: Arc::default(), partial: Mutex::default() }
    }
}

impl<N: Namespaces> Talk for Peer<N> {
    fn heard(&self, from: &Arc<Session>, message: Incoming<'_>) -> Result<(), Close> {
        let mut partial = self.partial.lock();
        let (text, attachments) = match (message, partial.take()) {
            (Incoming::Text(text), None) => (text.to_owned(), Vec::new()),
            (Incoming::Binary(bytes), Some((text, mut attachments))) => {
                attachments.push(bytes.to_owned());
                (text, attachments)
            }
            _ => return Err(broken("text inside of a binary packet, or bytes without one")),
        };
        let packet = Packet::read(&text).ok_or(broken("not a packet"))?;
        if text.len() + attachments.iter().map(Vec::len).sum::<usize>() > from.sockets.config.message_bytes_max {
            return Err(Close::new(Close::TOO_BIG, "packet too big"));
        }
        if attachments.len() < packet.attachments {
            *partial = Some((text, attachments));
            return Ok(());
        }
        drop(partial);
        if packet.attachments > 0 && !packet::has_places(packet.body, packet.attachments) {
            return Err(broken("attachments without their places"));
        }
        let to = N::NAMES.iter().find(|it| **it == packet.namespace);
        let entered = to.filter(|it| self.entered.lock().contains(**it));
        match (packet.kind, entered) {
            (packet::CONNECT, None) => self.connect(from, &packet, to),
            (packet::EVENT, Some(to)) => self.event(from, to, &packet, attachments),
            (packet::DISCONNECT, Some(to)) => {
                self.entered.lock().remove(to);
                self.namespaces.left(from);
                Ok(())
            }
            // Nobody asked.
            (packet::ACK, Some(_)) | (packet::DISCONNECT, None) => Ok(()),
            _ => Err(broken("out of turn")),
        }
    }
}

impl<N: Namespaces> Peer<N> {
    fn connect(
        &self,
        from: &Arc<Session>,
        packet: &Packet<'_>,
        to: Option<&'static &'static str>,
    ) -> Result<(), Close> {
        let auth = if packet.body.is_empty() { "{}" } else { packet.body };
        let auth: &RawValue = serde_json::from_str(auth).map_err(|_| broken("not JSON"))?;
        if !from.allow() {
            return Err(Close::new(Close::POLICY, "too many namespaces asked for"));
        }
        let Some(&to) = to else {
            let refusal = r#"{"message":"Invalid namespace"}"#;
            from.queue(encode(packet::CONNECT_ERROR, packet.namespace, None, refusal, &[]));
            return Ok(());
        };
        let (session, entered) = (from.clone(), self.entered.clone());
        let welcome = self.namespaces.connect(from, to, auth);
        self.entered.lock().insert(to);
        let begun = from.begin(async move {
            let Welcome { pid, then } = match welcome.await {
                Ok(welcome) => welcome,
                Err(error) => {
                    entered.lock().remove(to);
                    return Ok(Some(encode(packet::CONNECT_ERROR, to, None, &refusal(&error), &[])));
                }
            };
            let pid = pid.map(|it| format!(r#","pid":{}"#, quoted(&it))).unwrap_or_default();
            let body = format!(r#"{{"sid":"{}"{pid}}}"#, unguessable());
            session.send(&encode(packet::CONNECT, to, None, &body, &[]));
            then.await.map(|()| None)
        });
        begun.map_err(|_| Close::new(Close::POLICY, "too many requests under way"))
    }

    fn event(
        &self,
        from: &Arc<Session>,
        to: &'static str,
        packet: &Packet<'_>,
        attachments: Vec<Vec<u8>>,
    ) -> Result<(), Close> {
        let (name, json) = packet::event(packet.body).ok_or(broken("not an event"))?;
        let id = packet.id;
        let begun = if from.allow() {
            let answer = self.namespaces.event(from, to, &name, Args { json, attachments });
            from.begin(async move { Ok(id.zip(answer.await).map(|(id, args)| acknowledge(to, id, &args))) })
        } else {
            Err(TOO_OFTEN)
        };
        if let Err(error) = &begun {
            // Where an answer is awaited the refusal is the answer.
            let args = |json| Args { json, ..Args::default() };
            from.queue(match id {
                Some(id) => acknowledge(to, id, &args(format!(r#"{{"error":{}}}"#, refusal(error)))),
                None => packet::emit(to, "error", &args(refusal(error))),
            });
        }
        from.count(begun.is_ok())
    }
}

fn acknowledge(namespace: &str, id: u32, args: &Args) -> Chunk {
    encode(packet::ACK, namespace, Some(id), &format!("[{}]", args.json), &args.attachments)
}

/// A refusal as JSON.
pub fn refusal(error: &Error) -> String {
    let (code, temporary) = (error.code(), error.retry_after().is_some());
    let fields = if let Error::Invalid { fields, .. } = error { serde_json::to_string(fields).ok() } else { None };
    let fields = fields.map(|it| format!(r#","fields":{it}"#)).unwrap_or_default();
    let message = quoted(&error.to_string());
    format!(r#"{{"message":{message},"data":{{"code":"{code}","temporary":{temporary}{fields}}}}}"#)
}
