//! What live connections ask of the database: where streams stood, who may be seen, whether a ticket was used.

use std::time::Duration;

use chrono::TimeDelta;
use folio::clock::Clock;
use folio::storage::preferences::{self, Preferences};
use folio::storage::streams::{StreamStore, append};
use folio::storage::{blocks, last_seen, tickets};

use crate::support::accounts::{account, crowd};
use crate::support::engines::Fresh;
use crate::support::streams::{happens, stream};

crate::on_both_engines! {
    where_streams_stood_at_a_time_is_told_for_all_at_once
    who_was_seen_when_is_written_for_many_and_read_for_those_who_are_asked_for
    of_many_those_are_told_who_hide_or_block_or_are_blocked
    a_ticket_is_used_by_one_of_those_who_come_at_once
}

async fn where_streams_stood_at_a_time_is_told_for_all_at_once(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (one, two, silent) = (stream(&db).await, stream(&db).await, stream(&db).await);
    let store = StreamStore { db: db.clone() };
    let begun = clock.now();
    for to in [one, one, two, one] {
        clock.advance(Duration::from_secs(10));
        let mut tx = db.begin().await.unwrap();
        append(&mut tx, &[&happens(to, "message")], clock.now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    let unknown = folio::ids::StreamId::new(&clock);
    for (seconds, places) in [(0, [0, 0, 0]), (10, [1, 0, 0]), (29, [2, 0, 0]), (30, [2, 1, 0]), (99, [3, 1, 0])] {
        let at = begun + TimeDelta::seconds(seconds);
        let told = store.places_at(&[one, two, silent, unknown], at).await.unwrap();
        let place = |id| told.iter().find(|it| it.id == id).map(|it| (it.epoch, it.head)).unwrap();
        assert_eq!([place(one), place(two), place(silent)], places.map(|it| (1, it)), "after {seconds} s");
        assert_eq!(told.len(), 3, "what is not there is left out");
    }
}

async fn who_was_seen_when_is_written_for_many_and_read_for_those_who_are_asked_for(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let people = crowd(&db, &["ada".to_owned(), "bob".to_owned(), "carol".to_owned()]).await;
    assert_eq!(last_seen::list(&db, &people).await.unwrap(), []);
    assert_eq!(last_seen::list(&db, &[]).await.unwrap(), []);
    let first = clock.now();
    last_seen::put(&db, &people[..2], first).await.unwrap();
    clock.advance(Duration::from_secs(5));
    last_seen::put(&db, &people[1..2], clock.now()).await.unwrap();
    let mut told = last_seen::list(&db, &people).await.unwrap();
    told.sort();
    let mut wanted = vec![(people[0], first), (people[1], clock.now())];
    wanted.sort();
    assert_eq!(told, wanted);
}

async fn of_many_those_are_told_who_hide_or_block_or_are_blocked(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob) = (account(&db, "ada").await, account(&db, "bob").await);
    let (carol, dave) = (account(&db, "carol").await, account(&db, "dave").await);
    let hides = Preferences { presence_visible: false, ..Preferences::default() };
    let mut tx = db.begin().await.unwrap();
    assert!(preferences::update(&mut tx, bob, 1, &hides, clock.now()).await.unwrap());
    assert!(blocks::insert(&mut tx, ada, bob, clock.now(), 10).await.unwrap());
    assert!(blocks::insert(&mut tx, carol, ada, clock.now(), 10).await.unwrap());
    assert!(blocks::insert(&mut tx, carol, dave, clock.now(), 10).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(preferences::invisible(&db, &[ada, bob, carol]).await.unwrap(), [bob]);
    let mut apart = blocks::among(&db, ada, &[bob, carol, dave]).await.unwrap();
    apart.sort();
    let mut wanted = [bob, carol];
    wanted.sort();
    assert_eq!(apart, wanted, "in either direction, and nobody else's");
    assert_eq!(blocks::among(&db, ada, &[]).await.unwrap(), []);
}

async fn a_ticket_is_used_by_one_of_those_who_come_at_once(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, ends) = (account(&db, "ada").await, clock.now() + TimeDelta::seconds(30));
    let uses = (0..8).map(|_| tickets::insert_used(&db, [7; 32], ada, "socket", clock.now(), ends));
    let used = futures_util::future::try_join_all(uses).await.unwrap();
    assert_eq!(used.into_iter().filter(|it| *it).count(), 1);
    assert!(tickets::insert_used(&db, [8; 32], ada, "socket", clock.now(), ends).await.unwrap(), "another ticket");
}
