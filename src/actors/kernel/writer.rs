//! Group commit: what queued while the last commit ran goes into the next.
//!
//! Owns: nothing that matters.  Writes: whatever a batch holds, before it answers.
//! Publishes: rings `committed` for the relay.  Queue: bounded in writes and bytes, then `Unavailable`.
//! On restart: whoever was in the batch hears `Unavailable` and may ask again, since a client id is written once; the
//! queue is kept.
//!
//! The lane is a task and a bounded channel, because a batch is whatever `recv_many` finds there: a mailbox hands out
//! one message at a time. There is no timer: a lone write goes at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::root::Root;
use crate::clock::Clock;
use crate::config::WriterConfig;
use crate::error::{Error, Result};
use crate::storage::db::{Conn, Db, Engine};
use crate::storage::trouble::Trouble;
use crate::storage::writes::{self, WRITES_MAX, Write, Written};

/// How often a batch that another transaction was in the way of is tried again.
const TRIES_MAX: u32 = 3;
/// Bytes of writes in one transaction: a larger one would take longer than it may.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Turns that everybody who is ready gets between two batches, because a fuller one costs hardly more: what was heard is
/// answered meanwhile, and comes from its socket by its conversation.
const TURNS: u32 = 16;

/// What a writer has done.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Bytes that wait or are being written.
    pub bytes: AtomicUsize,
    /// Transactions that were tried.
    pub batches: AtomicU64,
    /// Writes that are stored, repeats among them.
    pub written: AtomicU64,
    /// Writes that were not taken because too much waited.
    pub refused: AtomicU64,
    /// Writes that failed, each for reasons of its own or with the database.
    pub failed: AtomicU64,
    #[cfg(test)]
    pub(super) fail_next: std::sync::atomic::AtomicBool,
}

/// The way in.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    stats: Arc<WriterStats>,
    bytes_max: usize,
}

impl Writer {
    /// Starts a writer whose lane is begun again when it fails. `committed` is rung by every commit.
    pub fn start(root: &Root, db: &Db, config: &WriterConfig, committed: Arc<Notify>) -> Writer {
        let (writer, lane) = Writer::new(root, db, config, committed);
        root.keep("writer", move |stop| {
            let lane = lane.clone();
            async move { lane.run(stop.requested()).await }
        });
        writer
    }

    fn new(root: &Root, db: &Db, config: &WriterConfig, committed: Arc<Notify>) -> (Writer, Arc<Lane>) {
        let (jobs, waiting) = mpsc::channel(config.waiting_max.max(1));
        let stats = Arc::new(WriterStats::default());
        let config = WriterConfig { batch_max: config.batch_max.clamp(1, WRITES_MAX), ..*config };
        let (db, clock, waiting) = (db.clone(), root.clock().clone(), Mutex::new(waiting));
        let lane = Lane { db, clock, waiting, config, committed, stats: stats.clone() };
        (Writer { jobs, stats, bytes_max: config.waiting_bytes_max }, Arc::new(lane))
    }

    /// Queues a write, or refuses at once when too much waits. Writes are done and answered in the order in which
    /// they were queued.
    pub fn write(&self, write: Write) -> Result<Pending> {
        let bytes = write.bytes();
        let refuse = || {
            self.stats.refused.fetch_add(1, Relaxed);
            Error::unavailable("writer")
        };
        let place = Place { bytes, stats: self.stats.clone() };
        if self.stats.bytes.fetch_add(bytes, Relaxed) + bytes > self.bytes_max {
            return Err(refuse());
        }
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job { write, reply, since: Instant::now(), place }).map_err(|_| refuse())?;
        Ok(Pending(answer))
    }

    /// A writer whose lane is the test itself.
    #[cfg(test)]
    pub(super) fn by_hand(waiting_max: usize) -> (Writer, mpsc::Receiver<Job>) {
        let (jobs, waiting) = mpsc::channel(waiting_max);
        (Writer { jobs, stats: Arc::default(), bytes_max: usize::MAX }, waiting)
    }

    /// How many writes wait.
    pub fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// What it has done.
    pub fn stats(&self) -> &WriterStats {
        &self.stats
    }
}

/// A write on its way. Dropping it withdraws the write unless its batch has begun.
#[derive(Debug)]
#[must_use = "dropping it withdraws the write"]
pub struct Pending(oneshot::Receiver<Result<Written>>);

impl Future for Pending {
    type Output = Result<Written>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::unavailable("writer"))))
    }
}

#[derive(Debug)]
pub(super) struct Job {
    pub write: Write,
    pub reply: oneshot::Sender<Result<Written>>,
    since: Instant,
    place: Place,
}

/// The bytes of a write, for as long as it waits or is written.
#[derive(Debug)]
struct Place {
    bytes: usize,
    stats: Arc<WriterStats>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stats.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

type Answer = (oneshot::Sender<Result<Written>>, Place);

/// One batch at a time. It can be run again after a panic, and finds its queue as it was.
#[derive(Debug)]
struct Lane {
    db: Db,
    clock: Clock,
    waiting: Mutex<mpsc::Receiver<Job>>,
    config: WriterConfig,
    committed: Arc<Notify>,
    stats: Arc<WriterStats>,
}

impl Lane {
    /// Writes until nobody is left who could ask; once it is told to stop, what waits is written and no more is taken.
    async fn run(self: Arc<Self>, stop: impl Future<Output = ()> + Send) {
        let mut waiting = self.waiting.lock().await;
        let mut jobs = Vec::with_capacity(self.config.batch_max);
        let mut batch = Batch { lane: &self, conn: None };
        let mut stop = std::pin::pin!(stop);
        loop {
            let found = tokio::select! {
                biased;
                found = waiting.recv_many(&mut jobs, self.config.batch_max) => found,
                () = &mut stop => break,
            };
            if found == 0 {
                return;
            }
            batch.settle(&mut jobs).await;
            // Whoever wrote alone is not kept from the next. A server would wait with a processor of its own.
            let turns = if found > 1 && self.db.engine() == Engine::Sqlite { TURNS } else { 1 };
            for _ in 0..turns {
                yield_now().await;
            }
        }
        waiting.close();
        while waiting.recv_many(&mut jobs, self.config.batch_max).await > 0 {
            batch.settle(&mut jobs).await;
        }
    }
}

struct Batch<'a> {
    lane: &'a Lane,
    /// Kept between batches on PostgreSQL: a pool pings whatever comes back to it.
    conn: Option<Conn>,
}

impl Batch<'_> {
    /// Commits the jobs and answers each, in order. A batch that the database refuses is halved until the bad row
    /// stands alone. Who waited too long is answered without being tried, so that nobody waits for more than two
    /// commits.
    async fn settle(&mut self, jobs: &mut Vec<Job>) {
        let limit = self.lane.config.commit_within;
        let (begun, stats) = (Instant::now(), &self.lane.stats);
        #[cfg(test)]
        assert!(!stats.fail_next.swap(false, Relaxed), "a test wants it");
        let wanted = jobs.drain(..).filter(|job| !job.reply.is_closed());
        let (fresh, late): (Vec<_>, Vec<_>) = wanted.partition(|job| begun.duration_since(job.since) < limit);
        let late = late.into_iter().map(|job| (job.reply, job.place));
        let (batch, replies): (Vec<_>, Vec<Answer>) =
            fresh.into_iter().map(|job| (job.write, (job.reply, job.place))).unzip();
        let mut replies = replies.into_iter();
        let mut parts = pieces(&batch);
        let (mut tries, mut failure) = (0, Error::unavailable("database"));
        while let Some(part) = parts.pop() {
            let written = self.commit(part, begun + limit).await;
            let outcomes = match written {
                Ok(outcomes) => outcomes,
                Err(Trouble::Again) if tries < TRIES_MAX => {
                    tries += 1;
                    parts.push(part);
                    continue;
                }
                Err(Trouble::Invalid | Trouble::Taken | Trouble::Defect) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    continue;
                }
                // The rest would only wait for the same failure.
                Err(trouble @ (Trouble::Again | Trouble::Gone | Trouble::Full)) => {
                    failure = trouble.into();
                    break;
                }
                Err(trouble) => vec![Err(trouble.into())],
            };
            self.lane.committed.notify_one();
            outcomes.into_iter().zip(&mut replies).for_each(|(outcome, answer)| tell(stats, answer, outcome));
        }
        replies.for_each(|answer| tell(stats, answer, Err(failure.clone())));
        late.for_each(|answer| tell(stats, answer, Err(Error::unavailable("database"))));
    }

    async fn commit(&mut self, batch: &[Write], until: Instant) -> Result<Vec<Result<Written>>, Trouble> {
        self.lane.stats.batches.fetch_add(1, Relaxed);
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => timeout_at(until, self.lane.db.session()).await.map_err(|_| Trouble::Gone)??,
        };
        let written = timeout_at(until, writes::commit(&mut conn, batch, self.lane.clock.now()))
            .await
            .unwrap_or(Err(Trouble::Gone));
        match written {
            Err(Trouble::Gone | Trouble::Full) => conn.close_on_drop(),
            // SQLite has one writing connection, and others wait for it.
            _ if matches!(conn, Conn::Sqlite(_)) => {}
            _ => self.conn = Some(conn),
        }
        written
    }
}

fn tell(stats: &WriterStats, (reply, place): Answer, outcome: Result<Written>) {
    let count = if outcome.is_ok() { &stats.written } else { &stats.failed };
    count.fetch_add(1, Relaxed);
    drop(place);
    // Whoever gave up while it was written finds it there.
    let _ = reply.send(outcome);
}

/// The batch in pieces of a size that a transaction takes, the first one last.
fn pieces(batch: &[Write]) -> Vec<&[Write]> {
    let mut bytes = batch.first().map_or(0, Write::bytes);
    let fits = |_: &Write, next: &Write| {
        bytes += next.bytes();
        let fits = bytes <= BATCH_BYTES_MAX;
        bytes = if fits { bytes } else { next.bytes() };
        fits
    };
    let mut pieces: Vec<_> = batch.chunk_by(fits).collect();
    pieces.reverse();
    pieces
}
