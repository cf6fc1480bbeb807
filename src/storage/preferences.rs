//! What people have set for themselves.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, FromRow};
use utoipa::ToSchema;

use super::db::{Db, Tx, placeholders};
use crate::error::Result;
use crate::ids::UserId;

/// What somebody has set, and the version that a writer must have seen.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Set {
    /// Counts up with each change.
    pub version: i64,
    /// The settings.
    #[sqlx(json)]
    pub body: Preferences,
}

/// Everything that somebody may set for themselves. What a row does not say yet is as it is by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Preferences {
    /// What makes a notification.
    pub notifications: Notifications,
    /// Whether others see what one has read.
    pub read_receipts: bool,
    /// Whether others see that one is here.
    pub presence_visible: bool,
    /// A language tag as `en` or `pt-BR`.
    #[schema(min_length = 2, max_length = 35)]
    pub language: String,
    /// How pages look.
    pub theme: Theme,
}

impl Default for Preferences {
    fn default() -> Preferences {
        Preferences {
            notifications: Notifications::default(),
            read_receipts: true,
            presence_visible: true,
            language: "en".to_owned(),
            theme: Theme::System,
        }
    }
}

/// What makes a notification, kind by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Notifications {
    /// Messages in conversations.
    pub messages: Level,
    /// Comments on what is one's own.
    pub comments: Level,
    /// Likes of what is one's own.
    pub likes: Level,
    /// New posts.
    pub posts: Level,
}

/// How much makes a notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything.
    #[default]
    All,
    /// What names one.
    Mentions,
    /// Nothing.
    Nothing,
}

impl Level {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::All => "all",
            Level::Mentions => "mentions",
            Level::Nothing => "nothing",
        }
    }
}

/// How pages look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// As the device does.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// Finds what somebody has set.
pub async fn find(db: &Db, user: UserId) -> Result<Option<Set>> {
    Ok(db.sql("SELECT version, body FROM preferences WHERE user_id = $1").bind(user).optional().await?)
}

/// Writes what somebody sets, if nobody has since the version that was seen. Tells whether it did.
pub async fn update(tx: &mut Tx<'_>, user: UserId, seen: i64, body: &Preferences, at: DateTime<Utc>) -> Result<bool> {
    let text = "UPDATE preferences SET version = version + 1, body = $3, updated_at = $4
                 WHERE user_id = $1 AND version = $2";
    Ok(tx.sql(text).bind(user).bind(seen).bind(Json(body.clone())).bind(at).execute().await? == 1)
}

/// Those among some people whom others may not see.
pub async fn invisible(db: &Db, users: &[UserId]) -> Result<Vec<UserId>> {
    let asked = placeholders(db.engine(), users.len(), 1);
    let text = format!("SELECT user_id, body FROM preferences WHERE user_id IN (VALUES {asked})");
    let stmt = users.iter().fold(db.sql(AssertSqlSafe(text)).once(), |stmt, it| stmt.bind(*it));
    let set: Vec<(UserId, Json<Preferences>)> = stmt.all().await?;
    Ok(set.into_iter().filter(|it| !it.1.presence_visible).map(|it| it.0).collect())
}
