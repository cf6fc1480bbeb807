//! Routes of the tests' own: the shell has none to try it with.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use folio::actors::auth::{Caller, Person, Role};
use folio::error::{Error, Result};
use folio::http::extract::{Body, CurrentUser, Path, Query};
use folio::http::shell::Encoded;
use folio::http::{Policy, Routes};
use folio::ids::{SessionId, UserId};
use folio::routes;
use folio::ws::Upgrade;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role as Side;
use uuid::Uuid;

use crate::support::http::Server;

/// A thing that is there, already encoded.
pub const THING: &str = "/api/v1/things/0199c1de-7c1a-7a30-8a60-0123456789ab";
/// Two users' tokens.
pub const ADA: &str = "Authorization: Bearer ada\r\n";
pub const BOB: &str = "Authorization: Bearer bob\r\n";
pub const QUICK: Duration = Duration::from_millis(400);

#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Thing {
    title: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    maker: Option<Maker>,
}

#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Maker {
    name: String,
}

#[derive(Serialize, Deserialize, utoipa::IntoParams, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    kind: Option<String>,
    size: Option<u32>,
}

#[utoipa::path(get, path = "/api/v1/things/{id}", responses((status = 200, body = Thing)))]
async fn get_thing(Path(id): Path<UserId>) -> Result<Json<Thing>> {
    Err(Error::NotFound(if id.0.is_nil() { "nil" } else { "thing" }))
}

#[utoipa::path(post, path = "/api/v1/things", request_body = Thing, responses((status = 200, body = Thing)))]
async fn make(_: CurrentUser, Body(thing): Body<Thing>) -> Result<Json<Thing>> {
    if thing.tags.len() > 50 {
        return Err(Error::invalid("tags", "at most 50"));
    }
    Ok(Json(thing))
}

#[utoipa::path(get, path = "/test/list", params(Filter), responses((status = 200, body = Filter)))]
async fn list(Query(filter): Query<Filter>) -> Json<Filter> {
    Json(filter)
}

#[utoipa::path(get, path = "/test/slow", responses((status = 200)))]
async fn slow() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[utoipa::path(get, path = "/test/second", responses((status = 200)))]
async fn takes_a_second() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "done"
}

#[utoipa::path(get, path = "/test/panic", responses((status = 200)))]
async fn panics() {
    panic!("on purpose");
}

#[utoipa::path(get, path = "/test/defect", responses((status = 200)))]
async fn defect() -> Result<()> {
    Err(Error::internal("the password is hunter2"))
}

#[utoipa::path(post, path = "/test/text", responses((status = 200)))]
async fn takes_a_number(_: Body<u32>) {}

#[utoipa::path(get, path = "/test/large", responses((status = 200)))]
async fn large() -> Json<Vec<u32>> {
    Json((0..4_000).collect())
}

#[utoipa::path(get, path = "/test/heavy", responses((status = 200)))]
async fn heavy() -> Vec<u8> {
    vec![b'x'; 16 << 20]
}

#[utoipa::path(get, path = "/test/endless", responses((status = 200)))]
async fn endless() -> Response {
    let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 65_536]));
    axum::body::Body::from_stream(chunks).into_response()
}

#[utoipa::path(get, path = "/test/echo", responses((status = 101)))]
async fn echo(_: CurrentUser, upgrade: Upgrade) -> Response {
    upgrade.take_over(|(stream, early)| async move {
        let mut socket = WebSocketStream::from_partially_read(stream, early.to_vec(), Side::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

/// Every route of the tests, beside those of the product.
pub fn routes() -> Routes {
    let quick = |policy: Policy| Policy { answer_within: Some(QUICK), ..policy };
    let small = Policy { body_bytes_max: Some(1024), ..quick(Policy::WRITE) };
    let mut routes = folio::http::routes()
        .add(Policy::READ, routes!(get_thing))
        .ready(|_, _, path| (format!("/api/v1/things/{}", path.get("id")?) == THING).then(|| thing().into()))
        .add(Policy::WRITE, routes!(make))
        .add(Policy::READ, routes!(list))
        .add(quick(Policy::READ), routes!(slow))
        .add(Policy::READ, routes!(takes_a_second))
        .add(Policy::READ, routes!(panics))
        .add(Policy::READ, routes!(defect))
        .add(small, routes!(takes_a_number))
        .add(Policy::READ, routes!(large))
        .add(Policy::READ, routes!(endless))
        .add(Policy::READ, routes!(heavy))
        .add(Policy::READ, routes!(echo));
    routes.identify = |_, token| match token {
        b"ada" => Ok(person(1)),
        b"bob" => Ok(person(2)),
        _ => Err(Error::Unauthenticated("the token is not valid")),
    };
    routes
}

/// A server with all of them.
pub async fn serving() -> (Server, SocketAddr) {
    let server = Server::start(routes(), |_| ()).await;
    let address = server.address;
    (server, address)
}

fn thing() -> Encoded {
    let value = serde_json::json!({ "title": "A lighthouse in oils", "text": "sea and light ".repeat(100) });
    Encoded::json(&value, "public, max-age=5")
}

fn person(number: u128) -> Caller {
    let (user, session) = (UserId(Uuid::from_u128(number)), SessionId(Uuid::nil()));
    Caller::Person(Person { user, session, role: Role::User })
}
