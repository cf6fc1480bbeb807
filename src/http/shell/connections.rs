//! Connections from accept to close: how many there may be, what is going on on each and since when, and what becomes of
//! one that does the same for too long.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture};
use hyper::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::limits::{household, is_trusted};
use super::{Shell, answer_request};
use crate::error::{Error, RETRY_AFTER, Result};
use crate::http::error::Refusal;

/// How often a connection in use is asked whether it has been at the same thing for too long.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const READ_BYTES_MIN: usize = 64 * 1024;
const LINGER_WITHIN: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 1 << 20;

/// Where connections come from.
pub struct Listeners {
    /// The one for everybody.
    pub public: TcpListener,
    /// The one for operation, where it is another.
    pub operation: Option<TcpListener>,
}

/// How many connections each household has: as many as hold its mark, beside the table itself.
type Households = HashMap<u128, Arc<()>>;
/// A connection's place among all, and its household's mark; free again when it is dropped.
type Place = (OwnedSemaphorePermit, Arc<()>);

/// Accepts connections until told to stop, then lets each finish what it has begun, within the setting's time.
pub async fn serve(listeners: Listeners, shell: Arc<Shell>, stop: impl Future<Output = ()>) {
    let stop = stop.shared();
    let serve = |listener, operation| serve_door(listener, operation, shell.clone(), stop.clone());
    tokio::join!(serve(listeners.public, false), OptionFuture::from(listeners.operation.map(|it| serve(it, true))));
}

async fn serve_door(listener: TcpListener, operation: bool, shell: Arc<Shell>, stop: impl Future<Output = ()>) {
    let (config, root) = (&shell.app.config.http, &shell.app.actors.root);
    let (places, mut households) = (Arc::new(Semaphore::new(config.connections_max)), Households::new());
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors: wait for some to come back.
            shell.traffic.accept_failures.add();
            sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        // A socket that refuses the option is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let (shell, (session, head, phase, stalled)) = (shell.clone(), Default::default());
        let link = Arc::new(Link { shell, peer: peer.ip(), operation, session, head, phase, stalled });
        let socket = Socket { stream, ahead: Bytes::new(), link };
        match take_place(&places, &mut households, &socket.link) {
            // What surrounds a task holds it twice over: it holds a box, then.
            Ok(place) => _ = root.task("connections", attend(socket, place).boxed()),
            Err(error) => socket.say(error.into()),
        }
    }
    drop(listener);
    shell.app.health.drain();
    shell.stopping.send_replace(true);
    shell.app.sockets.send_away();
    // All places are free when the last connection has gone.
    let _ = timeout(config.drain_within, places.acquire_many(config.connections_max as u32)).await;
}

/// Finds a place for a connection. Proxies of ours stand for many.
fn take_place(places: &Arc<Semaphore>, households: &mut Households, link: &Link) -> Result<Place> {
    let config = &link.shell.app.config.http;
    let place = places.clone().try_acquire_owned();
    let place = place.map_err(|_| Error::unavailable("a place for one more connection"))?;
    if households.len() > 2 * config.connections_max {
        households.retain(|_, mark| Arc::strong_count(mark) > 1);
    }
    let mark = households.entry(household(link.peer)).or_default();
    if Arc::strong_count(mark) > config.connections_per_address_max && !is_trusted(&config.trusted_proxies, link.peer) {
        return Err(Error::TooMany { retry_after: RETRY_AFTER });
    }
    Ok((place, mark.clone()))
}

/// Serves one connection. When nothing happens on it, hyper and its buffers go, and only the socket stays.
async fn attend(mut socket: Socket, _place: Place) {
    let link = socket.link.clone();
    let shell = &link.shell;
    let _open = shell.traffic.connections.hold();
    let mut stopping = shell.stopping.subscribe();
    let mut fate = Fate::Park;
    while fate == Fate::Park {
        if socket.ahead.is_empty() {
            tokio::select! {
                _ = socket.stream.readable() => link.enter(Phase::Idle),
                () = sleep(shell.app.config.http.idle_within) => return,
                _ = stopping.wait_for(|it| *it) => return,
            }
        }
        (fate, socket) = converse(socket).await;
    }
    let session = link.session.lock().take();
    match (fate, session) {
        (Fate::Cut, _) => return,
        (Fate::Late, _) => socket.say(Refusal::late("the request took too long to arrive")),
        // The session runs in this very task: it is a connection still.
        (_, Some(session)) => return session((socket.stream, socket.ahead)).await,
        _ => {}
    }
    // A socket closed with bytes unread is reset, and that can overtake the last word: it reads on for a moment.
    let _ = socket.stream.shutdown().await;
    let (mut rest, mut nowhere) = (socket.stream.take(LINGER_BYTES_MAX), tokio::io::sink());
    let _ = timeout(LINGER_WITHIN, tokio::io::copy(&mut rest, &mut nowhere)).await;
}

/// Lets hyper serve the socket until the client is done or fate has it otherwise, and takes the socket back.
async fn converse(socket: Socket) -> (Fate, Socket) {
    let link = socket.link.clone();
    let head_bytes_max = link.shell.app.config.http.head_bytes_max;
    let mut http = hyper::server::conn::http1::Builder::new();
    http.max_buf_size(READ_BYTES_MIN.max(head_bytes_max * 2)).max_header_size(head_bytes_max);
    let asked = link.clone();
    let service = service_fn(move |request| answer_request(&asked, request));
    let mut connection = Box::new(http.serve_connection(TokioIo::new(socket), service));
    let mut seen = (0, Instant::now());
    let fate = loop {
        tokio::select! {
            biased;
            _ = &mut connection => break Fate::Close,
            () = sleep(LOOK_EVERY) => match link.fate(&mut seen) {
                Some(Fate::Close) => Pin::new(&mut *connection).graceful_shutdown(),
                Some(fate) => break fate,
                None => {}
            },
        }
    };
    let parts = connection.into_parts();
    // An empty rest would keep the whole buffer it was cut from.
    let ahead = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
    (fate, Socket { ahead, ..parts.io.into_inner() })
}

/// A socket that speaks another protocol from now on, and what came on it before the answer had gone.
pub type Taken = (TcpStream, Bytes);
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
enum Fate {
    Close,
    Park,
    Late,
    Cut,
}

impl Link {
    pub(super) fn enter(&self, phase: Phase) {
        // Only the connection's own task gets here.
        let before = self.phase.load(Relaxed);
        self.phase.store((before | 3).wrapping_add(1) | phase as u32, Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) & 3 == phase as u32
    }

    /// Looks at a connection, again and again: tells what becomes of one that has done the same for too long. `seen` is
    /// what the last look found, and since when.
    fn fate(&self, seen: &mut (u32, Instant)) -> Option<Fate> {
        let (config, phase) = (&self.shell.app.config.http, self.phase.load(Relaxed));
        if seen.0 != phase {
            *seen = (phase, Instant::now());
        }
        // What waits to be written keeps a connection from being idle.
        let (lasts, stalled) = (seen.1.elapsed(), self.stalled.load(Relaxed));
        match () {
            () if stalled && lasts > config.write_within => Some(Fate::Cut),
            () if *self.shell.stopping.borrow() => Some(Fate::Close),
            () if self.is(Phase::Head) && lasts > config.head_within => Some(Fate::Late),
            () if self.is(Phase::Idle) && !stalled && lasts > config.park_after => Some(Fate::Park),
            () => None,
        }
    }

    /// Notes whether the last write had to wait.
    fn note_write(&self, waits: bool) {
        if self.stalled.load(Relaxed) != waits {
            self.stalled.store(waits, Relaxed);
            self.phase.fetch_add(4, Relaxed);
        }
    }
}

/// The socket of a connection. It notes when something comes in and when nothing goes out.
struct Socket {
    stream: TcpStream,
    /// What was read already and not used.
    ahead: Bytes,
    link: Arc<Link>,
}

impl Socket {
    /// hyper answers what it cannot parse by itself, with an empty body: says it our way instead, if this is that.
    fn say_our_way(&self, head: &[u8]) -> bool {
        let mark = b"\r\nx-request-id: ".as_slice();
        let bare = head.starts_with(b"HTTP/1.1 4") && !head.windows(mark.len()).any(|it| it == mark);
        let status = head.get(9..12).filter(|_| bare).and_then(|it| StatusCode::from_bytes(it).ok());
        status.map(|it| self.say(Refusal::new(it, "malformed", "the request cannot be understood"))).is_some()
    }

    /// Writes a refusal past hyper. The socket's buffer has room for it, or the client is not listening.
    fn say(&self, refusal: Refusal) {
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
