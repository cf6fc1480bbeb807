//! What the broker promises, in the tables of both engines and on RabbitMQ.

use std::collections::HashSet;
use std::time::Duration;

use folio::error::Error;
use folio::storage::broker::{Consumer, Delivery, Event, Subscription};
use uuid::Uuid;

use crate::support::brokers::Bench;
use crate::support::{server_url, soon};

macro_rules! on_all_brokers {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let engine = folio::storage::db::Engine::Sqlite;
                $crate::support::engines::Fresh::run(engine, async |fresh| {
                    super::$name(&super::Bench::embedded(fresh).await).await;
                }).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let engine = folio::storage::db::Engine::Postgres;
                $crate::support::engines::Fresh::run(engine, async |fresh| {
                    super::$name(&super::Bench::embedded(fresh).await).await;
                }).await;
            })*
        }
        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let bench = super::Bench::rabbitmq(&super::server_url("TEST_AMQP_URL"), folio::clock::Clock::manual()).await;
                super::$name(&bench).await;
                bench.end().await;
            })*
        }
    };
}

on_all_brokers! {
    what_is_published_arrives_whole_and_in_order
    each_queue_gets_what_its_patterns_name
    a_delivery_dropped_without_a_word_comes_again
    a_failed_delivery_comes_again_and_is_dead_after_its_last_attempt
    dead_letters_are_replayed_or_discarded_one_by_one
    a_delivery_whose_workers_die_each_time_is_dead_in_the_end
    no_more_than_the_prefetch_are_open
    consumers_share_a_queue
    the_backend_says_who_it_is
}

async fn next(consumer: &mut Consumer) -> Delivery {
    soon("a delivery", consumer.next()).await
}

async fn what_is_published_arrives_whole_and_in_order(bench: &Bench) {
    let mut consumer = bench.consumer(&bench.queue("mail", &["#"])).await;
    let mut events = bench.events("project.liked", 600);
    events
        .push(Event { seq: None, payload: r#"{"text":"\u0000 'ü' 😀"}"#.into(), ..bench.event("project.liked", 0) });
    let (last, first) = events.split_last().unwrap();
    bench.broker.publish(first).await.unwrap();
    bench.broker.publish(std::slice::from_ref(last)).await.unwrap();
    bench.broker.publish(&[]).await.unwrap();
    for event in &events {
        let delivery = next(&mut consumer).await;
        assert_eq!((&delivery.event, delivery.attempt), (event, 1));
        delivery.done().await.unwrap();
    }
    assert_eq!(bench.broker.dead(&bench.queue("mail", &[]).queue, 10).await, Ok(vec![]));
}

async fn each_queue_gets_what_its_patterns_name(bench: &Bench) {
    let (mail, search) = (bench.queue("mail", &["*.liked", "user.#"]), bench.queue("search", &["project.*"]));
    let (mut mail, mut search) = (bench.consumer(&mail).await, bench.consumer(&search).await);
    let topics = ["project.liked", "user.joined", "nobody.wants.this", "project.gone", "user.name.changed"];
    let events: Vec<Event> = topics.iter().map(|topic| bench.event(topic, 0)).collect();
    bench.broker.publish(&events).await.unwrap();
    for at in [0, 1, 4] {
        let delivery = next(&mut mail).await;
        assert_eq!(delivery.event, events[at]);
        delivery.done().await.unwrap();
    }
    for at in [0, 3] {
        let delivery = next(&mut search).await;
        assert_eq!(delivery.event, events[at]);
        delivery.done().await.unwrap();
    }
}

async fn a_delivery_dropped_without_a_word_comes_again(bench: &Bench) {
    let queue = bench.queue("mail", &["#"]);
    let mut consumer = bench.consumer(&queue).await;
    let events = bench.events("job", 2);
    bench.broker.publish(&events[..1]).await.unwrap();
    drop(next(&mut consumer).await);
    bench.pass(queue.lease);
    let delivery = next(&mut consumer).await;
    assert_eq!((&delivery.event, delivery.attempt), (&events[0], 2));
    // A consumer that goes away leaves what it holds to the next.
    drop(consumer);
    drop(delivery);
    bench.pass(queue.lease);
    let mut consumer = bench.consumer(&queue).await;
    let delivery = next(&mut consumer).await;
    assert_eq!((&delivery.event, delivery.attempt), (&events[0], 3));
    delivery.done().await.unwrap();
    bench.broker.publish(&events[1..]).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.event, events[1]);
    delivery.done().await.unwrap();
}

async fn a_failed_delivery_comes_again_and_is_dead_after_its_last_attempt(bench: &Bench) {
    let queue = Subscription { attempts_max: 3, ..bench.queue("mail", &["#"]) };
    let mut consumer = bench.consumer(&queue).await;
    let events = bench.events("job", 2);
    bench.broker.publish(&events).await.unwrap();
    let after = Duration::from_millis(90);
    next(&mut consumer).await.retry(after, "no luck").await.unwrap();
    // The others do not wait for it.
    let other = next(&mut consumer).await;
    assert_eq!(other.event, events[1]);
    other.done().await.unwrap();
    for attempt in [2, 3] {
        bench.pass(after);
        let delivery = next(&mut consumer).await;
        assert_eq!((&delivery.event, delivery.attempt), (&events[0], attempt));
        delivery.retry(after, &format!("no luck {attempt}")).await.unwrap();
    }
    let dead = bench.broker.dead(&queue.queue, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].event, dead[0].attempts, &*dead[0].error), (&events[0], 3, "no luck 3"));
}

async fn dead_letters_are_replayed_or_discarded_one_by_one(bench: &Bench) {
    let queue = bench.queue("mail", &["#"]);
    let mut consumer = bench.consumer(&queue).await;
    let events = bench.events("job", 3);
    bench.broker.publish(&events).await.unwrap();
    for _ in 0..3 {
        next(&mut consumer).await.dead("it can never be done").await.unwrap();
    }
    let dead = async |limit| -> Vec<Uuid> {
        let dead = bench.broker.dead(&queue.queue, limit).await.unwrap();
        dead.into_iter().map(|it| it.event.id).collect()
    };
    assert_eq!(dead(10).await, [events[0].id, events[1].id, events[2].id]);
    assert_eq!(dead(2).await, [events[0].id, events[1].id]);
    bench.broker.replay(&queue.queue, events[1].id).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!((&delivery.event, delivery.attempt), (&events[1], 1));
    delivery.done().await.unwrap();
    bench.broker.discard(&queue.queue, events[0].id).await.unwrap();
    assert_eq!(dead(10).await, [events[2].id]);
    for gone in [events[0].id, events[1].id] {
        assert_eq!(bench.broker.replay(&queue.queue, gone).await, Err(Error::NotFound("dead letter")));
        assert_eq!(bench.broker.discard(&queue.queue, gone).await, Err(Error::NotFound("dead letter")));
    }
    assert_eq!(dead(10).await, [events[2].id]);
}

async fn a_delivery_whose_workers_die_each_time_is_dead_in_the_end(bench: &Bench) {
    let queue = Subscription { attempts_max: 2, ..bench.queue("mail", &["#"]) };
    let mut consumer = bench.consumer(&queue).await;
    let events = bench.events("job", 2);
    bench.broker.publish(&events).await.unwrap();
    for attempt in [1, 2] {
        let delivery = next(&mut consumer).await;
        assert_eq!((&delivery.event, delivery.attempt), (&events[0], attempt));
        drop(delivery);
        bench.pass(queue.lease);
    }
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.event, events[1]);
    delivery.done().await.unwrap();
    let dead = bench.broker.dead(&queue.queue, 10).await.unwrap();
    assert_eq!((&dead[0].event, &*dead[0].error), (&events[0], "whoever worked on it died"));
}

async fn no_more_than_the_prefetch_are_open(bench: &Bench) {
    let queue = Subscription { prefetch: 3, ..bench.queue("mail", &["#"]) };
    let mut consumer = bench.consumer(&queue).await;
    let events = bench.events("job", 5);
    bench.broker.publish(&events).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(next(&mut consumer).await);
    }
    let one_more = tokio::time::timeout(Duration::from_millis(200), consumer.next()).await;
    assert!(one_more.is_err(), "{one_more:?}");
    open.pop().unwrap().done().await.unwrap();
    assert_eq!(next(&mut consumer).await.event, events[3]);
}

async fn consumers_share_a_queue(bench: &Bench) {
    let queue = Subscription { prefetch: 4, ..bench.queue("mail", &["#"]) };
    let consumers = [bench.consumer(&queue).await, bench.consumer(&queue).await];
    let events = bench.events("job", 100);
    bench.broker.publish(&events).await.unwrap();
    let (seen, left) = (parking_lot::Mutex::new(Vec::new()), tokio::sync::watch::Sender::new(events.len()));
    let works = consumers.map(async |mut consumer| {
        let mut watched = left.subscribe();
        loop {
            let delivery = tokio::select! {
                delivery = consumer.next() => delivery,
                _ = watched.wait_for(|left| *left == 0) => return,
            };
            seen.lock().push(delivery.event.id);
            delivery.done().await.unwrap();
            left.send_modify(|left| *left -= 1);
        }
    });
    soon("the end of the queue", futures_util::future::join_all(works)).await;
    let seen = seen.into_inner();
    assert_eq!(seen.len(), 100);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 100);
}

async fn the_backend_says_who_it_is(bench: &Bench) {
    let probe = bench.broker.probe().await.unwrap();
    assert!(["embedded", "rabbitmq"].contains(&probe.backend), "{probe:?}");
    assert!(probe.rights.iter().all(|it| it.1), "{probe:?}");
}
