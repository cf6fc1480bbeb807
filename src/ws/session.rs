//! One client: its outbox, the topics it follows, who it is. What carries it stands in `socket.rs`, `socketio/` and
//! `sse.rs`.
//!
//! Written by: publishers, directly. Ends: once, by whoever notices first, and takes every bond along.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::Sockets;
use super::bonds::{Bonds, Work};
use super::frames::{Chunk, Protocol};
use super::outbox::Outbox;
use super::wire::Close;
use crate::actors::auth::tokens::Holder;
use crate::actors::auth::{Client, Person};
use crate::actors::presence::rules::DeviceKind;
use crate::clock::Moment;
use crate::config::MessageRate;
use crate::error::{Error, Result};
use crate::ids::UserId;

/// What the kernel may hold unsent for a client: frames wait in the outbox, which is bounded and can be dropped, not
/// in a send buffer that grows to megabytes.
const UNSENT_BYTES_MAX: u32 = 64 << 10;

/// Messages in a row that could not be followed before the client is sent away.
const STRIKES_MAX: u32 = 10;

/// One client.
pub struct Session {
    /// How it speaks.
    pub protocol: Protocol,
    /// What all sessions share.
    pub sockets: Arc<Sockets>,
    who: Mutex<Option<Holder>>,
    /// When the client was last heard (or began to close), and last asked, as the last beat told the time.
    pub(super) heard: AtomicU64,
    pub(super) pinged: AtomicU64,
    pub(super) ping_every_ms: AtomicU64,
    /// When what it showed is worth nothing any more.
    pub(super) until: AtomicU64,
    pub(super) warned: AtomicBool,
    strikes: AtomicU32,
    /// When it has sent as little again as if it had sent nothing.
    rested: Mutex<Moment>,
    /// Requests under way; nothing is kept for a session that asks nothing.
    pub(super) work: Mutex<Option<Box<FuturesUnordered<Work>>>>,
    io: OnceLock<TcpStream>,
    pub(super) outbox: Mutex<Outbox>,
    /// What it is, as far as it says.
    pub(super) kind: Mutex<DeviceKind>,
    /// What presence knows it by.
    pub(super) device: OnceLock<u64>,
    /// Those of whom it hears whether they are here.
    pub(super) followed: Mutex<Option<HashSet<UserId>>>,
    /// Whether it ended as its client or the house wanted, not by an accident.
    pub(super) goodbye: AtomicBool,
    /// `None` once the session is over.
    pub(super) bonds: Mutex<Option<Bonds>>,
}

impl Session {
    /// Begins a session, which is closed when nobody signs in to it in time.
    ///
    /// # Errors
    /// When there are too many from its address, or the server stops.
    pub fn open(sockets: &Arc<Sockets>, protocol: Protocol, address: IpAddr) -> Result<Arc<Session>> {
        let now = sockets.now_ms();
        let session = Arc::new(Session {
            protocol,
            sockets: sockets.clone(),
            who: Mutex::default(),
            heard: AtomicU64::new(now),
            pinged: AtomicU64::new(now),
            ping_every_ms: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
            warned: AtomicBool::new(false),
            strikes: AtomicU32::new(0),
            rested: Mutex::default(),
            work: Mutex::default(),
            io: OnceLock::new(),
            outbox: Mutex::default(),
            kind: Mutex::default(),
            device: OnceLock::new(),
            followed: Mutex::default(),
            goodbye: AtomicBool::new(false),
            bonds: Mutex::new(Some(Bonds::default())),
        });
        session.agree(u64::MAX);
        session.good_for(sockets.config.connect_within);
        sockets.roll.arrive(&session, address, sockets.config.sessions_per_address_max)?;
        // Whoever was on the roll before is sent away with the others.
        if sockets.stopping.load(Relaxed) {
            session.end();
            return Err(Error::unavailable("this node"));
        }
        Ok(session)
    }

    /// Begins a session of a client that says what it is.
    pub(super) fn of(sockets: &Arc<Sockets>, protocol: Protocol, client: &Client) -> Result<Arc<Session>> {
        let session = Session::open(sockets, protocol, client.address)?;
        *session.kind.lock() = DeviceKind::of(&client.device);
        Ok(session)
    }

    /// Gives the session its socket. What waited is written at once.
    ///
    /// # Errors
    /// When the socket is broken already, or the session has one.
    pub fn attach(&self, io: TcpStream) -> io::Result<()> {
        io.set_nodelay(true)?;
        SockRef::from(&io).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        let mut outbox = self.outbox.lock();
        self.io.set(io).map_err(|_| io::ErrorKind::AlreadyExists)?;
        outbox.flush(self.io.get());
        Ok(())
    }

    pub(super) fn io(&self) -> Option<&TcpStream> {
        self.io.get()
    }

    /// Sends frames: now if the socket takes them, later and in order if not. Never blocks. Whoever falls too far
    /// behind is closed, and may resume.
    pub fn send(self: &Arc<Self>, chunk: &Chunk) {
        let mut outbox = self.outbox.lock();
        outbox.push(self.io.get(), chunk);
        self.evict_if_slow(outbox);
    }

    fn evict_if_slow(self: &Arc<Self>, outbox: MutexGuard<'_, Outbox>) {
        if outbox.overflows(&self.sockets.config) {
            let position = outbox.position().map_or(String::new(), |it| format!(" {} {}", it.stream, it.seq));
            drop(outbox);
            self.close(&Close::new(Close::SLOW_CONSUMER, format!("slow_consumer{position}")));
        }
    }

    /// Looks at or changes the outbox.
    pub fn outbox<T>(&self, act: impl FnOnce(&mut Outbox) -> T) -> T {
        act(&mut self.outbox.lock())
    }

    /// Queues without writing, for a caller that holds a topic's lock and flushes after it.
    pub fn queue(&self, chunk: Chunk) {
        self.outbox.lock().queue(chunk);
    }

    /// Writes what was queued.
    pub(super) fn flush(self: &Arc<Self>) {
        let mut outbox = self.outbox.lock();
        outbox.flush(self.io.get());
        self.evict_if_slow(outbox);
    }

    /// Says the last word. The client has some seconds to hear it.
    pub fn close(self: &Arc<Self>, close: &Close) {
        let mut outbox = self.outbox.lock();
        if outbox.is_open() {
            outbox.close(self.protocol.close(close));
            drop(outbox);
            self.goodbye.fetch_or(!close.comes_back(), Relaxed);
            self.heard.store(self.sockets.now_ms(), Relaxed);
        }
    }

    /// Gives the client up.
    pub(super) fn cut(&self) {
        self.outbox(Outbox::abandon);
        if self.io.get().is_none() {
            self.end();
        }
    }

    /// Waits until a batch fits into the outbox. Returns whether the session still lives.
    pub(super) async fn room(&self) -> bool {
        poll_fn(|cx| self.outbox.lock().poll_room(&self.sockets.config, cx)).await
    }

    /// Notes what a client says that it is, if that is known here.
    pub(super) fn calls_itself(&self, device: Option<Value>) {
        device.and_then(|it| serde_json::from_value(it).ok()).into_iter().for_each(|it| *self.kind.lock() = it);
    }

    /// For how long nothing was heard of it; `None` if it said goodbye.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        // A listener says nothing.
        let listens = self.protocol == Protocol::Sse;
        let silent_ms = if listens { 0 } else { self.sockets.now_ms().saturating_sub(self.heard.load(Relaxed)) };
        (!self.goodbye.load(Relaxed)).then_some(Duration::from_millis(silent_ms))
    }

    /// Who it is; `None` before anybody has signed in.
    pub fn who(&self) -> Option<Person> {
        self.holder().map(|it| it.person)
    }

    /// The same, and under how many grants.
    pub fn holder(&self) -> Option<Holder> {
        *self.who.lock()
    }

    /// Notes who it is. Whoever has more devices than may be loses the one that came first.
    ///
    /// # Errors
    /// When somebody else is signed in here.
    pub fn sign_in(self: &Arc<Self>, holder: Holder, lives: Duration) -> Result<()> {
        let user = holder.person.user;
        {
            let mut who = self.who.lock();
            if who.is_some_and(|it| it.person.user != user) {
                return Err(Error::Forbidden("another user is signed in here"));
            }
            *who = Some(holder);
        }
        self.good_for(lives);
        self.warned.store(false, Relaxed);
        self.sockets.roll.sign_in(self, user, self.sockets.config.sessions_per_user_max);
        Ok(())
    }

    /// Lets the session stay though nobody has signed in.
    pub fn stay(&self) {
        self.until.store(u64::MAX, Relaxed);
    }

    /// Closes the session after a while, unless it is told otherwise before.
    fn good_for(&self, lives: Duration) {
        self.until.store(self.sockets.now_ms() + lives.as_millis() as u64, Relaxed);
    }

    /// Takes one message off what the client may send now.
    pub fn allow(&self) -> bool {
        let Some(MessageRate { per_second, burst }) = self.sockets.config.messages else { return true };
        let (now, each) = (self.sockets.clock.moment(), Duration::from_secs(1) / per_second);
        let mut rested = self.rested.lock();
        let then = now.max(*rested).after(each);
        let allowed = then.since(now) <= each * burst;
        if allowed {
            *rested = then;
        }
        allowed
    }

    /// Counts messages that could not be followed. After ten in a row the client is sent away.
    ///
    /// # Errors
    /// When this was one too many.
    pub fn count(&self, followed: bool) -> Result<(), Close> {
        let strikes = if followed { 0 } else { self.strikes.load(Relaxed) + 1 };
        self.strikes.store(strikes, Relaxed);
        if strikes < STRIKES_MAX { Ok(()) } else { Err(Close::new(Close::POLICY, "too many bad messages")) }
    }

    /// Ends the session: leaves all topics, and shuts the socket. A second time does nothing.
    pub fn end(&self) {
        // A statement of its own: this lock must not be held while a topic's is taken.
        let bonds = self.bonds.lock().take();
        let Some(bonds) = bonds else { return };
        // Likewise: what it lets go of may end other things.
        let work = self.work.lock().take();
        drop(work);
        for (topic, member) in bonds.joined {
            self.sockets.topics.remove(&topic, member);
        }
        let cut = self.outbox(|outbox| {
            let cut = outbox.was_cut();
            outbox.abandon();
            cut
        });
        if let Some(io) = self.io.get() {
            if cut {
                // The kernel drops what it still holds for a client that does not read.
                let _ = io.set_zero_linger();
            }
            let _ = SockRef::from(io).shutdown(Shutdown::Both);
        }
        bonds.at_end.into_iter().for_each(|act| act(self));
    }
}
