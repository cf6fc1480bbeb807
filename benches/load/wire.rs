//! A WebSocket client that costs less than any server: one buffer to read into for all, no allocation a frame, and a
//! mask of zeros, which leaves the payload as it is.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const SCRATCH_BYTES: usize = 256 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const FINAL_TEXT: u8 = 0x81;
const FINAL_PING: u8 = 0x89;
const FINAL_PONG: u8 = 0x8a;
const FINAL_CLOSE: u8 = 0x88;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// What comes from a server.
pub struct Incoming {
    half: OwnedReadHalf,
    /// The beginning of a frame whose end has not come yet.
    rest: Vec<u8>,
}

/// What goes to it.
pub struct Outgoing(OwnedWriteHalf);

/// Opens a socket: a handshake that is answered otherwise than by 101 is an error that names the status.
pub async fn open(address: SocketAddr, path: &str) -> Result<(Incoming, Outgoing), String> {
    let shake = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{head}\r\n{key}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        let end = loop {
            if let Some(at) = answer.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            if answer.len() > HEAD_BYTES_MAX || stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        Ok((stream, answer, end))
    };
    let (stream, answer, end) = shake.await.map_err(|it: io::Error| format!("handshake: {it}"))?;
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        let line = answer.split(|it| *it == b'\r').next().unwrap_or_default();
        return Err(format!("handshake: {}", String::from_utf8_lossy(line)));
    }
    let (half, out) = stream.into_split();
    Ok((Incoming { half, rest: answer[end..].to_vec() }, Outgoing(out)))
}

impl Incoming {
    /// Waits for what comes next, once, and passes on the text of every frame that is whole.
    pub async fn hear(&mut self, mut each: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        if whole(&self.rest)?.is_some() {
            let early = std::mem::take(&mut self.rest);
            return self.take(&early, &mut each);
        }
        poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.half).poll_read(context, &mut buffer)).map_err(|it| format!("read: {it}"))?;
                Poll::Ready(match buffer.filled() {
                    [] => Err("the server hung up".to_owned()),
                    came => self.take(came, &mut each),
                })
            })
        })
        .await
    }

    fn take(&mut self, came: &[u8], each: &mut impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        if self.rest.is_empty() {
            let used = frames(came, each)?;
            self.rest.extend_from_slice(&came[used..]);
        } else {
            self.rest.extend_from_slice(came);
            let used = frames(&self.rest, each)?;
            self.rest.drain(..used);
        }
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(())
    }
}

/// Passes on all whole frames; says how many bytes they took.
fn frames(bytes: &[u8], each: &mut impl FnMut(&[u8]) -> Result<(), String>) -> Result<usize, String> {
    let mut at = 0;
    while let Some((kind, head, size)) = whole(&bytes[at..])? {
        let payload = &bytes[at + head..at + head + size];
        match kind {
            FINAL_TEXT => each(payload)?,
            FINAL_PING | FINAL_PONG => {}
            FINAL_CLOSE => return Err(closed(payload)),
            kind => return Err(format!("a frame of a kind that was not expected: {kind:#x}")),
        }
        at += head + size;
    }
    Ok(at)
}

fn closed(payload: &[u8]) -> String {
    match payload {
        [high, low, why @ ..] => {
            format!("closed {}: {}", u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(why))
        }
        _ => "closed without a code".to_owned(),
    }
}

/// The first byte of the frame at the beginning, the size of its head and that of its payload, once all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, String> {
    let (head, size) = match bytes {
        [_, size @ 0..=125, ..] => (2, usize::from(*size)),
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [_, 127, size @ ..] if size.len() >= 8 => {
            let size = u64::from_be_bytes(size[..8].try_into().map_err(|_| "a size of eight bytes")?);
            (10, usize::try_from(size).map_err(|_| "a frame without end")?)
        }
        [_, 128..=255, ..] => return Err("a server does not mask".to_owned()),
        _ => return Ok(None),
    };
    Ok((bytes.len() >= head + size).then_some((bytes[0], head, size)))
}

impl Outgoing {
    /// Sends texts in one write. A server that does not take them at once is not what is measured here.
    pub fn say<T: AsRef<[u8]>>(&self, texts: &[T]) -> Result<(), String> {
        let mut out = Vec::with_capacity(512);
        for text in texts {
            put(&mut out, text.as_ref());
        }
        match self.0.try_write(&out) {
            Ok(size) if size == out.len() => Ok(()),
            Ok(_) => Err("the server does not read".to_owned()),
            Err(error) => Err(format!("write: {error}")),
        }
    }
}

fn put(out: &mut Vec<u8>, text: &[u8]) {
    out.push(FINAL_TEXT);
    match text.len() {
        size @ 0..=125 => out.push(0x80 | size as u8),
        size @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        size => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text);
}
