//! The trace of the work in hand: set while it is polled, read by whatever logs or writes letters.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;

thread_local! {
    static TRACE: Cell<u128> = const { Cell::new(0) };
}

/// Returns the trace of the work in hand; zero for none.
pub fn trace() -> u128 {
    TRACE.get()
}

/// Does something under a trace, and puts back the one before, also when it panics.
pub fn under<T>(trace: u128, work: impl FnOnce() -> T) -> T {
    struct Outer(u128);
    impl Drop for Outer {
        fn drop(&mut self) {
            TRACE.set(self.0);
        }
    }
    let _outer = Outer(TRACE.replace(trace));
    work()
}

/// Polls a future under a trace.
pub async fn traced<T>(trace: u128, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| under(trace, || work.as_mut().poll(cx))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_sees_its_own_trace_and_leaves_none_behind() {
        let seen = traced(7, async {
            tokio::task::yield_now().await;
            (trace(), under(8, trace), trace())
        });
        assert_eq!((seen.await, trace()), ((7, 8, 7), 0));
        assert!(std::panic::catch_unwind(|| under(9, || panic!("on purpose"))).is_err());
        assert_eq!(trace(), 0);
    }
}
