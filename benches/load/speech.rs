//! What is said on a socket, and what is heard: Folio's own protocol, and Socket.IO 5 for Folio and for its peer.

use std::borrow::Cow;

use serde_json::json;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Folio's own.
    Native,
    /// Socket.IO 5 on Engine.IO 4, over WebSocket.
    Stock,
}

/// A stream, and how far it has been heard.
#[derive(Clone, Debug)]
pub struct Place {
    pub stream: String,
    /// Epoch and place; without it the stream is heard from its end.
    pub at: Option<(i64, i64)>,
}

/// What a frame means.
pub enum Heard<'a> {
    /// The transport is open: say who you are.
    Open,
    /// Everything up to here was sent; the stream, where it is named.
    Resumed(&'a [u8]),
    /// An entry of a stream.
    Event,
    /// What was asked under this number is done.
    Done(u64),
    /// What was asked under this number is not done, and may be asked again later.
    Later(u64),
    /// What was asked is not done, or somebody is not let in.
    Refused(Cow<'a, str>),
    /// Is anybody there?
    Ping,
    /// Something else: a greeting, who is there, who is typing.
    Other,
}

impl Speech {
    pub const fn path(self) -> &'static str {
        match self {
            Speech::Native => "/ws",
            Speech::Stock => "/socket.io/?EIO=4&transport=websocket",
        }
    }

    /// Whether the server has the first word.
    pub const fn waits(self) -> bool {
        matches!(self, Speech::Stock)
    }

    /// Signs in. What a stock client hears is for the server to know.
    pub fn connect(self, token: &str, places: &[Place]) -> String {
        let place = |it: &Place| match it.at {
            Some((epoch, seq)) => json!({ "stream": it.stream, "epoch": epoch, "seq": seq }),
            None => json!({ "stream": it.stream }),
        };
        match self {
            Speech::Native => {
                let streams: Vec<_> = places.iter().map(place).collect();
                json!({ "op": "connect", "id": 0, "token": token, "streams": streams }).to_string()
            }
            Speech::Stock => format!("40{}", json!({ "token": token })),
        }
    }

    /// Asks for something under a number.
    pub fn ask(self, number: u64, name: &str, body: &str) -> String {
        match self {
            Speech::Native => format!(r#"{{"op":"request","id":{number},"name":"{name}","body":{body}}}"#),
            Speech::Stock => format!(r#"42{number}["{name}",{body}]"#),
        }
    }

    pub const fn pong(self) -> &'static str {
        match self {
            Speech::Native => r#"{"op":"pong"}"#,
            Speech::Stock => "3",
        }
    }

    pub fn read(self, text: &[u8]) -> Heard<'_> {
        match self {
            Speech::Native => native(text),
            Speech::Stock => stock(text),
        }
    }
}

fn native(text: &[u8]) -> Heard<'_> {
    let Some(op) = text.strip_prefix(br#"{"op":""#) else { return Heard::Other };
    match op {
        [b'e', b'v', b'e', b'n', b't', b'"', ..] => Heard::Event,
        [b'r', b'e', b'p', b'l', b'y', b'"', ..] => number(text, br#""id":"#).map_or(Heard::Other, Heard::Done),
        [b'r', b'e', b's', b'u', b'm', b'e', b'd', b'"', ..] => Heard::Resumed(word(text, br#""stream":"#)),
        [b'e', b'r', b'r', b'o', b'r', b'"', ..] => later(text, number(text, br#""id":"#)),
        [b'r', b'e', b's', b'e', b't', b'"', ..] => refused(text),
        [b'p', b'i', b'n', b'g', b'"', ..] => Heard::Ping,
        _ => Heard::Other,
    }
}

fn stock(text: &[u8]) -> Heard<'_> {
    match text {
        [b'0', ..] => Heard::Open,
        [b'2'] => Heard::Ping,
        [b'4', b'2', event @ ..] if event.starts_with(br#"["new_message","#) => Heard::Event,
        [b'4', b'2', event @ ..] if event.starts_with(br#"["ready","#) => Heard::Resumed(b""),
        [b'4', b'2', event @ ..] if event.starts_with(br#"["resumed","#) => {
            Heard::Resumed(word(event, br#""stream":"#))
        }
        [b'4', b'2', event @ ..] if event.starts_with(br#"["reset","#) => refused(text),
        [b'4', b'3', ack @ ..] => {
            let digits = ack.iter().take_while(|it| it.is_ascii_digit()).count();
            match digit_run(&ack[..digits]) {
                Some(number) if !ack[digits..].starts_with(br#"[{"error":"#) => Heard::Done(number),
                number => later(text, number),
            }
        }
        [b'4', b'4' | b'1', ..] => refused(text),
        _ => Heard::Other,
    }
}

fn later(text: &[u8], number: Option<u64>) -> Heard<'_> {
    let temporary = value(text, br#""temporary":"#).is_some_and(|it| it.starts_with(b"true"));
    number.filter(|_| temporary).map_or_else(|| refused(text), Heard::Later)
}

fn refused(text: &[u8]) -> Heard<'_> {
    Heard::Refused(String::from_utf8_lossy(&text[..text.len().min(200)]))
}

/// Where a field's value begins.
fn value<'a>(text: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(field.len()).position(|it| it == field)?;
    Some(text[at + field.len()..].trim_ascii_start())
}

fn digit_run(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|it| it.is_ascii_digit());
    let mut some = digits.peekable();
    some.peek()?;
    Some(some.fold(0, |sum: u64, it| sum.wrapping_mul(10).wrapping_add(u64::from(it - b'0'))))
}

/// A number by the name of its field.
pub fn number(text: &[u8], field: &[u8]) -> Option<u64> {
    digit_run(value(text, field)?)
}

/// A text without escapes by the name of its field; empty without it.
pub fn word<'a>(text: &'a [u8], field: &[u8]) -> &'a [u8] {
    let quoted = value(text, field).and_then(|it| it.strip_prefix(b"\"")).unwrap_or_default();
    quoted.split(|it| *it == b'"').next().unwrap_or_default()
}

/// The number that stands at the beginning of a message.
pub fn said(event: &[u8]) -> Option<u64> {
    digit_run(value(event, br#""text":"#)?.strip_prefix(b"\"#")?)
}
