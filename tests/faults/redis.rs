//! Redis goes away, hangs, forgets and starves. Nothing depends on it, and it is used again when it is back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use folio::clock::Clock;
use folio::config::{BusConfig, CacheConfig, Config, Secret};
use folio::error::Error;
use folio::storage::Storage;
use folio::storage::bus::{Bus, Heard};
use folio::storage::cache::Cache;
use folio::storage::health::Health;

use crate::support::private_server::PrivateRedis;
use crate::support::proxy::{Mode, Proxy};
use crate::support::settings;
use crate::support::{eventually, outage, soon, spawn, unique};

const LONG: Duration = Duration::from_secs(600);

fn cache(url: &str) -> Cache {
    let config = CacheConfig::Redis { url: Secret::new(url.to_owned()), prefix: "cache:".into() };
    Cache::open(&config, &Clock::system()).unwrap()
}

fn bus(url: &str) -> Bus {
    let config = BusConfig::Redis { url: Secret::new(url.to_owned()), prefix: "bus:".into() };
    let bus = Bus::open(&config, &Clock::system()).unwrap();
    let listens = bus.clone();
    spawn(async move { listens.listen().await });
    bus
}

/// Whether hints do not come through.
async fn silent(bus: &Bus) -> bool {
    tokio::time::timeout(Duration::from_millis(100), bus.probe()).await.is_err()
}

async fn load(cache: &Cache, key: &str, value: &'static str) -> Bytes {
    cache.get_or_load(key, LONG, async || Ok(Bytes::from_static(value.as_bytes()))).await.unwrap()
}

/// Waits until what is loaded is also kept.
async fn keeps(cache: &Cache) {
    eventually("the cache keeps again", async || {
        let key = unique("key");
        load(cache, &key, "1").await;
        cache.find(&key).await.is_some()
    })
    .await;
}

#[tokio::test]
async fn while_redis_is_gone_everything_is_loaded_and_afterwards_kept_again() {
    let mut redis = PrivateRedis::start(&[]).await;
    let cache = cache(&redis.url());
    assert_eq!(load(&cache, "a", "old").await, "old");
    redis.stop();
    assert_eq!(load(&cache, "a", "new").await, "new");
    assert!(cache.probe().await.is_err());
    tokio::time::sleep(outage()).await;
    assert_eq!(load(&cache, "a", "newer").await, "newer");
    assert!(cache.counts().failures.load(Ordering::Relaxed) > 0);
    redis.start_again().await;
    keeps(&cache).await;
    assert_eq!(cache.probe().await.unwrap().backend, "redis");
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_used_once_it_is() {
    let mut redis = PrivateRedis::start(&[]).await;
    redis.stop();
    let cache = cache(&redis.url());
    assert_eq!(load(&cache, "a", "1").await, "1");
    redis.start_again().await;
    keeps(&cache).await;
}

#[tokio::test]
async fn a_redis_that_hangs_costs_readers_one_wait_and_not_one_each() {
    let redis = PrivateRedis::start(&[]).await;
    let (proxy, url) = Proxy::before(&redis.url()).await;
    let cache = cache(&url);
    keeps(&cache).await;
    proxy.set(Mode::Hang);
    let start = Instant::now();
    load(&cache, "first", "1").await;
    let one_wait = start.elapsed();
    let start = Instant::now();
    for number in 0..200 {
        load(&cache, &number.to_string(), "1").await;
    }
    let (waits, one_wait) = (start.elapsed(), one_wait.max(Duration::from_millis(100)));
    assert!(waits < one_wait * 40, "200 reads waited {waits:?}, one waits {one_wait:?}");
    proxy.set(Mode::Pass);
    keeps(&cache).await;
}

#[tokio::test]
async fn a_removal_that_did_not_arrive_is_made_up_for_before_anything_is_read() {
    let redis = PrivateRedis::start(&[]).await;
    let (proxy, url) = Proxy::before(&redis.url()).await;
    let (writer, reader) = (cache(&url), cache(&redis.url()));
    for (key, mode) in [("a", Mode::Cut), ("b", Mode::Hang)] {
        assert_eq!(load(&writer, key, "old").await, "old");
        proxy.set(mode);
        assert_eq!(writer.remove(key).await, Err(Error::unavailable("cache")));
        assert_eq!(writer.find(key).await, None, "this node knows");
        assert_eq!(reader.find(key).await, Some(Bytes::from_static(b"old")), "the others cannot, for a while");
        proxy.set(Mode::Pass);
        eventually("the removal arrives", async || {
            assert_eq!(writer.find(key).await, None);
            reader.find(key).await.is_none()
        })
        .await;
        keeps(&writer).await;
    }
}

#[tokio::test]
async fn a_redis_that_forgets_everything_is_filled_again() {
    let redis = PrivateRedis::start(&[]).await;
    let cache = cache(&redis.url());
    assert_eq!(load(&cache, "a", "old").await, "old");
    redis.ask("FLUSHALL").await.unwrap();
    assert_eq!(load(&cache, "a", "new").await, "new");
    assert_eq!(load(&cache, "a", "not loaded").await, "new");
}

#[tokio::test]
async fn a_redis_without_memory_changes_nothing_but_the_cost() {
    for policy in [&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"][..], &["--maxmemory", "1mb"]] {
        let redis = PrivateRedis::start(policy).await;
        let cache = cache(&redis.url());
        for number in 0..50 {
            let (key, large) = (number.to_string(), Bytes::from(vec![number; 100_000]));
            assert_eq!(cache.get_or_load(&key, LONG, async || Ok(large.clone())).await, Ok(large.clone()));
        }
    }
}

#[tokio::test]
async fn an_ear_hears_that_hints_are_missing_when_redis_is_back() {
    let mut redis = PrivateRedis::start(&[]).await;
    let bus = bus(&redis.url());
    let mut ear = bus.subscribe("a");
    assert_eq!(soon("the welcome", ear.next()).await, Heard::Missed);
    assert!(bus.probe().await.is_ok());
    redis.stop();
    let waiting = tokio::time::timeout(outage(), ear.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    assert!(silent(&bus).await);
    assert_eq!(bus.publish("a", Bytes::new()).await, Err(Error::unavailable("bus")));
    redis.start_again().await;
    assert_eq!(soon("the news", ear.next()).await, Heard::Missed);
    // Hints leave by a connection of their own.
    eventually("hints leave again", async || bus.publish("a", Bytes::from_static(b"again")).await.is_ok()).await;
    let Heard::Hint(hint) = soon("a hint", ear.next()).await else { panic!("missed twice") };
    assert_eq!(hint.payload, "again");
}

#[tokio::test]
async fn a_connection_that_only_keeps_silent_is_found_out_by_an_ear() {
    let redis = PrivateRedis::start(&[]).await;
    let (proxy, url) = Proxy::before(&redis.url()).await;
    let (silenced, other) = (bus(&url), bus(&redis.url()));
    let mut ear = silenced.subscribe("a");
    assert_eq!(soon("the welcome", ear.next()).await, Heard::Missed);
    proxy.set(Mode::Hang);
    other.publish("a", Bytes::from_static(b"lost")).await.unwrap();
    // Whoever waits does other things meanwhile, and never waits for long.
    let start = Instant::now();
    while start.elapsed() < outage() + Duration::from_secs(2) {
        let heard = tokio::time::timeout(Duration::from_millis(50), ear.next()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
    assert!(silent(&silenced).await);
    proxy.set(Mode::Pass);
    assert_eq!(soon("the news", ear.next()).await, Heard::Missed);
    other.publish("a", Bytes::from_static(b"heard")).await.unwrap();
    let Heard::Hint(hint) = soon("a hint", ear.next()).await else { panic!("missed twice") };
    assert_eq!(hint.payload, "heard");
}

#[tokio::test]
async fn health_is_degraded_while_no_hints_come_through_though_the_server_answers() {
    let redis = PrivateRedis::start(&[]).await;
    redis.ask("ACL SETUSER default -psubscribe").await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let bus = BusConfig::Redis { url: Secret::new(redis.url()), prefix: "bus:".into() };
    let (config, clock) = (Config { bus, ..settings::config(folder.path()) }, Clock::system());
    let health = Arc::new(Health::new(&clock));
    let storage = Storage::open(&config, &clock, &health).await.unwrap();
    let watching = spawn({
        let (storage, health) = (storage.clone(), health.clone());
        async move { Box::pin(storage.watch(&health, &clock)).await }
    });
    eventually("it is degraded", async || health.status() == "degraded").await;
    assert!(storage.cache.probe().await.is_ok() && silent(&storage.bus).await);
    redis.ask("ACL SETUSER default +psubscribe").await.unwrap();
    eventually("it is healthy", async || health.status() == "healthy").await;
    assert!(storage.bus.probe().await.is_ok());
    watching.abort();
}
