//! Sessions, their refresh tokens, and what makes tokens void, on both engines.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use folio::clock::Clock;
use folio::ids::{self, SessionId, UserId};
use folio::storage::db::{Db, Tx};
use folio::storage::revocations::{self, Revocation};
use folio::storage::sessions::{self, Session};
use folio::storage::signing_keys;
use folio::storage::tickets::{self, Ticket};

use crate::on_both_engines;
use crate::support::engines::Fresh;

on_both_engines! {
    a_session_ends_once_and_for_its_owner
    all_sessions_end_but_one
    those_heard_of_least_lately_are_the_surplus
    a_refresh_token_is_found_with_its_session
    a_ticket_is_taken_once_before_it_ends
    revocations_are_listed_from_a_time_on_until_they_end
    the_first_key_is_made_once_and_the_next_ends_it
}

async fn begin(tx: &mut Tx<'_>, clock: &Clock, user: UserId) -> SessionId {
    let (id, now) = (SessionId::new(clock), clock.now());
    let (device, address, ends_at) = ("telescope".to_owned(), "192.0.2.1".to_owned(), now + TimeDelta::days(90));
    let session = Session { id, user_id: user, device, address, created_at: now, seen_at: now, ends_at };
    sessions::insert(tx, &session).await.unwrap();
    id
}

async fn open(db: &Db, user: UserId, now: DateTime<Utc>) -> Vec<SessionId> {
    sessions::list(db, user, now).await.unwrap().into_iter().map(|it| it.id).collect()
}

async fn a_session_ends_once_and_for_its_owner(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob) = (UserId::new(&clock), UserId::new(&clock));
    let (now, mut tx) = (clock.now(), db.begin().await.unwrap());
    let session = begin(&mut tx, &clock, ada).await;
    assert!(!sessions::end(&mut tx, bob, session, "logout", now).await.unwrap());
    assert!(sessions::end(&mut tx, ada, session, "logout", now).await.unwrap());
    assert!(!sessions::end(&mut tx, ada, session, "logout", now).await.unwrap());
    tx.commit().await.unwrap();
    assert!(open(&db, ada, now).await.is_empty());
}

async fn all_sessions_end_but_one(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob) = (UserId::new(&clock), UserId::new(&clock));
    let (now, mut tx) = (clock.now(), db.begin().await.unwrap());
    let all = [begin(&mut tx, &clock, ada).await, begin(&mut tx, &clock, ada).await];
    begin(&mut tx, &clock, bob).await;
    assert_eq!(sessions::end_all(&mut tx, ada, Some(all[0]), "password", now).await, Ok(vec![all[1]]));
    assert_eq!(sessions::end_all(&mut tx, ada, None, "logout", now).await, Ok(vec![all[0]]));
    tx.commit().await.unwrap();
    assert_eq!((open(&db, ada, now).await.len(), open(&db, bob, now).await.len()), (0, 1));
    assert!(open(&db, bob, now + TimeDelta::days(90)).await.is_empty(), "it has ended by itself");
}

async fn those_heard_of_least_lately_are_the_surplus(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, mut tx) = (UserId::new(&clock), db.begin().await.unwrap());
    let mut all = Vec::new();
    for _ in 0..4 {
        clock.advance(Duration::from_secs(1));
        all.push(begin(&mut tx, &clock, ada).await);
    }
    clock.advance(Duration::from_secs(1));
    sessions::set_seen(&mut tx, all[0], "192.0.2.7", clock.now()).await.unwrap();
    let mut ended = sessions::end_surplus(&mut tx, ada, 2, clock.now()).await.unwrap();
    ended.sort();
    assert_eq!(ended, [all[1], all[2]]);
    tx.commit().await.unwrap();
    assert_eq!(open(&db, ada, clock.now()).await, [all[0], all[3]]);
}

async fn a_refresh_token_is_found_with_its_session(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, now, mut tx) = (UserId::new(&clock), clock.now(), db.begin().await.unwrap());
    let session = begin(&mut tx, &clock, ada).await;
    let ends_at = now + TimeDelta::days(7);
    for _ in 0..2 {
        sessions::insert_refresh(&mut tx, [7; 32], session, now, ends_at).await.unwrap();
    }
    assert!(sessions::lock_refresh(&mut tx, [8; 32]).await.unwrap().is_none());
    let found = sessions::lock_refresh(&mut tx, [7; 32]).await.unwrap().unwrap();
    assert_eq!((found.session_id, found.user_id, found.ends_at), (session, ada, ends_at));
    assert_eq!((found.used_at, found.ended_at, found.session_ends_at), (None, None, now + TimeDelta::days(90)));
    sessions::set_used(&mut tx, [7; 32], now).await.unwrap();
    sessions::end(&mut tx, ada, session, "reused", now).await.unwrap();
    let found = sessions::lock_refresh(&mut tx, [7; 32]).await.unwrap().unwrap();
    assert_eq!((found.used_at, found.ended_at), (Some(now), Some(now)));
}

async fn a_ticket_is_taken_once_before_it_ends(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, now) = (UserId::new(&clock), clock.now());
    let mut tx = db.begin().await.unwrap();
    for (nth, ends_at) in [(1, now + TimeDelta::seconds(1)), (2, now), (3, now + TimeDelta::seconds(1))] {
        let (hash, purpose) = (vec![nth; 32], "password".to_owned());
        tickets::insert(&mut tx, &Ticket { hash, user_id: ada, purpose, email: None, created_at: now, ends_at })
            .await
            .unwrap();
    }
    assert!(tickets::take(&mut tx, [1; 32], "email", now).await.unwrap().is_none(), "another purpose");
    assert!(tickets::take(&mut tx, [2; 32], "password", now).await.unwrap().is_none(), "it has ended");
    assert_eq!(tickets::take(&mut tx, [1; 32], "password", now).await.unwrap().map(|it| it.user_id), Some(ada));
    assert!(tickets::take(&mut tx, [1; 32], "password", now).await.unwrap().is_none(), "it was taken");
    tx.commit().await.unwrap();
    assert!(tickets::find(&db, [3; 32], "password", now).await.unwrap().is_some());
    let mut tx = db.begin().await.unwrap();
    tickets::void(&mut tx, ada, "password", now).await.unwrap();
    tx.commit().await.unwrap();
    assert!(tickets::find(&db, [3; 32], "password", now).await.unwrap().is_none());
}

async fn revocations_are_listed_from_a_time_on_until_they_end(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let now = clock.now();
    let made = |seconds: i64, session_id: Option<SessionId>| Revocation {
        id: ids::v7(&clock),
        session_id,
        user_id: session_id.is_none().then(|| UserId::new(&clock)),
        grants: session_id.is_none().then_some(2),
        made_at: now + TimeDelta::seconds(seconds),
        ends_at: now + TimeDelta::seconds(seconds + 60),
    };
    let (early, late) = (made(0, Some(SessionId::new(&clock))), made(10, None));
    let mut tx = db.begin().await.unwrap();
    revocations::insert(&mut tx, &early).await.unwrap();
    revocations::insert(&mut tx, &late).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(revocations::list(&db, now, now).await.unwrap(), [late]);
    let before = now - TimeDelta::seconds(1);
    assert_eq!(revocations::list(&db, before, now).await.unwrap().len(), 2);
    assert_eq!(revocations::list(&db, before, early.ends_at).await.unwrap(), [late]);
}

async fn the_first_key_is_made_once_and_the_next_ends_it(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let now = clock.now();
    for _ in 0..2 {
        signing_keys::insert_first(&db, ids::v7(&clock), now).await.unwrap();
    }
    let first = signing_keys::list(&db, now).await.unwrap();
    assert_eq!((first.len(), first[0].ends_at), (1, None));
    let mut tx = db.begin().await.unwrap();
    signing_keys::rotate(&mut tx, ids::v7(&clock), now, now + TimeDelta::seconds(60)).await.unwrap();
    tx.commit().await.unwrap();
    let both = signing_keys::list(&db, now).await.unwrap();
    assert_eq!((both.len(), both[0].id, both[1].ends_at), (2, first[0].id, None));
    assert_eq!(signing_keys::list(&db, now + TimeDelta::seconds(60)).await.unwrap(), both[1..]);
}
