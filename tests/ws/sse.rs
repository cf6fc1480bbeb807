//! Server-sent events: the same frames, and a position to come back with.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::house::{routes, say};
use crate::support::http::{Server, until};
use crate::support::raw::get;
use crate::support::streams;

/// Reads until a text has come; returns everything read.
pub async fn reads(stream: &mut TcpStream, text: &str) -> String {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(text) {
        assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "it ended: {}", String::from_utf8_lossy(&heard));
    }
    String::from_utf8(heard).unwrap()
}

async fn listens(server: &Server, path: &str, last: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let last = if last.is_empty() { String::new() } else { format!("Last-Event-ID: {last}\r\n") };
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{last}\r\n").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn an_event_source_hears_and_comes_back_where_it_was() {
    let server = Server::start_with(routes(), |_| ()).await;
    let stream = streams::stream(&server.app.storage.db).await;
    let path = format!("/events/{stream}");
    let mut source = listens(&server, &path, "").await;
    let heard = reads(&mut source, "event: resumed\n").await;
    assert!(heard.contains("content-type: text/event-stream"), "{heard}");
    say(&server.app, stream, None, &json!("one")).await.unwrap();
    let heard = reads(&mut source, "\"one\"").await;
    assert!(heard.contains("event: new_message\ndata: {"), "{heard}");
    let id = heard.lines().find_map(|it| it.strip_prefix("id: ")).expect("an id").to_owned();
    server.clock.advance(std::time::Duration::from_secs(25));
    reads(&mut source, ":\n\n").await;
    drop(source);
    for text in ["two", "three"] {
        say(&server.app, stream, None, &json!(text)).await.unwrap();
    }
    let mut source = listens(&server, &path, &id).await;
    let heard = reads(&mut source, "event: resumed\n").await;
    let at = |text: &str| heard.find(text).unwrap_or_else(|| panic!("no {text} in {heard}"));
    assert!(at("\"two\"") < at("\"three\"") && !heard.contains("\"one\""), "{heard}");
    assert_eq!(get(server.address, &path, "Last-Event-ID: nonsense\r\n").await.status, 400);
    drop(source);
    until("both are gone", || {
        server.clock.advance(std::time::Duration::from_secs(25));
        server.app.sockets.roll.count() == 0
    })
    .await;
    server.end().await;
}
