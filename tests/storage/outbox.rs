//! The relay: nothing lost, in order of each key, one node at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use folio::clock::Clock;
use folio::config::BrokerConfig;
use folio::ids;
use folio::storage::broker::{Broker, Event, Subscription};
use folio::storage::db::{Db, Engine};
use folio::storage::outbox;
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::engines::Fresh;
use crate::support::eventually;
use crate::support::streams::{Node, Queue, done, happens, says, stream, user};

crate::on_both_engines! {
    everything_is_published_in_order_of_its_key_though_a_relay_dies
    an_event_that_is_refused_for_good_is_put_aside_and_stops_nobody
    a_broker_that_is_gone_parks_nothing_and_hears_everything_later
    what_was_published_is_removed_and_nothing_comes_twice
    what_no_queue_wants_is_let_go_and_the_rest_arrives
    an_event_that_appears_far_behind_what_was_removed_is_published_too
}

async fn tell(db: &Db, topic: &'static str, key: Uuid) -> Uuid {
    let clock = Clock::system();
    let (id, mut tx) = (ids::v7(&clock), db.begin().await.unwrap());
    outbox::append(&mut tx, id, topic, key, "7".to_owned(), clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn next(published: &mut mpsc::Receiver<Event>) -> Event {
    timeout(Duration::from_secs(10), published.recv()).await.expect("never published").unwrap()
}

async fn everything_is_published_in_order_of_its_key_though_a_relay_dies(fresh: &Fresh) {
    let db = fresh.open().await;
    let nodes = [Node::start(&db).await, Node::start(&db).await];
    let (queue, mut published) = Queue::new();
    let relay = nodes[0].relay(queue.clone());
    // SQLite has one node, so one relay.
    if fresh.engine == Engine::Postgres {
        nodes[1].relay(queue);
    }
    let cold = tell(&db, "project.liked", user().0).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(stream(&db).await);
    }
    let sent: Vec<_> = (0..3_000)
        .map(|turn| {
            let stream = streams[turn % streams.len()];
            let append =
                if turn % 7 == 0 { happens(stream, "reaction.added") } else { says(stream, user(), "c", "hi") };
            nodes[turn % 2].hand(append).unwrap()
        })
        .collect();
    let mut ids = HashMap::new();
    for (turn, it) in sent.into_iter().enumerate() {
        let appended = done(it).await.unwrap();
        ids.insert((streams[turn % streams.len()].0, appended.seq), appended.id.0);
        if turn == 1_500 && fresh.engine == Engine::Postgres {
            relay.abort();
        }
    }
    let (mut ends, mut told) = (HashMap::new(), Vec::new());
    while ends.values().sum::<i64>() < 3_000 || told.is_empty() {
        let event = next(&mut published).await;
        let Some(seq) = event.seq else {
            assert_eq!((event.kind, event.payload), ("project.liked".to_owned(), "7".to_owned()));
            told.push(event.id);
            continue;
        };
        assert_eq!(event.id, ids[&(event.key, seq)], "an event has the id of its entry");
        let end = ends.entry(event.key).or_insert(0);
        assert!(seq <= *end + 1, "published out of order");
        *end = seq.max(*end);
    }
    assert_eq!(told[0], cold);
}

async fn an_event_that_is_refused_for_good_is_put_aside_and_stops_nobody(fresh: &Fresh) {
    let db = fresh.open().await;
    let node = Node::start(&db).await;
    let (ada, bob) = (user().0, user().0);
    let mut expected = Vec::new();
    for turn in 0..40 {
        expected.push(tell(&db, "post.published", if turn % 2 == 0 { ada } else { bob }).await);
        if turn == 17 {
            expected.push(tell(&db, "post.poisoned", ada).await);
        }
    }
    let poison = expected.remove(18);
    let (queue, mut published) = Queue::new();
    node.relay(queue.refusing("post.poisoned"));
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let event = next(&mut published).await;
        // A part of a refused batch may come twice.
        if !seen.contains(&event.id) {
            seen.push(event.id);
        }
    }
    assert_eq!(seen, expected);
    assert_eq!(parked(&db).await, [(poison, "event".to_owned())]);
    eventually("an empty outbox", async || left(&db).await == 0).await;
}

async fn a_broker_that_is_gone_parks_nothing_and_hears_everything_later(fresh: &Fresh) {
    let db = fresh.open().await;
    let (node, stream) = (Node::start(&db).await, stream(&db).await);
    let (queue, mut published) = Queue::new();
    queue.set_gone(true);
    node.relay(queue.clone());
    for turn in 1..=20 {
        assert_eq!(node.append(happens(stream, "member.joined")).await.unwrap().seq, turn);
    }
    assert!(left(&db).await > 0);
    queue.set_gone(false);
    for turn in 1..=20 {
        assert_eq!(next(&mut published).await.seq, Some(turn));
    }
    assert!(parked(&db).await.is_empty());
}

async fn what_was_published_is_removed_and_nothing_comes_twice(fresh: &Fresh) {
    let db = fresh.open().await;
    let node = Node::start(&db).await;
    let (queue, mut published) = Queue::new();
    node.relay(queue);
    let stream = stream(&db).await;
    for turn in 1..=20 {
        node.append(happens(stream, "member.joined")).await.unwrap();
        assert_eq!(next(&mut published).await.seq, Some(turn), "woken by the commit");
    }
    node.stop().await;
    assert_eq!(left(&db).await, 0, "a relay that stops leaves nothing behind");
    let node = Node::start(&db).await;
    let (queue, mut again) = Queue::new();
    node.relay(queue);
    node.append(happens(stream, "member.joined")).await.unwrap();
    assert_eq!(next(&mut again).await.seq, Some(21), "another relay begins where the last one ended");
}

async fn what_no_queue_wants_is_let_go_and_the_rest_arrives(fresh: &Fresh) {
    let db = fresh.open().await;
    let (node, broker) =
        (Node::start(&db).await, Broker::open(&BrokerConfig::Embedded, &db, &Clock::system()).unwrap());
    let subscription = Subscription::new("likes", &["project.*"]);
    broker.declare(&subscription).await.unwrap();
    let stream = stream(&db).await;
    let mut liked = Vec::new();
    for _ in 0..10 {
        node.append(happens(stream, "member.joined")).await.unwrap();
        liked.push(tell(&db, "project.liked", user().0).await);
    }
    node.relay(broker.clone());
    let mut consumer = broker.subscribe(subscription);
    for id in liked {
        let delivery = timeout(Duration::from_secs(30), consumer.next()).await.expect("never delivered");
        assert_eq!(delivery.event.id, id);
        delivery.done().await.unwrap();
    }
    eventually("an empty outbox", async || left(&db).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_on_a_node_that_does_not_relay_rings_the_one_that_does() {
    Fresh::run(Engine::Postgres, async |fresh| {
        let near = Node::start(&fresh.open().await).await;
        let far = Node { bus: near.bus.clone(), ..Node::start(&fresh.open().await).await };
        let ((queue, mut published), stream) = (Queue::new(), stream(&near.db).await);
        near.relay(queue.clone());
        near.append(happens(stream, "member.joined")).await.unwrap();
        assert_eq!(next(&mut published).await.seq, Some(1), "the near one relays");
        far.relay(queue);
        let began = Instant::now();
        for turn in 2..=21 {
            far.append(happens(stream, "member.joined")).await.unwrap();
            assert_eq!(next(&mut published).await.seq, Some(turn));
        }
        assert!(began.elapsed() < Duration::from_secs(10), "one look a second would take twice as long");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relaying_reads_what_was_said_and_not_everything_that_ever_was() {
    Fresh::run(Engine::Postgres, async |fresh| {
        let db = fresh.open().await;
        let node = Node::start(&db).await;
        let old = stream(&db).await;
        let history = "INSERT INTO entries (stream_id, seq, id, kind, body, created_at)
                       SELECT $1, it, gen_random_uuid(), 'message', '{}', now() FROM generate_series(1, 30000) AS it";
        db.write(history).bind(old).execute().await.unwrap();
        let (queue, mut published) = Queue::new();
        let mut sent = Vec::new();
        for _ in 0..64 {
            sent.push(node.hand(happens(stream(&db).await, "member.joined")).unwrap());
        }
        for it in sent {
            done(it).await.unwrap();
        }
        node.relay(queue);
        for _ in 0..64 {
            assert_eq!(next(&mut published).await.seq, Some(1));
        }
        // A session counts what it read at its end.
        node.stop().await;
        let read = async || -> (i64, i64) {
            let text = "SELECT COALESCE(idx_scan, 0), COALESCE(seq_tup_read, 0) FROM pg_stat_user_tables
                         WHERE schemaname = current_schema() AND relname = 'entries'";
            fresh.open().await.sql(text).one().await.unwrap()
        };
        eventually("each was looked up", async || read().await.0 >= 64).await;
        assert!(read().await.1 < 30_000, "all of it was read");
    })
    .await;
}

/// What was put aside, and why.
async fn parked(db: &Db) -> Vec<(Uuid, String)> {
    db.sql("SELECT id, reason FROM parked_events ORDER BY id").all().await.unwrap()
}

async fn left(db: &Db) -> i64 {
    let (lines,): (i64,) = db.sql("SELECT COUNT(*) FROM outbox").one().await.unwrap();
    lines
}

async fn an_event_that_appears_far_behind_what_was_removed_is_published_too(fresh: &Fresh) {
    let db = fresh.open().await;
    let node = Node::start(&db).await;
    let (queue, mut published) = Queue::new();
    node.relay(queue);
    let given = if fresh.engine == Engine::Sqlite { "" } else { "OVERRIDING SYSTEM VALUE" };
    for id in [500_000, 500_001, 7] {
        let text = format!(
            "INSERT INTO outbox (id, event_id, topic, key, payload, created_at) {given}
             VALUES ({id}, $1, 'project.liked', $1, $2, $3)"
        );
        let (event, now) = (user().0, Clock::system().now());
        db.write(sqlx::AssertSqlSafe(text)).bind(event).bind(id.to_string()).bind(now).execute().await.unwrap();
        node.committed.notify_one();
        let heard = next(&mut published).await;
        assert_eq!((heard.id, heard.payload), (event, id.to_string()));
    }
}
