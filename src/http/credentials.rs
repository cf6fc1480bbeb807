//! Password and address: how somebody changes them, and how they get back in without.

use axum::extract::State;
use hyper::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::App;
use super::extract::{Body, Client, CurrentUser};
use crate::error::Result;

/// A new password, and the old one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordForm {
    /// Without the right one: 403.
    old_password: Option<String>,
    /// 8 to 1024 bytes, none of those that are tried first.
    new_password: String,
    /// Whether sessions on other devices go on.
    #[serde(default)]
    keep_sessions: bool,
}

/// Changes the password. Other sessions end, unless they are to be kept; the owner gets a mail.
#[utoipa::path(put, path = "/api/v1/auth/password", request_body = PasswordForm,
    responses((status = 204)))]
pub(super) async fn change_password(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    Body(form): Body<PasswordForm>,
) -> Result<StatusCode> {
    let (old, auth) = (form.old_password.as_deref(), &app.actors.auth);
    auth.change_password(user.0, old, &form.new_password, form.keep_sessions, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An address that somebody gets mail at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForgottenForm {
    #[schema(example = "ada@example.org")]
    email: String,
}

/// Sends a link that sets a new password. The answer is the same whether somebody gets mail there or not.
#[utoipa::path(post, path = "/api/v1/auth/password/forgotten", request_body = ForgottenForm,
    responses((status = 202)))]
pub(super) async fn remind(
    State(app): State<App>,
    client: Client,
    Body(form): Body<ForgottenForm>,
) -> Result<StatusCode> {
    app.actors.auth.remind(&form.email, &client).await?;
    Ok(StatusCode::ACCEPTED)
}

/// What a link that sets a new password holds, and the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetForm {
    /// The word behind `#token=`; good once, for half an hour.
    token: String,
    /// 8 to 1024 bytes, none of those that are tried first.
    new_password: String,
}

/// Sets a new password for whoever holds the link. Every session ends.
#[utoipa::path(post, path = "/api/v1/auth/password/reset", request_body = ResetForm, responses((status = 204)))]
pub(super) async fn reset(State(app): State<App>, client: Client, Body(form): Body<ResetForm>) -> Result<StatusCode> {
    app.actors.auth.reset_password(&form.token, &form.new_password, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Another address, and the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmailForm {
    email: String,
    /// Without the right one: 403.
    password: Option<String>,
}

/// Asks for another address: it is taken when the mail there is answered.
#[utoipa::path(put, path = "/api/v1/auth/email", request_body = EmailForm,
    responses((status = 202)))]
pub(super) async fn change_email(
    State(app): State<App>,
    user: CurrentUser,
    Body(form): Body<EmailForm>,
) -> Result<StatusCode> {
    app.actors.auth.change_email(user.0, form.password.as_deref(), &form.email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sends the mail that asks whether the address is somebody's once more.
#[utoipa::path(post, path = "/api/v1/auth/email/ask", responses((status = 202)))]
pub(super) async fn ask_again_to_confirm(State(app): State<App>, user: CurrentUser) -> Result<StatusCode> {
    app.actors.auth.ask_again_to_confirm(user.0).await?;
    Ok(StatusCode::ACCEPTED)
}

/// What a link that confirms an address holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmForm {
    /// The word behind `#token=`; good once, for a day.
    token: String,
}

/// Confirms an address for whoever holds the link.
#[utoipa::path(post, path = "/api/v1/auth/email/confirm", request_body = ConfirmForm, responses((status = 204)))]
pub(super) async fn confirm_email(
    State(app): State<App>,
    client: Client,
    Body(form): Body<ConfirmForm>,
) -> Result<StatusCode> {
    app.actors.auth.confirm_email(&form.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The password, before something that matters.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmedForm {
    /// Without the right one: 403.
    password: Option<String>,
}

/// Leaves for a while: every session ends, and signing in brings the account back.
#[utoipa::path(post, path = "/api/v1/auth/deactivate", request_body = ConfirmedForm,
    responses((status = 204)))]
pub(super) async fn deactivate(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    Body(form): Body<ConfirmedForm>,
) -> Result<StatusCode> {
    app.actors.auth.deactivate(user.0, form.password.as_deref(), &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
