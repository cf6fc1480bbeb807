//! A WebSocket handshake passes the whole shell, and hands over the raw socket.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::things::{ADA, routes, serving};
use crate::support::http::Server;
use crate::support::raw::{get, say};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(address: std::net::SocketAddr, headers: &[(&'static str, &'static str)]) -> Result<Socket, Error> {
    let mut request = format!("ws://{address}/test/echo").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    connect_async(request).await.map(|it| it.0)
}

const TOKEN: (&str, &str) = ("authorization", "Bearer ada");

#[tokio::test]
async fn a_socket_is_taken_over_after_the_shell_let_it_pass() {
    let (server, address) = serving().await;
    let mut socket = connect(address, &[TOKEN, ("x-request-id", "shake-hands")]).await.unwrap();
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    let logged = server.logged();
    assert_eq!((&logged[0]["status"], &logged[0]["request_id"]), (&101.into(), &"shake-hands".into()));
    assert_eq!(logged[0]["route"], "/test/echo");
    let metrics = String::from_utf8(get(address, "/metrics", "").await.body).unwrap();
    assert!(metrics.contains("folio_http_connections 2\n"), "a session counts as a connection");
    assert!(metrics.contains("folio_http_requests_in_flight 1\n"), "and is no request any more");
    server.end().await;
}

#[tokio::test]
async fn nothing_is_lost_that_came_together_with_the_handshake() {
    let (server, address) = serving().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head = format!("GET /test/echo HTTP/1.1\r\nHost: x\r\n{ADA}{key}\r\n");
    let frame = [&[0x81, 0x82, 0, 0, 0, 0], b"hi".as_slice()].concat();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &[head.as_bytes(), &frame].concat()).await.unwrap();
    let (mut raw, wanted) = (Vec::new(), b"\x81\x02hi");
    while !raw.ends_with(wanted) {
        assert!(tokio::io::AsyncReadExt::read_buf(&mut stream, &mut raw).await.unwrap() > 0);
    }
    let head = String::from_utf8_lossy(&raw);
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(head.contains("x-request-id: "), "{head}");
    server.end().await;
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused_and_the_next_request_is_heard() {
    let (server, address) = serving().await;
    let (upgrade, version) = ("Connection: Upgrade\r\nUpgrade: websocket\r\n", "Sec-WebSocket-Version: 13\r\n");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let full = format!("{upgrade}{version}{key}");
    let get = |headers: &str| format!("GET /test/echo HTTP/1.1\r\nHost: x\r\n{ADA}{headers}\r\n");
    for (name, handshake, status) in [
        ("no key", get(&format!("{upgrade}{version}")), 426),
        ("a short key", get(&format!("{upgrade}{version}Sec-WebSocket-Key: abc\r\n")), 426),
        ("an empty key", get(&format!("{upgrade}{version}Sec-WebSocket-Key:\r\n")), 426),
        ("no version", get(&format!("{upgrade}{key}")), 426),
        ("version 12", get(&format!("{upgrade}Sec-WebSocket-Version: 12\r\n{key}")), 426),
        ("another protocol", get(&format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{version}{key}")), 426),
        ("no upgrade at all", get(""), 426),
        ("no connection header", get(&format!("Upgrade: websocket\r\n{version}{key}")), 426),
        ("a POST", get(&full).replace("GET", "POST"), 400),
        ("HTTP/1.0", get(&full).replace("HTTP/1.1", "HTTP/1.0"), 426),
        ("no token", get(&full).replace(ADA, ""), 401),
        ("a page of another origin", get(&format!("{full}Origin: https://evil.example\r\n")), 403),
    ] {
        let heard =
            say(address, format!("{handshake}GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        let heard: Vec<u16> = heard.await.iter().map(|it| it.status).collect();
        // After a body that was not read, or in an old version, closing is right as well.
        assert!(heard == [status, 200] || (name == "HTTP/1.0" && heard == [status]), "{name}: {heard:?}");
    }
    for origin in ["https://app.example", "http://x"] {
        let listed = connect(address, &[TOKEN, ("origin", origin), ("host", "x")]).await;
        assert!(listed.is_ok(), "{origin}");
    }
    server.end().await;
}

#[tokio::test]
async fn limits_hold_for_handshakes_too() {
    let server = Server::start(routes(), |it| {
        let limit = folio::config::RateLimitConfig {
            per_address_burst: 100,
            per_address_minute: 60,
            per_user_burst: 2,
            per_user_minute: 60,
        };
        it.rate_limit = Some(limit);
    });
    let server = server.await;
    let _open = [connect(server.address, &[TOKEN]).await.unwrap(), connect(server.address, &[TOKEN]).await.unwrap()];
    let Err(Error::Http(refused)) = connect(server.address, &[TOKEN]).await else { panic!("over the limit") };
    assert_eq!(refused.status(), 429);
    server.end().await;
}
