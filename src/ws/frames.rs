//! What travels to clients, shared by all transports and encoded once for each of them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::recall::Offset;
use super::topics::Position;
use super::wire::{self, Close};
use crate::ids::StreamId;
use crate::storage::streams::Entered;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// JSON texts on a WebSocket.
    Native,
    /// Socket.IO 5 on Engine.IO 4, on a WebSocket or by long polling.
    SocketIo,
    /// Server-sent events.
    Sse,
}

/// What is said on live connections, in the form of AsyncAPI 3.
pub const DESCRIPTION: &str = include_str!("../../docs/asyncapi.json");

/// The question whether a client is still there, for each protocol.
const PINGS: [&[u8]; 3] = [b"\x81\x0d{\"op\":\"ping\"}", b"\x81\x012", b":\n\n"];

/// How far a client has heard a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which stream.
    pub stream: StreamId,
    /// Up to where.
    pub seq: i64,
}

/// Encoded frames that are written and counted together. A clone shares the bytes.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The frames.
    pub bytes: Bytes,
    /// How many.
    pub frames: u32,
    /// The position that the last frame stands for.
    pub mark: Option<Mark>,
    /// What is the same is replaced while it waits: only the last value counts.
    pub replaces: Option<u64>,
}

impl Chunk {
    /// Wraps frames that belong to no stream.
    pub const fn new(bytes: Bytes, frames: u32) -> Chunk {
        Chunk { bytes, frames, mark: None, replaces: None }
    }

    /// Tells a named object.
    pub fn told(protocol: Protocol, name: &str, object: &str) -> Chunk {
        let mut out = BytesMut::new();
        protocol.put(&mut out, name, name, object, None);
        Chunk::new(out.freeze(), 1)
    }

    /// Encodes consecutive entries of a stream into one buffer, one frame each.
    pub fn of<'a>(
        at: StreamId,
        epoch: i64,
        entries: impl IntoIterator<Item = &'a Entered>,
        protocol: Protocol,
    ) -> Chunk {
        let (mut out, mut frames, mut mark) = (BytesMut::new(), 0, None);
        for entry in entries {
            let offset = Offset { stream: at, epoch, seq: entry.seq, at: entry.created_at };
            let offset = (protocol != Protocol::Native).then(|| offset.to_string());
            let name = if entry.kind == "message" { "new_message" } else { &entry.kind };
            protocol.put(&mut out, "event", name, &event(at, epoch, entry), offset.as_deref());
            (frames, mark) = (frames + 1, Some(Mark { stream: at, seq: entry.seq }));
        }
        Chunk { bytes: out.freeze(), frames, mark, replaces: None }
    }

    /// Encodes the marker that everything up to a place was sent; or why a position cannot be served, and where to begin
    /// instead.
    pub fn place(stream: StreamId, at: Position, why: Option<&str>, protocol: Protocol) -> Chunk {
        let Position { epoch, seq } = at;
        let reason = why.map(|it| format!(r#","reason":"{it}""#)).unwrap_or_default();
        let object = format!(r#"{{"stream":"{stream}","epoch":{epoch},"seq":{seq}{reason}}}"#);
        let name = if why.is_some() { "reset" } else { "resumed" };
        Chunk { mark: Some(Mark { stream, seq }), ..Chunk::told(protocol, name, &object) }
    }

    /// Encodes a value that is kept nowhere. What stands behind a colon in its kind tells it from others, and is not said.
    pub fn volatile(topic: StreamId, kind: &str, value: &str, protocol: Protocol) -> Chunk {
        let said = kind.split(':').next().unwrap_or_default();
        let object = format!(r#"{{"topic":"{topic}","kind":{},"body":{value}}}"#, quoted(said));
        let mut out = BytesMut::new();
        protocol.put(&mut out, "volatile", said, &object, None);
        Chunk { replaces: Some(key(topic.0, kind)), ..Chunk::new(out.freeze(), 1) }
    }

    /// Asks whether a client is still there.
    pub fn ping(protocol: Protocol) -> Chunk {
        Chunk::new(Bytes::from_static(PINGS[protocol as usize]), 1)
    }
}

/// Says that a stream is not heard, or not any more, and in a word why.
pub(super) fn lost(stream: StreamId, why: &str, protocol: Protocol) -> Chunk {
    Chunk::told(protocol, "reset", &format!(r#"{{"stream":"{stream}","reason":"{why}"}}"#))
}

/// What a value of a kind is known by while it waits: the next one takes its place.
pub(super) fn key(about: Uuid, kind: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one((about, kind))
}

/// A text, or what is told as one, as JSON.
pub fn quoted<T: Serialize + ?Sized>(text: &T) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn event(stream: StreamId, epoch: i64, entry: &Entered) -> String {
    let Entered { seq, id, .. } = entry;
    let sender = entry.sender_id.map(|it| format!(r#","sender":"{it}""#)).unwrap_or_default();
    let client_id = entry.client_id.as_ref().map(|it| format!(r#","client_id":{}"#, quoted(it))).unwrap_or_default();
    let (kind, at) = (quoted(&entry.kind), quoted(&entry.created_at));
    // An object goes as it is; everything else is a text.
    let is_object = entry.body.starts_with('{') && serde_json::from_str::<&RawValue>(&entry.body).is_ok();
    let body = if is_object { Cow::Borrowed(&*entry.body) } else { quoted(&entry.body).into() };
    format!(
        r#"{{"stream":"{stream}","epoch":{epoch},"seq":{seq},"id":"{id}","kind":{kind}{sender}{client_id},"at":{at},"body":{body}}}"#
    )
}

impl Protocol {
    /// Appends an object under its name: `op` for clients of ours, `name` for the others.
    fn put(self, out: &mut BytesMut, op: &str, name: &str, object: &str, offset: Option<&str>) {
        debug_assert!(DESCRIPTION.contains(&format!("\"hear.{op}\"")), "{op} is not described");
        match self {
            Protocol::Native => {
                let comma = if object == "{}" { "" } else { "," };
                let text = format!(r#"{{"op":"{op}"{comma}{}"#, &object[1..]);
                wire::put_frame(out, wire::TEXT, text.as_bytes());
            }
            Protocol::SocketIo => {
                let offset = offset.map(|it| format!(r#","{it}""#)).unwrap_or_default();
                let text = format!("42[{},{object}{offset}]", quoted(name));
                wire::put_frame(out, wire::TEXT, text.as_bytes());
            }
            Protocol::Sse => {
                if let Some(offset) = offset {
                    let _ = writeln!(out, "id: {offset}");
                }
                // Between the words of JSON a line end is as good as a space; inside of them there is none.
                let _ = write!(out, "event: {name}\ndata: {}\n\n", object.replace(['\r', '\n'], " "));
            }
        }
    }

    /// Encodes the last word.
    pub fn close(self, close: &Close) -> Bytes {
        match self {
            // A stock client that is only cut off comes back at once, and with the same.
            Protocol::SocketIo if close.is_final() => [wire::frame(wire::TEXT, b"41"), close.frame()].concat().into(),
            Protocol::SocketIo | Protocol::Native => close.frame(),
            Protocol::Sse => {
                let object = format!(r#"{{"code":{},"reason":{}}}"#, close.code, quoted(&close.reason));
                Chunk::told(self, "close", &object).bytes
            }
        }
    }
}

/// Something on its way to many sessions: encoded once for each protocol, on first need.
pub struct Batch {
    encode: Box<dyn Fn(Protocol) -> Vec<Chunk> + Send + Sync>,
    encoded: [OnceLock<Vec<Chunk>>; 3],
}

impl Batch {
    /// Something to be encoded.
    pub fn new(encode: impl Fn(Protocol) -> Vec<Chunk> + Send + Sync + 'static) -> Batch {
        Batch { encode: Box::new(encode), encoded: Default::default() }
    }

    /// The frames for a protocol.
    pub fn chunks(&self, protocol: Protocol) -> &[Chunk] {
        self.encoded[protocol as usize].get_or_init(|| (self.encode)(protocol))
    }
}
