//! Tokens in cookies, for the browser client: scripts cannot read them, and other sites cannot use them.
//!
//! A browser sends cookies with whatever a page makes it send. So a cookie counts for a change only together with what
//! another site cannot have: an `Origin` of ours, and a header with a word that the sign-in gave.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use ring::hmac;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::error::Refusal;
use super::extract::CurrentUser;
use crate::actors::auth::{self, Caller};
use crate::error::{Error, Result};
use crate::ids::SessionId;

/// The header that proves that a script of ours made the request.
const PROOF: &str = "x-csrf-token";
/// Where the refresh token is sent, and nowhere else.
const REFRESH_PATH: &str = "/api/v1/auth";

/// The names of both cookies. The prefixes make the browser refuse what was not set over https by this very host.
struct Names {
    access: &'static str,
    refresh: &'static str,
    secure: &'static str,
}

impl Names {
    /// Over plain http, which is for one's own machine, browsers take no prefixes.
    fn of(app: &App) -> Names {
        match app.config.mail.site.starts_with("https://") {
            true => Names { access: "__Host-folio_access", refresh: "__Secure-folio_refresh", secure: "; Secure" },
            false => Names { access: "folio_access", refresh: "folio_refresh", secure: "" },
        }
    }

    fn lines(&self, access: (&str, i64), refresh: (&str, i64)) -> Result<[HeaderValue; 2]> {
        let line = |name: &str, path: &str, (value, seconds): (&str, i64)| {
            let secure = self.secure;
            let line = format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
            HeaderValue::try_from(line).map_err(Error::internal)
        };
        Ok([line(self.access, "/", access)?, line(self.refresh, REFRESH_PATH, refresh)?])
    }
}

/// The headers that put both tokens into cookies.
pub(super) fn set(app: &App, access: &str, access_seconds: i64, refresh: &str) -> Result<HeaderMap> {
    let lives = app.config.auth.refresh_lives.as_secs().cast_signed();
    kept_by_nobody(Names::of(app).lines((access, access_seconds), (refresh, lives))?)
}

/// The headers that take both cookies away from whoever sent one.
pub(super) fn clear(app: &App, sent: &HeaderMap) -> Result<HeaderMap> {
    match access(app, sent).is_some() {
        true => kept_by_nobody(Names::of(app).lines(("", 0), ("", 0))?),
        false => Ok(HeaderMap::new()),
    }
}

fn kept_by_nobody(lines: [HeaderValue; 2]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    lines.into_iter().for_each(|it| _ = headers.append(header::SET_COOKIE, it));
    Ok(headers)
}

/// Who asks, where a cookie says it. A change needs proof that a page of ours asks for it. A cookie comes along unasked,
/// so on what is open to everybody one that is not good, or any with a change, says nothing.
pub(super) fn caller(
    app: &App,
    parts: &Parts,
    open: bool,
    identify: impl Fn(&[u8]) -> Result<Caller>,
) -> Result<Option<Caller>, Refusal> {
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let Some(token) = access(app, &parts.headers).filter(|_| reads || !open) else { return Ok(None) };
    match identify(token.as_bytes()) {
        Err(_) if open => Ok(None),
        Ok(Caller::Person(it)) if reads || proves(app, &parts.headers, it.session) => Ok(Some(Caller::Person(it))),
        Ok(_) => {
            let why = "a change by cookie needs the X-CSRF-Token of the sign-in, from a page of this site";
            Err(Refusal::new(StatusCode::FORBIDDEN, "csrf", why))
        }
        Err(error) => Err(error.into()),
    }
}

/// The access token that came in a cookie.
pub(super) fn access<'h>(app: &App, headers: &'h HeaderMap) -> Option<&'h str> {
    find(headers, Names::of(app).access)
}

/// The refresh token that came in a cookie, from a page of ours.
pub(super) fn refresh<'h>(app: &App, headers: &'h HeaderMap) -> Result<Option<&'h str>> {
    let token = find(headers, Names::of(app).refresh);
    match token.is_none() || is_ours(app, headers) {
        true => Ok(token),
        false => Err(Error::Forbidden("a cookie counts only for pages of this site")),
    }
}

/// The first of a name: who can add a cookie from a neighbour's host can add it only behind.
fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs = lines.flat_map(|it| it.split(';')).filter_map(|it| it.trim().split_once('='));
    pairs.find(|it| it.0 == name).map(|it| it.1).filter(|it| !it.is_empty())
}

/// Whether a change is asked for by a script of ours, which signed in to this session.
fn proves(app: &App, headers: &HeaderMap, session: SessionId) -> bool {
    let proof = headers.get(PROOF).and_then(|it| BASE64_URL_SAFE_NO_PAD.decode(it.as_bytes()).ok());
    let proof = proof.is_some_and(|it| hmac::verify(&key(app), session.0.as_bytes(), &it).is_ok());
    proof && is_ours(app, headers)
}

/// What a script has to send along with changes that are made by cookie.
pub(super) fn proof(app: &App, session: SessionId) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key(app), session.0.as_bytes()))
}

fn key(app: &App) -> hmac::Key {
    auth::key(&app.config.secret, "cross-site requests")
}

/// Whether the page that asks is of this site. Browsers say so in one of two ways; who says neither is none.
fn is_ours(app: &App, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|it| it.to_str().unwrap_or("?"));
    let Some(origin) = text("origin") else { return text("sec-fetch-site") == Some("same-origin") };
    let here = |it: &str| origin.split_once("://").is_some_and(|origin| origin.1.eq_ignore_ascii_case(it));
    let config = &app.config;
    origin == config.mail.site || config.http.origins.iter().any(|it| it == origin) || text("host").is_some_and(here)
}

/// What a script sends along with changes.
#[derive(Serialize, ToSchema)]
pub(super) struct ProofView {
    /// The value of `X-CSRF-Token`, for as long as this sign-in lasts.
    csrf_token: String,
}

/// Tells what a page that was loaded again has to send along with changes.
#[utoipa::path(get, path = "/api/v1/auth/csrf", tag = "auth",
    responses((status = 200, body = ProofView)))]
pub(super) async fn show(State(app): State<App>, CurrentUser(person): CurrentUser) -> Json<ProofView> {
    Json(ProofView { csrf_token: proof(&app, person.session) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_of_a_name_counts() {
        let mut headers = HeaderMap::new();
        for line in ["theme=dark; xfolio_access=no; folio_access=one;folio_access=two", "folio_access=three; empty="] {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        assert_eq!(find(&headers, "folio_access"), Some("one"));
        assert_eq!(find(&headers, "theme"), Some("dark"));
        assert_eq!(
            (find(&headers, "empty"), find(&headers, "folio"), find(&headers, "FOLIO_ACCESS")),
            (None, None, None)
        );
    }
}
