//! A connection: its socket, what is going on on it and since when, and what becomes of one that does the same for too
//! long.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::StatusCode;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Shell;
use crate::http::error::Refusal;

const LINGER_WITHIN: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 1 << 20;

/// A socket that speaks another protocol from now on.
#[derive(Debug)]
pub struct Taken {
    /// The socket itself.
    pub stream: TcpStream,
    /// What the client sent before it heard the answer.
    pub early: Bytes,
    /// Who is at the other end, as the network says.
    pub peer: IpAddr,
    /// Becomes true when the server stops: say goodbye and end.
    pub stopping: watch::Receiver<bool>,
}

/// What goes on with a socket once the answer to a handshake has gone.
pub(crate) type Session = Box<dyn FnOnce(Taken) -> BoxFuture<'static, ()> + Send>;

/// One connection, as its task and its requests see it.
pub(crate) struct Link {
    pub(crate) shell: Arc<Shell>,
    pub(super) peer: IpAddr,
    /// Whether it came in where operation is served.
    pub(super) operation: bool,
    pub(crate) session: Mutex<Option<Session>>,
    /// The head that is being read, as it came.
    pub(super) head: Mutex<Vec<u8>>,
    /// A phase, and above it the number of changes so far: who looks twice and finds the same knows how long it lasts,
    /// so that no request reads the clock for it.
    phase: AtomicU32,
    /// Whether the last write had to wait.
    stalled: AtomicBool,
}

#[derive(Clone, Copy)]
pub(super) enum Phase {
    Idle,
    Head,
    Busy,
}

/// How it ends that a connection is served.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Close,
    Park,
    Late,
    Cut,
}

impl Link {
    pub(super) fn new(shell: &Arc<Shell>, peer: IpAddr, operation: bool) -> Link {
        let (session, head, phase, stalled) = Default::default();
        Link { shell: shell.clone(), peer, operation, session, head, phase, stalled }
    }

    pub(super) fn enter(&self, phase: Phase) {
        // Only the connection's own task gets here.
        let before = self.phase.load(Relaxed);
        self.phase.store((before | 3).wrapping_add(1) | phase as u32, Relaxed);
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) & 3 == phase as u32
    }

    /// Looks at a connection, again and again: tells what becomes of one that has done the same for too long. `seen` is
    /// what the last look found, and since when.
    pub(super) fn fate(&self, seen: &mut (u32, Instant)) -> Option<Fate> {
        let (config, phase) = (&self.shell.app.config.http, self.phase.load(Relaxed));
        if seen.0 != phase {
            *seen = (phase, Instant::now());
        }
        // What waits to be written keeps a connection from being idle.
        let (lasts, stalled) = (seen.1.elapsed(), self.stalled.load(Relaxed));
        match () {
            () if stalled && lasts > config.write_within => Some(Fate::Cut),
            () if self.shell.is_stopping() => Some(Fate::Close),
            () if self.is(Phase::Head) && lasts > config.head_within => Some(Fate::Late),
            () if self.is(Phase::Idle) && !stalled && lasts > config.park_after => Some(Fate::Park),
            () => None,
        }
    }

    /// Notes whether the last write had to wait.
    pub(super) fn note_write(&self, waits: bool) {
        if self.stalled.load(Relaxed) != waits {
            self.stalled.store(waits, Relaxed);
            self.phase.fetch_add(4, Relaxed);
        }
    }
}

/// The socket of a connection. It notes when something comes in and when nothing goes out.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// What was read already and not used.
    pub(super) ahead: Bytes,
    pub(super) link: Arc<Link>,
}

impl Socket {
    /// hyper answers what it cannot parse by itself, with an empty body: says it our way instead, if this is that.
    fn say_our_way(&self, head: &[u8]) -> bool {
        let mark = b"\r\nx-request-id: ".as_slice();
        let bare = head.starts_with(b"HTTP/1.1 4") && !head.windows(mark.len()).any(|it| it == mark);
        let status = head.get(9..12).filter(|_| bare).and_then(|it| StatusCode::from_bytes(it).ok());
        status.map(|it| self.say(Refusal::of_status(it))).is_some()
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
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.say_our_way(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.link.note_write(written.is_pending());
        written
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
    let (mut rest, mut nowhere) = (stream.take(LINGER_BYTES_MAX), tokio::io::sink());
    let _ = timeout(LINGER_WITHIN, tokio::io::copy(&mut rest, &mut nowhere)).await;
}
