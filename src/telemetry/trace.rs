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

/// The trace id of a W3C `traceparent`, `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zeros; later versions may say more behind it.
pub fn trace_of(line: &[u8]) -> Option<u128> {
    let lower_hex = |it: &[u8]| it.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    let hex = |range: std::ops::Range<usize>| {
        line.get(range)
            .filter(|it| lower_hex(it))
            .and_then(|it| u128::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok())
    };
    let version = hex(0..2).filter(|it| *it != 0xff)?;
    let longer = line.get(55).is_some_and(|it| version > 0 && *it == b'-');
    let framed = line.len() == 55 || longer;
    let dashes = [2, 35, 52].iter().all(|at| line.get(*at) == Some(&b'-'));
    let (trace, span) = (hex(3..35)?, hex(36..52)?);
    (framed && dashes && hex(53..55).is_some() && trace != 0 && span != 0).then_some(trace)
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

    #[test]
    fn a_trace_is_taken_over_only_in_its_exact_form() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let good = u128::from_str_radix(trace, 16).ok();
        for (line, expected) in [
            (format!("00-{trace}-{span}-01"), good),
            (format!("01-{trace}-{span}-01-more"), good),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{trace}-{span}-0"), None),
            (format!("00-+{}-{span}-01", &trace[1..]), None),
            (String::new(), None),
        ] {
            assert_eq!(trace_of(line.as_bytes()), expected, "{line}");
        }
    }
}
