//! How often somebody may ask, and who somebody is.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Moment;

const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Keys that are told apart for certain; more share places.
const PLACES: usize = 1 << 16;
/// Numbers left for which the headers are made beforehand.
const STEPS_MAX: u32 = 1024;

/// A rate limit over any number of keys in memory that never grows: a key has the place its hash says, and two keys
/// that meet in one place share it. The hash is seeded, so nobody can choose whom to meet. A place holds the moment
/// until which its quota is spent.
pub(super) struct Limit {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
    period: u64,
    burst: u32,
    quota: HeaderValue,
    steps: Vec<(HeaderValue, HeaderValue)>,
}

impl Limit {
    /// So many at once, and so many a minute in the long run; at least one of each.
    pub(super) fn new(burst: u32, minute: u32) -> Limit {
        let (burst, period) = (burst.max(1), 60_000_000_000 / u64::from(minute.max(1)));
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        let mut limit =
            Limit { places, hasher: RandomState::new(), period, burst, quota: burst.into(), steps: Vec::new() };
        limit.steps = (0..=burst.min(STEPS_MAX)).map(|left| limit.step(left)).collect();
        limit
    }

    /// Takes one from the key's quota; says how many are left, or how long to wait.
    pub(super) fn take(&self, key: u128, now: Moment) -> Result<u32, Duration> {
        let now = now.nanos_since(Moment::default());
        let full = self.period.saturating_mul(u64::from(self.burst));
        let mut wait = 0;
        let spend = |until: u64| {
            let until = until.max(now) + self.period;
            wait = until.saturating_sub(now + full);
            (wait == 0).then_some(until)
        };
        let place = &self.places[self.hasher.hash_one(key) as usize % self.places.len()];
        match place.fetch_update(Relaxed, Relaxed, spend) {
            Ok(before) => Ok(((full - (before.max(now) + self.period - now)) / self.period.max(1)) as u32),
            Err(_) => Err(Duration::from_nanos(wait)),
        }
    }

    /// Says in headers how much is left and when all of it is there again.
    pub(super) fn describe(&self, left: u32, headers: &mut HeaderMap) {
        let (left, reset) = self.steps.get(left as usize).cloned().unwrap_or_else(|| self.step(left));
        headers.insert(RATELIMIT_LIMIT, self.quota.clone());
        headers.insert(RATELIMIT_REMAINING, left);
        headers.insert(RATELIMIT_RESET, reset);
    }

    fn step(&self, left: u32) -> (HeaderValue, HeaderValue) {
        let nanos = self.period.saturating_mul(u64::from(self.burst.saturating_sub(left)));
        (left.into(), nanos.div_ceil(1_000_000_000).into())
    }
}

/// The address of one household: all of IPv4, the network half of IPv6.
pub(super) fn household(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(it) => u32::from(it).into(),
        IpAddr::V6(it) => u128::from(it) >> 64 << 64,
    }
}

/// Who really sent it: the right-most address that is not one of our own proxies.
pub(super) fn forwarded(peer: IpAddr, trusted: &[(IpAddr, u8)], line: &str) -> IpAddr {
    let mut real = peer;
    for hop in line.rsplit(',').map_while(|hop| hop.trim().parse().ok()) {
        real = hop;
        if !is_trusted(trusted, hop) {
            break;
        }
    }
    real
}

pub(super) fn is_trusted(trusted: &[(IpAddr, u8)], address: IpAddr) -> bool {
    let bits = |it: IpAddr| match it.to_canonical() {
        IpAddr::V4(it) => u128::from(it.to_ipv6_mapped()),
        IpAddr::V6(it) => u128::from(it),
    };
    trusted.iter().any(|(network, prefix)| {
        let width: u32 = if network.is_ipv4() { 32 } else { 128 };
        let differ = bits(*network) ^ bits(address);
        differ.checked_shr(width.saturating_sub(u32::from(*prefix))).unwrap_or(0) == 0
    })
}

/// An address as a log may keep it: without the part that names a household.
pub(super) fn truncated(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(it) => (u32::from(it) >> 8 << 8).to_be_bytes().into(),
        IpAddr::V6(it) => (u128::from(it) >> 80 << 80).to_be_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_quota_counts_down_says_how_long_to_wait_and_comes_back() {
        let (limit, clock) = (Limit::new(3, 60), Clock::manual());
        let take = || limit.take(7, clock.moment());
        assert_eq!([take(), take(), take()], [Ok(2), Ok(1), Ok(0)]);
        assert_eq!(take(), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_millis(400));
        assert_eq!(take(), Err(Duration::from_millis(600)));
        clock.advance(Duration::from_millis(600));
        assert_eq!([take(), take()], [Ok(0), Err(Duration::from_secs(1))]);
        clock.advance(Duration::from_secs(60));
        assert_eq!(take(), Ok(2));
        assert_eq!(limit.take(8, clock.moment()), Ok(2), "another key has a quota of its own");
    }

    #[test]
    fn addresses_are_believed_only_from_trusted_networks() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted = [(ip("10.0.0.0"), 8), (ip("fd00::"), 8)];
        for (line, real) in [
            ("9.9.9.9", "9.9.9.9"),
            ("6.6.6.6, 9.9.9.9, 10.1.2.3", "9.9.9.9"),
            ("6.6.6.6, nonsense, 10.1.2.3", "10.1.2.3"),
            ("fd00::1", "fd00::1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(forwarded(ip("10.0.0.1"), &trusted, line), ip(real), "{line}");
        }
        assert!(is_trusted(&trusted, ip("::ffff:10.9.9.9")) && !is_trusted(&trusted, ip("11.0.0.1")));
        assert!(is_trusted(&[(ip("0.0.0.0"), 0)], ip("1.2.3.4")) && !is_trusted(&[], ip("1.2.3.4")));
        assert_eq!(household(ip("2001:db8:1:2:3::4")), household(ip("2001:db8:1:2:9::9")));
        assert_eq!(truncated(ip("1.2.3.4")), ip("1.2.3.0"));
    }
}
