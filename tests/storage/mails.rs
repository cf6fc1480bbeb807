//! Letters: one node at a time has one, and none is lost.

use std::time::Duration;

use folio::clock::Clock;
use folio::ids::v7;
use folio::storage::db::Db;
use folio::storage::mails::{self, Letter};

use crate::on_both_engines;
use crate::support::engines::Fresh;
use crate::support::spawn;

on_both_engines! {
    a_letter_is_claimed_by_one_and_comes_back_when_that_one_dies
    what_was_decided_about_a_letter_stands
    a_letter_of_a_transaction_that_fails_was_never_written
}

const MINUTE: Duration = Duration::from_secs(60);

async fn write(db: &Db, clock: &Clock, recipient: &str) -> Letter {
    let (id, created_at) = (v7(clock), clock.now());
    let (recipient, subject, body) = (recipient.to_owned(), "Hello".to_owned(), "A link.".to_owned());
    let letter = Letter { id, user_id: None, recipient, subject, body, created_at };
    let mut tx = db.begin().await.unwrap();
    mails::append(&mut tx, &letter).await.unwrap();
    tx.commit().await.unwrap();
    letter
}

async fn a_letter_is_claimed_by_one_and_comes_back_when_that_one_dies(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    for _ in 0..5 {
        write(&db, &clock, "ada@example.org").await;
    }
    let now = clock.now();
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let db = db.clone();
            spawn(async move {
                let mut claimed = Vec::new();
                while let Some(it) = mails::claim(&db, now, now + MINUTE).await.unwrap() {
                    claimed.push(it.letter.id);
                }
                claimed
            })
        })
        .collect();
    let mut all = Vec::new();
    for node in nodes {
        all.extend(node.await.unwrap());
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(count, all.len(), "nobody else has it");
    while mails::claim(&db, now, now + MINUTE).await.unwrap().is_some() {}
    clock.advance(MINUTE);
    let now = clock.now();
    let again = mails::claim(&db, now, now + MINUTE).await.unwrap().expect("the claim has ended");
    assert_eq!(again.attempts, 2);
    db.close().await;
}

async fn what_was_decided_about_a_letter_stands(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let letter = write(&db, &clock, "ada@example.org").await;
    let claim = async || {
        let now = clock.now();
        mails::claim(&db, now, now + MINUTE).await.unwrap()
    };
    let late = claim().await.unwrap();
    clock.advance(MINUTE);
    let owner = claim().await.unwrap();
    mails::put_off(&db, &late, clock.now(), "slow").await.unwrap();
    assert_eq!(claim().await, None, "whoever lost its claim has no say");
    mails::put_off(&db, &owner, clock.now(), "busy").await.unwrap();
    let owner = claim().await.unwrap();
    mails::sent(&db, letter.id, clock.now()).await.unwrap();
    mails::refused(&db, &owner, clock.now(), "no").await.unwrap();
    clock.advance(MINUTE);
    assert_eq!(claim().await, None);
    let kept = mails::find(&db, letter.id).await.unwrap().unwrap();
    assert!(kept.sent_at.is_some() && kept.refused_at.is_none(), "{kept:?}");
    assert_eq!((kept.letter.body.as_str(), kept.attempts), ("", 3), "what was sent is not kept");
    let other = write(&db, &clock, "bob@example.org").await;
    let claimed = claim().await.unwrap();
    mails::refused(&db, &claimed, clock.now(), "550 nobody").await.unwrap();
    clock.advance(MINUTE);
    assert_eq!(claim().await, None);
    let listed = mails::list(&db, 10).await.unwrap();
    assert_eq!(listed.iter().map(|it| it.letter.id).collect::<Vec<_>>(), [other.id, letter.id]);
    assert_eq!(listed[0].error.as_deref(), Some("550 nobody"));
    assert!(listed.iter().all(|it| it.letter.body.is_empty()));
    db.close().await;
}

async fn a_letter_of_a_transaction_that_fails_was_never_written(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let letter = write(&db, &clock, "ada@example.org").await;
    let mut tx = db.begin().await.unwrap();
    let other = Letter { id: v7(&clock), ..letter };
    mails::append(&mut tx, &other).await.unwrap();
    drop(tx);
    assert_eq!(mails::find(&db, other.id).await.unwrap(), None);
    db.close().await;
}
