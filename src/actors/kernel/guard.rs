//! A panic as a value, with its place; and the trace that a piece of work belongs to.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Once;

pub use crate::telemetry::trace;
use crate::telemetry::under;

thread_local! {
    /// Whether the work in hand is guarded.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What a panic said, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Its words.
    pub message: String,
    /// File, line and column.
    pub location: String,
}

/// Does work under a trace, and returns its panic instead of passing it on.
pub async fn caught<T>(trace: u128, work: impl Future<Output = T>) -> Result<T, Panic> {
    let mut work = pin!(work);
    poll_fn(|cx| match caught_now(trace, || work.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    })
    .await
}

/// Like `caught`, for work that does not wait.
pub fn caught_now<T>(trace: u128, work: impl FnOnce() -> T) -> Result<T, Panic> {
    let outer = GUARDED.replace(true);
    let done = under(trace, || catch_unwind(AssertUnwindSafe(work)));
    GUARDED.set(outer);
    done.map_err(|payload| Panic { message: words(payload), location: PLACE.take() })
}

fn words(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast_ref::<&str>().unwrap_or(&"a panic without words")).to_owned(),
    }
}

/// Makes panics in guarded work keep their place instead of printing it; others go the old way.
pub(super) fn watch_panics() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match GUARDED.get() {
            true => PLACE.set(info.location().map(ToString::to_string).unwrap_or_default()),
            false => before(info),
        }));
    });
}
