//! The form of `Idempotency-Key`, asked from outside.

use axum::Json;
use folio::error::Result;
use folio::http::idempotency::Repeatable;
use folio::http::{Policy, Routes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::things;
use crate::support::http::Server;
use crate::support::raw::{say, send_json};

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Order {
    count: u32,
}

#[utoipa::path(post, path = "/test/orders", request_body = Order, responses((status = 200)))]
async fn order(request: Repeatable<Order>) -> Json<Option<(String, [u8; 32], u32)>> {
    let count = request.body.count;
    Json(request.key.map(|it| (it.key, it.hash, count)))
}

#[utoipa::path(post, path = "/test/payments", request_body = Order, responses((status = 200)))]
async fn pay(request: Repeatable<Order>) -> Result<Json<(String, [u8; 32], u32)>> {
    let (order, key) = request.with_key()?;
    Ok(Json((key.key, key.hash, order.count)))
}

fn routes() -> Routes {
    things::routes().add(Policy::WRITE, routes!(order)).add(Policy::WRITE, routes!(pay))
}

#[tokio::test]
async fn the_same_key_and_body_are_told_from_the_same_key_with_another() {
    let server = Server::start(routes(), |_| ()).await;
    let heard = |path: &'static str, body: &'static str| async move {
        let request = send_json(&format!("POST {path}"), "Idempotency-Key: order-0001\r\n", body.as_bytes());
        let heard = say(server.address, request).await.remove(0);
        assert_eq!(heard.status, 200, "{path} {body}");
        heard.json()
    };
    let first = heard("/test/orders", r#"{"count":1}"#).await;
    assert_eq!((first[0].as_str(), first[2].as_u64()), (Some("order-0001"), Some(1)));
    assert_eq!(heard("/test/orders", r#"{"count":1}"#).await, first);
    assert_ne!(heard("/test/orders", r#"{"count":2}"#).await[1], first[1], "another body");
    assert_ne!(heard("/test/payments", r#"{"count":1}"#).await[1], first[1], "another path");
    server.end().await;
}

#[tokio::test]
async fn a_key_of_another_form_is_refused_and_a_missing_one_only_where_it_is_needed() {
    let server = Server::start(routes(), |_| ()).await;
    let status = |path: &'static str, headers: String, body: &'static [u8]| async move {
        say(server.address, send_json(&format!("POST {path}"), &headers, body)).await[0].status
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
        assert_eq!(status("/test/orders", headers.clone(), body).await, expected, "{headers:?}");
    }
    assert_eq!(status("/test/payments", String::new(), body).await, 400);
    assert_eq!(status("/test/orders", key("order-0001"), b"{").await, 400, "a body is refused as everywhere");
    assert_eq!(status("/test/orders", key("order-0001"), br#"{"count":-1}"#).await, 422);
    server.end().await;
}
