//! The second factor: setting it up, turning it on, removing it.

use axum::Json;
use axum::extract::State;
use hyper::StatusCode;
use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::auth::NOT_KEPT;
use super::extract::{Body, Client, CurrentUser};
use crate::error::Result;

/// Whether there is a second factor.
#[derive(Serialize, ToSchema)]
pub(super) struct SecondFactorView {
    /// Whether it is asked for at sign-in.
    on: bool,
    /// How many recovery codes can still be used.
    recovery_codes_left: i64,
}

/// Tells whether you have a second factor.
#[utoipa::path(get, path = "/api/v1/auth/second-factor", tag = "auth",
    responses((status = 200, body = SecondFactorView)))]
pub(super) async fn show(State(app): State<App>, CurrentUser(person): CurrentUser) -> Result<Json<SecondFactorView>> {
    let (on, recovery_codes_left) = app.actors.auth.second_factor(person).await?;
    Ok(Json(SecondFactorView { on, recovery_codes_left }))
}

/// The password, once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordAgainForm {
    password: String,
}

/// What an authenticator has to be told.
#[derive(Serialize, ToSchema)]
pub(super) struct SetUpView {
    /// To be typed, in base 32.
    secret: String,
    /// To be shown as a picture that an app reads.
    otpauth_url: String,
}

/// Begins to set up a second factor. It is asked for only after a code has confirmed it.
#[utoipa::path(post, path = "/api/v1/auth/second-factor", tag = "auth",
    request_body = PasswordAgainForm, responses((status = 200, body = SetUpView), (status = 409)))]
pub(super) async fn begin(
    State(app): State<App>,
    CurrentUser(person): CurrentUser,
    Body(form): Body<PasswordAgainForm>,
) -> Result<([(HeaderName, &'static str); 1], Json<SetUpView>)> {
    let it = app.actors.auth.begin_second_factor(person, &form.password).await?;
    Ok((NOT_KEPT, Json(SetUpView { secret: it.secret, otpauth_url: it.address })))
}

/// A code of the authenticator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeForm {
    #[schema(example = "287082")]
    code: String,
}

/// What lets you in without the authenticator.
#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryCodesView {
    /// Each works once. They are not shown again.
    recovery_codes: Vec<String>,
}

/// Turns the second factor on.
#[utoipa::path(post, path = "/api/v1/auth/second-factor/confirm", tag = "auth",
    request_body = CodeForm, responses((status = 200, body = RecoveryCodesView), (status = 409), (status = 422)))]
pub(super) async fn confirm(
    State(app): State<App>,
    CurrentUser(person): CurrentUser,
    client: Client,
    Body(form): Body<CodeForm>,
) -> Result<([(HeaderName, &'static str); 1], Json<RecoveryCodesView>)> {
    let recovery_codes = app.actors.auth.confirm_second_factor(person, &form.code, &client).await?;
    Ok((NOT_KEPT, Json(RecoveryCodesView { recovery_codes })))
}

/// Password and code, once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveForm {
    password: String,
    /// A code of the authenticator, or a recovery code; needed once the second factor is on.
    code: Option<String>,
}

/// Removes the second factor.
#[utoipa::path(delete, path = "/api/v1/auth/second-factor", tag = "auth",
    request_body = RemoveForm, responses((status = 204), (status = 404)))]
pub(super) async fn remove(
    State(app): State<App>,
    CurrentUser(person): CurrentUser,
    client: Client,
    Body(form): Body<RemoveForm>,
) -> Result<StatusCode> {
    app.actors.auth.remove_second_factor(person, &form.password, form.code.as_deref(), &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
