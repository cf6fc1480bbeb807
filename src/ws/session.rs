//! One client: its outbox, the topics it follows, who it is. What reads from it stands in `socket.rs` and `socketio/`.
//!
//! Written by: publishers, directly. Ends: once, by whoever notices first, and takes every bond along.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::Sockets;
use super::frames::{Chunk, Protocol};
use super::outbox::Outbox;
use super::requests::Bucket;
use super::topic::Topic;
use super::wire::Close;
use super::{close, topics};
use crate::actors::auth::Person;
use crate::error::{Error, Result};

/// What the kernel may hold unsent for a client: frames wait in the outbox, which is bounded and can be dropped, not
/// in a send buffer that grows to megabytes.
const UNSENT_BYTES_MAX: u32 = 64 << 10;

/// Messages in a row that could not be followed before the client is sent away.
const STRIKES_MAX: u32 = 10;

/// A topic, and the page of it that holds the session.
type Joined = (Arc<Topic>, usize);

/// What has to be undone at the end.
#[derive(Default)]
struct Bonds {
    joined: Vec<Joined>,
    at_end: Vec<Box<dyn FnOnce() + Send>>,
}

/// One client.
pub struct Session {
    /// How it speaks.
    pub protocol: Protocol,
    /// From where, seen past the proxies that are trusted.
    pub address: IpAddr,
    /// What all sessions share.
    pub sockets: Arc<Sockets>,
    who: OnceLock<Person>,
    /// Readings of the heartbeat's clock: when the client was last heard (or began to close), and last asked.
    pub(super) heard: AtomicU32,
    pub(super) pinged: AtomicU32,
    pub(super) ping_every_ms: AtomicU32,
    /// When what it showed is worth nothing any more; 0 when that is far off.
    pub(super) until: AtomicU32,
    pub(super) warned: AtomicBool,
    pub(super) waiting: AtomicU32,
    strikes: AtomicU32,
    bucket: Mutex<Bucket>,
    io: OnceLock<TcpStream>,
    outbox: Mutex<Outbox>,
    /// `None` once the session is over.
    bonds: Mutex<Option<Bonds>>,
}

impl Session {
    /// Begins a session, which is closed when nobody signs in to it in time.
    ///
    /// # Errors
    /// When there are too many from its address, or the server stops.
    pub fn open(sockets: &Arc<Sockets>, protocol: Protocol, address: IpAddr) -> Result<Arc<Session>> {
        if sockets.heartbeat.is_stopping() {
            return Err(Error::unavailable("this node"));
        }
        let place = sockets.roll.arrive(address, sockets.config.sessions_per_address_max)?;
        let session = Arc::new(Session {
            protocol,
            address,
            sockets: sockets.clone(),
            who: OnceLock::new(),
            heard: AtomicU32::new(0),
            pinged: AtomicU32::new(0),
            ping_every_ms: AtomicU32::new(0),
            until: AtomicU32::new(0),
            warned: AtomicBool::new(false),
            waiting: AtomicU32::new(0),
            strikes: AtomicU32::new(0),
            bucket: Mutex::new(Bucket::full(sockets.config.messages, sockets.clock.moment())),
            io: OnceLock::new(),
            outbox: Mutex::default(),
            bonds: Mutex::new(Some(Bonds::default())),
        });
        session.at_end(move || drop(place));
        sockets.heartbeat.welcome(&session);
        session.good_for(sockets.config.connect_within);
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
        if outbox.overflows(self.sockets.room) {
            let position = outbox.position().map_or(String::new(), |it| format!(" {} {}", it.stream, it.seq));
            drop(outbox);
            self.close(&Close::new(close::SLOW_CONSUMER, format!("slow_consumer{position}")));
        }
    }

    /// Looks at or changes the outbox.
    pub fn outbox<T>(&self, act: impl FnOnce(&mut Outbox) -> T) -> T {
        act(&mut self.outbox.lock())
    }

    /// Queues without writing, for a caller that holds a topic's lock and flushes after it.
    pub(super) fn queue(&self, chunk: Chunk) {
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
            outbox.close(Some(self.protocol.close(close)));
            drop(outbox);
            self.sockets.heartbeat.bid_farewell(self);
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
        poll_fn(|cx| {
            let mut outbox = self.outbox.lock();
            if !outbox.is_open() {
                return Poll::Ready(false);
            }
            if outbox.has_room(self.sockets.room) {
                return Poll::Ready(true);
            }
            outbox.await_room(cx.waker());
            outbox.wake();
            Poll::Pending
        })
        .await
    }

    /// Who it is; `None` before anybody has signed in.
    pub fn who(&self) -> Option<&Person> {
        self.who.get()
    }

    /// Notes who it is. Whoever has more devices than may be loses the one that came first.
    ///
    /// # Errors
    /// When somebody else is signed in here.
    pub fn sign_in(self: &Arc<Self>, person: Person, lives: Option<Duration>) -> Result<()> {
        let who = self.who.get_or_init(|| person);
        if who.user != person.user {
            return Err(Error::Forbidden("another user is signed in here"));
        }
        match lives {
            Some(lives) => self.good_for(lives),
            None => self.until.store(0, Relaxed),
        }
        self.warned.store(false, Relaxed);
        self.sockets.roll.sign_in(self, person, self.sockets.config.sessions_per_user_max);
        Ok(())
    }

    /// Lets the session stay though nobody has signed in.
    pub fn stay(&self) {
        self.until.store(0, Relaxed);
    }

    /// Closes the session after a while, unless it is told otherwise before.
    fn good_for(self: &Arc<Self>, lives: Duration) {
        let until = self.sockets.heartbeat.now().wrapping_add(lives.as_millis() as u32);
        self.until.store(until.max(1), Relaxed);
        self.sockets.heartbeat.look_in(self, lives);
    }

    /// Takes one message off what the client may send now.
    pub fn allow(&self) -> bool {
        self.bucket.lock().take(self.sockets.clock.moment())
    }

    /// Counts messages that could not be followed. After ten in a row the client is sent away.
    ///
    /// # Errors
    /// When this was one too many.
    pub fn count(&self, followed: bool) -> Result<(), Close> {
        let strikes = if followed { 0 } else { self.strikes.load(Relaxed) + 1 };
        self.strikes.store(strikes, Relaxed);
        if strikes < STRIKES_MAX { Ok(()) } else { Err(Close::new(close::POLICY, "too many bad messages")) }
    }

    /// Does something when the session ends; at once, if it has ended.
    pub fn at_end(&self, act: impl FnOnce() + Send + 'static) {
        match self.bonds.lock().as_mut() {
            Some(bonds) => bonds.at_end.push(Box::new(act)),
            None => act(),
        }
    }

    /// Notes a topic joined. An error means that the session must not be added.
    pub(super) fn note_joined(&self, topic: &Arc<Topic>, page: usize) -> Result<(), topics::Followed> {
        let mut bonds = self.bonds.lock();
        let Some(bonds) = bonds.as_mut() else { return Err(topics::Followed::Gone) };
        match bonds.joined.len() {
            _ if bonds.joined.iter().any(|it| Arc::ptr_eq(&it.0, topic)) => Err(topics::Followed::Already),
            count if count >= self.sockets.config.topics_max => Err(topics::Followed::TooMany),
            _ => {
                bonds.joined.push((topic.clone(), page));
                Ok(())
            }
        }
    }

    pub(super) fn follows(&self, topic: &Arc<Topic>) -> bool {
        self.bonds.lock().iter().any(|bonds| bonds.joined.iter().any(|it| Arc::ptr_eq(&it.0, topic)))
    }

    pub(super) fn note_left(&self, topic: &Arc<Topic>) -> Option<usize> {
        let mut bonds = self.bonds.lock();
        let joined = &mut bonds.as_mut()?.joined;
        let at = joined.iter().position(|it| Arc::ptr_eq(&it.0, topic))?;
        Some(joined.swap_remove(at).1)
    }

    /// Ends the session: leaves all topics, and shuts the socket. A second time does nothing.
    pub fn end(&self) {
        // A statement of its own: this lock must not be held while a topic's is taken.
        let bonds = self.bonds.lock().take();
        let Some(bonds) = bonds else { return };
        for (topic, page) in bonds.joined {
            self.sockets.topics.remove(&topic, self, page);
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
        bonds.at_end.into_iter().for_each(|act| act());
    }
}
