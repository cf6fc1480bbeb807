//! People in the tables: lists, names, blocks, and that no statement about them reads a whole table.

use std::time::Duration;

use folio::clock::Clock;
use folio::ids::UserId;
use folio::storage::db::{Db, Engine};
use folio::storage::users::{LIST, list};
use folio::storage::{accounts, blocks, names, profiles};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::accounts::{account, crowd, set_state};
use crate::support::engines::Fresh;

crate::on_both_engines! {
    a_list_goes_on_behind_its_last_place
    a_prefix_finds_those_whose_name_begins_so_and_nobody_else
    people_who_are_not_active_are_nobody
    of_those_who_want_one_name_at_once_one_gets_it
    a_former_name_is_its_owners_until_its_time_is_over
    a_block_stands_between_two_whoever_made_it
    nobody_blocks_more_people_than_they_may
    no_statement_about_people_reads_a_whole_table
}

async fn named(db: &Db, prefix: &str) -> Vec<String> {
    list(db, prefix, None, 100).await.unwrap().into_iter().map(|it| it.username).collect()
}

async fn a_list_goes_on_behind_its_last_place(fresh: &Fresh) {
    let db = fresh.open().await;
    crowd(&db, &["dora", "Ada", "carl", "Bob"].map(str::to_owned)).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = list(&db, "", after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.username_folded.clone(), last.user_id));
        seen.extend(page.into_iter().map(|it| it.username));
    }
    assert_eq!(seen, ["Ada", "Bob", "carl", "dora"]);
}

async fn a_prefix_finds_those_whose_name_begins_so_and_nobody_else(fresh: &Fresh) {
    let db = fresh.open().await;
    crowd(&db, &["ad", "ada", "adz9", "ae", "ac", "žofie", "žofka", "zofie"].map(str::to_owned)).await;
    assert_eq!(named(&db, "ad").await, ["ad", "ada", "adz9"]);
    assert_eq!(named(&db, "žof").await, ["žofie", "žofka"]);
    assert_eq!(named(&db, "ada%").await, [""; 0]);
    assert_eq!(named(&db, "").await.len(), 8);
}

async fn people_who_are_not_active_are_nobody(fresh: &Fresh) {
    let db = fresh.open().await;
    for state in ["deactivated", "banned", "deleting"] {
        let user = account(&db, state).await;
        assert!(profiles::find(&db, user).await.unwrap().is_some());
        set_state(&db, user, state).await;
        assert_eq!(profiles::find(&db, user).await.unwrap(), None, "{state}");
        assert_eq!(named(&db, "").await, [""; 0], "{state}");
    }
}

/// Gives a user another name, as a transaction of its own.
async fn take(db: &Db, user: UserId, name: &str, clock: &Clock) -> bool {
    let mut tx = db.begin().await.unwrap();
    names::leave(&mut tx, user, clock.now() + Duration::from_secs(60)).await.unwrap();
    let taken = accounts::take_name(&mut tx, user, name, name, clock.now()).await.unwrap();
    if taken {
        tx.commit().await.unwrap();
    }
    taken
}

async fn of_those_who_want_one_name_at_once_one_gets_it(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let users = crowd(&db, &(0..4).map(|it| format!("user{it}x")).collect::<Vec<_>>()).await;
    let all = users.iter().map(|user| take(&db, *user, "ada", &clock));
    let taken = futures_util::future::join_all(all).await;
    assert_eq!(taken.iter().filter(|it| **it).count(), 1, "{taken:?}");
    let holder = names::find(&db, "ada", clock.now()).await.unwrap().unwrap();
    assert_eq!((holder.user_id, holder.free_after), (users[taken.iter().position(|it| *it).unwrap()], None));
}

async fn a_former_name_is_its_owners_until_its_time_is_over(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob) = (account(&db, "ada").await, account(&db, "bob").await);
    assert!(take(&db, ada, "countess", &clock).await);
    assert!(!take(&db, bob, "ada", &clock).await, "it still leads to its owner");
    let holder = names::find(&db, "ada", clock.now()).await.unwrap().unwrap();
    assert_eq!((holder.user_id, holder.free_after.is_some()), (ada, true));
    assert!(take(&db, ada, "ada", &clock).await, "its owner may return");
    assert_eq!(names::find(&db, "ada", clock.now()).await.unwrap().unwrap().free_after, None);
    clock.advance(Duration::from_secs(61));
    assert_eq!(names::find(&db, "countess", clock.now()).await.unwrap(), None);
    assert!(take(&db, bob, "countess", &clock).await, "its time is over");
}

async fn a_block_stands_between_two_whoever_made_it(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (ada, bob, carl) = (account(&db, "ada").await, account(&db, "bob").await, account(&db, "carl").await);
    for _ in 0..2 {
        let mut tx = db.begin().await.unwrap();
        assert!(blocks::insert(&mut tx, ada, bob, clock.now(), 10).await.unwrap());
        tx.commit().await.unwrap();
    }
    for (one, other, stands) in [(ada, bob, true), (bob, ada, true), (ada, carl, false), (carl, bob, false)] {
        assert_eq!(blocks::between(&db, one, other).await.unwrap(), stands);
    }
    let listed = blocks::list(&db, ada, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|it| it.username.as_str()).collect::<Vec<_>>(), ["bob"]);
    assert_eq!(blocks::list(&db, ada, Some(bob), 10).await.unwrap(), []);
    for _ in 0..2 {
        let mut tx = db.begin().await.unwrap();
        blocks::delete(&mut tx, ada, bob).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert!(!blocks::between(&db, ada, bob).await.unwrap());
}

async fn nobody_blocks_more_people_than_they_may(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let [ada, bob, carl] = [account(&db, "ada").await, account(&db, "bob").await, account(&db, "carl").await];
    let mut tx = db.begin().await.unwrap();
    let mut block = async |other| blocks::insert(&mut tx, ada, other, clock.now(), 1).await.unwrap();
    assert_eq!((block(bob).await, block(bob).await, block(carl).await), (true, true, false));
}

async fn no_statement_about_people_reads_a_whole_table(fresh: &Fresh) {
    let db = fresh.open().await;
    let all: Vec<String> = (0..20_000).map(|it| format!("user{it:05}x")).collect();
    let ids = crowd(&db, &all).await;
    db.write("ANALYZE").execute().await.unwrap();
    let (nil, id) = (Uuid::nil(), ids[7].0);
    for (what, text, first, second, third) in [
        ("the first page of all", LIST, String::new(), nil, "\u{10FFFF}"),
        ("a page of all", LIST, "user10000x".to_owned(), id, "\u{10FFFF}"),
        ("a page of some", LIST, "user1".to_owned(), nil, "user1\u{10FFFF}"),
    ] {
        let explained = explain(&db, text, |stmt| stmt.bind(first).bind(second).bind(third).bind(21_i64)).await;
        assert_searches(what, &explained);
    }
    let explained = explain(&db, profiles::FIND, |stmt| stmt.bind(id)).await;
    assert_searches("one profile", &explained);
    for by in ["name_folded", "email_folded"] {
        let text = format!("SELECT id FROM users WHERE {by} = $1");
        let explained = explain(&db, &text, |stmt| stmt.bind("user10000x")).await;
        assert_searches(&format!("whoever signs in by {by}"), &explained);
    }
}

/// How an engine would run a statement.
async fn explain(
    db: &Db,
    text: &str,
    bind: impl for<'q> FnOnce(folio::storage::db::Stmt<'q>) -> folio::storage::db::Stmt<'q>,
) -> Vec<String> {
    match db.engine() {
        Engine::Sqlite => {
            let stmt = db.sql(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}")));
            let rows: Vec<(i64, i64, i64, String)> = bind(stmt).all().await.unwrap();
            rows.into_iter().map(|it| it.3).collect()
        }
        Engine::Postgres => {
            let rows: Vec<(String,)> = bind(db.sql(AssertSqlSafe(format!("EXPLAIN {text}")))).all().await.unwrap();
            rows.into_iter().map(|it| it.0).collect()
        }
    }
}

fn assert_searches(what: &str, explained: &[String]) {
    let scans = |it: &&String| {
        it.contains("Seq Scan") || it.contains("SCAN") || it.contains("Sort") || it.contains("TEMP B-TREE")
    };
    let scans: Vec<&String> = explained.iter().filter(scans).collect();
    assert!(scans.is_empty(), "{what} is not found by an index: {explained:#?}");
}
