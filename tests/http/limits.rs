//! How often, how many, and whose address counts.

use std::time::Duration;

use folio::config::{HttpConfig, RateLimitConfig};
use tokio::net::TcpStream;

use super::things::{ADA, BOB, THING, routes};
use crate::support::http::{Server, until};
use crate::support::raw::{get, hear};

fn limited(config: &mut HttpConfig) {
    config.rate_limit =
        Some(RateLimitConfig { per_address_burst: 3, per_address_minute: 60, per_user_burst: 2, per_user_minute: 60 });
}

#[tokio::test]
async fn a_quota_counts_down_is_refused_with_a_time_and_comes_back() {
    let server = Server::start(routes(), limited).await;
    for left in ["2", "1", "0"] {
        let heard = get(server.address, THING, &format!("X-Forwarded-For: 9.9.9.{left}\r\n")).await;
        assert_eq!(
            (heard.status, heard.header("ratelimit-remaining")),
            (200, left),
            "a forged address changes nothing"
        );
        assert_eq!(heard.header("ratelimit-limit"), "3");
    }
    let heard = get(server.address, THING, "").await;
    assert_eq!((heard.status, heard.header("retry-after")), (429, "1"));
    assert_eq!(heard.json()["error"], "too_many_requests");
    assert_eq!(get(server.address, "/nope", "").await.status, 429, "guessing paths is counted too");
    assert_eq!(get(server.address, "/health/ready", "").await.status, 200, "probes are not");
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(get(server.address, THING, "").await.status, 200);
    let metrics = String::from_utf8(get(server.address, "/metrics", "").await.body).unwrap();
    assert!(metrics.contains("folio_rate_limited_total{class=\"address\"} 2"), "{metrics}");
    server.end().await;
}

#[tokio::test]
async fn each_user_has_a_quota_of_their_own_beside_the_address() {
    let server = Server::start(routes(), |it| {
        limited(it);
        it.rate_limit.as_mut().unwrap().per_address_burst = 100;
    });
    let server = server.await;
    for expected in [200, 200, 429] {
        assert_eq!(get(server.address, THING, ADA).await.status, expected);
    }
    let heard = get(server.address, THING, BOB).await;
    assert_eq!((heard.status, heard.header("ratelimit-limit"), heard.header("ratelimit-remaining")), (200, "2", "1"));
    assert_eq!(get(server.address, THING, "Authorization: Bearer eve\r\n").await.status, 401);
    server.end().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_every_client_has_its_own_quota() {
    let server = Server::start(routes(), |it| {
        limited(it);
        it.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let server = server.await;
    for client in 0..9 {
        let line = format!("X-Forwarded-For: 6.6.6.6, 9.9.{client}.9, 127.0.0.2\r\n");
        assert_eq!(get(server.address, THING, &line).await.status, 200);
    }
    let logged = server.logged();
    assert_eq!(logged[8]["address"], "9.9.8.0");
    server.end().await;
}

#[tokio::test]
async fn more_connections_than_there_are_places_are_refused_and_places_come_back() {
    for (total, each, status) in [(2, 100, 503), (100, 2, 429)] {
        let server = Server::start(routes(), |it| {
            (it.connections_max, it.connections_per_address_max) = (total, each);
            it.ops_listen = Some("127.0.0.1:0".parse().unwrap());
        });
        let server = server.await;
        let idle =
            [TcpStream::connect(server.address).await.unwrap(), TcpStream::connect(server.address).await.unwrap()];
        let mut third = TcpStream::connect(server.address).await.unwrap();
        let heard = hear(&mut third).await;
        assert_eq!((heard[0].status, heard[0].header("connection")), (status, "close"));
        let operation = server.operation.unwrap();
        assert_eq!(get(operation, "/health/ready", "").await.status, 200, "whoever runs Folio always comes in");
        drop(idle);
        for _ in 0..1_000 {
            let metrics = String::from_utf8(get(operation, "/metrics", "").await.body).unwrap();
            if metrics.contains("folio_http_connections 1\n") {
                break;
            }
        }
        assert_eq!(get(server.address, THING, "").await.status, 200);
        until("the log has the request", || !server.logged().is_empty()).await;
        server.end().await;
    }
}
