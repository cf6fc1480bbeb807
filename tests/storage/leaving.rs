//! What goes with somebody who leaves, and what others keep.

use std::time::Duration;

use chrono::{DateTime, Utc};
use folio::clock::Clock;
use folio::ids::{SessionId, UserId, v7};
use folio::storage::accounts::{self, NewAccount, State};
use folio::storage::audit::{self, Incident};
use folio::storage::db::Db;
use folio::storage::mails::{self, Letter};
use folio::storage::sessions::{self, Session};
use folio::storage::{leaving, second_factors};
use serde_json::json;

use crate::on_both_engines;
use crate::support::engines::Fresh;

on_both_engines! {
    what_somebody_leaves_behind_names_nobody
    a_removal_that_was_cut_short_is_gone_on_with
    whoever_came_back_or_has_time_left_keeps_everything
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn enrol(db: &Db, clock: &Clock, name: &str) -> UserId {
    let account = NewAccount {
        id: UserId::new(clock),
        name: name.to_owned(),
        name_folded: name.to_owned(),
        name_skeleton: name.to_owned(),
        email: Some(format!("{name}@example.org")),
        email_folded: Some(format!("{name}@example.org")),
        password: "hash".to_owned(),
        role: "moderator".to_owned(),
        display_name: name.to_owned(),
        age: None,
        created_at: clock.now(),
    };
    let mut tx = db.begin().await.unwrap();
    accounts::insert(&mut tx, &account).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    account.id
}

/// Sessions, letters, incidents: more of each than go at a time.
async fn live(db: &Db, clock: &Clock, user: UserId, other: UserId) {
    let now = clock.now();
    let mut tx = db.begin().await.unwrap();
    for number in 0..50_u8 {
        let (device, address) = ("Ada's telephone".to_owned(), "192.0.2.1".to_owned());
        let session = Session {
            id: SessionId::new(clock),
            user_id: user,
            device,
            address,
            created_at: now,
            seen_at: now,
            ends_at: now + DAY * 90,
        };
        sessions::insert(&mut tx, &session).await.unwrap();
        sessions::insert_refresh(&mut tx, [number; 32], session.id, now, now + DAY * 7).await.unwrap();
        if number % 2 == 0 {
            sessions::end(&mut tx, user, session.id, "logout", now).await.unwrap();
        }
    }
    for number in 0..450 {
        let (whose, by) = if number % 3 == 0 { (other, user) } else { (user, user) };
        let incident = Incident {
            id: v7(clock),
            user_id: Some(whose),
            actor_id: Some(by.0),
            what: "something".to_owned(),
            address: "192.0.2.1".to_owned(),
            device: "Ada's telephone".to_owned(),
            detail: json!({ "name": "ada" }),
            created_at: now,
        };
        audit::append(&mut tx, &incident).await.unwrap();
    }
    let recipient = "ada@example.org".to_owned();
    let (subject, body) = ("Hello".to_owned(), "ada".to_owned());
    let letter = Letter { id: v7(clock), user_id: Some(user), recipient, subject, body, created_at: now };
    mails::append(&mut tx, &letter).await.unwrap();
    second_factors::begin(&mut tx, user, vec![1; 48]).await.unwrap();
    for (one, two) in [(user, other), (other, user)] {
        let stmt = tx.sql("INSERT INTO blocks (user_id, blocked_id, created_at) VALUES ($1, $2, $3)");
        stmt.bind(one).bind(two).bind(now).execute().await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn leave(db: &Db, user: UserId, after: DateTime<Utc>, now: DateTime<Utc>) {
    let mut tx = db.begin().await.unwrap();
    accounts::set_state(&mut tx, user, State::Deleting, Some(after), now).await.unwrap();
    tx.commit().await.unwrap();
}

async fn begin(db: &Db, user: UserId, now: DateTime<Utc>) -> Option<String> {
    let mut tx = db.begin().await.unwrap();
    let name = leaving::begin(&mut tx, user, now, now + DAY * 30).await.unwrap();
    tx.commit().await.unwrap();
    name
}

async fn count(db: &Db, table: &'static str) -> i64 {
    let text = match table {
        "sessions" => "SELECT COUNT(*) FROM sessions",
        "refresh_tokens" => "SELECT COUNT(*) FROM refresh_tokens",
        "mails" => "SELECT COUNT(*) FROM mails",
        "blocks" => "SELECT COUNT(*) FROM blocks",
        "profiles" => "SELECT COUNT(*) FROM profiles",
        "preferences" => "SELECT COUNT(*) FROM preferences",
        "second_factors" => "SELECT COUNT(*) FROM second_factors",
        "named" => "SELECT COUNT(*) FROM audit WHERE address <> '' OR device <> '' OR actor_id IS NOT NULL",
        _ => "SELECT COUNT(*) FROM audit",
    };
    let (count,): (i64,) = db.sql(text).one().await.unwrap();
    count
}

async fn what_somebody_leaves_behind_names_nobody(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob) = (enrol(&db, &clock, "ada").await, enrol(&db, &clock, "bob").await);
    live(&db, &clock, ada, bob).await;
    let now = clock.now();
    leave(&db, ada, now, now).await;
    assert_eq!(leaving::due(&db, now, 10).await.unwrap(), [ada]);
    assert_eq!(begin(&db, ada, now).await.as_deref(), Some("ada"));
    assert_eq!(begin(&db, ada, now).await, None, "told once");
    let mut pieces = 0;
    while leaving::go_on(&db, ada).await.unwrap() {
        pieces += 1;
    }
    assert!(pieces > 1, "in pieces");
    assert_eq!(leaving::due(&db, now + DAY, 10).await.unwrap(), []);
    for (table, left) in [
        ("sessions", 0),
        ("refresh_tokens", 0),
        ("mails", 0),
        ("blocks", 0),
        ("second_factors", 0),
        ("profiles", 1),
        ("preferences", 1),
        ("named", 0),
        ("audit", 450),
    ] {
        assert_eq!(count(&db, table).await, left, "{table}");
    }
    let gone = accounts::find_by_id(&db, ada).await.unwrap().unwrap();
    assert_eq!((gone.name.as_str(), gone.email, gone.password.as_str()), (leaving::NAME, None, ""));
    assert_eq!((gone.state, gone.role.as_str()), (State::Deleted, "user"));
    assert!(accounts::find_by_name(&db, "ada").await.unwrap().is_none());
    assert_eq!(audit::list(&db, Some(bob), None, 1_000).await.unwrap().len(), 150, "bob's history is his");
    let other = accounts::find_by_id(&db, bob).await.unwrap().unwrap();
    assert_eq!((other.name.as_str(), other.state), ("bob", State::Active));
    db.close().await;
}

async fn a_removal_that_was_cut_short_is_gone_on_with(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob) = (enrol(&db, &clock, "ada").await, enrol(&db, &clock, "bob").await);
    live(&db, &clock, ada, bob).await;
    let now = clock.now();
    leave(&db, ada, now, now).await;
    begin(&db, ada, now).await;
    leaving::go_on(&db, ada).await.unwrap();
    db.close().await;
    let db = fresh.open().await;
    assert_eq!(leaving::due(&db, now, 10).await.unwrap(), [ada], "the row says that it is not all gone");
    let (one, two) = tokio::join!(async { while leaving::go_on(&db, ada).await.unwrap() {} }, async {
        while leaving::go_on(&db, ada).await.unwrap() {}
    });
    assert_eq!((one, two), ((), ()));
    assert_eq!((count(&db, "sessions").await, count(&db, "named").await), (0, 0));
    assert_eq!(leaving::due(&db, now, 10).await.unwrap(), []);
    db.close().await;
}

async fn whoever_came_back_or_has_time_left_keeps_everything(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob) = (enrol(&db, &clock, "ada").await, enrol(&db, &clock, "bob").await);
    live(&db, &clock, ada, bob).await;
    let now = clock.now();
    leave(&db, ada, now + DAY, now).await;
    assert_eq!((leaving::due(&db, now, 10).await.unwrap().len(), begin(&db, ada, now).await), (0, None));
    assert!(!leaving::go_on(&db, ada).await.unwrap());
    let mut tx = db.begin().await.unwrap();
    accounts::set_state(&mut tx, ada, State::Active, None, now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(begin(&db, ada, now + DAY * 2).await, None);
    assert!(!leaving::go_on(&db, ada).await.unwrap());
    assert_eq!((count(&db, "sessions").await, count(&db, "profiles").await), (50, 2));
    db.close().await;
}
