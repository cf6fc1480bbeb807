//! Names that are taken: the present one of each user, and former ones until they are free again.
//!
//! One table holds both, so that two who want the same name at once meet in its keys: one by how names are compared,
//! one by how they look.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// Whose a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Holder {
    /// The user.
    pub user_id: UserId,
    /// When it is free again; none while it is their present name.
    pub free_after: Option<DateTime<Utc>>,
}

/// Finds whose a name is, as their present or a former one.
pub async fn find(db: &Db, folded: &str, now: DateTime<Utc>) -> Result<Option<Holder>> {
    let text = "SELECT user_id, free_after FROM names WHERE folded = $1";
    let holder: Option<Holder> = db.sql(text).bind(folded.to_owned()).optional().await?;
    Ok(holder.filter(|it| it.free_after.is_none_or(|free| free > now)))
}

/// Turns somebody's present name into a former one. Tells whether there was one.
pub async fn leave(tx: &mut Tx<'_>, user: UserId, free_after: DateTime<Utc>) -> Result<bool> {
    let text = "UPDATE names SET free_after = $2 WHERE user_id = $1 AND free_after IS NULL";
    Ok(tx.sql(text).bind(user).bind(free_after).execute().await? == 1)
}
