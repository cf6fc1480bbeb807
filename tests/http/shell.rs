//! What every answer has, and what connections do.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::things::{ADA, THING, routes, serving};
use crate::support::http::Server;
use crate::support::raw::{ask, get, hear, hear_one, say, send_json};

fn request(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").into_bytes()
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_known_etags_with_304() {
    let (server, address) = serving().await;
    let etag = get(address, THING, "").await.header("etag").to_owned();
    let all = [
        request(THING, ""),
        request("/nope", ""),
        request(THING, &format!("If-None-Match: \"x\", {etag}\r\n")),
        request("/health/live", "Connection: close\r\n"),
    ];
    let heard = say(address, all.concat()).await;
    assert_eq!(heard.iter().map(|it| it.status).collect::<Vec<_>>(), [200, 404, 304, 200]);
    assert!(heard[2].body.is_empty());
    server.end().await;
}

#[tokio::test]
async fn an_old_path_keeps_its_method_and_query_or_says_what_is_not_built() {
    let (server, address) = serving().await;
    for (asked, expected) in [
        (send_json("POST /login", "", br#"{"login":1}"#), 422),
        (ask("DELETE /login", ""), 405),
        (ask("GET /api/users?size=3", ADA), 200),
        (ask("GET /api/users?size=0", ADA), 422),
        (ask("GET /search?q=x", ""), 501),
        (ask("POST /older", ""), 404),
    ] {
        assert_eq!(say(address, &asked).await[0].status, expected, "{}", String::from_utf8_lossy(&asked));
    }
    server.end().await;
}

#[tokio::test]
async fn every_answer_is_named_traced_guarded_and_logged_once() {
    let (server, address) = serving().await;
    let sent = "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX-Request-Id: my-own-id\r\n";
    let heard = get(address, &format!("{THING}?token=secret"), &format!("{sent}{ADA}")).await;
    assert_eq!(heard.header("x-request-id"), "my-own-id");
    assert!(heard.header("traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    assert!(!heard.header("traceparent").contains("00f067aa0ba902b7"), "our part has a name of its own");
    let forged = get(address, "/nope?token=secret", "Traceparent: 00-zz-01\r\nX-Request-Id: a\"b\r\n").await;
    assert_eq!((forged.header("x-request-id").len(), forged.header("traceparent").len()), (32, 55));
    for it in [&heard, &forged] {
        assert_eq!(it.header("x-content-type-options"), "nosniff");
        assert_eq!(it.header("referrer-policy"), "no-referrer");
        assert!(it.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(!it.header("cache-control").is_empty() && it.head.contains("vary: origin"));
    }
    let lines = server.logged();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["request_id"], &lines[0]["route"]), (&"my-own-id".into(), &"/api/v1/things/{id}".into()));
    assert_eq!(lines[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((&lines[1]["route"], &lines[1]["code"]), (&"unmatched".into(), &"not_found".into()));
    assert_eq!(lines[1]["address"], "127.0.0.0", "nobody's whole address");
    let text = format!("{lines:?}");
    assert!(
        !text.contains("secret") && !text.contains("Bearer") && !text.contains("\"ada\"") && !text.contains("0199c1de"),
        "{text}"
    );
    server.end().await;
}

#[tokio::test]
async fn a_defect_is_told_to_the_log_and_not_to_the_caller() {
    let (server, address) = serving().await;
    for path in ["/test/panic", "/test/defect"] {
        let heard = get(address, path, "").await;
        assert_eq!((heard.status, &heard.json()["error"]), (500, &"internal".into()));
        assert!(!heard.body.windows(7).any(|it| it == b"hunter2" || it == b"purpose"));
    }
    assert_eq!(get(address, "/health/live", "").await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn only_listed_origins_get_cors_headers() {
    let (server, address) = serving().await;
    for (origin, listed) in [
        ("https://app.example", true),
        ("null", false),
        ("https://app.example.evil", false),
        ("https://evilapp.example", false),
        ("http://app.example", false),
    ] {
        let asked = format!("Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n");
        let heard = say(address, ask(&format!("OPTIONS {THING}"), &asked)).await;
        assert_eq!((heard[0].status, heard[0].header("allow")), (204, "GET, HEAD, OPTIONS"));
        let refused = get(address, "/nope", &asked).await;
        for it in [&heard[0], &refused] {
            assert_eq!(it.header("access-control-allow-origin"), if listed { origin } else { "" });
            assert_eq!(it.header("access-control-allow-credentials"), "");
        }
    }
    // Nobody knows the page of a request that cannot be read: the answer is for the first page that may call.
    let unread = say(address, b"GET / HTTP/9.9\r\n\r\n").await;
    assert_eq!((unread[0].status, unread[0].header("access-control-allow-origin")), (400, "https://app.example"));
    assert!(unread[0].header("content-security-policy").starts_with("default-src 'none'"));
    assert!(unread[0].head.contains("vary: origin") && unread[0].header("x-request-id").len() == 32);
    server.end().await;
}

#[tokio::test]
async fn only_those_who_ask_get_gzip_and_small_answers_stay_as_they_are() {
    let (server, address) = serving().await;
    for path in [THING, "/test/large"] {
        let plain = get(address, path, "").await;
        for (coding, small) in [("br, gzip", true), ("gzip;q=0", false), ("identity", false)] {
            let heard = get(address, path, &format!("Accept-Encoding: {coding}\r\n")).await;
            assert_eq!(heard.header("content-encoding"), if small { "gzip" } else { "" }, "{path} {coding}");
            assert!(heard.head.contains("vary: accept-encoding"), "{path} {coding}");
            let mut body = heard.body.clone();
            if small {
                body.clear();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&heard.body[..]), &mut body).unwrap();
                assert!(heard.body.len() * 2 < body.len());
            }
            assert_eq!(body, plain.body, "{path} {coding}");
        }
    }
    assert_eq!(get(address, "/health/live", "Accept-Encoding: gzip\r\n").await.header("content-encoding"), "");
    server.end().await;
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let (server, address) = serving().await;
    for path in [THING, "/test/list", "/api/openapi.json"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let size = get(address, path, "").await.header("content-length").to_owned();
        stream.write_all(&ask(&format!("HEAD {path}"), "")).await.unwrap();
        let mut raw = String::new();
        stream.read_to_string(&mut raw).await.unwrap();
        assert!(raw.starts_with("HTTP/1.1 200") && raw.ends_with("\r\n\r\n"), "{raw}");
        assert!(raw.contains(&format!("content-length: {size}\r\n")), "{path}: {raw}");
    }
    server.end().await;
}

#[tokio::test]
async fn an_idle_connection_is_parked_wakes_as_if_nothing_was_and_closes_in_the_end() {
    let server = Server::start(routes(), |it| {
        it.park_after = Duration::from_millis(100);
        it.idle_within = Duration::from_secs(4);
    });
    let server = server.await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(&request(THING, "")).await.unwrap();
        assert_eq!(hear_one(&mut stream).await.status, 200);
        // Longer than it takes to be parked: the next request wakes it.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(hear(&mut stream).await.is_empty(), "closed when idle for long");
    server.end().await;
}

#[tokio::test]
async fn a_client_that_takes_its_time_to_read_gets_the_whole_answer() {
    let server = Server::start(routes(), |it| it.park_after = Duration::from_millis(100)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&request("/test/heavy", "")).await.unwrap();
    // Longer than an idle connection keeps its place, and less than a stuck one.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let heard = hear_one(&mut stream).await;
    assert_eq!((heard.status, heard.body.len()), (200, 16 << 20));
    server.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let server = Server::start(routes(), |it| it.write_within = Duration::from_millis(500)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&request("/test/endless", "")).await.unwrap();
    let open = || server.app.health.is_ready();
    assert!(open());
    let cut = async {
        let mut total = 0;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let mut chunk = vec![0; 1 << 20];
        while let Ok(size @ 1..) = stream.read(&mut chunk).await {
            total += size;
        }
        total
    };
    let total = tokio::time::timeout(Duration::from_secs(10), cut).await.expect("it is cut off");
    assert!(total > 65_536, "what fitted was sent: {total}");
    server.end().await;
}
