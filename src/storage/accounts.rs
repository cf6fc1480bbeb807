//! Who is here, how they sign in, and which names are taken.
//!
//! A row is changed under its own lock: [`lock`] first, then decide, then write.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;

use super::db::{Db, Sql, Tx};
use crate::error::{Error, Result};
use crate::ids::UserId;

/// Whether somebody may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Yes.
    Active,
    /// They have left for a while; signing in brings them back.
    Deactivated,
    /// They are kept out.
    Banned,
    /// They are leaving for good, and can still come back.
    Deleting,
    /// They are gone; what others need of them says "deleted user".
    Deleted,
}

impl State {
    /// The word for it in rows.
    pub const fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Deactivated => "deactivated",
            State::Banned => "banned",
            State::Deleting => "deleting",
            State::Deleted => "deleted",
        }
    }
}

impl TryFrom<String> for State {
    type Error = Error;

    fn try_from(name: String) -> Result<State> {
        let all = [State::Active, State::Deactivated, State::Banned, State::Deleting, State::Deleted];
        all.into_iter().find(|it| it.name() == name).ok_or_else(|| Error::internal(format!("a state called {name}")))
    }
}

/// Somebody who is registered.
#[derive(Clone, FromRow)]
pub struct Account {
    /// Who.
    pub id: UserId,
    /// What they are called.
    pub name: String,
    /// Where mail reaches them, if they said so.
    pub email: Option<String>,
    /// Since when it is known that it does.
    pub email_confirmed_at: Option<DateTime<Utc>>,
    /// The hash of their password, with the name of its scheme.
    pub password: String,
    /// The word for their role.
    pub role: String,
    /// Whether they may come in.
    #[sqlx(try_from = "String")]
    pub state: State,
    /// Access tokens that carry a smaller number are void.
    pub grants: i64,
    /// When they are gone for good, if they are leaving.
    pub delete_after: Option<DateTime<Utc>>,
    /// When they registered.
    pub created_at: DateTime<Utc>,
}

impl Account {
    /// Whether the right password lets them in: not who is kept out, and not who is gone.
    pub fn may_return(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            State::Active | State::Deactivated => true,
            State::Deleting => self.delete_after.is_none_or(|it| it > now),
            State::Banned | State::Deleted => false,
        }
    }
}

/// Somebody who registers.
#[derive(Clone)]
pub struct NewAccount {
    /// Who.
    pub id: UserId,
    /// What they are called, as it is shown.
    pub name: String,
    /// The same as it is looked up.
    pub name_folded: String,
    /// The same as it looks.
    pub name_skeleton: String,
    /// Where mail reaches them.
    pub email: Option<String>,
    /// The same as it is looked up.
    pub email_folded: Option<String>,
    /// The hash of their password.
    pub password: String,
    /// The word for their role.
    pub role: String,
    /// What stands above their profile.
    pub display_name: String,
    /// How old they are, if they said so.
    pub age: Option<i64>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// What keeps an account from being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Somebody is called so, or so much alike that nobody could tell.
    Name,
    /// Somebody gets mail there.
    Email,
}

/// Makes an account with its name, an empty profile and empty preferences. What is taken ends the transaction.
pub async fn insert(tx: &mut Tx<'_>, it: &NewAccount) -> Result<Result<(), Taken>> {
    if !take_name(tx, it.id, &it.name_folded, &it.name_skeleton, it.created_at).await? {
        return Ok(Err(Taken::Name));
    }
    let inserted = tx
        .sql(
            "INSERT INTO users (id, name, name_folded, email, email_folded, password, role, state, grants, created_at,
                                updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', 1, $8, $8)
             ON CONFLICT (email_folded) DO NOTHING",
        )
        .bind(it.id)
        .bind(it.name.clone())
        .bind(it.name_folded.clone())
        .bind(it.email.clone())
        .bind(it.email_folded.clone())
        .bind(it.password.clone())
        .bind(it.role.clone())
        .bind(it.created_at)
        .execute()
        .await?;
    if inserted == 0 {
        return Ok(Err(Taken::Email));
    }
    tx.sql(
        "INSERT INTO profiles (user_id, version, display_name, headline, bio, location, age, links, expertise, contact,
                               updated_at)
         VALUES ($1, 1, $2, '', '', '', $3, $4, $4, $4, $5)",
    )
    .bind(it.id)
    .bind(it.display_name.clone())
    .bind(it.age)
    .bind(Json(serde_json::json!([])))
    .bind(it.created_at)
    .execute()
    .await?;
    tx.sql("INSERT INTO preferences (user_id, version, body, updated_at) VALUES ($1, 1, $2, $3)")
        .bind(it.id)
        .bind(Json(serde_json::json!({})))
        .bind(it.created_at)
        .execute()
        .await?;
    Ok(Ok(()))
}

/// Takes a name for somebody, unless it is another's; former names are free again when their time is over.
pub async fn take_name(
    tx: &mut Tx<'_>,
    user: UserId,
    folded: &str,
    skeleton: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    tx.sql("DELETE FROM names WHERE (folded = $1 OR skeleton = $2) AND (free_after <= $3 OR user_id = $4)")
        .bind(folded.to_owned())
        .bind(skeleton.to_owned())
        .bind(now)
        .bind(user)
        .execute()
        .await?;
    let taken = tx
        .sql("INSERT INTO names (folded, skeleton, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(folded.to_owned())
        .bind(skeleton.to_owned())
        .bind(user)
        .execute()
        .await?;
    Ok(taken == 1)
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, email, email_confirmed_at, password, role, state, grants, delete_after, created_at
               FROM users ",
            $rest
        )
    };
}

/// Finds somebody by id.
pub async fn find_by_id(db: &Db, id: UserId) -> Result<Option<Account>> {
    Ok(db.sql(select!("WHERE id = $1")).bind(id).optional().await?)
}

/// Finds somebody by what they are called now, folded.
pub async fn find_by_name(db: &Db, folded: &str) -> Result<Option<Account>> {
    Ok(db.sql(select!("WHERE name_folded = $1")).bind(folded.to_owned()).optional().await?)
}

/// Finds somebody by where mail reaches them, folded.
pub async fn find_by_email(db: &Db, folded: &str) -> Result<Option<Account>> {
    Ok(db.sql(select!("WHERE email_folded = $1")).bind(folded.to_owned()).optional().await?)
}

/// Reads somebody in a transaction, without keeping others from changing them.
pub async fn read(tx: &mut Tx<'_>, id: UserId) -> Result<Option<Account>> {
    Ok(tx.sql(select!("WHERE id = $1")).bind(id).optional().await?)
}

/// Reads somebody and keeps everybody else from changing them until the transaction ends.
pub async fn lock(tx: &mut Tx<'_>, id: UserId) -> Result<Option<Account>> {
    // SQLite holds the whole file already.
    let text = Sql::Split { sqlite: select!("WHERE id = $1"), postgres: select!("WHERE id = $1 FOR UPDATE") };
    Ok(tx.sql(text).bind(id).optional().await?)
}

/// Sets a password. Tokens stay good: call [`void_tokens`] where they should not.
pub async fn set_password(tx: &mut Tx<'_>, id: UserId, password: &str, now: DateTime<Utc>) -> Result<()> {
    let stmt = tx.sql("UPDATE users SET password = $2, updated_at = $3 WHERE id = $1").bind(id);
    stmt.bind(password.to_owned()).bind(now).execute().await?;
    Ok(())
}

/// Sets a role.
pub async fn set_role(tx: &mut Tx<'_>, id: UserId, role: &str, now: DateTime<Utc>) -> Result<()> {
    let stmt = tx.sql("UPDATE users SET role = $2, updated_at = $3 WHERE id = $1").bind(id);
    stmt.bind(role.to_owned()).bind(now).execute().await?;
    Ok(())
}

/// Sets whether somebody may come in, and when they are gone for good.
pub async fn set_state(
    tx: &mut Tx<'_>,
    id: UserId,
    state: State,
    delete_after: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<()> {
    tx.sql("UPDATE users SET state = $2, delete_after = $3, updated_at = $4 WHERE id = $1")
        .bind(id)
        .bind(state.name())
        .bind(delete_after)
        .bind(now)
        .execute()
        .await?;
    Ok(())
}

/// Notes that mail does reach somebody.
pub async fn set_email_confirmed(tx: &mut Tx<'_>, id: UserId, now: DateTime<Utc>) -> Result<()> {
    let text = "UPDATE users SET email_confirmed_at = $2, updated_at = $2 WHERE id = $1";
    tx.sql(text).bind(id).bind(now).execute().await?;
    Ok(())
}

/// Sets where mail reaches somebody, known since `confirmed_at`. False where another gets mail there.
pub async fn set_email(
    tx: &mut Tx<'_>,
    id: UserId,
    (shown, folded): (&str, &str),
    confirmed_at: DateTime<Utc>,
) -> Result<bool> {
    let set = tx
        .sql(
            "UPDATE users SET email = $2, email_folded = $3, email_confirmed_at = $4, updated_at = $4
              WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM users AS other WHERE other.email_folded = $3 AND other.id <> $1)",
        )
        .bind(id)
        .bind(shown.to_owned())
        .bind(folded.to_owned())
        .bind(confirmed_at)
        .execute()
        .await?;
    Ok(set == 1)
}

/// Counts the grants up: access tokens made before are void. Gives the new number, for a revocation.
pub async fn void_tokens(tx: &mut Tx<'_>, id: UserId) -> Result<i64> {
    let (grants,) =
        tx.sql("UPDATE users SET grants = grants + 1 WHERE id = $1 RETURNING grants").bind(id).one().await?;
    Ok(grants)
}
