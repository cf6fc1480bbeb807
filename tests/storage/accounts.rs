//! Accounts and the names that are taken, on both engines.

use chrono::TimeDelta;
use folio::actors::users::names::Name;
use folio::clock::Clock;
use folio::ids::UserId;
use folio::storage::accounts::{self, NewAccount, State, Taken};
use folio::storage::db::Db;

use crate::on_both_engines;
use crate::support::engines::Fresh;

on_both_engines! {
    an_account_is_found_by_every_name_it_has
    a_name_or_an_address_is_one_persons
    a_former_name_is_free_again_when_its_time_is_over
    what_is_changed_is_changed_for_one
    grants_only_count_up
}

fn somebody(clock: &Clock, name: &str, email: Option<&str>) -> NewAccount {
    let name = Name::read(name).unwrap();
    NewAccount {
        id: UserId::new(clock),
        name: name.shown.clone(),
        name_folded: name.folded,
        name_skeleton: name.skeleton,
        email: email.map(str::to_owned),
        email_folded: email.map(str::to_lowercase),
        password: "hash".to_owned(),
        role: "user".to_owned(),
        display_name: name.shown,
        age: Some(36),
        created_at: clock.now(),
    }
}

async fn insert(db: &Db, it: &NewAccount) -> Result<(), Taken> {
    let mut tx = db.begin().await.unwrap();
    let inserted = accounts::insert(&mut tx, it).await.unwrap();
    if inserted.is_ok() {
        tx.commit().await.unwrap();
    }
    inserted
}

async fn an_account_is_found_by_every_name_it_has(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let ada = somebody(&clock, "Ada", Some("Ada@example.org"));
    insert(&db, &ada).await.unwrap();
    insert(&db, &somebody(&clock, "bob", None)).await.unwrap();
    insert(&db, &somebody(&clock, "eve", None)).await.unwrap();
    for found in [
        accounts::find_by_id(&db, ada.id).await,
        accounts::find_by_name(&db, "ada").await,
        accounts::find_by_email(&db, "ada@example.org").await,
    ] {
        let found = found.unwrap().unwrap();
        assert_eq!((found.id, found.name.as_str(), found.email.as_deref()), (ada.id, "Ada", Some("Ada@example.org")));
        assert_eq!((found.state, found.grants, found.created_at), (State::Active, 1, ada.created_at));
    }
    assert!(accounts::find_by_name(&db, "Ada").await.unwrap().is_none(), "it is looked up as it is folded");
    let text = "SELECT display_name, age, version FROM profiles WHERE user_id = $1";
    let profile: (String, i64, i64) = db.sql(text).bind(ada.id).one().await.unwrap();
    assert_eq!(profile, ("Ada".to_owned(), 36, 1));
}

async fn a_name_or_an_address_is_one_persons(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    insert(&db, &somebody(&clock, "bill", Some("bill@example.org"))).await.unwrap();
    for name in ["bill", "BILL", "bi1l"] {
        assert_eq!(insert(&db, &somebody(&clock, name, None)).await, Err(Taken::Name), "{name}");
    }
    assert_eq!(insert(&db, &somebody(&clock, "will", Some("BILL@example.org"))).await, Err(Taken::Email));
    assert_eq!(insert(&db, &somebody(&clock, "will", Some("will@example.org"))).await, Ok(()), "nothing was left");
}

async fn a_former_name_is_free_again_when_its_time_is_over(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    insert(&db, &somebody(&clock, "ada", None)).await.unwrap();
    let ends = clock.now() + TimeDelta::days(30);
    db.write("UPDATE names SET free_after = $1").bind(ends).execute().await.unwrap();
    assert_eq!(insert(&db, &somebody(&clock, "ada", None)).await, Err(Taken::Name));
    clock.advance(std::time::Duration::from_secs(30 * 24 * 3_600));
    assert_eq!(insert(&db, &somebody(&clock, "ada", None)).await, Ok(()));
}

async fn what_is_changed_is_changed_for_one(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob) = (somebody(&clock, "ada", Some("a@example.org")), somebody(&clock, "bob", Some("b@example.org")));
    insert(&db, &ada).await.unwrap();
    insert(&db, &bob).await.unwrap();
    let (now, mut tx) = (clock.now(), db.begin().await.unwrap());
    accounts::set_password(&mut tx, ada.id, "other", now).await.unwrap();
    accounts::set_role(&mut tx, ada.id, "seller", now).await.unwrap();
    accounts::set_state(&mut tx, ada.id, State::Deleting, Some(now), now).await.unwrap();
    assert!(!accounts::set_email(&mut tx, ada.id, ("B@example.org", "b@example.org"), now).await.unwrap());
    assert!(accounts::set_email(&mut tx, ada.id, ("C@example.org", "c@example.org"), now).await.unwrap());
    tx.commit().await.unwrap();
    let found = accounts::find_by_email(&db, "c@example.org").await.unwrap().unwrap();
    assert_eq!((found.id, found.password.as_str(), found.role.as_str()), (ada.id, "other", "seller"));
    assert_eq!((found.state, found.delete_after, found.email_confirmed_at), (State::Deleting, Some(now), Some(now)));
    let other = accounts::find_by_id(&db, bob.id).await.unwrap().unwrap();
    assert_eq!((other.password.as_str(), other.role.as_str(), other.state), ("hash", "user", State::Active));
}

async fn grants_only_count_up(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let ada = somebody(&clock, "ada", None);
    insert(&db, &ada).await.unwrap();
    for expected in 2..5 {
        let mut tx = db.begin().await.unwrap();
        assert_eq!(accounts::void_tokens(&mut tx, ada.id).await, Ok(expected));
        tx.commit().await.unwrap();
    }
}
