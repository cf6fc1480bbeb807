//! A session as Engine.IO sees it: opened over polling or a socket, upgraded once at most.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use ring::rand::{SecureRandom, SystemRandom};

use crate::actors::presence::rules::DeviceKind;
use crate::error::Result;
use crate::ws::close;
use crate::ws::frames::{Chunk, Protocol};
use crate::ws::requests::{Talk, Turn};
use crate::ws::session::Session;
use crate::ws::wire::{self, Close, Incoming};
use crate::ws::{Sockets, Upgrade};

/// Ends a poll that has nothing to say.
pub(super) const NOOP: &[u8] = b"6";

/// A name that nobody guesses.
pub(in crate::ws) fn unguessable() -> String {
    let mut bytes = [0; 18];
    SystemRandom::new().fill(&mut bytes).expect("the system has chance");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// One session, and what understands its messages.
pub struct Engine<T> {
    /// Where its messages come from and go to.
    pub session: Arc<Session>,
    pub(super) sid: String,
    pub(super) upper: T,
    /// Whether a poll is under way; two at once are a client out of its mind.
    pub(super) taking: AtomicBool,
    /// The others that poll, to be taken out of.
    pub(super) polling: Option<Arc<Polling<T>>>,
    /// Whether another transport is being tried: then polls are answered at once.
    pub(super) upgrading: AtomicBool,
}

/// Sessions that poll, by their name.
pub(super) type Polling<T> = DashMap<String, Arc<Engine<T>>>;

/// What makes for each session what understands its messages.
type Upper<T> = Box<dyn Fn(&Arc<Session>) -> T + Send + Sync>;

/// The sessions of one path.
pub struct Engines<T> {
    pub(super) sockets: Arc<Sockets>,
    pub(super) polling: Arc<Polling<T>>,
    upper: Upper<T>,
}

impl<T: Talk> Engines<T> {
    /// No session yet. Each gets what understands its messages.
    pub fn new(sockets: &Arc<Sockets>, upper: impl Fn(&Arc<Session>) -> T + Send + Sync + 'static) -> Arc<Engines<T>> {
        Arc::new(Engines { sockets: sockets.clone(), polling: Arc::default(), upper: Box::new(upper) })
    }

    fn begin(&self, address: IpAddr, device: DeviceKind, polling: Option<Arc<Polling<T>>>) -> Result<Engine<T>> {
        let session = Session::open(&self.sockets, Protocol::SocketIo, address)?;
        session.is_a(device);
        let (sid, upper) = (unguessable(), (self.upper)(&session));
        let (taking, upgrading) = Default::default();
        Ok(Engine { session, sid, upper, taking, polling, upgrading })
    }

    /// The first packet: what the client may count on.
    pub(super) fn greet(&self, engine: &Engine<T>, upgrades: &str) {
        let config = &self.sockets.config;
        let text = format!(
            r#"0{{"sid":"{}","upgrades":[{upgrades}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            engine.sid,
            config.ping_every.as_millis(),
            config.pong_within.as_millis(),
            config.message_bytes_max,
        );
        engine.session.send(&Chunk::new(wire::frame(wire::TEXT, text.as_bytes()), 1));
    }

    /// Opens a session that polls.
    pub(super) fn open(&self, address: IpAddr, device: DeviceKind) -> Result<Arc<Engine<T>>> {
        let engine = Arc::new(self.begin(address, device, Some(self.polling.clone()))?);
        self.greet(&engine, r#""websocket""#);
        self.polling.insert(engine.sid.clone(), engine.clone());
        let (polling, sid) = (self.polling.clone(), engine.sid.clone());
        engine.session.at_end(move |_| drop(polling.remove(&sid)));
        Ok(engine)
    }

    /// Opens a session on a socket.
    pub(super) fn open_socket(self: &Arc<Self>, upgrade: Upgrade) -> Result<axum::response::Response> {
        let (engine, engines) = (Arc::new(self.begin(upgrade.address, upgrade.device, None)?), self.clone());
        Ok(upgrade.converse(engine.session.clone(), engine, move |engine| engines.greet(engine, "")))
    }
}

impl<T: Talk> Talk for Engine<T> {
    fn heard(&self, from: &Arc<Session>, message: Incoming<'_>, turn: &mut Turn) -> Result<(), Close> {
        let text = match message {
            Incoming::Text(text) => text,
            other => return self.upper.heard(from, other, turn),
        };
        match text.as_bytes() {
            [b'4', ..] => self.upper.heard(from, Incoming::Text(&text[1..]), turn),
            // A pong is life like everything that is heard; a ping is one of older clients.
            b"3" | b"6" => Ok(()),
            b"1" => Err(Close::new(close::NORMAL, "")),
            _ => Err(Close::new(close::PROTOCOL, "not a packet")),
        }
    }
}
