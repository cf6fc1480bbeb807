//! What people say about themselves, and the version that a writer must have seen.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use sqlx::types::Json;
use utoipa::ToSchema;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// Somebody's profile, whole: what is private in it too.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize, Deserialize)]
pub struct Profile {
    /// Whose.
    pub user_id: UserId,
    /// Their name, as they write it.
    pub username: String,
    /// The same as it is compared.
    pub username_folded: String,
    /// When they came.
    pub created_at: DateTime<Utc>,
    /// Counts up with each change.
    pub version: i64,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// What they say.
    #[sqlx(flatten)]
    pub about: About,
}

/// What somebody says about themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromRow, Serialize, Deserialize)]
pub struct About {
    /// What they want to be called.
    pub display_name: String,
    /// One line.
    pub headline: String,
    /// As many lines as they like.
    pub bio: String,
    /// Where they are, in their own words.
    pub location: String,
    /// How old they are, if they tell.
    pub age: Option<i64>,
    /// Where else they are found.
    #[sqlx(json)]
    pub links: Vec<Link>,
    /// What they are good at.
    #[sqlx(json)]
    pub expertise: Vec<String>,
    /// How they are reached.
    #[sqlx(json)]
    pub contact: Vec<Contact>,
    /// What plays on their page.
    pub theme_music_url: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
}

/// Somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What it is.
    #[schema(min_length = 1, max_length = 40)]
    pub label: String,
    /// Where it leads: http or https.
    #[schema(max_length = 2048)]
    pub url: String,
}

/// A way to reach somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// Which way, as `email` or `matrix`.
    #[schema(min_length = 1, max_length = 40)]
    pub kind: String,
    /// The address there.
    #[schema(min_length = 1, max_length = 200)]
    pub value: String,
    /// Who is told.
    pub visibility: Visibility,
}

/// Who is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Only the owner.
    Nobody,
    /// People who have signed in.
    SignedIn,
    /// Everybody.
    Everyone,
}

/// What a profile is read with; only while its account is active.
pub const FIND: &str = "
    SELECT user_id, name AS username, name_folded AS username_folded, created_at, version,
           profiles.updated_at AS updated_at, display_name, headline, bio, location, age, links, expertise, contact,
           theme_music_url, avatar_url
      FROM profiles JOIN users ON id = user_id
     WHERE user_id = $1 AND state = 'active'";

/// Finds the profile of somebody whose account is active.
pub async fn find(db: &Db, user: UserId) -> Result<Option<Profile>> {
    Ok(db.sql(FIND).bind(user).optional().await?)
}

/// The same as a transaction sees it, its own changes among them.
pub async fn find_within(tx: &mut Tx<'_>, user: UserId) -> Result<Option<Profile>> {
    Ok(tx.sql(FIND).bind(user).optional().await?)
}

/// Writes what somebody says, if nobody has changed it since the version that was seen. Tells whether it did.
pub async fn update(tx: &mut Tx<'_>, user: UserId, seen: i64, about: &About, at: DateTime<Utc>) -> Result<bool> {
    let about = about.clone();
    let changed = tx
        .sql(
            "UPDATE profiles
                SET version = version + 1, display_name = $3, headline = $4, bio = $5, location = $6, age = $7,
                    links = $8, expertise = $9, contact = $10, theme_music_url = $11, avatar_url = $12,
                    updated_at = $13
              WHERE user_id = $1 AND version = $2",
        )
        .bind(user)
        .bind(seen)
        .bind(about.display_name)
        .bind(about.headline)
        .bind(about.bio)
        .bind(about.location)
        .bind(about.age)
        .bind(Json(about.links))
        .bind(Json(about.expertise))
        .bind(Json(about.contact))
        .bind(about.theme_music_url)
        .bind(about.avatar_url)
        .bind(at)
        .execute()
        .await?;
    Ok(changed == 1)
}
