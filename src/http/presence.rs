//! Who is here, for whoever asks.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::extract::{CurrentUser, Path, Query};
use crate::actors::presence::ASKED_MAX;
use crate::actors::presence::rules::Seen;
use crate::error::{Error, Result};
use crate::ids::UserId;

/// Whom one asks for.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Ids with commas between them, 100 at most.
    users: String,
}

/// Several people.
#[derive(Serialize, ToSchema)]
pub(super) struct PresenceView {
    /// Each, in the order in which they were asked for.
    people: Vec<Seen>,
}

/// Shows who of some people is here, and when the others were. Whoever hides, or blocks the one who asks, is not here.
#[utoipa::path(get, path = "/api/v1/presence", tag = "presence", params(Asked), security(("bearer" = [])),
    responses((status = 200, body = PresenceView)))]
pub(super) async fn list(
    State(app): State<App>,
    user: CurrentUser,
    Query(asked): Query<Asked>,
) -> Result<Json<PresenceView>> {
    let named = asked.users.split(',').take(ASKED_MAX + 1).map(str::parse).collect::<Result<Vec<UserId>>>();
    let named = named.map_err(|_| Error::invalid("users", "ids of people, with commas between them"))?;
    let people = app.actors.presence.see(user.0.user, &named).await?.seen;
    Ok(Json(PresenceView { people }))
}

/// Shows whether somebody is here.
#[utoipa::path(get, path = "/api/v1/presence/{user_id}", tag = "presence", params(("user_id" = UserId, Path)),
    security(("bearer" = [])), responses((status = 200, body = Seen)))]
pub(super) async fn show(State(app): State<App>, user: CurrentUser, Path(other): Path<UserId>) -> Result<Json<Seen>> {
    app.actors.profiles.get(other).await?;
    let seen = app.actors.presence.see(user.0.user, &[other]).await?.seen.pop();
    seen.map(Json).ok_or(Error::NotFound("user"))
}
