//! Registering, signing in, and whose token this is.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::cookies;
use super::error::Refusal;
use super::extract::{Body, Client};
use crate::actors::auth::tokens::Claims;
use crate::actors::auth::{Login, Registered, Registration, Role, SignedIn, Who};
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};

/// What holds a token is kept by nobody on the way.
pub(super) const NOT_KEPT: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// What somebody says who wants to be a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterForm {
    /// 2 to 64 letters and digits of one script; blanks, dots, hyphens, underscores and apostrophes between them.
    #[schema(example = "ada")]
    username: String,
    /// Where mail reaches them.
    #[schema(example = "ada@example.org")]
    email: Option<String>,
    /// 8 to 1024 bytes, none of those that are tried first.
    #[schema(example = "a long walk by the sea")]
    password: String,
    /// What stands above the profile; the username where nothing is said.
    #[serde(alias = "name")]
    display_name: Option<String>,
    /// 0 to 150.
    age: Option<i64>,
}

/// Somebody who has registered.
#[derive(Serialize, ToSchema)]
pub(super) struct RegisteredView {
    user_id: UserId,
    username: String,
    email: Option<String>,
    is_active: bool,
    created_at: DateTime<Utc>,
    message: &'static str,
}

/// Makes an account.
#[utoipa::path(post, path = "/api/v1/auth/register", request_body = RegisterForm,
    responses((status = 201, body = RegisteredView)))]
pub(super) async fn register(
    State(app): State<App>,
    client: Client,
    Body(form): Body<RegisterForm>,
) -> Result<(StatusCode, Json<RegisteredView>)> {
    let RegisterForm { username, email, password, display_name, age } = form;
    let asked = Registration { username, email, password, display_name, age };
    let Registered { id, username, email, created_at } = app.actors.auth.register(asked, &client).await?;
    let message = "You are registered.";
    let view = RegisteredView { user_id: id, username, email, is_active: true, created_at, message };
    Ok((StatusCode::CREATED, Json(view)))
}

/// What somebody says who wants to come in: `username` or `email`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginForm {
    /// What they are called; an address is taken too.
    #[schema(example = "ada")]
    username: Option<String>,
    /// Where mail reaches them.
    email: Option<String>,
    /// Their password.
    #[schema(example = "a long walk by the sea")]
    password: String,
    /// A code of the second factor, or a recovery code.
    code: Option<String>,
    /// The `device_token` of the last sign-in on this device: wrong guesses elsewhere do not slow it.
    device_token: Option<String>,
    /// For browsers: the tokens come as cookies that no script can read, and not in the answer.
    #[serde(default)]
    cookies: bool,
}

/// The tokens of somebody who has come in.
#[derive(Serialize, ToSchema)]
pub(super) struct TokensView {
    /// For requests, as `Authorization: Bearer`. Not told where cookies were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    /// For the next access token; good once. Not told where cookies were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// With cookies: what has to be sent as `X-CSRF-Token` with every change.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
    /// Always `bearer`.
    token_type: &'static str,
    /// For how many seconds the access token is good.
    expires_in: i64,
    user_id: UserId,
    username: String,
    role: Role,
    /// To be sent with the next sign-in on this device; only a sign-in tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
}

type TokensAnswer = (HeaderMap, Json<TokensView>);

/// Tells the tokens, or puts them into cookies. What holds a token is kept by nobody on the way.
fn answer(app: &App, it: SignedIn, in_cookies: bool) -> Result<TokensAnswer> {
    let (headers, csrf_token) = match in_cookies {
        true => {
            let headers = cookies::set(app, &it.access_token, it.expires_in, &it.refresh_token)?;
            (headers, Some(cookies::proof(app, it.person.session)))
        }
        false => (HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]), None),
    };
    let view = TokensView {
        access_token: (!in_cookies).then_some(it.access_token),
        refresh_token: (!in_cookies).then_some(it.refresh_token),
        csrf_token,
        token_type: "bearer",
        expires_in: it.expires_in,
        user_id: it.person.user,
        username: it.username,
        role: it.person.role,
        device_token: it.device_token,
    };
    Ok((headers, Json(view)))
}

/// Lets somebody in by name or address.
#[utoipa::path(post, path = "/api/v1/auth/login", request_body = LoginForm,
    responses((status = 200, body = TokensView)))]
pub(super) async fn login(State(app): State<App>, client: Client, Body(form): Body<LoginForm>) -> Result<TokensAnswer> {
    let LoginForm { username, email, password, code, device_token, cookies } = form;
    let who = match (username, email) {
        (Some(it), None) => Who::Username(it),
        (None, Some(it)) => Who::Email(it),
        _ => return Err(Error::invalid("username", "send either a username or an email")),
    };
    let signed_in = app.actors.auth.sign_in(Login { who, password, code, device_token }, &client).await?;
    answer(&app, signed_in, cookies)
}

/// A refresh token, to be used up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshForm {
    /// The one of the last answer. Without it, the one in the cookie: then the answer comes in cookies as well.
    refresh_token: Option<String>,
    /// For browsers: the tokens come as cookies.
    #[serde(default)]
    cookies: bool,
}

/// Makes new tokens for a refresh token. Asked again within ten seconds it answers the same; later the session ends,
/// because two have the token.
#[utoipa::path(post, path = "/api/v1/auth/refresh", request_body = RefreshForm,
    responses((status = 200, body = TokensView)))]
pub(super) async fn refresh(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    Body(form): Body<RefreshForm>,
) -> Result<TokensAnswer> {
    let sent = form.refresh_token.as_deref();
    let token = if sent.is_some() { sent } else { cookies::refresh(&app, &headers)? };
    let token = token.ok_or_else(|| Error::invalid("refresh_token", "is missing, here and among the cookies"))?;
    let signed_in = app.actors.auth.refresh(token, &client).await?;
    answer(&app, signed_in, form.cookies || sent.is_none())
}

/// A token to be looked at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyForm {
    /// An access token.
    token: String,
}

/// What a good token says.
#[derive(Serialize, ToSchema)]
pub(super) struct VerifiedView {
    /// Always true: a token that is not good is 401.
    valid: bool,
    user_id: UserId,
    username: String,
    role: Role,
    is_active: bool,
    session_id: SessionId,
    expires_at: DateTime<Utc>,
}

/// Tells whose bearer token was sent, and until when it is good.
#[utoipa::path(get, path = "/api/v1/auth/verify", security(("bearer" = [])),
    responses((status = 200, body = VerifiedView)))]
pub(super) async fn verify(State(app): State<App>, request: Request) -> Result<Json<VerifiedView>> {
    view(&app, bearer(&request).ok_or(Error::Unauthenticated("a bearer token is needed"))?)
}

/// The same for other services: the token comes in the body, or as a bearer token without a body. Where both come, the
/// body counts.
#[utoipa::path(post, path = "/api/v1/auth/verify", request_body = Option<VerifyForm>,
    responses((status = 200, body = VerifiedView)))]
pub(super) async fn verify_sent(State(app): State<App>, request: Request) -> Result<Json<VerifiedView>, Refusal> {
    if hyper::body::Body::is_end_stream(request.body()) {
        return Ok(verify(State(app), request).await?);
    }
    let Body(form) = Body::<VerifyForm>::from_request(request, &app).await?;
    Ok(view(&app, form.token.as_bytes())?)
}

fn bearer(request: &Request) -> Option<&[u8]> {
    request.headers().get(header::AUTHORIZATION)?.as_bytes().get(b"bearer ".len()..)
}

fn view(app: &App, token: &[u8]) -> Result<Json<VerifiedView>> {
    let it: Claims = app.actors.auth.verify(token, app.clock.now())?;
    let expires_at = DateTime::from_timestamp(it.exp, 0).unwrap_or_default();
    let (user_id, session_id) = (it.sub, it.sid);
    let (username, role) = (it.username, it.role);
    Ok(Json(VerifiedView { valid: true, user_id, username, role, is_active: true, session_id, expires_at }))
}
