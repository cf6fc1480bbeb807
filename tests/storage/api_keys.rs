//! Keys of services: how many are good, what ends them, what is noted of their use.

use chrono::TimeDelta;
use folio::actors::auth::api_keys::add;
use folio::actors::auth::{Hand, NewKey, Scope};
use folio::clock::Clock;
use folio::error::{Error, Result};
use folio::ids::KeyId;
use folio::storage::api_keys::{ApiKey, changed, good, list, note_uses, revoke};
use folio::storage::audit;
use folio::storage::db::Db;

use crate::support::engines::Fresh;

crate::on_both_engines! {
    a_key_is_good_until_it_ends_or_is_revoked
    no_more_keys_are_good_at_a_time_than_are_allowed
    keys_that_are_made_at_once_are_counted_one_after_the_other
    the_last_use_is_kept_whoever_notes_it
    making_and_revoking_is_noted_without_the_key
}

async fn makes(db: &Db, clock: &Clock, lives: Option<TimeDelta>, keys_max: usize) -> Result<(String, ApiKey)> {
    let ends_at = lives.map(|it| clock.now() + it);
    let asked = NewKey { name: "chat".into(), scopes: vec![Scope::UsersRead, Scope::ProfilesRead], ends_at };
    let mut tx = db.begin().await?;
    let made = add(&mut tx, clock, asked, &Hand::command_line(), keys_max).await?;
    tx.commit().await?;
    Ok((made.key, made.kept))
}

async fn revokes(db: &Db, clock: &Clock, id: KeyId) -> Result<bool> {
    let mut tx = db.begin().await?;
    let ended = revoke(&mut tx, id, clock.now()).await?;
    tx.commit().await?;
    Ok(ended)
}

async fn a_key_is_good_until_it_ends_or_is_revoked(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::system());
    let (_, lasting) = makes(&db, &clock, None, 9).await.unwrap();
    let (_, ending) = makes(&db, &clock, Some(TimeDelta::hours(1)), 9).await.unwrap();
    let now = clock.now();
    assert_eq!(good(&db, now).await.unwrap().len(), 2);
    assert_eq!(good(&db, now + TimeDelta::hours(2)).await.unwrap(), std::slice::from_ref(&lasting));
    assert_eq!(revokes(&db, &clock, lasting.id).await, Ok(true));
    assert_eq!(revokes(&db, &clock, lasting.id).await, Ok(false), "once is enough");
    assert_eq!(revokes(&db, &clock, KeyId::new(&clock)).await, Err(Error::NotFound("key")));
    assert_eq!(good(&db, now).await.unwrap(), std::slice::from_ref(&ending));
    let since = changed(&db, clock.now() - TimeDelta::minutes(1)).await.unwrap();
    assert!(since.iter().any(|it| it.id == lasting.id && it.revoked_at.is_some()), "{since:?}");
    let all = list(&db, None, 9).await.unwrap();
    assert_eq!(all.iter().map(|it| it.id).collect::<Vec<_>>(), [ending.id, lasting.id], "the newest first");
    assert_eq!(list(&db, Some(ending.id), 9).await.unwrap().len(), 1);
}

async fn no_more_keys_are_good_at_a_time_than_are_allowed(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::system());
    let (_, first) = makes(&db, &clock, None, 2).await.unwrap();
    makes(&db, &clock, None, 2).await.unwrap();
    assert_eq!(makes(&db, &clock, None, 2).await.map_err(|it| it.code()).unwrap_err(), "too_many_keys");
    revokes(&db, &clock, first.id).await.unwrap();
    makes(&db, &clock, None, 2).await.unwrap();
}

async fn keys_that_are_made_at_once_are_counted_one_after_the_other(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::system());
    let made = futures_util::future::join_all((0..8).map(|_| makes(&db, &clock, None, 3))).await;
    assert_eq!(made.iter().filter(|it| it.is_ok()).count(), 3, "{made:?}");
}

async fn the_last_use_is_kept_whoever_notes_it(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::system());
    let (_, key) = makes(&db, &clock, None, 9).await.unwrap();
    let (early, late) = (clock.now(), clock.now() + TimeDelta::minutes(5));
    note_uses(&db, vec![(key.id, late)]).await.unwrap();
    note_uses(&db, vec![(key.id, early), (KeyId::new(&clock), early)]).await.unwrap();
    assert_eq!(list(&db, None, 9).await.unwrap()[0].used_at, Some(late));
}

async fn making_and_revoking_is_noted_without_the_key(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::system());
    let (key, kept) = makes(&db, &clock, None, 9).await.unwrap();
    let noted = audit::list(&db, None, None, 9).await.unwrap();
    assert_eq!((noted.len(), noted[0].what.as_str()), (1, "key.made"));
    let secret = key.rsplit_once('_').unwrap().1;
    let (row, note) = (format!("{kept:?}"), format!("{noted:?}"));
    assert!(!row.contains(secret) && !note.contains(secret), "{row} {note}");
}
