//! RFC 6455, the server's half: bytes to messages and back. No input or output, no clock.
//!
//! Frames are unmasked and handed out where they were read. Only the start of a frame that is not
//! whole yet and the fragments of a message are kept: a socket at rest owns no buffer.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::close;

const CONTINUATION: u8 = 0;
/// The opcode of a text.
pub const TEXT: u8 = 1;
/// The opcode of bytes.
pub const BINARY: u8 = 2;
/// The opcode of the last frame.
pub const CLOSE: u8 = 8;
/// The opcode of a question whether the other side is there.
pub const PING: u8 = 9;
/// The opcode of the answer to it.
pub const PONG: u8 = 10;
const REASON_BYTES_MAX: usize = 123;

/// Why a connection ends: the code and the reason of its close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// What clients decide by.
    pub code: u16,
    /// What people read.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// Says why, with one of the codes of `close.rs`.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Close {
        Close { code, reason: reason.into() }
    }

    /// Encodes the close frame; a reason that is too long is cut.
    pub fn frame(&self) -> Bytes {
        let reason = &self.reason[..self.reason.floor_char_boundary(REASON_BYTES_MAX)];
        frame(CLOSE, &[&self.code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// Reads the payload of a client's close frame. An empty one means a normal end.
    fn parse(payload: &[u8]) -> Result<Close, Close> {
        match payload.split_first_chunk().map(|(code, reason)| (u16::from_be_bytes(*code), reason)) {
            None if payload.is_empty() => Ok(Close::new(close::NORMAL, "")),
            Some((code @ (1000..=1003 | 1007..=1014 | 3000..=4999), reason)) => {
                Ok(Close::new(code, text(reason)?.to_owned()))
            }
            _ => Err(protocol("close code not allowed")),
        }
    }
}

fn protocol(reason: &'static str) -> Close {
    Close::new(close::PROTOCOL, reason)
}

fn text(bytes: &[u8]) -> Result<&str, Close> {
    std::str::from_utf8(bytes).map_err(|_| Close::new(close::INVALID, "not UTF-8"))
}

/// What a client said.
#[derive(Debug, PartialEq)]
pub enum Incoming<'a> {
    /// A whole text.
    Text(&'a str),
    /// Whole bytes.
    Binary(&'a [u8]),
    /// Wants the same bytes back.
    Ping(&'a [u8]),
    /// Is still there.
    Pong,
    /// Leaves.
    Close(Close),
}

/// Takes the bytes of one client apart into messages.
pub struct Reader {
    message_bytes_max: usize,
    /// The start of a frame that is not whole yet. It grows with what arrives, not with what was announced.
    begun: Vec<u8>,
    /// Opcode and payload of a message that comes in fragments.
    fragments: Option<Box<(u8, Vec<u8>)>>,
}

impl Reader {
    /// Begins with nothing read, for messages up to a size.
    pub fn new(message_bytes_max: usize) -> Reader {
        Reader { message_bytes_max, begun: Vec::new(), fragments: None }
    }

    /// Takes what was read, in any pieces, and hands out every message that is whole now.
    /// An error is the close frame that the client has earned; nothing may be fed after it.
    pub fn feed(&mut self, read: &mut [u8], mut each: impl FnMut(Incoming<'_>)) -> Result<(), Close> {
        if self.begun.is_empty() {
            let done = self.frames(read, &mut each)?;
            self.begun = read[done..].to_vec();
        } else {
            let mut begun = std::mem::take(&mut self.begun);
            begun.extend_from_slice(read);
            let done = self.frames(&mut begun, &mut each)?;
            if done < begun.len() {
                begun.drain(..done);
                self.begun = begun;
            }
        }
        Ok(())
    }

    fn frames(&mut self, bytes: &mut [u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Close> {
        let mut done = 0;
        while let Some(head) = Head::parse(&bytes[done..])? {
            let held = self.fragments.as_ref().map_or(0, |it| it.1.len());
            if head.opcode < CLOSE && head.payload > (self.message_bytes_max - held) as u64 {
                return Err(Close::new(close::TOO_BIG, "message too big"));
            }
            let start = done + head.bytes;
            // Bounded by the two lines above, or by 125 for a control frame.
            let Some(payload) = bytes.get_mut(start..start + head.payload as usize) else { break };
            done = start + payload.len();
            unmask(payload, head.mask);
            self.accept(&head, payload, each)?;
        }
        Ok(done)
    }

    fn accept(&mut self, head: &Head, payload: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<(), Close> {
        match (head.opcode, &mut self.fragments) {
            (PING, _) => each(Incoming::Ping(payload)),
            (PONG, _) => each(Incoming::Pong),
            (CLOSE, _) => each(Incoming::Close(Close::parse(payload)?)),
            (CONTINUATION, None) => return Err(protocol("continuation of nothing")),
            (TEXT | BINARY, Some(_)) => return Err(protocol("message inside a message")),
            (opcode, None) if head.fin => each(message(opcode, payload)?),
            (opcode, fragments) => {
                fragments.get_or_insert_with(|| Box::new((opcode, Vec::new()))).1.extend_from_slice(payload);
                if let Some(whole) = self.fragments.take_if(|_| head.fin) {
                    each(message(whole.0, &whole.1)?);
                }
            }
        }
        Ok(())
    }
}

fn message(opcode: u8, payload: &[u8]) -> Result<Incoming<'_>, Close> {
    Ok(if opcode == TEXT { Incoming::Text(text(payload)?) } else { Incoming::Binary(payload) })
}

/// The head of a client's frame, `bytes` long itself.
struct Head {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    bytes: usize,
    payload: u64,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Head>, Close> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let (fin, opcode, short) = (first & 0x80 != 0, first & 0x0f, second & 0x7f);
        match opcode {
            _ if first & 0x70 != 0 => return Err(protocol("reserved bits set")),
            _ if second & 0x80 == 0 => return Err(protocol("frame not masked")),
            CONTINUATION | TEXT | BINARY => {}
            CLOSE | PING | PONG if fin && short < 126 => {}
            CLOSE | PING | PONG => return Err(protocol("control frame too long or in fragments")),
            _ => return Err(protocol("unknown opcode")),
        }
        let (payload, extra) = match (short, rest) {
            (126, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 2),
            (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8),
            (126 | 127, _) => return Ok(None),
            _ => (u64::from(short), 0),
        };
        if (extra == 2 && payload < 126) || (extra == 8 && payload < 1 << 16) {
            return Err(protocol("length not in its shortest form"));
        }
        let head = |&mask: &[u8; 4]| Head { fin, opcode, mask, bytes: 6 + extra, payload };
        Ok(rest[extra..].first_chunk().map(head))
    }
}

/// Sixteen bytes a step: the compiler makes vector instructions of it.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u128::from_ne_bytes(std::array::from_fn(|at| mask[at % 4]));
    let (blocks, rest) = payload.as_chunks_mut();
    blocks.iter_mut().for_each(|block| *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes());
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// Encodes one server frame.
pub fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    put_frame(&mut out, opcode, payload);
    out.freeze()
}

/// Appends one server frame: whole, not masked.
pub fn put_frame(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    out.put_u8(0x80 | opcode);
    match payload.len() {
        len @ ..126 => out.put_u8(len as u8),
        len @ 126..65_536 => out.put_slice(&(126 << 16 | len as u32).to_be_bytes()[1..]),
        len => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
    out.put_slice(payload);
}

/// The head and the payload of the server frame that begins here, in bytes.
fn extent(frame: &[u8]) -> (usize, usize) {
    match frame[1] {
        126 => (4, usize::from(u16::from_be_bytes([frame[2], frame[3]]))),
        127 => (10, u64::from_be_bytes(std::array::from_fn(|at| frame[2 + at])) as usize),
        size => (2, usize::from(size)),
    }
}

/// Walks over whole server frames: opcode and payload of each.
pub fn unframe(mut frames: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let opcode = frames.first()? & 0x0f;
        let (head, payload) = extent(frames);
        let (frame, rest) = frames.split_at(head + payload);
        frames = rest;
        Some((opcode, &frame[head..]))
    })
}

/// Walks over server frames: how many end at or before `at`, and where the frame cut by `at` ends.
pub fn frame_end(frames: &[u8], at: usize) -> (u32, usize) {
    let (mut whole, mut end) = (0, 0);
    while end < at {
        whole += u32::from(end > 0);
        let (head, payload) = extent(&frames[end..]);
        end += head + payload;
    }
    (whole + u32::from(end == at && at > 0), end)
}
