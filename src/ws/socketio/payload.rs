//! Engine.IO's packets in the bodies of long polling: one after the other, binary ones as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ws::wire;

/// What stands between two packets.
const BETWEEN: u8 = 0x1e;

/// Appends what was queued as frames of a WebSocket; a close frame is a packet that closes.
pub(super) fn put(out: &mut Vec<u8>, frames: &[u8]) {
    for (opcode, payload) in wire::unframe(frames) {
        if !out.is_empty() {
            out.push(BETWEEN);
        }
        match opcode {
            wire::TEXT => out.extend_from_slice(payload),
            wire::CLOSE => out.push(b'1'),
            _ => {
                out.push(b'b');
                out.extend_from_slice(STANDARD.encode(payload).as_bytes());
            }
        }
    }
}

/// One packet of a body.
#[derive(Debug, PartialEq)]
pub(super) enum Packet<'a> {
    Text(&'a str),
    Binary(Vec<u8>),
}

/// Takes a body apart; nothing when a part of it is no packet.
pub(super) fn read(body: &[u8]) -> Option<Vec<Packet<'_>>> {
    std::str::from_utf8(body).ok()?.split(char::from(BETWEEN)).map(packet).collect()
}

fn packet(part: &str) -> Option<Packet<'_>> {
    match part.as_bytes() {
        [b'b', base64 @ ..] => STANDARD.decode(base64).ok().map(Packet::Binary),
        [b'0'..=b'6', ..] => Some(Packet::Text(part)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart_and_put_together() {
        let hello = wire::frame(wire::TEXT, b"4hello");
        let bytes = wire::frame(wire::BINARY, &[1, 2, 3, 4]);
        let close = wire::frame(wire::CLOSE, b"\x03\xe8");
        let mut out = Vec::new();
        put(&mut out, &[&hello[..], &bytes, &close].concat());
        assert_eq!(out, b"4hello\x1ebAQIDBA==\x1e1");
        let read_back = read(b"4hello\x1ebAQIDBA==").unwrap();
        assert_eq!(read_back, [Packet::Text("4hello"), Packet::Binary(vec![1, 2, 3, 4])]);
        for bad in [&b""[..], b"abc", b"4a\x1e", b"bA", b"b?", b"7", b"\xff", b"4a\x1e\x1e4b"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
