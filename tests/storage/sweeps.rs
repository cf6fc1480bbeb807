//! What has ended goes, what has not stays, and a large pile goes in pieces.

use std::time::Duration;

use chrono::{DateTime, Utc};
use folio::clock::Clock;
use folio::ids::{SessionId, UserId, v7};
use folio::storage::audit::{self, Incident};
use folio::storage::db::Db;
use folio::storage::mails::{self, Letter};
use folio::storage::revocations::{self, Revocation};
use folio::storage::sessions::{self, Session};
use folio::storage::sweeps::{Kind, PIECE, sweep};
use folio::storage::tickets::{self, Ticket};
use serde_json::json;

use crate::on_both_engines;
use crate::support::engines::Fresh;

on_both_engines! {
    what_has_ended_goes_and_nothing_else
    a_large_pile_goes_in_pieces_whoever_comes_first
}

const HOUR: Duration = Duration::from_secs(3_600);

/// One row of each kind, from now until an hour later.
async fn write(db: &Db, clock: &Clock, number: u8) {
    let (now, user_id) = (clock.now(), UserId::new(clock));
    let (ends_at, hash) = (now + HOUR, [number; 32]);
    let text = || "ada".to_owned();
    let mut tx = db.begin().await.unwrap();
    let id = SessionId::new(clock);
    let session = Session { id, user_id, device: text(), address: text(), created_at: now, seen_at: now, ends_at };
    sessions::insert(&mut tx, &session).await.unwrap();
    sessions::insert_refresh(&mut tx, hash, id, now, ends_at).await.unwrap();
    let hash = hash.to_vec();
    let ticket = Ticket { hash, user_id, purpose: text(), email: None, created_at: now, ends_at };
    tickets::insert(&mut tx, &ticket).await.unwrap();
    let (user_id, session_id) = (Some(user_id), Some(id));
    let cut = Revocation { id: v7(clock), session_id, user_id: None, grants: None, made_at: now, ends_at };
    revocations::insert(&mut tx, &cut).await.unwrap();
    let letter = Letter { id: v7(clock), user_id, recipient: text(), subject: text(), body: text(), created_at: now };
    mails::append(&mut tx, &letter).await.unwrap();
    let sent = Letter { id: v7(clock), ..letter };
    mails::append(&mut tx, &sent).await.unwrap();
    tx.sql("UPDATE mails SET sent_at = $2 WHERE id = $1").bind(sent.id).bind(now).execute().await.unwrap();
    let stmt = tx.sql("INSERT INTO signing_keys (id, created_at, ends_at) VALUES ($1, $2, $3)");
    stmt.bind(v7(clock)).bind(now).bind(ends_at).execute().await.unwrap();
    let name = format!("name-{number}");
    let stmt = tx.sql("INSERT INTO names (folded, skeleton, user_id, free_after) VALUES ($1, $1, $2, $3)");
    stmt.bind(name).bind(user_id).bind(ends_at).execute().await.unwrap();
    tx.commit().await.unwrap();
    note(db, clock, 1).await;
}

async fn note(db: &Db, clock: &Clock, count: usize) {
    let mut tx = db.begin().await.unwrap();
    for _ in 0..count {
        let (what, address, device) = ("something".to_owned(), String::new(), String::new());
        let (id, created_at, detail) = (v7(clock), clock.now(), json!({}));
        let incident = Incident { id, user_id: None, actor_id: None, what, address, device, detail, created_at };
        audit::append(&mut tx, &incident).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// What each kind is kept until: its own end, or an hour after it was written.
fn before(kind: Kind, now: DateTime<Utc>) -> DateTime<Utc> {
    if matches!(kind, Kind::Mails | Kind::UnsentMails | Kind::Audit) { now - HOUR } else { now }
}

async fn what_has_ended_goes_and_nothing_else(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    write(&db, &clock, 1).await;
    clock.advance(HOUR / 2);
    write(&db, &clock, 2).await;
    let round = async || {
        let mut gone = Vec::new();
        for kind in Kind::ALL {
            gone.push(sweep(&db, kind, before(kind, clock.now())).await.unwrap());
        }
        gone
    };
    assert_eq!(round().await, [0; 9]);
    clock.advance(HOUR / 2 + Duration::from_millis(1));
    assert_eq!(round().await, [1; 9], "{:?}", Kind::ALL);
    assert_eq!(round().await, [0; 9]);
    clock.advance(HOUR / 2);
    assert_eq!(round().await, [1; 9]);
    db.close().await;
}

async fn a_large_pile_goes_in_pieces_whoever_comes_first(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    note(&db, &clock, PIECE as usize * 2 + 7).await;
    clock.advance(HOUR);
    note(&db, &clock, 3).await;
    let node = async || {
        let mut gone = 0;
        loop {
            let piece = sweep(&db, Kind::Audit, clock.now() - HOUR / 2).await.unwrap();
            assert!(piece <= PIECE as u64);
            gone += piece;
            if piece == 0 {
                return gone;
            }
        }
    };
    let (one, two) = tokio::join!(node(), node());
    assert_eq!(one + two, PIECE as u64 * 2 + 7, "each row goes once");
    let (left,): (i64,) = db.sql("SELECT COUNT(*) FROM audit").one().await.unwrap();
    assert_eq!(left, 3);
    db.close().await;
}
