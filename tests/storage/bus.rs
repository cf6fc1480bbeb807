//! What the bus promises, in one process and over Redis.

use bytes::Bytes;
use folio::clock::Clock;
use folio::config::{BusConfig, Secret};
use folio::storage::bus::{Bus, Ear, Heard, WAITING_MAX};

use crate::support::{server_url, soon, spawn, unique};

macro_rules! on_both_buses {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::open(&folio::config::BusConfig::Embedded)).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::open(&super::redis_config())).await;
            })*
        }
    };
}

on_both_buses! {
    hints_arrive_in_order_and_say_where_they_come_from
    a_pattern_hears_all_topics_below_it
    who_is_too_slow_hears_that_something_is_missing
    an_ear_that_is_gone_holds_up_nobody
    the_backend_says_who_it_is
}

fn redis_config() -> BusConfig {
    BusConfig::Redis { url: Secret::new(server_url("TEST_REDIS_URL")), prefix: unique("bus") + ":" }
}

fn open(config: &BusConfig) -> Bus {
    let bus = Bus::open(config, &Clock::system()).unwrap();
    let listens = bus.clone();
    spawn(async move { listens.listen().await });
    bus
}

/// An ear that hears everything from here on.
async fn ear(bus: &Bus, pattern: &str) -> Ear {
    let mut ear = bus.subscribe(pattern);
    assert_eq!(soon("the welcome", ear.next()).await, Heard::Missed);
    ear
}

async fn payload(ear: &mut Ear) -> String {
    match soon("a hint", ear.next()).await {
        Heard::Hint(hint) => String::from_utf8(hint.payload.to_vec()).unwrap(),
        Heard::Missed => "missed".to_owned(),
    }
}

async fn say(bus: &Bus, topic: &str, text: &str) {
    bus.publish(topic, Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
}

async fn hints_arrive_in_order_and_say_where_they_come_from(bus: Bus) {
    let mut ear = ear(&bus, "streams.1").await;
    for number in 0..50 {
        say(&bus, "streams.1", &number.to_string()).await;
        say(&bus, "streams.2", "not for you").await;
    }
    for number in 0..50 {
        let Heard::Hint(hint) = soon("a hint", ear.next()).await else { panic!("missed") };
        assert_eq!((&*hint.topic, hint.node), ("streams.1", bus.node()));
        assert_eq!(hint.payload, number.to_string());
    }
}

async fn a_pattern_hears_all_topics_below_it(bus: Bus) {
    let (mut below, mut all, mut exact) = (ear(&bus, "a.*").await, ear(&bus, "*").await, ear(&bus, "a.b").await);
    for topic in ["a.b", "a.b.c", "b.a"] {
        say(&bus, topic, topic).await;
    }
    assert_eq!([payload(&mut below).await, payload(&mut below).await], ["a.b", "a.b.c"]);
    assert_eq!([payload(&mut all).await, payload(&mut all).await, payload(&mut all).await], ["a.b", "a.b.c", "b.a"]);
    say(&bus, "a.b", "last").await;
    assert_eq!([payload(&mut exact).await, payload(&mut exact).await], ["a.b", "last"]);
    assert_eq!([payload(&mut below).await, payload(&mut all).await], ["last", "last"]);
}

async fn who_is_too_slow_hears_that_something_is_missing(bus: Bus) {
    let (mut slow, mut fast) = (ear(&bus, "a").await, ear(&bus, "a").await);
    for number in 0..WAITING_MAX + 3 {
        say(&bus, "a", &number.to_string()).await;
        assert_eq!(payload(&mut fast).await, number.to_string());
    }
    assert_eq!(payload(&mut slow).await, "missed");
    for number in 3..WAITING_MAX + 3 {
        assert_eq!(payload(&mut slow).await, number.to_string(), "the last ones are there");
    }
    say(&bus, "a", "again").await;
    assert_eq!(payload(&mut slow).await, "again");
}

async fn an_ear_that_is_gone_holds_up_nobody(bus: Bus) {
    let (gone, mut stays) = (ear(&bus, "a").await, ear(&bus, "a").await);
    drop(gone);
    say(&bus, "a", "1").await;
    assert_eq!(payload(&mut stays).await, "1");
}

async fn the_backend_says_who_it_is(bus: Bus) {
    let probe = bus.probe().await.unwrap();
    assert!(probe.version.starts_with(|it: char| it.is_ascii_digit()), "{probe:?}");
    assert!(probe.rights.iter().all(|it| it.1), "{probe:?}");
}

#[tokio::test]
async fn nodes_hear_each_other_and_know_themselves() {
    let config = redis_config();
    let (one, two) = (open(&config), open(&config));
    let (mut at_one, mut at_two) = (ear(&one, "a").await, ear(&two, "a").await);
    say(&one, "a", "hello").await;
    for ear in [&mut at_one, &mut at_two] {
        let Heard::Hint(hint) = soon("a hint", ear.next()).await else { panic!("missed") };
        assert_eq!((hint.node, &*hint.payload), (one.node(), &b"hello"[..]));
    }
    assert_ne!(one.node(), two.node());
}
