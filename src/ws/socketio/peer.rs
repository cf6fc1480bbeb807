//! One Socket.IO client: the namespaces it has entered, events and acknowledgements both ways.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::engine::unguessable;
use super::packet::{self, Kind, Packet};
use crate::error::{Error, Result};
use crate::ws::close;
use crate::ws::frames::{Chunk, quoted};
use crate::ws::requests::{Answers, Talk, Turn, too_often};
use crate::ws::session::Session;
use crate::ws::wire::{self, Close, Incoming};

const NAMESPACES_MAX: usize = 16;

/// Arguments as they were written, and the bytes that their places stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// JSON values with commas between them.
    pub json: String,
    /// In the order of the places.
    pub attachments: Vec<Vec<u8>>,
}

/// What a client says.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Args,
}

/// What a client that was let in is told.
pub struct Welcome {
    /// What it shows when it comes back, where that means something.
    pub pid: Option<String>,
    /// What follows the answer.
    pub then: BoxFuture<'static, Result<(), Close>>,
}

/// What stands behind the namespaces.
pub trait Namespaces: Send + Sync + 'static {
    /// Lets a client in; nothing when there is no such namespace.
    fn connect(&self, client: &Client, namespace: &str, auth: &RawValue)
    -> BoxFuture<'static, Result<Option<Welcome>>>;

    /// Hears an event; what it returns is the acknowledgement, if the client asked for one.
    fn event(&self, client: &Client, namespace: &str, event: Event) -> BoxFuture<'static, Option<Args>>;

    /// Hears that a client has left a namespace.
    fn left(&self, client: &Client, namespace: &str);
}

/// The way to a client.
#[derive(Clone)]
pub struct Client {
    /// Its session.
    pub session: Arc<Session>,
    asked: Arc<Mutex<Asked>>,
}

/// Events of ours that wait to be acknowledged.
#[derive(Default)]
struct Asked {
    last: u32,
    waiting: HashMap<u32, oneshot::Sender<Args>>,
}

impl Client {
    /// Tells an event.
    pub fn emit(&self, namespace: &str, name: &str, args: &Args) {
        self.session.send(&encode(
            Kind::Event,
            namespace,
            None,
            &packet::event_body(name, &args.json),
            &args.attachments,
        ));
    }

    /// Tells an event and waits for its acknowledgement; whoever calls says for how long.
    ///
    /// # Errors
    /// When too many wait already, or the session ends.
    pub async fn ask(&self, namespace: &str, name: &str, args: &Args) -> Result<Args> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut asked = self.asked.lock();
            asked.waiting.retain(|_, it| !it.is_closed());
            if asked.waiting.len() >= self.session.sockets.config.requests_waiting_max {
                return Err(Error::unavailable("a place for one more question"));
            }
            asked.last = asked.last.wrapping_add(1) % 1_000_000_000;
            let id = asked.last;
            asked.waiting.insert(id, answer);
            id
        };
        let body = packet::event_body(name, &args.json);
        self.session.send(&encode(Kind::Event, namespace, Some(id), &body, &args.attachments));
        answered.await.map_err(|_| Error::unavailable("the client"))
    }
}

/// A packet and its attachments as frames.
fn encode(kind: Kind, namespace: &str, id: Option<u32>, body: &str, attachments: &[Vec<u8>]) -> Chunk {
    let digit = match (kind, attachments.is_empty()) {
        (Kind::Connect, _) => '0',
        (Kind::Disconnect, _) => '1',
        (Kind::Event, true) => '2',
        (Kind::Ack, true) => '3',
        (Kind::Event, false) => '5',
        (Kind::Ack, false) => '6',
    };
    let mut frames = Answers::default();
    frames.put(wire::TEXT, packet::write(digit, namespace, id, attachments.len(), body).as_bytes());
    attachments.iter().for_each(|it| frames.put(wire::BINARY, it));
    frames.chunk().expect("one frame was put")
}

/// A packet whose attachments are still to come.
struct Partial {
    text: String,
    missing: usize,
    bytes: usize,
    attachments: Vec<Vec<u8>>,
}

#[derive(Default)]
struct State {
    /// Those entered, and whether the answer has gone.
    namespaces: HashMap<String, bool>,
    partial: Option<Partial>,
}

/// One client, as the namespaces see it.
pub struct Peer<N> {
    client: Client,
    namespaces: Arc<N>,
    state: Arc<Mutex<State>>,
}

impl<N: Namespaces> Peer<N> {
    /// A client that has entered no namespace yet; it has to before long.
    pub fn new(session: &Arc<Session>, namespaces: &Arc<N>) -> Peer<N> {
        let client = Client { session: session.clone(), asked: Arc::default() };
        Peer { client, namespaces: namespaces.clone(), state: Arc::default() }
    }
}

fn broken(why: &'static str) -> Close {
    Close::new(close::PROTOCOL, why)
}

impl<N: Namespaces> Talk for Peer<N> {
    fn heard(&self, _: &Arc<Session>, message: Incoming<'_>, turn: &mut Turn) -> Result<(), Close> {
        let mut state = self.state.lock();
        let bytes = match message {
            Incoming::Text(_) if state.partial.is_some() => return Err(broken("text inside of a binary packet")),
            Incoming::Text(text) => {
                let packet = Packet::read(text).ok_or(broken("not a packet"))?;
                if packet.attachments > 0 {
                    let (text, missing, bytes) = (text.to_owned(), packet.attachments, text.len());
                    state.partial = Some(Partial { text, missing, bytes, attachments: Vec::new() });
                    return Ok(());
                }
                drop(state);
                return self.act(&packet, Vec::new(), turn);
            }
            Incoming::Binary(bytes) => bytes,
            _ => return Ok(()),
        };
        let partial = state.partial.as_mut().ok_or(broken("bytes without a packet"))?;
        partial.bytes += bytes.len();
        if partial.bytes > self.client.session.sockets.config.message_bytes_max {
            return Err(Close::new(close::TOO_BIG, "packet too big"));
        }
        partial.attachments.push(bytes.to_owned());
        if partial.attachments.len() < partial.missing {
            return Ok(());
        }
        let Some(Partial { text, attachments, .. }) = state.partial.take() else { return Ok(()) };
        drop(state);
        let packet = Packet::read(&text).ok_or(broken("not a packet"))?;
        if !packet::has_places(packet.body, attachments.len()) {
            return Err(broken("attachments without their places"));
        }
        self.act(&packet, attachments, turn)
    }
}

impl<N: Namespaces> Peer<N> {
    fn act(&self, packet: &Packet<'_>, attachments: Vec<Vec<u8>>, turn: &mut Turn) -> Result<(), Close> {
        let entered = self.state.lock().namespaces.get(packet.namespace).copied();
        match (packet.kind, entered) {
            (Kind::Connect, None) => self.connect(packet, turn),
            (Kind::Disconnect, Some(_)) => {
                self.state.lock().namespaces.remove(packet.namespace);
                self.namespaces.left(&self.client, packet.namespace);
                Ok(())
            }
            (Kind::Event, Some(true)) => self.event(packet, attachments, turn),
            (Kind::Ack, Some(true)) => {
                let args = packet::arguments(packet.body).ok_or(broken("not the arguments of an answer"))?;
                let answer = packet.id.and_then(|id| self.client.asked.lock().waiting.remove(&id));
                // What nobody asked is not heard.
                let _ = answer.map(|it| it.send(Args { json: joined(&args), attachments }));
                Ok(())
            }
            (Kind::Disconnect, None) => Ok(()),
            _ => Err(broken("out of turn")),
        }
    }

    fn connect(&self, packet: &Packet<'_>, turn: &mut Turn) -> Result<(), Close> {
        let auth = if packet.body.is_empty() { "{}" } else { packet.body };
        let auth: &RawValue = serde_json::from_str(auth).map_err(|_| broken("not JSON"))?;
        if !self.client.session.allow() {
            return Err(Close::new(close::POLICY, "too many namespaces asked for"));
        }
        let namespace = packet.namespace.to_owned();
        let (client, state) = (self.client.clone(), self.state.clone());
        let mut namespaces = state.lock();
        if namespaces.namespaces.len() >= NAMESPACES_MAX {
            return Err(Close::new(close::POLICY, "too many namespaces"));
        }
        let welcome = self.namespaces.connect(&self.client, &namespace, auth);
        namespaces.namespaces.insert(namespace.clone(), false);
        drop(namespaces);
        let begun = turn.begin(&self.client.session, async move {
            let refusal = match welcome.await {
                Ok(Some(Welcome { pid, then })) => {
                    let pid = pid.map(|it| format!(r#","pid":{}"#, quoted(&it))).unwrap_or_default();
                    let body = format!(r#"{{"sid":"{}"{pid}}}"#, unguessable());
                    state.lock().namespaces.insert(namespace.clone(), true);
                    client.session.send(&encode(Kind::Connect, &namespace, None, &body, &[]));
                    then.await?;
                    return Ok(None);
                }
                Ok(None) => r#"{"message":"Invalid namespace"}"#.to_owned(),
                Err(error) => refusal(&error),
            };
            state.lock().namespaces.remove(&namespace);
            let text = packet::write('4', &namespace, None, 0, &refusal);
            Ok(Some(Chunk::new(wire::frame(wire::TEXT, text.as_bytes()), 1)))
        });
        begun.map_err(|_| Close::new(close::POLICY, "too many requests under way"))
    }

    fn event(&self, packet: &Packet<'_>, attachments: Vec<Vec<u8>>, turn: &mut Turn) -> Result<(), Close> {
        let (name, args) = packet::event(packet.body).ok_or(broken("not an event"))?;
        let (id, namespace) = (packet.id, packet.namespace.to_owned());
        let begun = match () {
            () if !packet::is_modest(&name, &args) => Err(Error::Malformed("the event is too long")),
            () if !self.client.session.allow() => Err(too_often()),
            () => {
                let event = Event { name: name.into_owned(), args: Args { json: joined(&args), attachments } };
                let answer = self.namespaces.event(&self.client, &namespace, event);
                turn.begin(&self.client.session, async move {
                    let args = answer.await;
                    let ack = |(id, args): (u32, Args)| {
                        encode(Kind::Ack, &namespace, Some(id), &format!("[{}]", args.json), &args.attachments)
                    };
                    Ok(id.zip(args).map(ack))
                })
            }
        };
        if let Err(error) = &begun {
            // Where an answer is awaited the refusal is the answer.
            let refusal = refusal(error);
            turn.answers.extend(Some(match id {
                Some(id) => encode(Kind::Ack, packet.namespace, Some(id), &format!(r#"[{{"error":{refusal}}}]"#), &[]),
                None => encode(Kind::Event, packet.namespace, None, &packet::event_body("error", &refusal), &[]),
            }));
        }
        self.client.session.count(begun.is_ok())
    }
}

/// A refusal as JSON.
pub fn refusal(error: &Error) -> String {
    let (code, temporary) = (error.code(), error.retry_after().is_some());
    let fields = if let Error::Invalid { fields, .. } = error { serde_json::to_string(fields).ok() } else { None };
    let fields = fields.map(|it| format!(r#","fields":{it}"#)).unwrap_or_default();
    let message = quoted(&error.to_string());
    format!(r#"{{"message":{message},"data":{{"code":"{code}","temporary":{temporary}{fields}}}}}"#)
}

fn joined(args: &[&RawValue]) -> String {
    args.iter().map(|it| it.get()).collect::<Vec<_>>().join(",")
}
