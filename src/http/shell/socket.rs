//! A socket that notes when something comes in and when nothing goes out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::link::{Link, Phase};
use crate::http::error::Refusal;

/// What is small costs the system less in one piece than in parts.
const WHOLE_BYTES_MAX: usize = 2_048;
const LINGER_WITHIN: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// What was read already and not used.
    pub(super) ahead: Bytes,
    pub(super) link: Arc<Link>,
}

impl Socket {
    /// hyper answers what it cannot parse by itself, with an empty body: say it our way instead.
    fn say_our_way(&self, head: &[u8]) -> Option<usize> {
        let mark = b"\r\nx-request-id: ".as_slice();
        let bare = head.starts_with(b"HTTP/1.1 4") && !head.windows(mark.len()).any(|it| it == mark);
        let status = StatusCode::from_bytes(head.get(9..12).filter(|_| bare)?).ok()?;
        self.say(Refusal::of_status(status));
        Some(head.len())
    }

    /// Writes a refusal past hyper. The socket's buffer has room for it, or the client is not listening.
    pub(super) fn say(&self, refusal: Refusal) {
        let _ = self.stream.try_write(&self.link.shell.raw(refusal));
    }

    /// Notes bytes that came in: between requests they begin a head.
    fn note_read(&self, bytes: &[u8]) {
        if self.link.is(Phase::Idle) && !bytes.is_empty() {
            self.link.enter(Phase::Head);
        }
        let mut head = self.link.head.lock();
        // `GET` and `HEAD` carry no body at all, so there is nothing to frame.
        if self.link.is(Phase::Head) && !matches!(head.first().or(bytes.first()), Some(b'G' | b'H')) {
            head.extend_from_slice(bytes);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, size) = (buf.filled().len(), self.ahead.len().min(buf.remaining()));
        buf.put_slice(&self.ahead.split_to(size));
        let done = if size > 0 { Ok(()) } else { ready!(Pin::new(&mut self.stream).poll_read(cx, buf)) };
        self.note_read(&buf.filled()[before..]);
        Poll::Ready(done)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(size) = bufs.first().and_then(|it| self.say_our_way(it)) {
            return Poll::Ready(Ok(size));
        }
        let size = bufs.iter().map(|it| it.len()).sum::<usize>();
        let written = match (bufs, size) {
            ([one], _) => Pin::new(&mut self.stream).poll_write(cx, one),
            (_, ..=WHOLE_BYTES_MAX) => {
                let (mut whole, mut at) = ([0; WHOLE_BYTES_MAX], 0);
                for part in bufs {
                    whole[at..][..part.len()].copy_from_slice(part);
                    at += part.len();
                }
                Pin::new(&mut self.stream).poll_write(cx, &whole[..size])
            }
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        };
        self.link.note_write(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Reads on for a moment after the last word: a socket closed with bytes unread is reset, and that can overtake the
/// answer.
pub(super) async fn linger(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let (mut scratch, mut left) = (vec![0; 4096], LINGER_BYTES_MAX);
    let rest = async {
        while let Ok(size @ 1..) = stream.read(&mut scratch).await {
            left = left.saturating_sub(size);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_WITHIN, rest).await;
}
