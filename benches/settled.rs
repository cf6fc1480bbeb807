//! People as they stand in the database, written past everything that asks for a password.

use folio::clock::Clock;
use folio::error::Result;
use folio::ids::UserId;
use folio::storage::db::Db;
use serde_json::json;
use sqlx::types::Json;

const BATCH: usize = 2_000;

/// What the nth is called.
pub fn name(nth: usize) -> String {
    format!("talker{nth:06}")
}

/// Writes so many people.
pub async fn people(db: &Db, clock: &Clock, count: usize) -> Result<Vec<UserId>> {
    let people: Vec<(String, UserId)> = (0..count).map(|nth| (name(nth), UserId::new(clock))).collect();
    for batch in people.chunks(BATCH) {
        insert(db, clock, batch).await?;
    }
    Ok(people.into_iter().map(|it| it.1).collect())
}

async fn insert(db: &Db, clock: &Clock, people: &[(String, UserId)]) -> Result<()> {
    let (now, mut tx) = (clock.now(), db.begin().await?);
    let head = "INSERT INTO users (id, name, name_folded, email, email_folded, password, role, state, grants,
                                   created_at, updated_at)";
    tx.insert_rows(head, "", 11, people, |stmt, (name, id)| {
        let email = format!("{name}@example.org");
        let stmt = stmt.bind(*id).bind(name.clone()).bind(name.clone()).bind(email.clone()).bind(email);
        stmt.bind("none").bind("user").bind("active").bind(1_i64).bind(now).bind(now)
    })
    .await?;
    let head = "INSERT INTO profiles (user_id, version, display_name, headline, bio, location, links, expertise,
                                      contact, updated_at)";
    let none = || Json(json!([]));
    tx.insert_rows(head, "", 10, people, |stmt, (name, id)| {
        let stmt = stmt.bind(*id).bind(1_i64).bind(name.clone()).bind("").bind("").bind("");
        stmt.bind(none()).bind(none()).bind(none()).bind(now)
    })
    .await?;
    Ok(tx.commit().await?)
}
