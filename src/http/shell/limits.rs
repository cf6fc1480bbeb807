//! How often somebody may ask, and who somebody is.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::telemetry::Counter;

/// Keys that are told apart for certain; more share places.
const PLACES: usize = 1 << 16;
const SECOND: u64 = 1_000_000_000;

/// A rate limit over any number of keys in memory that never grows: a key has the place its hash says, and two keys
/// that meet in one place share it. The hash is seeded, so nobody can choose whom to meet. A place holds the moment
/// until which its quota is spent.
pub(super) struct Limit {
    places: Box<[AtomicU64]>,
    /// Also names users in the log, where nobody may know them.
    pub(super) hasher: RandomState,
    /// Nanoseconds for one request in the long run; none where nothing is limited.
    period: AtomicU64,
    burst: AtomicU64,
    pub(super) refused: Counter,
}

/// What a key has left: how many there are at once, how many of them now, and after how many seconds all again.
pub(super) type Quota = [u64; 3];

impl Default for Limit {
    fn default() -> Limit {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        let (period, burst, refused) = Default::default();
        Limit { places, hasher: RandomState::new(), period, burst, refused }
    }
}

impl Limit {
    /// So many at once, and so many a minute in the long run, at least one of each; or as many as come.
    pub(super) fn set(&self, quota: Option<(u32, u32)>) {
        self.burst.store(quota.map_or(0, |(burst, _)| burst.max(1).into()), Relaxed);
        self.period.store(quota.map_or(0, |(_, minute)| 60 * SECOND / u64::from(minute.max(1))), Relaxed);
    }

    /// Takes one from the key's quota; tells what is left, and refuses with the time to wait.
    pub(super) fn take(&self, key: u128, now: Moment, told: &mut Option<Quota>) -> Result<()> {
        let (period, burst) = (self.period.load(Relaxed), self.burst.load(Relaxed));
        if period == 0 {
            return Ok(());
        }
        let now = now.nanos_since(Moment::default());
        let end = now.saturating_add(period.saturating_mul(burst));
        let spend = |until: u64| Some(until.max(now) + period).filter(|it| *it <= end);
        let place = &self.places[self.hasher.hash_one(key) as usize % PLACES];
        let taken = place.fetch_update(Relaxed, Relaxed, spend);
        let until = taken.map_or_else(|until| until, |until| until.max(now) + period);
        *told = Some([burst, end.saturating_sub(until) / period, until.saturating_sub(now).div_ceil(SECOND)]);
        taken.map(|_| ()).map_err(|until| {
            self.refused.add();
            Error::TooMany { retry_after: Duration::from_nanos(until + period - end) }
        })
    }
}

/// Says in headers how much is left and when all of it is there again.
pub(super) fn describe([burst, left, reset_seconds]: Quota, headers: &mut HeaderMap) {
    // The conversion that the library has for numbers allocates twice.
    let text = |number: u64| HeaderValue::try_from(number.to_string()).expect("digits are header text");
    headers.insert(const { HeaderName::from_static("ratelimit-limit") }, text(burst));
    headers.insert(const { HeaderName::from_static("ratelimit-remaining") }, text(left));
    headers.insert(const { HeaderName::from_static("ratelimit-reset") }, text(reset_seconds));
}

/// The address of one household: all of IPv4, the network half of IPv6.
pub(super) fn household(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(it) => u32::from(it).into(),
        IpAddr::V6(it) => u128::from(it) >> 64 << 64,
    }
}

/// Who really sent it: the right-most address that is not one of our own proxies.
pub(super) fn forwarded(peer: IpAddr, trusted: &[IpNet], line: &str) -> IpAddr {
    let mut hops = std::iter::once(peer).chain(line.rsplit(',').map_while(|hop| hop.trim().parse().ok()));
    match hops.try_fold(peer, |_, hop| if is_trusted(trusted, hop) { Ok(hop) } else { Err(hop) }) {
        Ok(real) | Err(real) => real,
    }
}

pub(super) fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|it| it.contains(&address.to_canonical()))
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
        let (limit, clock) = (Limit::default(), Clock::manual());
        let take = |key| {
            let mut quota = None;
            let taken = limit.take(key, clock.moment(), &mut quota);
            taken.map(|()| quota.map(|it| it[1])).map_err(|it| it.retry_after().unwrap())
        };
        assert_eq!(take(7), Ok(None), "nothing is limited before somebody says so");
        limit.set(Some((3, 60)));
        assert_eq!([take(7), take(7), take(7)], [Ok(Some(2)), Ok(Some(1)), Ok(Some(0))]);
        assert_eq!(take(7), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_millis(400));
        assert_eq!(take(7), Err(Duration::from_millis(600)));
        clock.advance(Duration::from_millis(600));
        assert_eq!([take(7), take(7)], [Ok(Some(0)), Err(Duration::from_secs(1))]);
        clock.advance(Duration::from_secs(60));
        assert_eq!(take(7), Ok(Some(2)));
        assert_eq!(take(8), Ok(Some(2)), "another key has a quota of its own");
        limit.set(Some((1, 60)));
        assert_eq!([take(8), take(9)], [Err(Duration::from_secs(1)), Ok(Some(0))], "a new limit holds at once");
    }

    #[test]
    fn addresses_are_believed_only_from_trusted_networks() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|it| it.parse().unwrap());
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
        assert!(is_trusted(&["0.0.0.0/0".parse().unwrap()], ip("1.2.3.4")) && !is_trusted(&[], ip("1.2.3.4")));
        assert_eq!(household(ip("2001:db8:1:2:3::4")), household(ip("2001:db8:1:2:9::9")));
        assert_eq!(truncated(ip("1.2.3.4")), ip("1.2.3.0"));
    }
}
