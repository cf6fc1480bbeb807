//! Lists in pages, asked from outside: nothing is skipped, and no cursor is taken but the list's own.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use folio::error::Result;
use folio::http::page::{Page, PageQuery, Paged};
use folio::http::{Policy, Routes};
use folio::routes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::things::{self, ADA, BOB};
use crate::support::http::Server;
use crate::support::raw::{Heard, get};

const ALL: i64 = 45;

#[derive(Serialize, ToSchema)]
struct Note {
    at: DateTime<Utc>,
    id: i64,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct Filters {
    odd: Option<bool>,
}

/// Three notes a second, newest first: the place in the list is time and id together.
fn notes() -> Vec<Note> {
    let at = |id: i64| DateTime::UNIX_EPOCH + TimeDelta::seconds(id / 3);
    (1..=ALL).rev().map(|id| Note { at: at(id), id }).collect()
}

#[utoipa::path(get, path = "/test/notes", params(PageQuery, Filters), responses((status = 200, body = Paged<Note>)))]
async fn list(page: Page<Filters>) -> Result<Json<Paged<Note>>> {
    let after = page.after::<(DateTime<Utc>, i64)>()?;
    let fits = |it: &Note| after.is_none_or(|after| (it.at, it.id) < after);
    let wanted = |it: &Note| page.filters.odd.is_none_or(|odd| odd == (it.id % 2 == 1));
    let read = notes().into_iter().filter(|it| fits(it) && wanted(it)).take(page.size_read()).collect();
    page.answer(read, |it: &Note| (it.at, it.id)).map(Json)
}

#[utoipa::path(get, path = "/test/others", params(PageQuery), responses((status = 200, body = Paged<Note>)))]
async fn others(page: Page) -> Result<Json<Paged<Note>>> {
    page.after::<(DateTime<Utc>, i64)>()?;
    page.answer(notes(), |it| (it.at, it.id)).map(Json)
}

fn routes() -> Routes {
    things::routes().add(Policy::READ, routes!(list)).add(Policy::READ, routes!(others))
}

fn ids(heard: &Heard) -> Vec<i64> {
    heard.json()["items"].as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect()
}

fn next(heard: &Heard) -> Option<String> {
    heard.json()["next"].as_str().map(str::to_owned)
}

async fn assert_bad(address: SocketAddr, path: &str, cursor: &str, headers: &str) {
    let separator = if path.contains('?') { '&' } else { '?' };
    let heard = get(address, &format!("{path}{separator}cursor={cursor}"), headers).await;
    assert_eq!((heard.status, heard.json()["error"].as_str()), (422, Some("bad_cursor")), "{path} {cursor}");
    assert!(heard.json()["fields"]["cursor"].is_string(), "{}", heard.json());
}

#[tokio::test]
async fn following_next_shows_every_item_once_in_order() {
    let server = Server::start(routes(), |_| ()).await;
    for (query, size, expected) in [
        ("", 20, (1..=ALL).rev().collect::<Vec<_>>()),
        ("size=7&", 7, (1..=ALL).rev().collect()),
        ("size=45&", 45, (1..=ALL).rev().collect()),
        ("size=100&", 100, (1..=ALL).rev().collect()),
        ("odd=true&size=3&", 3, (1..=ALL).rev().filter(|it| it % 2 == 1).collect()),
    ] {
        let (mut seen, mut path) = (Vec::new(), format!("/test/notes?{query}"));
        loop {
            let heard = get(server.address, path.trim_end_matches(['&', '?']), "").await;
            assert_eq!(heard.status, 200, "{path}");
            assert!(ids(&heard).len() <= size, "{path}");
            seen.extend(ids(&heard));
            let Some(next) = next(&heard) else { break };
            assert!(!ids(&heard).is_empty() && seen.len() < expected.len(), "no empty page at the end: {path}");
            path = format!("/test/notes?{query}cursor={next}");
        }
        assert_eq!(seen, expected, "{query}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_size_is_from_one_to_a_hundred_and_nothing_else_is_taken() {
    let server = Server::start(routes(), |_| ()).await;
    for (query, field) in [
        ("size=0", "size"),
        ("size=101", "size"),
        ("size=-1", "size"),
        ("size=1e1", "size"),
        ("size=", "size"),
        ("size=99999999999999999999999", "size"),
        ("size=1&size=2", "size"),
        ("odd=perhaps", "odd"),
        ("colour=red", "colour"),
    ] {
        let heard = get(server.address, &format!("/test/notes?{query}"), "").await;
        assert_eq!(heard.status, 422, "{query}");
        let fields = heard.json()["fields"].to_string();
        assert!(fields.contains(field), "{query}: {fields}");
    }
    assert_eq!(get(server.address, "/test/notes?size=%zz", "").await.status, 400);
    server.end().await;
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_caller_and_filters_only() {
    let server = Server::start(routes(), |_| ()).await;
    let (address, first) = (server.address, get(server.address, "/test/notes?size=2&odd=true", ADA).await);
    let cursor = next(&first).unwrap();
    let good = get(address, &format!("/test/notes?cursor={cursor}&odd=true&size=50"), ADA).await;
    assert_eq!((good.status, ids(&good)[0]), (200, 41), "another size and order of parameters is the same list");
    assert_bad(address, "/test/others", &cursor, ADA).await;
    assert_bad(address, "/test/notes?odd=true", &cursor, BOB).await;
    assert_bad(address, "/test/notes?odd=true", &cursor, "").await;
    assert_bad(address, "/test/notes?odd=false", &cursor, ADA).await;
    assert_bad(address, "/test/notes", &cursor, ADA).await;
    server.end().await;
}

#[tokio::test]
async fn a_cursor_that_was_altered_cut_or_kept_too_long_is_refused() {
    let server = Server::start(routes(), |_| ()).await;
    let cursor = next(&get(server.address, "/test/notes?size=2", "").await).unwrap();
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(&cursor).unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert_bad(server.address, "/test/notes", &BASE64_URL_SAFE_NO_PAD.encode(altered), "").await;
    }
    for length in [0, 1, cursor.len() / 2, cursor.len() - 1] {
        assert_bad(server.address, "/test/notes", &cursor[..length], "").await;
    }
    for other in [format!("{cursor}AA"), "%00".to_owned(), "caf%C3%A9".to_owned(), "a".repeat(5_000)] {
        assert_bad(server.address, "/test/notes", &other, "").await;
    }
    server.clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    assert_eq!(get(server.address, &format!("/test/notes?cursor={cursor}"), "").await.status, 200);
    server.clock.advance(Duration::from_secs(1));
    assert_bad(server.address, "/test/notes", &cursor, "").await;
    server.end().await;
}
