//! What the queues in the tables promise beside what every broker does.

use std::time::Duration;

use folio::clock::Clock;
use folio::config::BrokerConfig;
use folio::storage::broker::{Broker, Event, Subscription};
use folio::storage::db::Engine;
use uuid::Uuid;

use crate::support::engines::Fresh;
use crate::support::{eventually, soon};

crate::on_both_engines! {
    a_relay_that_repeats_itself_adds_nothing_while_the_first_is_there
    a_publish_wakes_a_consumer_of_its_process_at_once
    what_another_node_published_is_found_by_the_next_look
    work_that_takes_longer_than_its_lease_is_not_given_to_another_while_it_is_held
    a_worker_that_was_given_up_changes_nothing_any_more
    a_queue_that_was_declared_anew_takes_what_it_says_now
    what_waits_survives_the_process
}

/// A node on a database.
async fn node(fresh: &Fresh, clock: &Clock) -> Broker {
    Broker::open(&BrokerConfig::Embedded, &fresh.open().await, clock).unwrap()
}

fn event(number: u128) -> Event {
    Event {
        id: Uuid::from_u128(number),
        topic: "job".into(),
        key: Uuid::from_u128(1),
        seq: None,
        kind: "job".into(),
        payload: "{}".into(),
        created_at: Clock::system().now(),
    }
}

async fn a_relay_that_repeats_itself_adds_nothing_while_the_first_is_there(fresh: &Fresh) {
    let broker = node(fresh, &Clock::manual()).await;
    let queue = Subscription { prefetch: 10, ..Subscription::new("mail", &["job"]) };
    broker.declare(&queue).await.unwrap();
    for _ in 0..3 {
        broker.publish(&[event(1), event(2), event(1)]).await.unwrap();
    }
    let mut consumer = broker.subscribe(queue);
    for number in [1, 2] {
        let delivery = soon("a delivery", consumer.next()).await;
        assert_eq!(delivery.event.id, Uuid::from_u128(number));
        broker.publish(&[event(number)]).await.unwrap();
        delivery.done().await.unwrap();
    }
    let one_more = tokio::time::timeout(Duration::from_millis(100), consumer.next()).await;
    assert!(one_more.is_err(), "{one_more:?}");
}

async fn a_publish_wakes_a_consumer_of_its_process_at_once(fresh: &Fresh) {
    // The clock stands still, so no look comes by itself.
    let broker = node(fresh, &Clock::manual()).await;
    let queue = Subscription::new("mail", &["job"]);
    broker.declare(&queue).await.unwrap();
    let mut consumer = broker.subscribe(queue);
    for number in 1..20 {
        let (delivery, published) = tokio::join!(soon("a delivery", consumer.next()), async {
            tokio::task::yield_now().await;
            broker.publish(&[event(number)]).await
        });
        published.unwrap();
        delivery.done().await.unwrap();
    }
}

async fn what_another_node_published_is_found_by_the_next_look(fresh: &Fresh) {
    let clock = Clock::manual();
    let (here, there) = (node(fresh, &clock).await, node(fresh, &clock).await);
    let queue = Subscription::new("mail", &["job"]);
    here.declare(&queue).await.unwrap();
    let mut consumer = here.subscribe(queue);
    let waiting = tokio::time::timeout(Duration::from_millis(100), consumer.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    there.publish(&[event(1)]).await.unwrap();
    let (delivery, ()) = tokio::join!(soon("a delivery", consumer.next()), async {
        clock.advance(Duration::from_secs(1));
    });
    assert_eq!(delivery.event.id, Uuid::from_u128(1));
}

async fn work_that_takes_longer_than_its_lease_is_not_given_to_another_while_it_is_held(fresh: &Fresh) {
    let clock = Clock::manual();
    let broker = node(fresh, &clock).await;
    let queue = Subscription::new("mail", &["job"]);
    broker.declare(&queue).await.unwrap();
    broker.publish(&[event(1)]).await.unwrap();
    let (mut one, mut other) = (broker.subscribe(queue.clone()), broker.subscribe(queue.clone()));
    let held = soon("a delivery", one.next()).await;
    let db = fresh.open().await;
    let renewed = async || -> bool {
        let sql = "SELECT COUNT(*) FROM queue_messages WHERE ready_at >= $1";
        let (count,): (i64,) = db.sql(sql).bind(clock.now() + queue.lease).one().await.unwrap();
        count == 1
    };
    let work = async {
        for _ in 0..6 {
            clock.advance(queue.lease / 2);
            eventually("the lease is renewed", renewed).await;
            let stolen = tokio::time::timeout(Duration::from_millis(50), other.next()).await;
            assert!(stolen.is_err(), "{stolen:?}");
        }
    };
    held.hold(work).await;
    drop(held);
    clock.advance(queue.lease);
    assert_eq!(soon("the dropped one", other.next()).await.attempt, 2);
}

async fn a_worker_that_was_given_up_changes_nothing_any_more(fresh: &Fresh) {
    let clock = Clock::manual();
    let broker = node(fresh, &clock).await;
    let queue = Subscription::new("mail", &["job"]);
    broker.declare(&queue).await.unwrap();
    broker.publish(&[event(1)]).await.unwrap();
    let (mut one, mut other) = (broker.subscribe(queue.clone()), broker.subscribe(queue.clone()));
    let late = soon("a delivery", one.next()).await;
    clock.advance(queue.lease);
    let taken = soon("the same", other.next()).await;
    assert_eq!(taken.attempt, 2);
    late.dead("too late").await.unwrap();
    assert_eq!(broker.dead("mail", 10).await, Ok(vec![]));
    taken.dead("in time").await.unwrap();
    assert_eq!(broker.dead("mail", 10).await.unwrap()[0].error, "in time");
}

async fn a_queue_that_was_declared_anew_takes_what_it_says_now(fresh: &Fresh) {
    let broker = node(fresh, &Clock::manual()).await;
    broker.declare(&Subscription::new("mail", &["job"])).await.unwrap();
    let queue = Subscription::new("mail", &["other"]);
    broker.declare(&queue).await.unwrap();
    broker.publish(&[event(1), Event { topic: "other".into(), ..event(2) }]).await.unwrap();
    let mut consumer = broker.subscribe(queue);
    assert_eq!(soon("a delivery", consumer.next()).await.event.id, Uuid::from_u128(2));
}

async fn what_waits_survives_the_process(fresh: &Fresh) {
    let clock = Clock::manual();
    let queue = Subscription { attempts_max: 5, ..Subscription::new("mail", &["job"]) };
    {
        let broker = node(fresh, &clock).await;
        broker.declare(&queue).await.unwrap();
        broker.publish(&[event(1), event(2)]).await.unwrap();
        let mut consumer = broker.subscribe(queue.clone());
        soon("a delivery", consumer.next()).await.retry(Duration::from_secs(30), "not yet").await.unwrap();
    }
    let broker = node(fresh, &clock).await;
    let mut consumer = broker.subscribe(queue);
    assert_eq!(soon("the other", consumer.next()).await.event.id, Uuid::from_u128(2));
    clock.advance(Duration::from_secs(30));
    // The other one was dropped without a word: its lease has not ended.
    let again = soon("the one that waited", consumer.next()).await;
    assert_eq!((again.event.id, again.attempt), (Uuid::from_u128(1), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_waits_through_an_outage_of_the_database() {
    use crate::support::engines::postgres_url;
    use crate::support::proxy::{Mode, Proxy};
    Fresh::run(Engine::Postgres, async |fresh| {
        let broker = node(fresh, &Clock::system()).await;
        let (proxy, url) = Proxy::before(&postgres_url()).await;
        let db = folio::storage::db::Db::open(&fresh.config_at(&url)).await.unwrap();
        let behind = Broker::open(&BrokerConfig::Embedded, &db, &Clock::system()).unwrap();
        let queue = Subscription::new("mail", &["job"]);
        behind.declare(&queue).await.unwrap();
        let mut consumer = behind.subscribe(queue);
        proxy.set(Mode::Cut);
        eventually("it is noticed", async || behind.publish(&[event(1)]).await.is_err()).await;
        broker.publish(&[event(2)]).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        proxy.set(Mode::Pass);
        assert_eq!(soon("a delivery", consumer.next()).await.event.id, Uuid::from_u128(2));
    })
    .await;
}
