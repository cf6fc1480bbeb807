//! Accounts as those see them who run Folio.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::accounts::State;
use super::db::{Db, Sql, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// Somebody in the list.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Listed {
    /// Who.
    pub id: UserId,
    /// What they are called.
    pub name: String,
    /// The same as it is looked up; with the id, the place in the list.
    pub name_folded: String,
    /// Where mail reaches them.
    pub email: Option<String>,
    /// Since when it is known that it does.
    pub email_confirmed_at: Option<DateTime<Utc>>,
    /// The word for their role.
    pub role: String,
    /// Whether they may come in.
    #[sqlx(try_from = "String")]
    pub state: State,
    /// When they registered.
    pub created_at: DateTime<Utc>,
}

/// What the list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Narrowed {
    /// Folded names that begin so.
    pub prefix: String,
    /// Those alone who are in this state.
    pub state: Option<State>,
    /// Those alone who have the role of this word.
    pub role: Option<&'static str>,
}

/// Lists accounts by name from behind a place.
pub async fn list(db: &Db, to: &Narrowed, after: Option<(String, UserId)>, rows_max: usize) -> Result<Vec<Listed>> {
    // The words stand in the text, because indices of few rows are found by them alone. They are our own.
    let state = to.state.map(|it| format!("AND state = '{}'", it.name())).unwrap_or_default();
    let role = to.role.map(|it| format!("AND role = '{it}'")).unwrap_or_default();
    let text = format!(
        "SELECT id, name, name_folded, email, email_confirmed_at, role, state, created_at FROM users
          WHERE (name_folded, id) > ($1, $2) AND name_folded < $3 {state} {role}
          ORDER BY name_folded, id LIMIT $4"
    );
    // In the order of bytes nothing that begins with the prefix lies behind it and the last of all letters.
    let end = format!("{}\u{10FFFF}", to.prefix);
    let (name, id) = after.unwrap_or_else(|| (to.prefix.clone(), UserId(uuid::Uuid::nil())));
    let rows = db.sql(sqlx::AssertSqlSafe(text)).bind(name).bind(id).bind(end);
    Ok(rows.bind(i64::try_from(rows_max).unwrap_or(i64::MAX)).all().await?)
}

/// The admins who may come in, kept as they are until the transaction ends.
pub async fn lock_admins(tx: &mut Tx<'_>) -> Result<Vec<UserId>> {
    const TEXT: &str = "SELECT id FROM users WHERE role = 'admin' AND state = 'active' ORDER BY id";
    let locking = Sql::Split {
        // SQLite holds the whole file already.
        sqlite: TEXT,
        postgres: "SELECT id FROM users WHERE role = 'admin' AND state = 'active' ORDER BY id FOR UPDATE",
    };
    let rows: Vec<(UserId,)> = tx.sql(locking).all().await?;
    Ok(rows.into_iter().map(|it| it.0).collect())
}
