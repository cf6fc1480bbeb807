//! What the tests stand on.

pub mod engines;
pub mod proxy;

use std::future::Future;
use std::time::{Duration, Instant};

/// Starts a task of the test itself.
#[expect(clippy::disallowed_methods, reason = "a test's own tasks are not part of the tree")]
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}

/// Waits until something holds, and fails when it does not within ten seconds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
