//! A stop finishes what has begun and takes nothing new.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::things::routes;
use crate::support::http::{Server, until};
use crate::support::raw::{ask, get, hear_one};
use crate::support::spawn;

#[tokio::test]
async fn a_stop_fails_readiness_finishes_requests_and_closes_the_rest() {
    let mut server = Server::start(routes(), |_| ()).await;
    let address = server.address;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut kept = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut kept, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(hear_one(&mut kept).await.status, 200);
    let busy = spawn(async move { get(address, "/test/second", "").await });
    busy_requests(address, 1).await;
    server.begin_to_stop();
    until("readiness fails", || !server.app.health.is_ready()).await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0, "a connection that asked nothing is closed");
    assert_eq!(kept.read(&mut [0; 8]).await.unwrap(), 0, "an idle connection is closed");
    assert_eq!(busy.await.unwrap().body, b"done", "a request under way gets its answer");
    server.stopped().await;
    server.end().await;
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_it_was_told() {
    let mut server = Server::start(routes(), |it| it.drain_within = Duration::from_millis(300)).await;
    let address = server.address;
    let mut slow = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut slow, &ask("GET /test/second", "")).await.unwrap();
    busy_requests(address, 1).await;
    server.begin_to_stop();
    server.stopped().await;
    server.end().await;
}

/// Waits until that many handlers run.
async fn busy_requests(address: std::net::SocketAddr, count: usize) {
    let wanted = format!("folio_http_requests_in_flight {}\n", count + 1);
    for _ in 0..1_000 {
        let metrics = String::from_utf8(get(address, "/metrics", "").await.body).unwrap();
        if metrics.contains(&wanted) {
            return;
        }
    }
    panic!("never {count} at a time");
}
