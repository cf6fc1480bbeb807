//! The task of one WebSocket: reads, answers, and finishes what the socket did not take at once.
//!
//! At rest it owns no buffer and no timer. Requests under way run in this very task, so what a client asks in one order
//! reaches its actors in that order.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::close;
use super::outbox::Outbox;
use super::requests::{Talk, Turn, Work};
use super::session::Session;
use super::wire::{self, Close, Incoming, Reader};

const READ_BYTES: usize = 16 << 10;

thread_local! {
    /// All sessions of a thread read into one buffer.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Ends a session however its task ended, a panic included.
struct End(Arc<Session>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// One client on one socket, while it lasts.
struct Socket<T: Talk> {
    session: Arc<Session>,
    talk: Arc<T>,
    reader: Reader,
    /// Requests under way; nothing is kept for a session that asks nothing.
    work: Option<Box<FuturesUnordered<Work>>>,
}

/// Lives until the connection ends. `first` are messages that were taken apart already, `early` is what was read.
pub async fn converse<T: Talk>(
    session: Arc<Session>,
    talk: Arc<T>,
    reader: Reader,
    mut early: Vec<u8>,
    first: Vec<(u8, Vec<u8>)>,
) {
    let _end = End(session.clone());
    let Some(io) = session.io() else { return };
    let mut socket = Socket { session: session.clone(), talk, reader, work: None };
    socket.hear(&first);
    socket.take(&mut early);
    drop((first, early));
    while poll_fn(|cx| socket.poll_turn(cx, io)).await {
        READ.with_borrow_mut(|buffer| match read(io, buffer) {
            Ok(size @ 1..) => {
                if session.outbox(|outbox| outbox.is_open()) {
                    session.heard.store(session.sockets.heartbeat.now(), Relaxed);
                }
                socket.take(&mut buffer[..size]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => session.outbox(Outbox::abandon),
        });
    }
}

/// Reads once. A read that did not fill the buffer has emptied the socket, so readiness is cleared with it: this saves
/// a second system call, which would only say so.
fn read(io: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut size = 0;
    let done = io.try_io(Interest::READABLE, || {
        size = (&*SockRef::from(io)).read(buffer)?;
        if 0 < size && size < buffer.len() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if size > 0 { Ok(size) } else { done.map(|()| 0) }
}

impl<T: Talk> Socket<T> {
    /// Works and writes, then looks for input: ready with true when there is some, with false at the end.
    fn poll_turn(&mut self, cx: &mut Context<'_>, io: &TcpStream) -> Poll<bool> {
        let rested = self.session.outbox(|it| it.is_empty());
        if self.poll_work(cx) && rested {
            // What this answer is about is on its way to this very client as well: both leave in one write.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !rested {
            self.session.flush();
        }
        let mut outbox = Poll::Ready(());
        let over = self.session.outbox(|it| {
            it.attend(cx.waker());
            while outbox.is_ready() && !it.pump(io) {
                outbox = io.poll_write_ready(cx).map(|_| ());
            }
            if it.said_all() {
                // Nothing may follow a close frame. Input is read on, or the kernel would answer it with a reset,
                // which can overtake the close frame.
                let _ = SockRef::from(io).shutdown(Shutdown::Write);
            }
            it.is_over()
        });
        if over { Poll::Ready(false) } else { io.poll_read_ready(cx).map(|_| true) }
    }

    /// Whether anything was answered.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(work) = &mut self.work else { return false };
        let mut answered = false;
        while let Poll::Ready(Some(done)) = work.poll_next_unpin(cx) {
            answered = true;
            // Queued, so that what the work itself sends stays in its order, and all of it is one write.
            match done {
                Ok(chunk) => Option::into_iter(chunk).for_each(|it| self.session.queue(it)),
                Err(close) => {
                    self.session.flush();
                    self.session.close(&close);
                }
            }
        }
        if work.is_empty() {
            self.work = None;
        }
        answered
    }

    fn hear(&mut self, messages: &[(u8, Vec<u8>)]) {
        let mut turn = Turn::default();
        let mut heard = messages.iter().map(|(opcode, bytes)| match (*opcode, std::str::from_utf8(bytes)) {
            (wire::TEXT, Ok(text)) => self.talk.heard(&self.session, Incoming::Text(text), &mut turn),
            (wire::CLOSE, _) => Err(Close::new(close::NORMAL, "")),
            _ => self.talk.heard(&self.session, Incoming::Binary(bytes), &mut turn),
        });
        let end = heard.find_map(Result::err);
        drop(heard);
        self.finish(turn, end);
    }

    /// Takes input apart and answers it, all answers in one write. Once closing, only a close frame counts.
    fn take(&mut self, input: &mut [u8]) {
        let Socket { session, talk, reader, .. } = self;
        let open = session.outbox(|outbox| outbox.is_open());
        let (mut turn, mut end, mut by_client) = (Turn::default(), None, false);
        let fed = reader.feed(input, |message| match message {
            _ if end.is_some() => {}
            Incoming::Close(close) => (end, by_client) = (Some(close), true),
            Incoming::Ping(_) if open && !session.allow() => end = Some(Close::new(close::POLICY, "too many pings")),
            Incoming::Ping(payload) if open => turn.answers.put(wire::PONG, payload),
            Incoming::Text(_) | Incoming::Binary(_) if open => end = talk.heard(session, message, &mut turn).err(),
            _ => {}
        });
        self.finish(turn, end.or(fed.err()));
        if by_client {
            self.session.goodbye.store(true, Relaxed);
            self.session.outbox(Outbox::client_closed);
        }
    }

    fn finish(&mut self, mut turn: Turn, end: Option<Close>) {
        for work in turn.work.drain(..) {
            self.work.get_or_insert_default().push(work);
        }
        if let Some(chunk) = turn.answers.chunk() {
            self.session.send(&chunk);
        }
        if let Some(close) = end {
            self.session.close(&close);
        }
    }
}
