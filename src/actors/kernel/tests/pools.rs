//! Threads that work for long: bounded, survived, stopped.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;
use crate::actors::kernel::pool::Pool;

/// Work that goes on until it is let go.
fn held() -> (impl FnOnce() + Send + 'static, SyncSender<()>, Receiver<()>) {
    let ((goes_on, waits), (begins, began)) = (sync_channel::<()>(1), sync_channel::<()>(1));
    let work = move || {
        begins.send(()).unwrap();
        let _ = waits.recv();
    };
    (work, goes_on, began)
}

#[tokio::test]
async fn what_does_not_fit_is_refused_at_once_and_the_rest_is_done_in_turn() {
    let root = Root::start(Clock::system()).await.unwrap();
    let pool = Pool::start(&root, "pool", 1, 2).unwrap();
    let (work, goes_on, began) = held();
    let first = pool.run(work);
    let waiting = || async { tokio::join!(pool.run(|| 1), pool.run(|| 2), pool.run(|| 3)) };
    let rest = async {
        tokio::task::yield_now().await;
        began.recv().unwrap();
        let asked = waiting();
        tokio::pin!(asked);
        assert!(futures_util::poll!(&mut asked).is_pending());
        goes_on.send(()).unwrap();
        asked.await
    };
    let (first, rest) = tokio::join!(first, rest);
    assert_eq!((first, rest.0, rest.1), (Ok(()), Ok(1), Ok(2)));
    let refused = rest.2.unwrap_err();
    assert!(refused.code() == "unavailable" && refused.retry_after().is_some());
    assert_eq!((pool.done(), pool.waiting()), (3, 0));
    assert!(root.stop(Duration::from_secs(5)).await);
    assert_eq!(pool.run(|| 4).await.map_err(|it| it.code()), Err("unavailable"), "nothing begins after the stop");
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_thread_goes_on() {
    let root = Root::start(Clock::system()).await.unwrap();
    let pool = Pool::start(&root, "pool", 1, 2).unwrap();
    let panics: Result<()> = pool.run(|| panic!("too hot")).await;
    assert_eq!(panics.map_err(|it| it.code()), Err("internal"));
    assert_eq!(pool.run(|| 1).await, Ok(1));
    assert_eq!(root.tasks().iter().find(|it| it.name == "pool").map(|it| it.panics), Some(1));
    assert!(root.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn work_whose_caller_has_gone_is_not_begun() {
    let root = Root::start(Clock::system()).await.unwrap();
    let pool = Pool::start(&root, "pool", 1, 2).unwrap();
    let (work, goes_on, began) = held();
    let (first, begun) = (pool.run(work), Arc::<AtomicUsize>::default());
    let gives_up = async {
        tokio::task::yield_now().await;
        began.recv().unwrap();
        let begun = begun.clone();
        let mut left = Box::pin(pool.run(move || begun.fetch_add(1, SeqCst)));
        assert!(futures_util::poll!(&mut left).is_pending());
        drop(left);
        goes_on.send(()).unwrap();
    };
    let _ = tokio::join!(first, gives_up);
    assert_eq!((pool.run(|| 1).await, begun.load(SeqCst)), (Ok(1), 0));
    assert!(root.stop(Duration::from_secs(5)).await);
}
