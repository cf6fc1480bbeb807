//! Socket.IO's packets: kind, attachments, namespace, number of the acknowledgement, and JSON.

use bytes::BytesMut;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ws::frames::{Chunk, quoted};
use crate::ws::wire;

/// The name of a namespace has at most so many bytes.
const NAMESPACE_BYTES_MAX: usize = 128;
const ATTACHMENTS_MAX: usize = 32;
/// Names that clients and servers keep for themselves.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Enters a namespace.
pub const CONNECT: u8 = b'0';
/// Leaves it.
pub const DISCONNECT: u8 = b'1';
/// Tells something.
pub const EVENT: u8 = b'2';
/// Acknowledges an event.
pub const ACK: u8 = b'3';
/// Refuses whoever wants to enter.
pub const CONNECT_ERROR: u8 = b'4';
/// How far behind its kind stands the one that has attachments.
const BINARY: u8 = 3;

/// Arguments as they were written, and the bytes that their places stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// JSON values with commas between them.
    pub json: String,
    /// In the order of the places.
    pub attachments: Vec<Vec<u8>>,
}

/// One packet; its attachments follow in frames of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: u8,
    /// In which namespace.
    pub namespace: &'a str,
    /// What its answer is known by.
    pub id: Option<u32>,
    /// How many binary frames follow.
    pub attachments: usize,
    /// The rest: JSON, or nothing.
    pub body: &'a str,
}

impl<'a> Packet<'a> {
    /// Reads a packet; nothing when it is none.
    pub fn read(text: &'a str) -> Option<Packet<'a>> {
        let (mut kind, mut attachments, mut namespace) = (*text.as_bytes().first()?, 0, "/");
        let mut rest = text.get(1..)?;
        if kind == EVENT + BINARY || kind == ACK + BINARY {
            let (count, after) = rest.split_once('-')?;
            (kind, attachments, rest) = (kind - BINARY, number(count)? as usize, after);
        }
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            // Clients may add a query to the name; it is no part of it.
            namespace = namespace.split_once('?').map_or(namespace, |it| it.0);
        }
        let (id, body) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let id = if id.is_empty() { None } else { Some(number(id)?) };
        let whole = match kind {
            CONNECT => id.is_none() && (body.is_empty() || body.starts_with('{')),
            DISCONNECT => id.is_none() && body.is_empty(),
            EVENT => body.starts_with('['),
            ACK => id.is_some() && body.starts_with('['),
            _ => false,
        };
        let sized = namespace.len() <= NAMESPACE_BYTES_MAX && attachments <= ATTACHMENTS_MAX;
        (whole && sized).then_some(Packet { kind, namespace, id, attachments, body })
    }
}

fn number(digits: &str) -> Option<u32> {
    Some(digits).filter(|it| it.len() <= 9 && it.bytes().all(|it| it.is_ascii_digit()))?.parse().ok()
}

/// The name of an event and its arguments, as they were written.
pub fn event(body: &str) -> Option<(String, String)> {
    let all: Vec<&RawValue> = serde_json::from_str(body).ok()?;
    let (name, args) = all.split_first()?;
    let args: Vec<_> = args.iter().map(|it| it.get()).collect();
    let name: String = serde_json::from_str(name.get()).ok()?;
    Some((name, args.join(","))).filter(|it| !RESERVED.contains(&&*it.0))
}

/// Whether every attachment has its place, and no place names one that is not there.
pub fn has_places(body: &str, attachments: usize) -> bool {
    fn places(value: &Value) -> Vec<Option<u64>> {
        match value {
            Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => {
                vec![map.get("num").and_then(Value::as_u64)]
            }
            Value::Object(map) => map.values().flat_map(places).collect(),
            Value::Array(all) => all.iter().flat_map(places).collect(),
            _ => Vec::new(),
        }
    }
    let found = serde_json::from_str(body).map(|it| places(&it)).unwrap_or_default();
    found.len() == attachments && found.iter().all(|it| it.is_some_and(|it| it < attachments as u64))
}

/// A packet and its attachments as frames, with Engine.IO's mark of a message before it.
pub fn encode(kind: u8, namespace: &str, id: Option<u32>, body: &str, attachments: &[Vec<u8>]) -> Chunk {
    let id = id.map(|it| it.to_string()).unwrap_or_default();
    let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
    let digit = |kind| char::from(kind);
    let head = match attachments.len() {
        0 => digit(kind).to_string(),
        count => format!("{}{count}-", digit(kind + BINARY)),
    };
    let mut frames = BytesMut::new();
    wire::put_frame(&mut frames, wire::TEXT, format!("4{head}{namespace}{id}{body}").as_bytes());
    attachments.iter().for_each(|it| wire::put_frame(&mut frames, wire::BINARY, it));
    Chunk::new(frames.freeze(), 1 + attachments.len() as u32)
}

/// Tells an event with its arguments.
pub fn emit(namespace: &str, name: &str, args: &Args) -> Chunk {
    let comma = if args.json.is_empty() { "" } else { "," };
    encode(EVENT, namespace, None, &format!("[{}{comma}{}]", quoted(name), args.json), &args.attachments)
}
