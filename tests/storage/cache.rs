//! What the cache promises, in memory and on Redis.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use folio::clock::Clock;
use folio::config::{CacheConfig, Secret};
use folio::error::Error;
use folio::storage::cache::{Cache, VALUE_BYTES_MAX};
use tokio::sync::{Notify, oneshot};

use crate::support::{eventually, server_url, soon, unique};

const LONG: Duration = Duration::from_secs(600);

macro_rules! on_both_caches {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                let clock = folio::clock::Clock::manual();
                let config = folio::config::CacheConfig::Embedded { bytes_max: 64 * 1024 * 1024 };
                super::$name(folio::storage::cache::Cache::open(&config, &clock).unwrap(), clock).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                let clock = folio::clock::Clock::manual();
                super::$name(super::redis_cache(&clock), clock).await;
            })*
        }
    };
}

on_both_caches! {
    what_was_loaded_is_found_until_its_time_is_over
    what_was_removed_is_gone
    a_removal_wins_over_a_load_that_began_before_it
    a_hundred_callers_load_once
    a_load_that_fails_is_not_kept_and_the_next_caller_loads_again
    a_load_whose_caller_gives_up_is_taken_over
    what_is_too_large_is_not_kept
    the_backend_says_who_it_is
}

fn redis_cache(clock: &Clock) -> Cache {
    let url = Secret::new(server_url("TEST_REDIS_URL"));
    Cache::open(&CacheConfig::Redis { url, prefix: unique("cache") + ":" }, clock).unwrap()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Keeps a value that is not there yet.
async fn keep(cache: &Cache, key: &str, value: impl Into<Bytes>, ttl: Duration) {
    let value = value.into();
    assert_eq!(cache.get_or_load(key, ttl, async || Ok(value.clone())).await, Ok(value));
}

async fn what_was_loaded_is_found_until_its_time_is_over(cache: Cache, clock: Clock) {
    assert_eq!(cache.find("a").await, None);
    keep(&cache, "a", "1", LONG).await;
    keep(&cache, "short", "2", Duration::from_millis(80)).await;
    assert_eq!(cache.find("a").await, Some(bytes("1")));
    clock.advance(Duration::from_millis(80));
    eventually("its time is over", async || cache.find("short").await.is_none()).await;
    keep(&cache, "short", "3", LONG).await;
    assert_eq!([cache.find("a").await, cache.find("short").await], [Some(bytes("1")), Some(bytes("3"))]);
    assert_eq!(cache.counts().failures.load(Ordering::Relaxed), 0);
}

async fn what_was_removed_is_gone(cache: Cache, _: Clock) {
    keep(&cache, "a", "1", LONG).await;
    cache.remove("a").await.unwrap();
    cache.remove("never there").await.unwrap();
    assert_eq!(cache.find("a").await, None);
}

async fn a_removal_wins_over_a_load_that_began_before_it(cache: Cache, _: Clock) {
    let (began, go_on) = (Notify::new(), Notify::new());
    let slow = cache.get_or_load("a", LONG, async || {
        began.notify_one();
        go_on.notified().await;
        Ok(bytes("old"))
    });
    let other = async {
        began.notified().await;
        cache.remove("a").await.unwrap();
        // Whoever asks after the removal does not join the load before it.
        let fresh = cache.get_or_load("a", LONG, async || Ok(bytes("new"))).await;
        go_on.notify_one();
        fresh
    };
    let (slow, fresh) = soon("both loads", Box::pin(async { tokio::join!(slow, other) })).await;
    assert_eq!((slow, fresh), (Ok(bytes("old")), Ok(bytes("new"))));
    assert_ne!(cache.find("a").await, Some(bytes("old")));
}

async fn a_hundred_callers_load_once(cache: Cache, _: Clock) {
    let (loads, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let callers = (0..100).map(|_| async {
        waiting.fetch_add(1, Ordering::Relaxed);
        let load = async || {
            loads.fetch_add(1, Ordering::Relaxed);
            eventually("all are waiting", async || waiting.load(Ordering::Relaxed) == 100).await;
            Ok(bytes("1"))
        };
        cache.get_or_load("a", LONG, load).await
    });
    let found = soon("every caller", futures_util::future::join_all(callers)).await;
    assert!(found.iter().all(|it| *it == Ok(bytes("1"))));
    assert_eq!(loads.into_inner(), 1);
}

async fn a_load_that_fails_is_not_kept_and_the_next_caller_loads_again(cache: Cache, _: Clock) {
    let refused = cache.get_or_load("a", LONG, async || Err(Error::unavailable("database"))).await;
    assert_eq!(refused, Err(Error::unavailable("database")));
    assert_eq!(cache.get_or_load("a", LONG, async || Ok(bytes("1"))).await, Ok(bytes("1")));
    assert_eq!(cache.get_or_load("a", LONG, async || panic!("it is kept")).await, Ok(bytes("1")));
}

async fn a_load_whose_caller_gives_up_is_taken_over(cache: Cache, _: Clock) {
    let (began, begins) = oneshot::channel();
    let given_up = cache.get_or_load("a", LONG, async || {
        began.send(()).unwrap();
        std::future::pending().await
    });
    tokio::select! {
        _ = given_up => panic!("it never loads"),
        _ = begins => {}
    }
    let found = soon("the second load", cache.get_or_load("a", LONG, async || Ok(bytes("1")))).await;
    assert_eq!(found, Ok(bytes("1")));
}

async fn what_is_too_large_is_not_kept(cache: Cache, _: Clock) {
    keep(&cache, "a", vec![0; VALUE_BYTES_MAX], LONG).await;
    assert!(cache.find("a").await.is_some());
    keep(&cache, "b", vec![0; VALUE_BYTES_MAX + 1], LONG).await;
    assert_eq!(cache.find("b").await, None);
}

async fn the_backend_says_who_it_is(cache: Cache, _: Clock) {
    let probe = cache.probe().await.unwrap();
    assert!(probe.version.starts_with(|it: char| it.is_ascii_digit()), "{probe:?}");
    assert!(probe.rights.iter().all(|it| it.1), "{probe:?}");
}

#[tokio::test]
async fn memory_is_bounded_and_what_was_not_used_for_longest_goes_first() {
    let cache = Cache::open(&CacheConfig::Embedded { bytes_max: 100_000 }, &Clock::manual()).unwrap();
    for number in 0..1_000 {
        keep(&cache, &number.to_string(), vec![0; 1_000], LONG).await;
        assert!(cache.find("0").await.is_some() || number > 0, "it is used all the time");
    }
    eventually("most are gone", async || {
        let mut there = 0;
        for number in 0..1_000 {
            there += usize::from(cache.find(&number.to_string()).await.is_some());
        }
        there <= 100
    })
    .await;
}

#[test]
fn an_address_that_is_none_is_refused_by_name() {
    let config = CacheConfig::Redis { url: Secret::new("nonsense".into()), prefix: String::new() };
    assert_eq!(Cache::open(&config, &Clock::system()).unwrap_err().code(), "invalid");
}
