//! What a connection is doing and since when: noted by its own task without asking a clock, looked at by one sweep
//! over all connections. No connection has a timer of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Acquire, Ordering::Relaxed};
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use http_body_util::{BodyExt, Either};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use super::answer::Body;
use crate::config::HttpConfig;

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

/// The session that waits for its socket.
pub(crate) struct Takeover {
    pub(crate) give: oneshot::Sender<Taken>,
    pub(crate) session: BoxFuture<'static, ()>,
}

/// One connection, as its task, its requests and the sweep see it.
pub(crate) struct Link {
    pub(super) peer: IpAddr,
    /// Whether the peer is a proxy of ours.
    pub(super) trusted: bool,
    /// Whether it came in where operation is served.
    pub(super) operation: bool,
    /// What goes on with the socket after a handshake.
    pub(super) takeover: Mutex<Option<Takeover>>,
    pub(super) alarm: AtomicBool,
    pub(super) waker: AtomicWaker,
    clock: Arc<AtomicU32>,
    notes: Notes,
}

/// What is noted of a connection; times are readings of the sweep's clock.
#[derive(Default)]
struct Notes {
    phase: AtomicU8,
    since: AtomicU32,
    stalled: AtomicU32,
    framing: AtomicU8,
}

#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub(super) enum Phase {
    Idle,
    Head,
    Busy,
    Parked,
    Taken,
}

/// What becomes of a connection that has been at the same thing for long.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fate {
    GoOn,
    Close,
    Park,
    Late,
    Cut,
}

impl Link {
    pub(super) fn new(peer: IpAddr, trusted: bool, operation: bool, clock: Arc<AtomicU32>) -> Link {
        let (takeover, alarm, waker, notes) = Default::default();
        let link = Link { peer, trusted, operation, takeover, alarm, waker, clock, notes };
        link.enter(Phase::Idle);
        link
    }

    /// Says what goes on with the socket once the answer to a handshake has gone.
    pub(crate) fn hand_over(&self, takeover: Takeover) {
        *self.takeover.lock() = Some(takeover);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.notes.phase.store(phase as u8, Relaxed);
        self.notes.since.store(self.clock.load(Relaxed), Relaxed);
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        self.notes.phase.load(Relaxed) == phase as u8
    }

    pub(super) fn fate(&self, config: &HttpConfig, stopping: bool) -> Fate {
        let now = self.clock.load(Relaxed);
        let over = |since: &AtomicU32, within: Duration| {
            u128::from(now.wrapping_sub(since.load(Relaxed))) > within.as_millis()
        };
        // What waits to be written keeps a connection from being idle.
        let waits = self.notes.stalled.load(Relaxed) != 0;
        match () {
            () if self.is(Phase::Taken) => Fate::GoOn,
            () if waits && over(&self.notes.stalled, config.write_within) => Fate::Cut,
            () if stopping || (self.is(Phase::Parked) && over(&self.notes.since, config.idle_within)) => Fate::Close,
            () if self.is(Phase::Head) && over(&self.notes.since, config.head_within) => Fate::Late,
            () if self.is(Phase::Idle) && !waits && over(&self.notes.since, config.park_after) => Fate::Park,
            () => Fate::GoOn,
        }
    }

    /// Whether the sweep wants this connection to look at its fate; it will be woken when it does.
    pub(super) fn alarmed(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.alarm.load(Relaxed) && self.alarm.swap(false, Acquire)
    }

    /// Notes bytes that came in: between requests they begin a head.
    pub(super) fn note_read(&self, bytes: &[u8]) {
        if self.is(Phase::Idle) && !bytes.is_empty() {
            self.enter(Phase::Head);
            self.notes.framing.store(0, Relaxed);
        }
        // Reads carry no body at all, so there is nothing to frame twice.
        if self.is(Phase::Head) && !matches!(bytes, [b'G' | b'H', ..]) {
            self.notes.framing.fetch_or(framing(bytes), Relaxed);
        }
    }

    /// Notes whether the last write had to wait.
    pub(super) fn note_write(&self, waits: bool) {
        match (waits, self.notes.stalled.load(Relaxed)) {
            (true, 0) => self.notes.stalled.store(self.clock.load(Relaxed), Relaxed),
            (false, 1..) => self.notes.stalled.store(0, Relaxed),
            _ => {}
        }
    }

    /// Whether the head that was just read named a length as well as a coding. The HTTP library drops the length and
    /// says nothing; it is seen here unless its name was cut in two by the network, and then it is dropped.
    pub(super) fn was_framed_twice(&self) -> bool {
        self.notes.framing.load(Relaxed) == 3
    }
}

fn framing(bytes: &[u8]) -> u8 {
    let names = |line: &[u8], name: &[u8]| line.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
    let lines = bytes.split(|it| *it == b'\n').take_while(|line| !matches!(line, [] | [b'\r']));
    lines.fold(0, |found, line| match line.first() {
        Some(b'c' | b'C') if names(line, b"content-length:") => found | 1,
        Some(b't' | b'T') if names(line, b"transfer-encoding:") => found | 2,
        _ => found,
    })
}

/// Keeps a connection busy until its streamed answer has gone, or was dropped.
pub(super) fn keep_busy(body: Body, link: &Arc<Link>) -> Body {
    struct Done(Arc<Link>);
    impl Drop for Done {
        fn drop(&mut self) {
            self.0.enter(Phase::Idle);
        }
    }
    link.enter(Phase::Busy);
    let done = Done(link.clone());
    Either::Right(axum::body::Body::new(body.map_frame(move |frame| {
        let _ = &done;
        frame
    })))
}
