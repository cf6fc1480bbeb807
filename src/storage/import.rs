//! People who come from elsewhere, many at a time.

use std::collections::HashSet;

use serde_json::json;
use sqlx::types::Json;

use super::accounts::NewAccount;
use super::db::{Db, Engine, Sql, Tx};
use crate::error::{Error, Result};

/// How often a batch is tried while others take the same names.
const TRIES: u32 = 3;

/// `$1` as a table of words.
const WORDS: Sql = Sql::Split {
    sqlite: "SELECT value FROM json_each($1)",
    postgres: "SELECT json_array_elements_text(CAST($1 AS JSON))",
};

/// Adds those whose name and email nobody has, in one transaction, and tells how many they are. Without `really`
/// nothing is kept.
pub async fn add(db: &Db, people: &[NewAccount], really: bool) -> Result<usize> {
    let mut tries = 1;
    loop {
        match add_once(db, people, really).await {
            // Somebody took one of the names meanwhile.
            Err(Error::Conflict { .. }) if tries < TRIES => tries += 1,
            added => return added,
        }
    }
}

async fn add_once(db: &Db, people: &[NewAccount], really: bool) -> Result<usize> {
    let (engine, mut tx) = (db.engine(), db.begin().await?);
    let mut names =
        taken((&mut tx, engine), "folded FROM names", "folded", people.iter().map(|it| &it.name_folded)).await?;
    let mut looks =
        taken((&mut tx, engine), "skeleton FROM names", "skeleton", people.iter().map(|it| &it.name_skeleton)).await?;
    let emails = people.iter().filter_map(|it| it.email_folded.as_ref());
    let mut emails = taken((&mut tx, engine), "email_folded FROM users", "email_folded", emails).await?;
    let mut is_new = |it: &&NewAccount| {
        let has = names.contains(&it.name_folded) || looks.contains(&it.name_skeleton);
        let new = !has && it.email_folded.as_ref().is_none_or(|email| !emails.contains(email));
        if new {
            names.insert(it.name_folded.clone());
            looks.insert(it.name_skeleton.clone());
            emails.extend(it.email_folded.clone());
        }
        new
    };
    let new: Vec<&NewAccount> = people.iter().filter(|it| is_new(it)).collect();
    if really {
        write(&mut tx, &new).await?;
        tx.commit().await?;
    }
    Ok(new.len())
}

/// Which of some words are there already.
async fn taken<'a>(
    (tx, engine): (&mut Tx<'_>, Engine),
    what: &str,
    column: &str,
    words: impl Iterator<Item = &'a String>,
) -> Result<HashSet<String>> {
    let words = serde_json::to_string(&words.collect::<Vec<_>>()).map_err(Error::internal)?;
    let text = format!("SELECT {what} WHERE {column} IN ({})", WORDS.text(engine).as_str());
    let rows: Vec<(String,)> = tx.sql(sqlx::AssertSqlSafe(text)).bind(words).all().await?;
    Ok(rows.into_iter().map(|it| it.0).collect())
}

async fn write(tx: &mut Tx<'_>, people: &[&NewAccount]) -> Result<()> {
    tx.insert_rows("INSERT INTO names (folded, skeleton, user_id)", "", 3, people, |stmt, it| {
        stmt.bind(it.name_folded.clone()).bind(it.name_skeleton.clone()).bind(it.id)
    })
    .await?;
    let head = "INSERT INTO users (id, name, name_folded, email, email_folded, password, role, state, grants,
                                   created_at, updated_at)";
    tx.insert_rows(head, "", 11, people, |stmt, it| {
        let stmt = stmt.bind(it.id).bind(it.name.clone()).bind(it.name_folded.clone());
        let stmt = stmt.bind(it.email.clone()).bind(it.email_folded.clone()).bind(it.password.clone());
        stmt.bind(it.role.clone()).bind("active").bind(1_i64).bind(it.created_at).bind(it.created_at)
    })
    .await?;
    let head = "INSERT INTO profiles (user_id, version, display_name, headline, bio, location, age, links, expertise,
                                      contact, updated_at)";
    tx.insert_rows(head, "", 11, people, |stmt, it| {
        let stmt = stmt.bind(it.id).bind(1_i64).bind(it.display_name.clone()).bind("").bind("").bind("").bind(it.age);
        let none = || Json(json!([]));
        stmt.bind(none()).bind(none()).bind(none()).bind(it.created_at)
    })
    .await?;
    tx.insert_rows("INSERT INTO preferences (user_id, version, body, updated_at)", "", 4, people, |stmt, it| {
        stmt.bind(it.id).bind(1_i64).bind(Json(json!({}))).bind(it.created_at)
    })
    .await?;
    Ok(())
}
