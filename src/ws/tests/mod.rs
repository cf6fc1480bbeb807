//! The transports from inside: real sockets without the shell, a history that a test tells.

mod sessions;
mod topics;
mod wire_cuts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use chrono::DateTime;
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use uuid::Uuid;

use super::frames::{Chunk, Protocol};
use super::requests::Talk;
use super::session::Session;
use super::topics::History;
use super::wire::{self, Close, Incoming, Reader};
use super::{Sockets, socket};
use crate::actors::kernel::Root;
use crate::actors::kernel::streams::Audience;
use crate::clock::Clock;
use crate::config::{Settings, SocketsConfig};
use crate::error::{Error, Result};
use crate::ids::{EntryId, StreamId};
use crate::storage::streams::{Entered, Head};

pub const STREAM: StreamId = StreamId(Uuid::from_u128(7));

/// The history of one stream as the database keeps it: written before anything is published.
#[derive(Clone, Default)]
pub struct Told {
    entries: Arc<Mutex<Vec<Entered>>>,
    /// Reads that fail before one succeeds again.
    failing: Arc<AtomicU32>,
}

impl Told {
    pub async fn head(&self, id: StreamId) -> Result<Head> {
        tokio::task::yield_now().await;
        self.fails()?;
        let head = self.entries.lock().len() as i64;
        Ok(Head { id, epoch: 1, head, head_at: DateTime::UNIX_EPOCH })
    }

    pub async fn page(&self, after: i64, up_to: i64) -> Result<Vec<Entered>> {
        tokio::task::yield_now().await;
        self.fails()?;
        let entries = self.entries.lock();
        Ok(entries[after as usize..entries.len().min(up_to as usize)].to_vec())
    }

    fn fails(&self) -> Result<()> {
        let left = self.failing.fetch_update(Relaxed, Relaxed, |it| it.checked_sub(1));
        left.map_or(Ok(()), |_| Err(Error::unavailable("the database")))
    }

    fn commit(&self, body: &str) -> Arc<Entered> {
        let mut entries = self.entries.lock();
        let entry = Entered {
            seq: entries.len() as i64 + 1,
            id: EntryId(Uuid::nil()),
            kind: "message".into(),
            sender_id: None,
            client_id: None,
            body: body.to_owned(),
            created_at: DateTime::UNIX_EPOCH,
        };
        entries.push(entry.clone());
        Arc::new(entry)
    }
}

struct Echo;

impl Talk for Echo {
    fn heard(&self, from: &Arc<Session>, message: Incoming<'_>) -> Result<(), Close> {
        match message {
            Incoming::Text("boom") => panic!("on purpose"),
            Incoming::Text(text) => from.queue(Chunk::new(wire::frame(wire::TEXT, text.as_bytes()), 1)),
            Incoming::Binary(bytes) => from.queue(Chunk::new(wire::frame(wire::BINARY, bytes), 1)),
            _ => {}
        }
        Ok(())
    }
}

/// Sessions without a shell.
#[derive(Clone)]
struct Place {
    sockets: Arc<Sockets>,
    told: Told,
    clock: Clock,
}

impl Place {
    async fn new(change: impl FnOnce(&mut SocketsConfig)) -> Place {
        let (clock, told) = (Clock::manual(), Told::default());
        let mut config = Settings { rate_limit: false, ..Settings::default() }.sockets();
        config.sessions_per_address_max = 100_000;
        change(&mut config);
        let root = Root::start(clock.clone()).await.unwrap();
        let sockets = Sockets::start(&root, &clock, config, History::Told(told.clone()));
        Place { sockets, told, clock }
    }

    /// Commits, then tells.
    fn says(&self, body: &str) {
        let entry = self.told.commit(body);
        self.sockets.topics.entries(STREAM, 1, &[entry]);
    }

    /// A session, its task, and its client's end. A small buffer makes a client that stalls early.
    async fn enters(&self, protocol: Protocol, receive_bytes: u32) -> (Arc<Session>, Peer) {
        let (listener, socket) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpSocket::new_v4().unwrap());
        socket.set_recv_buffer_size(receive_bytes).unwrap();
        let (theirs, ours) = tokio::join!(socket.connect(listener.local_addr().unwrap()), listener.accept());
        let session = Session::open(&self.sockets, protocol, [127, 0, 0, 1].into()).unwrap();
        session.stay();
        session.attach(ours.unwrap().0).unwrap();
        let reader = Reader::new(self.sockets.config.message_bytes_max);
        let converse = socket::converse(session.clone(), Arc::new(Echo), reader, Vec::new());
        self.sockets.root.task("sessions", converse);
        let peer = WebSocketStream::from_raw_socket(theirs.unwrap(), Role::Client, None).await;
        (session, Peer { socket: peer })
    }
}

struct Peer {
    socket: WebSocketStream<TcpStream>,
}

/// What a client hears of a stream.
#[derive(Debug, PartialEq)]
enum Heard {
    Entry(i64),
    Resumed(i64),
    Other(String),
    Closed(u16, String),
    Gone,
}

impl Peer {
    async fn hears(&mut self) -> Heard {
        let next = timeout(Duration::from_secs(20), self.socket.next()).await.expect("nothing is said");
        match next {
            Some(Ok(Message::Text(text))) => told(&text),
            Some(Ok(Message::Close(close))) => {
                close.map_or(Heard::Gone, |it| Heard::Closed(it.code.into(), it.reason.to_string()))
            }
            Some(Ok(other)) => panic!("{other:?}"),
            _ => Heard::Gone,
        }
    }
}

fn told(text: &str) -> Heard {
    let (name, value) = match text.strip_prefix("42") {
        Some(packet) => {
            let value: Value = serde_json::from_str(packet).unwrap();
            (value[0].as_str().unwrap().replace("new_message", "event"), value[1].clone())
        }
        None => match serde_json::from_str::<Value>(text) {
            Ok(value) if value["op"].is_string() => (value["op"].as_str().unwrap().to_owned(), value),
            _ => return Heard::Other(text.to_owned()),
        },
    };
    match &*name {
        "event" => Heard::Entry(value["seq"].as_i64().unwrap()),
        "resumed" => Heard::Resumed(value["seq"].as_i64().unwrap()),
        _ => Heard::Other(text.to_owned()),
    }
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}
