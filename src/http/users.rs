//! People: listed by name, and one by one.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::extract::Path;
use super::page::{Page, PageQuery, Paged};
use crate::error::Result;
use crate::ids::UserId;
use crate::storage::profiles::Profile;
use crate::storage::users::Listed;

/// Somebody, as others see them in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct UserView {
    user_id: UserId,
    username: String,
    display_name: String,
    avatar_url: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<Listed> for UserView {
    fn from(it: Listed) -> UserView {
        let Listed { user_id, username, display_name, avatar_url, created_at, .. } = it;
        UserView { user_id, username, display_name, avatar_url, created_at }
    }
}

impl From<&Profile> for UserView {
    fn from(it: &Profile) -> UserView {
        UserView {
            user_id: it.user_id,
            username: it.username.clone(),
            display_name: it.about.display_name.clone(),
            avatar_url: it.about.avatar_url.clone(),
            created_at: it.created_at,
        }
    }
}

/// Whom a list of people is narrowed to.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct People {
    /// How their name begins, upper or lower case.
    #[param(max_length = 64)]
    prefix: Option<String>,
}

/// Lists people by name.
#[utoipa::path(get, path = "/api/v1/users", params(PageQuery, People),
    responses((status = 200, body = Paged<UserView>)))]
pub(super) async fn list(State(app): State<App>, page: Page<People>) -> Result<Json<Paged<UserView>>> {
    let prefix = page.filters.prefix.as_deref().unwrap_or_default();
    let listed = app.actors.users.list(prefix, page.after()?, page.size_read()).await?;
    let paged = page.answer(listed, |it: &Listed| (it.username_folded.clone(), it.user_id))?;
    Ok(Json(paged.map(UserView::from)))
}

/// Shows somebody.
#[utoipa::path(get, path = "/api/v1/users/{id}", params(("id" = UserId, Path)),
    responses((status = 200, body = UserView)))]
pub(super) async fn show(State(app): State<App>, Path(user): Path<UserId>) -> Result<Json<UserView>> {
    let profile = app.actors.profiles.get(user).await?;
    Ok(Json(UserView::from(&*profile)))
}
