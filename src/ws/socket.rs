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

use scopeguard::guard;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::frames::Chunk;
use super::outbox::Outbox;
use super::requests::Talk;
use super::session::Session;
use super::wire::{self, Close, Incoming, Reader};

const READ_BYTES: usize = 16 << 10;

thread_local! {
    /// All sessions of a thread read into one buffer.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Lives until the connection ends. `early` is what was read already.
pub async fn converse<T: Talk>(session: Arc<Session>, talk: Arc<T>, mut reader: Reader, mut early: Vec<u8>) {
    // However it ends, a panic included.
    let session = guard(session, |it| it.end());
    let Some(io) = session.io() else { return };
    take(&session, &*talk, &mut reader, &mut early);
    drop(early);
    while poll_fn(|cx| poll_turn(&session, io, cx)).await {
        READ.with_borrow_mut(|buffer| match read(io, buffer) {
            Ok(size @ 1..) => {
                if session.outbox(|outbox| outbox.is_open()) {
                    session.heard.store(session.sockets.now_ms(), Relaxed);
                }
                take(&session, &*talk, &mut reader, &mut buffer[..size]);
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

/// Works and writes, then looks for input: ready with true when there is some, with false at the end.
fn poll_turn(session: &Arc<Session>, io: &TcpStream, cx: &mut Context<'_>) -> Poll<bool> {
    let rested = session.outbox(|it| it.is_empty());
    if session.poll_work(cx) && rested {
        // What this answer is about is on its way to this very client as well: both leave in one write.
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    if !rested {
        session.flush();
    }
    let mut outbox = Poll::Ready(());
    let over = session.outbox(|it| {
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

/// Takes input apart and answers it, all answers in one write. Once closing, only a close frame counts.
fn take<T: Talk>(session: &Arc<Session>, talk: &T, reader: &mut Reader, input: &mut [u8]) {
    let open = session.outbox(|outbox| outbox.is_open());
    let mut by_client = false;
    let fed = reader.feed(input, |message| match message {
        Incoming::Close(close) => {
            by_client = true;
            Err(close)
        }
        _ if !open => Ok(()),
        Incoming::Ping(_) if !session.allow() => Err(Close::new(Close::POLICY, "too many pings")),
        Incoming::Ping(payload) => {
            session.queue(Chunk::new(wire::frame(wire::PONG, payload), 1));
            Ok(())
        }
        Incoming::Pong => Ok(()),
        message => talk.heard(session, message),
    });
    session.flush();
    if let Err(close) = fed {
        session.close(&close);
    }
    if by_client {
        session.goodbye.store(true, Relaxed);
        session.outbox(|outbox| outbox.client_closed = true);
    }
}
