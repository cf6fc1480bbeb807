//! Socket.IO's packets: kind, attachments, namespace, number of the acknowledgement, and JSON.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::ws::frames::quoted;

/// The name of a namespace has at most so many bytes.
const NAMESPACE_BYTES_MAX: usize = 128;
const EVENT_NAME_BYTES_MAX: usize = 256;
const ARGUMENTS_MAX: usize = 64;
const ATTACHMENTS_MAX: usize = 32;
/// Names that clients and servers keep for themselves.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Enters a namespace.
    Connect,
    /// Leaves it.
    Disconnect,
    /// Tells something.
    Event,
    /// Acknowledges an event.
    Ack,
}

/// One packet; its attachments follow in frames of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
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
        let (kind, binary) = match text.as_bytes().first()? {
            b'0' => (Kind::Connect, false),
            b'1' => (Kind::Disconnect, false),
            b'2' => (Kind::Event, false),
            b'3' => (Kind::Ack, false),
            b'5' => (Kind::Event, true),
            b'6' => (Kind::Ack, true),
            _ => return None,
        };
        let mut rest = &text[1..];
        let mut attachments = 0;
        if binary {
            let (count, after) = rest.split_once('-')?;
            attachments = number(count)? as usize;
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            // Clients may add a query to the name; it is no part of it.
            namespace = namespace.split_once('?').map_or(namespace, |it| it.0);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, body) = rest.split_at(digits);
        let id = if id.is_empty() { None } else { Some(number(id)?) };
        let sized = namespace.len() <= NAMESPACE_BYTES_MAX && attachments <= ATTACHMENTS_MAX;
        let packet = Packet { kind, namespace, id, attachments, body };
        Some(packet).filter(|it| sized && it.is_whole())
    }

    fn is_whole(&self) -> bool {
        match self.kind {
            Kind::Connect => self.id.is_none() && (self.body.is_empty() || self.body.starts_with('{')),
            Kind::Disconnect => self.id.is_none() && self.body.is_empty(),
            Kind::Event => self.body.starts_with('['),
            Kind::Ack => self.id.is_some() && self.body.starts_with('['),
        }
    }
}

fn number(digits: &str) -> Option<u32> {
    Some(digits).filter(|it| it.len() <= 9 && it.bytes().all(|it| it.is_ascii_digit()))?.parse().ok()
}

/// The name of an event and its arguments, as they were written.
pub fn event(body: &str) -> Option<(Cow<'_, str>, Vec<&RawValue>)> {
    let mut all: Vec<&RawValue> = serde_json::from_str(body).ok()?;
    if all.is_empty() {
        return None;
    }
    let name = all.remove(0).get();
    let name: Cow<'_, str> = match serde_json::from_str::<&str>(name) {
        Ok(name) => name.into(),
        Err(_) => serde_json::from_str::<String>(name).ok()?.into(),
    };
    Some((name, all)).filter(|it| !RESERVED.contains(&&*it.0))
}

/// Whether an event is one that somebody might mean.
pub fn is_modest(name: &str, args: &[&RawValue]) -> bool {
    name.len() <= EVENT_NAME_BYTES_MAX && args.len() <= ARGUMENTS_MAX
}

/// The arguments of an acknowledgement.
pub fn arguments(body: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(body).ok().filter(|it: &Vec<_>| it.len() <= ARGUMENTS_MAX)
}

/// Whether every attachment has its place, and no place names one that is not there.
pub fn has_places(body: &str, attachments: usize) -> bool {
    fn places(value: &Value, found: &mut Vec<Option<u64>>) {
        match value {
            Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => {
                found.push(map.get("num").and_then(Value::as_u64));
            }
            Value::Object(map) => map.values().for_each(|it| places(it, found)),
            Value::Array(all) => all.iter().for_each(|it| places(it, found)),
            _ => {}
        }
    }
    let Ok(value) = serde_json::from_str(body) else { return false };
    let mut found = Vec::new();
    places(&value, &mut found);
    found.len() == attachments && found.iter().all(|it| it.is_some_and(|it| it < attachments as u64))
}

/// Writes a packet, with Engine.IO's mark of a message before it.
pub fn write(kind: char, namespace: &str, id: Option<u32>, attachments: usize, body: &str) -> String {
    let mut out = String::with_capacity(body.len() + namespace.len() + 16);
    out.push('4');
    out.push(kind);
    if attachments > 0 {
        out += &format!("{attachments}-");
    }
    if namespace != "/" {
        out += namespace;
        out.push(',');
    }
    if let Some(id) = id {
        out += &id.to_string();
    }
    out + body
}

/// The body of an event: its name, then its arguments as they were written.
pub fn event_body(name: &str, arguments: &str) -> String {
    let comma = if arguments.is_empty() { "" } else { "," };
    format!("[{}{comma}{arguments}]", quoted(name))
}
