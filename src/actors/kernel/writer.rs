//! Group commit: what queued while the last commit ran goes into the next.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};
use crate::storage::writes::{Write, Written};

/// The way in.
#[derive(Clone)]
pub struct Writer {
    lane: mpsc::Sender<Job>,
}

pub(super) struct Job {
    #[cfg_attr(not(test), expect(dead_code, reason = "the lane that reads it is not here yet"))]
    pub write: Write,
    #[cfg_attr(not(test), expect(dead_code, reason = "the lane that reads it is not here yet"))]
    pub reply: oneshot::Sender<Result<Written>>,
}

impl Writer {
    /// Queues a write, or refuses at once when the lane is full.
    pub fn write(&self, write: Write) -> Result<Pending> {
        let (reply, answer) = oneshot::channel();
        self.lane.try_send(Job { write, reply }).map_err(|_| Error::unavailable("writer"))?;
        Ok(Pending(answer))
    }

    /// A writer whose lane is the test itself.
    #[cfg(test)]
    pub(super) fn by_hand(waiting_max: usize) -> (Writer, mpsc::Receiver<Job>) {
        let (lane, jobs) = mpsc::channel(waiting_max);
        (Writer { lane }, jobs)
    }
}

/// A write on its way. Dropping it withdraws the write unless its batch has begun.
#[must_use = "dropping it withdraws the write"]
pub struct Pending(oneshot::Receiver<Result<Written>>);

impl Future for Pending {
    type Output = Result<Written>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(Error::unavailable("writer"))))
    }
}
