//! Profiles: one's own to read and to write, and those of others to look at.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::App;
use super::extract::{self, Body, CurrentUser, Path};
use super::profile_views::{OwnProfile, PublicProfile, View};
use super::shell::Encoded;
use crate::actors::auth::Caller;
use crate::actors::profiles::Named;
use crate::actors::profiles::rules::Change;
use crate::actors::users::VERSION_CONFLICT;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::profiles::{About, Contact, Link};

type Shown = Extension<Arc<Encoded>>;
type Asked = Extension<Arc<extract::About>>;

/// A whole profile: what it does not name is emptied.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileForm {
    /// The version that was read. `If-Match` with the `ETag` that was read may stand for it.
    #[serde(default)]
    version: Option<i64>,
    /// What one wants to be called.
    #[schema(min_length = 1, max_length = 64)]
    display_name: String,
    /// One line.
    #[serde(default)]
    #[schema(max_length = 120)]
    headline: String,
    /// As many lines as one likes.
    #[serde(default)]
    #[schema(max_length = 5000)]
    bio: String,
    /// Where one is, in one's own words.
    #[serde(default)]
    #[schema(max_length = 100)]
    location: String,
    /// How old one is.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 150)]
    age: Option<i64>,
    /// Where else one is found.
    #[serde(default)]
    #[schema(max_items = 20)]
    links: Vec<Link>,
    /// What one is good at; each 1 to 40 letters.
    #[serde(default)]
    #[schema(max_items = 30)]
    expertise: Vec<String>,
    /// How one is reached, and who is told.
    #[serde(default)]
    #[schema(max_items = 10)]
    contact: Vec<Contact>,
    /// What plays on one's page: http or https.
    #[serde(default)]
    #[schema(max_length = 2048)]
    theme_music_url: Option<String>,
    /// One's picture: http or https.
    #[serde(default)]
    #[schema(max_length = 2048)]
    avatar_url: Option<String>,
}

/// Parts of a profile: what it does not name stays; null empties.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct ProfilePatch {
    /// The version that was read. `If-Match` with the `ETag` that was read may stand for it.
    version: Option<i64>,
    #[schema(min_length = 1, max_length = 64)]
    display_name: Option<String>,
    #[schema(max_length = 120)]
    headline: Option<String>,
    #[schema(max_length = 5000)]
    bio: Option<String>,
    #[schema(max_length = 100)]
    location: Option<String>,
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 150)]
    age: Option<Option<i64>>,
    #[schema(max_items = 20)]
    links: Option<Vec<Link>>,
    #[schema(max_items = 30)]
    expertise: Option<Vec<String>>,
    #[schema(max_items = 10)]
    contact: Option<Vec<Contact>>,
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<String>, max_length = 2048)]
    theme_music_url: Option<Option<String>>,
    #[serde(deserialize_with = "named")]
    #[schema(value_type = Option<String>, max_length = 2048)]
    avatar_url: Option<Option<String>>,
}

/// Tells a field that is null from one that is not there.
fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl From<ProfileForm> for Change {
    fn from(form: ProfileForm) -> Change {
        let ProfileForm { display_name, headline, bio, location, age, links, expertise, contact, .. } = form;
        let (theme_music_url, avatar_url) = (form.theme_music_url, form.avatar_url);
        let about = About {
            display_name,
            headline,
            bio,
            location,
            age,
            links,
            expertise,
            contact,
            theme_music_url,
            avatar_url,
        };
        about.into()
    }
}

impl From<ProfilePatch> for Change {
    fn from(form: ProfilePatch) -> Change {
        let ProfilePatch { display_name, headline, bio, location, age, links, expertise, contact, .. } = form;
        let (theme_music_url, avatar_url) = (form.theme_music_url, form.avatar_url);
        Change { display_name, headline, bio, location, age, links, expertise, contact, theme_music_url, avatar_url }
    }
}

/// Shows one's own profile, with the version that a change has to name.
#[utoipa::path(get, path = "/api/v1/profile/me",
    responses((status = 200, body = OwnProfile), (status = 304, description = "as it was, by If-None-Match")))]
pub(super) async fn show_own(State(app): State<App>, user: CurrentUser) -> Result<Shown> {
    let profile = app.actors.profiles.get(user.0.user).await?;
    Ok(app.profile_views.answer(&profile, View::Owner))
}

/// Writes one's own profile as a whole.
#[utoipa::path(put, path = "/api/v1/profile/me", request_body = ProfileForm,
    responses((status = 200, body = OwnProfile), (status = 409, description = "changed since it was read")))]
pub(super) async fn replace_own(
    State(app): State<App>,
    user: CurrentUser,
    headers: HeaderMap,
    Body(form): Body<ProfileForm>,
) -> Result<Shown> {
    let seen = seen(&app, &user, &headers, form.version).await?;
    let profile = app.actors.users.change_profile(user.0.user, seen, form.into()).await?;
    Ok(app.profile_views.answer(&profile, View::Owner))
}

/// Changes parts of one's own profile.
#[utoipa::path(patch, path = "/api/v1/profile/me", request_body = ProfilePatch,
    responses((status = 200, body = OwnProfile), (status = 409, description = "changed since it was read")))]
pub(super) async fn change_own(
    State(app): State<App>,
    user: CurrentUser,
    headers: HeaderMap,
    Body(form): Body<ProfilePatch>,
) -> Result<Shown> {
    let seen = seen(&app, &user, &headers, form.version).await?;
    let profile = app.actors.users.change_profile(user.0.user, seen, form.into()).await?;
    Ok(app.profile_views.answer(&profile, View::Owner))
}

/// Shows a profile by its user's name. A former name leads to the present one for a while.
#[utoipa::path(get, path = "/api/v1/profile/public/{username}", params(("username" = String, Path)),
    responses((status = 200, body = PublicProfile), (status = 308, description = "the name has changed")))]
pub(super) async fn show_public(
    State(app): State<App>,
    Extension(about): Asked,
    Path(name): Path<String>,
) -> Result<Response> {
    Ok(match app.actors.profiles.get_by_name(&name).await? {
        Named::Present(profile) => app.profile_views.answer(&profile, View::of(about.caller.as_ref())).into_response(),
        Named::Former(profile) => {
            let name = utf8_percent_encode(&profile.username, NON_ALPHANUMERIC);
            let location = format!("/api/v1/profile/public/{name}");
            (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response()
        }
    })
}

/// Shows a profile by its user's id.
#[utoipa::path(get, path = "/api/v1/profile/user/{id}", params(("id" = UserId, Path)),
    responses((status = 200, body = PublicProfile)))]
pub(super) async fn show_by_id(
    State(app): State<App>,
    Extension(about): Asked,
    Path(user): Path<UserId>,
) -> Result<Shown> {
    let profile = app.actors.profiles.get(user).await?;
    Ok(app.profile_views.answer(&profile, View::of(about.caller.as_ref())))
}

/// Shows a profile to another system that has a key.
#[utoipa::path(get, path = "/api/v1/profile/external/{id}", params(("id" = UserId, Path)),
    responses((status = 200, body = PublicProfile)))]
pub(super) async fn show_external(State(app): State<App>, asked: Asked, path: Path<UserId>) -> Result<Shown> {
    show_by_id(State(app), asked, path).await
}

/// One's own profile, if it is near.
pub(super) fn own_ready(app: &App, caller: Option<&Caller>, _: &matchit::Params<'_, '_>) -> Option<Arc<Encoded>> {
    let Some(Caller::Person(person)) = caller else { return None };
    let profile = app.actors.profiles.near(person.user)?;
    Some(app.profile_views.encoded(&profile, View::Owner))
}

/// Somebody's profile by id, if it is near.
pub(super) fn ready(app: &App, caller: Option<&Caller>, path: &matchit::Params<'_, '_>) -> Option<Arc<Encoded>> {
    let profile = app.actors.profiles.near(path.get("id")?.parse().ok()?)?;
    Some(app.profile_views.encoded(&profile, View::of(caller)))
}

/// Somebody's profile by name, if it is near and the name is written as names are compared.
pub(super) fn named_ready(app: &App, caller: Option<&Caller>, path: &matchit::Params<'_, '_>) -> Option<Arc<Encoded>> {
    let profile = app.actors.profiles.near_by_name(path.get("username")?)?;
    Some(app.profile_views.encoded(&profile, View::of(caller)))
}

/// The version that a change was made on: as the body names it, or as the `ETag` does.
async fn seen(app: &App, user: &CurrentUser, headers: &HeaderMap, version: Option<i64>) -> Result<i64> {
    if !headers.contains_key(header::IF_MATCH) {
        return version.ok_or_else(|| Error::invalid("version", "must be the version that was read"));
    }
    let profile = app.actors.profiles.get(user.0.user).await?;
    let encoded = app.profile_views.encoded(&profile, View::Owner);
    let named = headers.get_all(header::IF_MATCH).iter().any(|it| encoded.is_named_by(it));
    if named && version.is_none_or(|it| it == profile.version) { Ok(profile.version) } else { Err(VERSION_CONFLICT) }
}
