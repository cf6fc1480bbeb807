//! What balancers, orchestrators and scrapers are told.

use std::collections::BTreeMap;
use std::time::Duration;

use folio::error::{Error, Result};
use folio::storage::Probe;

use super::things::{THING, routes, serving};
use crate::support::eventually;
use crate::support::http::Server;
use crate::support::raw::get;

fn good() -> Result<Probe> {
    Ok(Probe { backend: "sqlite", version: "3".into(), rights: Vec::new() })
}

#[tokio::test]
async fn a_part_goes_down_after_three_failures_and_comes_back_with_one_success() {
    let (server, address) = serving().await;
    let health = &server.app.health;
    let ms = Duration::from_millis(3);
    let told = || async {
        let (all, ready) = (get_any(address, "/health").await, get_any(address, "/health/ready").await);
        let live = get_any(address, "/health/live").await;
        assert_eq!(live, (200, "healthy".into()), "no part of it makes the process restart");
        (all.0, all.1, ready.0)
    };
    eventually("its own parts are there", async || {
        server.clock.advance(Duration::from_secs(1));
        told().await.1 == "healthy"
    })
    .await;
    health.report("vault", true, &Err(Error::unavailable("database")), ms);
    assert_eq!(told().await, (503, "unhealthy".into(), 503), "what never was up needs no patience");
    health.report("vault", true, &good(), ms);
    health.report("helper", false, &good(), ms);
    assert_eq!(told().await, (200, "healthy".into(), 200));
    for _ in 0..3 {
        assert_eq!(told().await.0, 200);
        health.report("helper", false, &Err(Error::unavailable("redis")), ms);
    }
    assert_eq!(told().await, (200, "degraded".into(), 200), "without the helper Folio works on");
    for expected in [200, 200, 503] {
        health.report("vault", true, &Err(Error::unavailable("database")), ms);
        assert_eq!(told().await.2, expected);
    }
    assert_eq!(told().await, (503, "unhealthy".into(), 503));
    server.clock.advance(Duration::from_secs(60));
    health.report("vault", true, &good(), ms);
    assert_eq!(told().await.2, 200);
    for expected in [200, 200, 503] {
        health.report("vault", true, &good().map(|it| Probe { rights: vec![("write", false)], ..it }), ms);
        assert_eq!(told().await.2, expected, "what answers and takes no writes is of no use");
    }
    server.clock.advance(Duration::from_secs(60));
    health.report("vault", true, &good(), ms);
    assert_eq!(told().await, (200, "degraded".into(), 200));
    let checks = get(address, "/health", "").await.json()["checks"].clone();
    let named = |name: &str| checks.as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone();
    let (vault, helper) = (named("vault"), named("helper"));
    assert_eq!((&vault["state"], &vault["backend"], &vault["latency_ms"]), (&"up".into(), &"sqlite".into(), &3.into()));
    assert_eq!((&helper["state"], &helper["required"]), (&"down".into(), &false.into()));
    assert!(vault["since"].as_str() > helper["since"].as_str(), "{checks}");
    server.end().await;
}

#[tokio::test]
async fn details_and_metrics_move_to_the_listener_of_operation() {
    let server = Server::start(routes(), |it| it.ops_listen = Some("127.0.0.1:0".parse().unwrap())).await;
    let operation = server.operation.unwrap();
    assert_eq!(get(server.address, "/metrics", "").await.status, 404);
    assert_eq!(get(operation, "/metrics", "").await.status, 200);
    assert!(get(server.address, "/health", "").await.json().get("checks").is_none());
    let checks = get(operation, "/health", "").await.json()["checks"].clone();
    assert!(checks.as_array().unwrap().iter().any(|it| it["name"] == "database"), "{checks}");
    assert_eq!(get(server.address, THING, "").await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn metrics_agree_with_what_was_asked_and_have_no_label_of_a_callers_making() {
    let (server, address) = serving().await;
    for number in 0..50 {
        assert_eq!(get(address, THING, "").await.status, 200);
        assert_eq!(get(address, &format!("/guess/{number}"), "").await.status, 404);
    }
    let before = scrape(address).await;
    assert_eq!(
        before[r#"folio_http_requests_total{method="GET",route="/api/v1/things/{id}",status_class="2xx"}"#],
        50.0
    );
    assert_eq!(before[r#"folio_http_requests_total{method="other",route="unmatched",status_class="4xx"}"#], 50.0);
    assert_eq!(before[r#"folio_http_request_duration_seconds_count{method="GET",route="/api/v1/things/{id}"}"#], 50.0);
    assert_eq!(before[r#"folio_http_requests_total{method="POST",route="/api/v1/things",status_class="5xx"}"#], 0.0);
    assert_eq!(before[&format!("folio_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
    assert!(before["process_resident_memory_bytes"] > 0.0 && before["folio_http_connections"] >= 1.0);
    for number in 0..50 {
        get(address, &format!("/more/{number}"), "").await;
    }
    let after = scrape(address).await;
    assert!(before.keys().eq(after.keys()), "asking makes no series");
    server.end().await;
}

async fn get_any(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let heard = get(address, path, "").await;
    (heard.status, heard.json()["status"].as_str().unwrap_or_default().to_owned())
}

async fn scrape(address: std::net::SocketAddr) -> BTreeMap<String, f64> {
    let text = String::from_utf8(get(address, "/metrics", "").await.body).unwrap();
    let (comments, samples): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
    let typed = comments.iter().filter(|it| it.starts_with("# TYPE ")).count();
    assert_eq!(typed * 2, comments.len(), "each family has its help and its type");
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    let samples: Vec<_> = samples.into_iter().map(sample).collect();
    let count = samples.len();
    let all: BTreeMap<String, f64> = samples.into_iter().collect();
    assert_eq!(all.len(), count, "no series twice");
    all
}
