//! What waits to be written to one client: bounded, in order, whoever writes.
//!
//! Publishers and the session's task write the same socket. Order holds because both do it under the outbox's lock and
//! nobody writes past bytes that wait. A write never blocks, so the lock is held for one system call at most. When the
//! socket takes no more, the rest is queued and the task is woken to finish it. Without a socket, as in long polling
//! and server-sent events, everything is queued until an answer takes it.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::frames::{Chunk, Mark};
use super::recall::Marks;
use crate::config::SocketsConfig;

const SLICES_MAX: usize = 16;
/// A queue that grew past this gives its memory back once it is empty.
const KEPT_CHUNKS_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Open,
    /// The last word is queued; nothing is accepted after it.
    Closing,
    Over,
}

/// What waits to be written.
#[derive(Default)]
pub struct Outbox {
    queue: VecDeque<Chunk>,
    /// Bytes of the first chunk that are on the wire already.
    written: usize,
    bytes: usize,
    frames: usize,
    phase: Phase,
    /// Whether the client's close frame was heard.
    pub(super) client_closed: bool,
    delivered: Option<Mark>,
    /// What was told in which order, where that is to be known later.
    pub(super) marks: Option<Arc<Mutex<Marks>>>,
    /// Whoever writes what is queued: the session's task, or an answer that takes it.
    task: Option<Waker>,
    /// Replays that wait for room.
    waiting: Vec<Waker>,
}

impl Outbox {
    /// Writes the chunk at once, or queues what the socket does not take.
    pub fn push(&mut self, io: Option<&TcpStream>, chunk: &Chunk) {
        let first = self.queue.is_empty();
        if first && self.is_open() {
            match io.map(|io| io.try_write(&chunk.bytes)) {
                Some(Ok(written)) if written == chunk.bytes.len() => {
                    self.note(chunk);
                    return self.delivered = chunk.mark.or(self.delivered);
                }
                Some(Ok(written)) => self.written = written,
                Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => return self.abandon(),
                _ => {}
            }
        }
        self.queue(chunk.clone());
        if first {
            self.wake();
        }
    }

    /// Queues without writing; the caller flushes later. A value that replaces one which still waits takes its place.
    pub fn queue(&mut self, chunk: Chunk) {
        if !self.is_open() {
            return;
        }
        self.note(&chunk);
        let skip = usize::from(self.written > 0);
        match self.queue.iter_mut().skip(skip).find(|it| it.replaces.is_some() && it.replaces == chunk.replaces) {
            Some(old) => {
                self.bytes = self.bytes - old.bytes.len() + chunk.bytes.len();
                *old = chunk;
            }
            None => self.add(chunk),
        }
    }

    fn note(&self, chunk: &Chunk) {
        if let (Some(marks), Some(mark)) = (&self.marks, chunk.mark) {
            marks.lock().note(mark);
        }
    }

    fn add(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes.len();
        self.frames += chunk.frames as usize;
        self.queue.push_back(chunk);
    }

    /// Writes what was queued; the task finishes what the socket does not take.
    pub fn flush(&mut self, io: Option<&TcpStream>) {
        let written = io.is_some_and(|io| self.pump(io));
        if !written && !self.queue.is_empty() {
            self.wake();
        }
    }

    /// Writes what waits. Returns whether the socket took all of it.
    pub fn pump(&mut self, io: &TcpStream) -> bool {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            for (slice, chunk) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(&chunk.bytes);
            }
            slices[0] = IoSlice::new(&self.queue[0].bytes[self.written..]);
            match io.try_write_vectored(&slices[..self.queue.len().min(SLICES_MAX)]) {
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => self.abandon(),
            }
        }
        self.shrink();
        true
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        while let Some(first) = self.queue.pop_front_if(|it| it.bytes.len() <= self.written) {
            self.written -= first.bytes.len();
            self.bytes -= first.bytes.len();
            self.frames -= first.frames as usize;
            self.delivered = first.mark.or(self.delivered);
        }
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Hands out what waits, one chunk at least, for an answer that carries it away.
    pub fn take(&mut self, bytes_max: usize) -> Vec<Bytes> {
        let (mut taken, mut size) = (Vec::new(), 0);
        while let Some(bytes) = self.queue.front().map(|it| it.bytes.clone()) {
            size += bytes.len();
            if size > bytes_max && !taken.is_empty() {
                break;
            }
            self.advance(bytes.len());
            taken.push(bytes);
        }
        self.shrink();
        taken
    }

    fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > KEPT_CHUNKS_MAX {
            self.queue = VecDeque::new();
        }
    }

    /// Ends the conversation with a last word. What waits is dropped, except that frames which are half on the wire
    /// are finished: the last word in the middle of one would be read as its payload.
    pub fn close(&mut self, last: Bytes) {
        let written = self.written;
        let begun = self.queue.pop_front().filter(|_| written > 0);
        self.drop_queue();
        begun.into_iter().chain([Chunk::new(last, 1)]).for_each(|it| self.add(it));
        (self.written, self.phase) = (written, Phase::Closing);
        self.wake();
    }

    /// The position that the client has when it has read what is on the wire.
    pub fn position(&self) -> Option<Mark> {
        self.queue.front().filter(|_| self.written > 0).and_then(|it| it.mark).or(self.delivered)
    }

    /// Gives the client up: the socket is broken, or its time is over.
    pub fn abandon(&mut self) {
        self.drop_queue();
        self.phase = Phase::Over;
        self.wake();
    }

    fn drop_queue(&mut self) {
        (self.queue, self.bytes, self.frames, self.written) = (VecDeque::new(), 0, 0, 0);
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Notes whom to wake when something waits.
    pub fn attend(&mut self, task: &Waker) {
        self.task.get_or_insert_with(|| task.clone()).clone_from(task);
    }

    /// Waits until one more batch may be added without risk of eviction. Returns whether anything may be.
    pub fn poll_room(&mut self, config: &SocketsConfig, cx: &Context<'_>) -> Poll<bool> {
        let room = self.bytes < config.outbox_bytes_max / 2 && self.frames < config.outbox_frames_max / 2;
        if room || !self.is_open() {
            return Poll::Ready(self.is_open());
        }
        if !self.waiting.iter().any(|it| it.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
        self.wake();
        Poll::Pending
    }

    /// Wakes whoever writes.
    pub fn wake(&self) {
        self.task.iter().for_each(Waker::wake_by_ref);
    }

    /// Tells whether more is accepted.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Tells whether the last word is on the wire.
    pub fn said_all(&self) -> bool {
        self.phase == Phase::Closing && self.queue.is_empty()
    }

    /// Tells whether both sides are done, or one was given up.
    pub fn is_over(&self) -> bool {
        self.was_cut() || (self.client_closed && self.said_all())
    }

    /// Tells whether the client was given up before both sides had closed.
    pub fn was_cut(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Tells whether more waits than may.
    pub fn overflows(&self, config: &SocketsConfig) -> bool {
        let (bytes, frames) = self.depth();
        self.is_open() && (bytes > config.outbox_bytes_max || frames > config.outbox_frames_max)
    }

    /// Waiting bytes and frames.
    pub fn depth(&self) -> (usize, usize) {
        (self.bytes - self.written, self.frames)
    }
}
