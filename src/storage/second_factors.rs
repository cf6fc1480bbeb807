//! Second factors and the codes for the day the telephone is lost.
//!
//! The secret is sealed and the codes are hashed, both under keys that are not in the database: the tables alone let
//! nobody in.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// A second factor.
#[derive(Clone, Debug, FromRow)]
pub struct SecondFactor {
    /// The sealed secret.
    pub secret: Vec<u8>,
    /// Since when it is asked for; until then it is only being set up.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The last step whose code was used.
    pub last_step: i64,
}

/// Begins to set one up, in place of one that was never confirmed. False where one is confirmed.
pub async fn begin(tx: &mut Tx<'_>, user: UserId, secret: Vec<u8>) -> Result<bool> {
    let text = "INSERT INTO second_factors (user_id, secret, last_step) VALUES ($1, $2, 0)
                ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, last_step = 0
                 WHERE second_factors.confirmed_at IS NULL";
    Ok(tx.sql(text).bind(user).bind(secret).execute().await? == 1)
}

/// Finds the second factor of somebody.
pub async fn find(tx: &mut Tx<'_>, user: UserId) -> Result<Option<SecondFactor>> {
    let text = "SELECT secret, confirmed_at, last_step FROM second_factors WHERE user_id = $1";
    Ok(tx.sql(text).bind(user).optional().await?)
}

/// Tells whether somebody has one, and how many recovery codes are left.
pub async fn state(db: &Db, user: UserId) -> Result<(bool, i64)> {
    let text =
        "SELECT CAST((SELECT COUNT(*) FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL) AS BIGINT),
                       CAST((SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL) AS BIGINT)";
    let (on, left): (i64, i64) = db.sql(text).bind(user).one().await?;
    Ok((on > 0, left))
}

/// Confirms a second factor with the recovery codes that belong to it. False where it was confirmed already.
pub async fn confirm(
    tx: &mut Tx<'_>,
    user: UserId,
    step: i64,
    hashes: &[[u8; 32]],
    now: DateTime<Utc>,
) -> Result<bool> {
    let text =
        "UPDATE second_factors SET confirmed_at = $2, last_step = $3 WHERE user_id = $1 AND confirmed_at IS NULL";
    if tx.sql(text).bind(user).bind(now).bind(step).execute().await? == 0 {
        return Ok(false);
    }
    tx.sql("DELETE FROM recovery_codes WHERE user_id = $1").bind(user).execute().await?;
    tx.insert_rows("INSERT INTO recovery_codes (user_id, hash)", "", 2, hashes, |stmt, hash| {
        stmt.bind(user).bind(hash.to_vec())
    })
    .await?;
    Ok(true)
}

/// Uses the code of a step. False where it, or a later one, was used already.
pub async fn use_step(tx: &mut Tx<'_>, user: UserId, step: i64) -> Result<bool> {
    let text = "UPDATE second_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2";
    Ok(tx.sql(text).bind(user).bind(step).execute().await? == 1)
}

/// Uses a recovery code. False where there is no such code, or none any more.
pub async fn use_recovery(tx: &mut Tx<'_>, user: UserId, hash: [u8; 32], now: DateTime<Utc>) -> Result<bool> {
    let text = "UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND hash = $2 AND used_at IS NULL";
    Ok(tx.sql(text).bind(user).bind(hash.to_vec()).bind(now).execute().await? == 1)
}

/// Removes the second factor of somebody with its recovery codes. False where there was none.
pub async fn remove(tx: &mut Tx<'_>, user: UserId) -> Result<bool> {
    tx.sql("DELETE FROM recovery_codes WHERE user_id = $1").bind(user).execute().await?;
    Ok(tx.sql("DELETE FROM second_factors WHERE user_id = $1").bind(user).execute().await? == 1)
}
