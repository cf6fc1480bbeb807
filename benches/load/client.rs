//! The least HTTP/1.1 client that can tell a right answer from a wrong one: one buffer, no allocation an answer.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 64 * 1024;

/// One kept-alive connection.
pub struct Connection {
    stream: TcpStream,
    /// What was read: the answer that is looked at, and nothing behind it.
    buffer: Vec<u8>,
}

/// An answer, as long as it lies in the buffer of its connection.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// The server ends the connection behind it.
    pub closes: bool,
}

struct Head {
    status: u16,
    body_at: usize,
    body_bytes: usize,
    closes: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a whole request and reads its answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(head) = Head::read(&self.buffer)? {
                break head;
            }
            self.more().await?;
        };
        let end = head.body_at + head.body_bytes;
        while self.buffer.len() < end {
            self.more().await?;
        }
        if self.buffer.len() > end {
            return Err(wrong("more bytes came than the answer has"));
        }
        Ok(Answer { status: head.status, body: &self.buffer[head.body_at..end], closes: head.closes })
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Head {
    /// The head, once all of it is there.
    fn read(bytes: &[u8]) -> io::Result<Option<Head>> {
        let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else {
            return if bytes.len() > HEAD_BYTES_MAX { Err(wrong("a head without end")) } else { Ok(None) };
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong("a head that is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|it| it.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| wrong("an answer that is not HTTP/1.1"))?;
        let (mut length, mut closes) = (None, false);
        for (name, value) in lines.filter_map(|it| it.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.trim().eq_ignore_ascii_case("close");
            }
        }
        let bodiless = matches!(status, 100..=199 | 204 | 304);
        let length = if bodiless { Some(0) } else { length };
        let body_bytes = length.ok_or_else(|| wrong("an answer without a length"))?;
        Ok(Some(Head { status, body_at: end + 4, body_bytes, closes }))
    }
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
