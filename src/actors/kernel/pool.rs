//! Work that takes a processor for long, on threads of its own that step back for everything else.
//!
//! Owns: its threads.  Writes: nothing.  Publishes: nothing.  Queue: as many as it was told, then `Unavailable`.
//! A piece of work that panics is an event and an answer; its thread goes on. When the tree stops, what waits is done
//! as long as there is time, and refused after that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::guard::{caught_now, trace};
use super::root::Root;
use crate::error::{Error, Result};

/// How far the threads step back: a processor that somebody else wants is theirs.
const STEPS_BACK: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// The way to the threads. Cloning it gives the same.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    name: &'static str,
    waiting_max: usize,
    queue: Mutex<Queue>,
    wake: Condvar,
    done: AtomicU64,
    root: Root,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    closed: bool,
}

impl Pool {
    /// Starts threads that end with the tree.
    pub fn start(root: &Root, name: &'static str, threads: usize, waiting_max: usize) -> Result<Pool> {
        let (queue, wake) = (Mutex::default(), Condvar::new());
        let pool =
            Pool(Arc::new(Inner { name, waiting_max, queue, wake, done: AtomicU64::new(0), root: root.clone() }));
        let mut ended = Vec::new();
        for _ in 0..threads.max(1) {
            let (inner, (goes, gone)) = (pool.0.clone(), oneshot::channel::<()>());
            let thread = std::thread::Builder::new().name(name.to_owned());
            let work = move || {
                // A system that does not allow it is slower under load, and no worse.
                let _ = rustix::process::nice(STEPS_BACK);
                inner.work();
                drop(goes);
            };
            thread.spawn(work).map_err(Error::internal)?;
            ended.push(gone);
        }
        let (inner, mut ended) = (pool.0.clone(), Some(ended));
        root.keep(name, move |stop| {
            let (inner, ended) = (inner.clone(), ended.take());
            async move {
                stop.requested().await;
                inner.queue.lock().closed = true;
                inner.wake.notify_all();
                for gone in ended.into_iter().flatten() {
                    let _ = gone.await;
                }
            }
        });
        Ok(pool)
    }

    /// Has work done, unless too much is waiting already. Work whose caller has gone is not begun.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let (trace, inner) = (trace(), self.0.clone());
        let work: Work = Box::new(move || {
            if !reply.is_closed() {
                let done = caught_now(trace, work);
                inner.done.fetch_add(1, Relaxed);
                // A caller that gave up hears nothing.
                let _ = reply.send(done.map_err(|panic| inner.root.panicked(inner.name, panic)));
            }
        });
        {
            let mut queue = self.0.queue.lock();
            if queue.closed || queue.waiting.len() >= self.0.waiting_max {
                return Err(Error::unavailable(self.0.name));
            }
            queue.waiting.push_back(work);
        }
        self.0.wake.notify_one();
        answer.await.map_err(|_| Error::unavailable(self.0.name))?
    }

    /// How much was done.
    pub fn done(&self) -> u64 {
        self.0.done.load(Relaxed)
    }

    /// How much waits.
    pub fn waiting(&self) -> usize {
        self.0.queue.lock().waiting.len()
    }
}

impl Inner {
    fn work(&self) {
        loop {
            let mut queue = self.queue.lock();
            let work = loop {
                match queue.waiting.pop_front() {
                    Some(work) => break work,
                    None if queue.closed => return,
                    None => self.wake.wait(&mut queue),
                }
            };
            drop(queue);
            work();
        }
    }
}
