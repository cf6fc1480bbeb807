//! The form of `Idempotency-Key`, asked from outside.

use axum::Json;
use folio::http::Policy;
use folio::http::extract::{Body, IdempotencyKey};
use folio::routes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::things;
use crate::support::http::Server;
use crate::support::raw::{say, send_json};

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Order {
    count: u32,
}

#[utoipa::path(post, path = "/test/orders", request_body = Order, responses((status = 200)))]
async fn order(IdempotencyKey(key): IdempotencyKey, Body(order): Body<Order>) -> Json<(Option<String>, u32)> {
    Json((key, order.count))
}

#[tokio::test]
async fn a_key_reaches_the_capability_and_one_of_another_form_is_refused() {
    let server = Server::start(things::routes().add(Policy::WRITE, routes!(order)), |_| ()).await;
    let ask = |headers: String, body: &'static [u8]| async move {
        say(server.address, send_json("POST /test/orders", &headers, body)).await.remove(0)
    };
    let body: &[u8] = br#"{"count":1}"#;
    let key = |it: &str| format!("Idempotency-Key: {it}\r\n");
    for (headers, expected) in [
        (String::new(), 200),
        (key(&"k".repeat(64)), 200),
        (key(""), 422),
        (key("seven77"), 422),
        (key(&"k".repeat(65)), 422),
        (key("with blank"), 422),
        (key("dots.are.no.letters"), 422),
        (key("order-0001") + &key("order-0001"), 400),
    ] {
        assert_eq!(ask(headers.clone(), body).await.status, expected, "{headers:?}");
    }
    assert_eq!(ask(key("order-0001"), body).await.body, br#"["order-0001",1]"#);
    assert_eq!(ask(key("order-0001"), b"{").await.status, 400, "a body is refused as everywhere");
    assert_eq!(ask(key("order-0001"), br#"{"count":-1}"#).await.status, 422);
    server.end().await;
}
