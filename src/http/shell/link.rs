//! What a connection is doing and since when, and what becomes of one that does the same for too long.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shell;
use super::limits::is_trusted;

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

/// One connection, as its task and its requests see it; times are milliseconds since it was opened.
pub(crate) struct Link {
    pub(crate) shell: Arc<Shell>,
    pub(super) peer: IpAddr,
    /// Whether the peer is a proxy of ours.
    pub(super) trusted: bool,
    /// Whether it came in where operation is served.
    pub(super) operation: bool,
    pub(crate) session: Mutex<Option<Session>>,
    /// The head that is being read, as it came.
    pub(super) head: Mutex<Vec<u8>>,
    opened: Instant,
    /// A phase, and above it the number of phases so far: who looks twice and finds the same knows how long it lasts, so
    /// that no request reads the clock for it.
    phase: AtomicU32,
    stalled: AtomicU32,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Phase {
    Idle,
    Head,
    Busy,
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
    pub(super) fn new(shell: &Arc<Shell>, peer: IpAddr, operation: bool) -> Link {
        let (shell, trusted) = (shell.clone(), is_trusted(&shell.app.config.http.trusted_proxies, peer));
        let (session, head, phase, stalled) = Default::default();
        Link { shell, peer, trusted, operation, session, head, opened: Instant::now(), phase, stalled }
    }

    pub(super) fn enter(&self, phase: Phase) {
        // Only the connection's own task gets here.
        let before = self.phase.load(Relaxed);
        self.phase.store((before | 3).wrapping_add(1) | phase as u32, Relaxed);
    }

    /// Never zero.
    fn now(&self) -> u32 {
        self.opened.elapsed().as_millis() as u32 | 1
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) & 3 == phase as u32
    }

    /// Looks at a connection, again and again; `seen` is what the last look found, and since when.
    pub(super) fn fate(&self, seen: &mut (u32, u32)) -> Fate {
        let (config, stopping) = (&self.shell.app.config.http, self.shell.is_stopping());
        let (now, phase, stalled) = (self.now(), self.phase.load(Relaxed), self.stalled.load(Relaxed));
        if seen.0 != phase {
            *seen = (phase, now);
        }
        let over = |since: u32, within: Duration| u128::from(now.wrapping_sub(since)) > within.as_millis();
        // What waits to be written keeps a connection from being idle.
        let waits = stalled != 0;
        match () {
            () if waits && over(stalled, config.write_within) => Fate::Cut,
            () if stopping => Fate::Close,
            () if self.is(Phase::Head) && over(seen.1, config.head_within) => Fate::Late,
            () if self.is(Phase::Idle) && !waits && over(seen.1, config.park_after) => Fate::Park,
            () => Fate::GoOn,
        }
    }

    /// Notes whether the last write had to wait.
    pub(super) fn note_write(&self, waits: bool) {
        match (waits, self.stalled.load(Relaxed)) {
            (true, 0) => self.stalled.store(self.now(), Relaxed),
            (false, 1..) => self.stalled.store(0, Relaxed),
            _ => {}
        }
    }
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
    Body::new(body.map_frame(move |frame| {
        let _ = &done;
        frame
    }))
}
