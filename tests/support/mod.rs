//! What the tests stand on.

pub mod accounts;
pub mod authenticator;
pub mod brokers;
pub mod device;
pub mod engines;
pub mod forge;
pub mod http;
pub mod letters;
pub mod people;
pub mod private_server;
pub mod proxy;
pub mod raw;
pub mod servers;
pub mod settings;
pub mod staff;
pub mod stores;
pub mod streams;
pub mod talks;
pub mod vouched;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a test waits for what has to come: machines may be slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a task of the test itself.
#[expect(clippy::disallowed_methods, reason = "a test's own tasks are not part of the tree")]
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}

/// Waits until something holds, and fails when it does not.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The address of a server that tests use.
pub fn server_url(variable: &str) -> String {
    let sentence = "start the servers: scripts/services up, and run through scripts/test";
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is missing: {sentence}"))
}

/// A name that no other test has.
pub fn unique(word: &str) -> String {
    format!("{word}-{}", folio::ids::v7(&folio::clock::Clock::system()).simple())
}

/// Gives what comes within ten seconds, and fails when nothing does.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// How long an outage lasts in these tests: two seconds, or as many as `OUTAGE_SECONDS` says.
pub fn outage() -> Duration {
    let seconds = std::env::var("OUTAGE_SECONDS").map(|it| it.parse().expect("OUTAGE_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(2))
}
