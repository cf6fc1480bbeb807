//! RFC 6455, the server's half: bytes to messages and back. No input or output, no clock.
//!
//! Frames are unmasked and handed out where they were read. Only the start of a frame that is not
//! whole yet and the fragments of a message are kept: a socket at rest owns no buffer.

use std::borrow::Cow;
use std::io::Cursor;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

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

/// Why a connection ends: the code and the reason of its close frame. What a client may do about it stands in the code.
///
/// *Come back*: 1001, 1011, 1012, 1013 and 4000 to 4399; connect again, with the positions held. *Do not*: everything
/// else; the same again ends the same way, until something is mended first (4401: another token).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// What clients decide by.
    pub code: u16,
    /// What people read.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// Said goodbye.
    pub const NORMAL: u16 = 1000;
    /// Broke the framing.
    pub const PROTOCOL: u16 = 1002;
    /// Sent what is not taken here.
    pub const UNSUPPORTED: u16 = 1003;
    /// Sent text that is not UTF-8.
    pub const INVALID: u16 = 1007;
    /// Broke a rule too often.
    pub const POLICY: u16 = 1008;
    /// Sent more than fits.
    pub const TOO_BIG: u16 = 1009;
    /// The server had a defect: come back.
    pub const INTERNAL: u16 = 1011;
    /// The server stops: come back, to another node perhaps.
    pub const RESTART: u16 = 1012;
    /// Did not read as fast as it was told: come back and resume.
    pub const SLOW_CONSUMER: u16 = 4008;
    /// The history cannot be read at the moment: come back and resume.
    pub const STORE: u16 = 4010;
    /// The history was replaced: come back, and be told to load afresh.
    pub const REPLACED: u16 = 4011;
    /// Said something out of turn.
    pub const OUT_OF_TURN: u16 = 4400;
    /// Nobody is signed in, or not any more.
    pub const UNAUTHENTICATED: u16 = 4401;
    /// Another device took the place.
    pub const DISPLACED: u16 = 4409;

    /// Says why, with one of the codes above.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Close {
        Close { code, reason: reason.into() }
    }

    /// Whether a client does well to come back with what it holds.
    pub const fn comes_back(&self) -> bool {
        matches!(self.code, 1001 | Self::INTERNAL | Self::RESTART | 1013 | 4000..=4399)
    }

    /// Whether coming back with the same is in vain, though nothing is wrong with how the client speaks.
    pub const fn is_final(&self) -> bool {
        matches!(self.code, Self::UNAUTHENTICATED | Self::DISPLACED)
    }

    /// Encodes the close frame; a reason that is too long is cut.
    pub fn frame(&self) -> Bytes {
        let reason = &self.reason[..self.reason.floor_char_boundary(REASON_BYTES_MAX)];
        frame(CLOSE, &[&self.code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// Reads the payload of a client's close frame. An empty one means a normal end.
    fn parse(payload: &[u8]) -> Result<Close, Close> {
        match payload.split_first_chunk().map(|(code, reason)| (u16::from_be_bytes(*code), reason)) {
            None if payload.is_empty() => Ok(Close::new(Close::NORMAL, "")),
            Some((code @ (1000..=1003 | 1007..=1014 | 3000..=4999), reason)) => {
                Ok(Close::new(code, text(reason)?.to_owned()))
            }
            _ => Err(broken("close code not allowed")),
        }
    }
}

/// What whoever breaks a protocol has earned.
pub(super) fn broken(reason: &'static str) -> Close {
    Close::new(Close::PROTOCOL, reason)
}

fn text(bytes: &[u8]) -> Result<&str, Close> {
    std::str::from_utf8(bytes).map_err(|_| Close::new(Close::INVALID, "not UTF-8"))
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

/// What hears the messages; an error is the end.
type Each<'a> = &'a mut dyn FnMut(Incoming<'_>) -> Result<(), Close>;

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

    /// Takes what was read, in any pieces, and hands out every message that is whole now, up to one that ends it.
    ///
    /// # Errors
    /// The close frame that the client has earned.
    pub fn feed(
        &mut self,
        read: &mut [u8],
        mut each: impl FnMut(Incoming<'_>) -> Result<(), Close>,
    ) -> Result<(), Close> {
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

    fn frames(&mut self, bytes: &mut [u8], each: Each<'_>) -> Result<usize, Close> {
        let mut done = 0;
        while let Some((head, size, start)) = head(&bytes[done..])? {
            let held = self.fragments.as_ref().map_or(0, |it| it.1.len());
            if matches!(head.opcode, OpCode::Data(_)) && size > (self.message_bytes_max - held) as u64 {
                return Err(Close::new(Close::TOO_BIG, "message too big"));
            }
            let start = done + start;
            // Bounded by the two lines above, or by 125 for a control frame.
            let Some(payload) = bytes.get_mut(start..start + size as usize) else { break };
            done = start + payload.len();
            unmask(payload, head.mask.unwrap_or_default());
            self.accept(&head, payload, each)?;
        }
        Ok(done)
    }

    fn accept(&mut self, head: &FrameHeader, payload: &[u8], each: Each<'_>) -> Result<(), Close> {
        match (head.opcode.into(), &mut self.fragments) {
            (PING, _) => each(Incoming::Ping(payload)),
            (PONG, _) => each(Incoming::Pong),
            (CLOSE, _) => each(Incoming::Close(Close::parse(payload)?)),
            (CONTINUATION, None) => Err(broken("continuation of nothing")),
            (TEXT | BINARY, Some(_)) => Err(broken("message inside a message")),
            (opcode, None) if head.is_final => each(message(opcode, payload)?),
            (opcode, fragments) => {
                fragments.get_or_insert_with(|| Box::new((opcode, Vec::new()))).1.extend_from_slice(payload);
                self.fragments.take_if(|_| head.is_final).map_or(Ok(()), |whole| each(message(whole.0, &whole.1)?))
            }
        }
    }
}

fn message(opcode: u8, payload: &[u8]) -> Result<Incoming<'_>, Close> {
    Ok(if opcode == TEXT { Incoming::Text(text(payload)?) } else { Incoming::Binary(payload) })
}

/// The head of a client's frame, the size of its payload, and where that begins.
fn head(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, Close> {
    let mut at = Cursor::new(bytes);
    let head = FrameHeader::parse(&mut at).map_err(|_| broken("unknown opcode"))?;
    let Some((head, size)) = head else { return Ok(None) };
    match head.opcode {
        _ if head.rsv1 || head.rsv2 || head.rsv3 => Err(broken("reserved bits set")),
        _ if head.mask.is_none() => Err(broken("frame not masked")),
        _ if head.len(size) as u64 != at.position() => Err(broken("length not in its shortest form")),
        OpCode::Control(_) if !head.is_final || size > 125 => Err(broken("control frame too long or in fragments")),
        _ => Ok(Some((head, size, at.position() as usize))),
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
    let head = FrameHeader { opcode: opcode.into(), ..FrameHeader::default() };
    head.format(payload.len() as u64, &mut out.writer()).expect("a buffer takes everything");
    out.put_slice(payload);
}

/// Walks over whole server frames: opcode and payload of each.
pub fn unframe(mut frames: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let mut at = Cursor::new(frames);
        let (head, size) = FrameHeader::parse(&mut at).ok()??;
        let (payload, rest) = frames[at.position() as usize..].split_at(size as usize);
        frames = rest;
        Some((head.opcode.into(), payload))
    })
}
