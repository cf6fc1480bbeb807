//! RabbitMQ goes away, hangs and loses its queues. What was published is published once it is back, by those who still
//! have it; what came is worked off meanwhile.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use folio::clock::Clock;
use folio::error::Error;
use folio::storage::broker::{Consumer, Event, Subscription};
use lapin::{Connection, ConnectionProperties};

use crate::support::brokers::{Bench, sweep};
use crate::support::proxy::{Mode, Proxy};
use crate::support::{eventually, outage, server_url, soon, spawn};

async fn admin() -> Connection {
    Connection::connect(&server_url("TEST_AMQP_URL"), ConnectionProperties::default()).await.unwrap()
}

async fn delete_queue(queue: &Subscription) {
    let channel = admin().await.create_channel().await.unwrap();
    channel.queue_delete(queue.queue.as_str().into(), Default::default()).await.unwrap();
}

async fn delete_exchange(bench: &Bench) {
    let channel = admin().await.create_channel().await.unwrap();
    channel.exchange_delete(bench.name.as_str().into(), Default::default()).await.unwrap();
}

/// Takes until every event was seen, in whatever order and however often.
async fn takes_all(consumer: &mut Consumer, events: &[Event]) {
    let mut missing: HashSet<uuid::Uuid> = events.iter().map(|event| event.id).collect();
    while !missing.is_empty() {
        let delivery = soon("the rest of the backlog", consumer.next()).await;
        missing.remove(&delivery.event.id);
        // An acknowledgement that does not arrive only brings it again.
        let _ = delivery.done().await;
    }
}

/// Publishes as the relay does: again and again until it is confirmed.
async fn publishes_at_last(bench: &Bench, events: &[Event]) {
    eventually("the broker takes it", async || bench.broker.publish(events).await.is_ok()).await;
}

async fn through_a_proxy() -> (Proxy, Bench) {
    let (proxy, url) = Proxy::before(&server_url("TEST_AMQP_URL")).await;
    (proxy, Bench::rabbitmq(&url, Clock::system()).await)
}

async fn end(bench: &Bench) {
    sweep(&server_url("TEST_AMQP_URL"), &bench.name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_was_deleted_is_there_again_before_the_next_event() {
    let bench = Bench::rabbitmq(&server_url("TEST_AMQP_URL"), Clock::system()).await;
    let (mail, search) = (bench.queue("mail", &["#"]), bench.queue("search", &["#"]));
    bench.broker.declare(&mail).await.unwrap();
    bench.broker.declare(&search).await.unwrap();
    let mut events = bench.events("before", 1);
    bench.broker.publish(&events).await.unwrap();
    // One of the two: the server routes to the other and returns nothing.
    delete_queue(&mail).await;
    events = bench.events("between", 300);
    bench.broker.publish(&events).await.unwrap();
    takes_all(&mut bench.broker.subscribe(mail.clone()), &events).await;
    takes_all(&mut bench.broker.subscribe(search.clone()), &events).await;
    delete_queue(&mail).await;
    delete_queue(&search).await;
    events = bench.events("after", 1);
    bench.broker.publish(&events).await.unwrap();
    takes_all(&mut bench.broker.subscribe(mail), &events).await;
    takes_all(&mut bench.broker.subscribe(search), &events).await;
    end(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_was_deleted_is_there_again_before_the_next_event() {
    let bench = Bench::rabbitmq(&server_url("TEST_AMQP_URL"), Clock::system()).await;
    let mut consumer = bench.consumer(&bench.queue("mail", &["#"])).await;
    for round in 0..3 {
        let events = bench.events("job", 10 + round);
        bench.broker.publish(&events).await.unwrap();
        takes_all(&mut consumer, &events).await;
        delete_exchange(&bench).await;
    }
    let events = bench.events("job", 10);
    bench.broker.publish(&events).await.unwrap();
    takes_all(&mut consumer, &events).await;
    end(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_queue_is_deleted_goes_on_with_the_new_one() {
    let bench = Bench::rabbitmq(&server_url("TEST_AMQP_URL"), Clock::system()).await;
    let queue = bench.queue("mail", &["#"]);
    let mut consumer = bench.consumer(&queue).await;
    let first = bench.events("job", 1);
    bench.broker.publish(&first).await.unwrap();
    takes_all(&mut consumer, &first).await;
    let then = bench.events("job", 5);
    let (waiting, ()) = tokio::join!(takes_all(&mut consumer, &then), async {
        delete_queue(&queue).await;
        bench.broker.publish(&then).await.unwrap();
    });
    assert_eq!(waiting, ());
    end(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_is_worked_off_while_the_server_is_away() {
    let (proxy, url) = Proxy::before(&server_url("TEST_AMQP_URL")).await;
    let bench = Bench::rabbitmq(&url, Clock::manual()).await;
    let queue = Subscription { prefetch: 50, ..bench.queue("mail", &["#"]) };
    let mut consumer = bench.consumer(&queue).await;
    let events = bench.events("job", 50);
    bench.broker.publish(&events).await.unwrap();
    let mut open = Vec::new();
    for event in &events {
        open.push(soon("a delivery", consumer.next()).await);
        assert_eq!(open.last().map(|it| (&it.event, it.attempt)), Some((event, 1)));
    }
    proxy.set(Mode::Cut);
    eventually("it is noticed", async || bench.broker.publish(&events[..1]).await.is_err()).await;
    open.pop().unwrap().done().await.unwrap();
    drop(open);
    bench.pass(queue.lease);
    for event in &events[..49] {
        let again = soon("a delivery", consumer.next()).await;
        assert_eq!((&again.event, again.attempt), (event, 2));
        again.done().await.unwrap();
    }
    proxy.set(Mode::Pass);
    let later = bench.events("later", 1);
    publishes_at_last(&bench, &later).await;
    takes_all(&mut consumer, &later).await;
    end(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_delivers_again_because_no_acknowledgement_came_is_worked_off_once() {
    let (proxy, url) = Proxy::before(&server_url("TEST_AMQP_URL")).await;
    let bench = Bench::rabbitmq(&url, Clock::system()).await;
    let queue = Subscription { prefetch: 50, ..bench.queue("mail", &["#"]) };
    let mut consumer = bench.consumer(&queue).await;
    let events = bench.events("job", 50);
    bench.broker.publish(&events).await.unwrap();
    let first = soon("a delivery", consumer.next()).await;
    // Each acknowledgement that was on its way may be lost with it.
    proxy.set(Mode::Cut);
    eventually("it is noticed", async || bench.broker.publish(&events[..1]).await.is_err()).await;
    proxy.set(Mode::Pass);
    let mut open = vec![first];
    while open.len() < events.len() {
        open.push(soon("a delivery", consumer.next()).await);
    }
    let seen: Vec<_> = open.iter().map(|it| (it.event.clone(), it.attempt)).collect();
    assert_eq!(seen, events.iter().map(|it| (it.clone(), 1)).collect::<Vec<_>>());
    end(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_drains_by_itself_after_an_outage() {
    for mode in [Mode::Cut, Mode::Hang] {
        let (proxy, bench) = through_a_proxy().await;
        let queue = Subscription { prefetch: 100, ..bench.queue("mail", &["#"]) };
        let mut consumer = bench.consumer(&queue).await;
        let events = bench.events("job", 2_000);
        bench.broker.publish(&events[..100]).await.unwrap();
        let works = spawn({
            let events = events.clone();
            async move { takes_everything(&mut consumer, &events).await }
        });
        proxy.set(mode);
        let start = Instant::now();
        while start.elapsed() < outage() {
            let asked = Instant::now();
            assert_eq!(bench.broker.publish(&events[100..200]).await, Err(Error::unavailable("broker")));
            assert!(asked.elapsed() < Duration::from_secs(30), "a publisher hung for {:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy.set(Mode::Pass);
        for batch in events[100..].chunks(256) {
            publishes_at_last(&bench, batch).await;
        }
        let drained = tokio::time::timeout(Duration::from_secs(60), works).await;
        drained.expect("the backlog is empty within a minute of the return").unwrap();
        end(&bench).await;
    }
}

async fn takes_everything(consumer: &mut Consumer, events: &[Event]) {
    let mut missing: HashSet<uuid::Uuid> = events.iter().map(|event| event.id).collect();
    while !missing.is_empty() {
        let delivery = consumer.next().await;
        missing.remove(&delivery.event.id);
        let _ = delivery.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_whose_confirm_is_lost_is_refused_and_safe_to_repeat() {
    let (proxy, bench) = through_a_proxy().await;
    let mut consumer = bench.consumer(&bench.queue("mail", &["#"])).await;
    let events = bench.events("job", 20);
    bench.broker.publish(&events[..1]).await.unwrap();
    proxy.set(Mode::CutAfter(b"number\\\":19"));
    assert_eq!(bench.broker.publish(&events[1..]).await, Err(Error::unavailable("broker")));
    proxy.set(Mode::Pass);
    publishes_at_last(&bench, &events[1..]).await;
    takes_all(&mut consumer, &events).await;
    end(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_at_the_start_gets_its_queues_when_it_is() {
    let (proxy, bench) = through_a_proxy().await;
    proxy.set(Mode::Cut);
    let queue = bench.queue("mail", &["#"]);
    bench.broker.declare(&queue).await.unwrap();
    assert!(bench.broker.probe().await.is_err());
    let events = bench.events("job", 3);
    assert_eq!(bench.broker.publish(&events).await, Err(Error::unavailable("broker")));
    proxy.set(Mode::Pass);
    publishes_at_last(&bench, &events).await;
    takes_all(&mut bench.broker.subscribe(queue), &events).await;
    end(&bench).await;
}
