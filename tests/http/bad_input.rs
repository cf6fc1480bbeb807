//! Requests that no good client sends: each gets a clear refusal in the one form, and nothing hangs or breaks.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::bad_bodies;
use super::things::{ADA, BOB, THING, routes, serving};
use crate::support::http::Server;
use crate::support::raw::{ask, get, hear, say, send};

/// What it is, what is sent, what is answered.
pub type Case = (&'static str, Vec<u8>, u16);

fn line(line: &str) -> Vec<u8> {
    ask(line, "")
}

fn with(header: &str) -> Vec<u8> {
    ask(&format!("GET {THING}"), &format!("{header}\r\n"))
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    [&ask("POST /api/v1/things", &format!("{ADA}{headers}")), body].concat()
}

/// Version, target, method and headers.
fn heads() -> Vec<Case> {
    vec![
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".into(), 400),
        ("no path", b"GET\r\n\r\n".into(), 400),
        ("an unknown version", b"GET / HTTP/9.9\r\n\r\n".into(), 400),
        ("a method in lower case", line("get /api/v1/things"), 501),
        ("raw bytes in the path", b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("a path of 20 KiB", line(&format!("GET /{}", "a".repeat(20_000))), 431),
        ("no host", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n".into(), 400),
        ("two hosts", with("Host: y"), 400),
        ("a host of nonsense", b"GET / HTTP/1.1\r\nHost: a b/c\r\nConnection: close\r\n\r\n".into(), 400),
        ("another host in the target", line("GET http://evil.example/api/v1/things"), 400),
        ("a space in a header name", with("a b: c"), 400),
        ("a space before the colon", with("a : c"), 400),
        ("no colon", with("abc"), 400),
        ("an empty header name", with(": c"), 400),
        ("a NUL in a header", with("a: b\0c"), 400),
        ("a bare CR in a header", with("a: b\rc"), 400),
        ("a folded header", with("a: b\r\n c"), 400),
        ("120 headers", with(&"a: 1\r\n".repeat(120)), 431),
        ("a header of 20 KiB", with(&format!("a: {}", "b".repeat(20_000))), 431),
        ("a header of 200 KiB", with(&format!("a: {}", "b".repeat(200_000))), 431),
        ("a cookie of 20 KiB", with(&format!("Cookie: a={}", "b".repeat(20_000))), 431),
        ("200 cookies", with(&"Cookie: a=b\r\n".repeat(200)), 431),
        ("an expectation", with("Expect: 200-ok"), 417),
        ("TRACE", line("TRACE /api/v1/things"), 405),
        ("CONNECT", line("CONNECT x:443"), 400),
        ("PROPFIND", line("PROPFIND /api/v1/things"), 501),
        ("FOO", line("FOO /api/v1/things"), 501),
        ("DELETE where nobody deletes", line("DELETE /api/v1/things"), 405),
        ("no token", line("POST /api/v1/things"), 401),
        ("a token of nonsense", with("Authorization: Bearer x.y.z"), 401),
        ("an empty token", with("Authorization: Bearer "), 401),
        ("a token of 10 KiB", with(&format!("Authorization: Bearer {}", "a".repeat(10_000))), 401),
        (
            "a token that is no text",
            [
                b"GET /test/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",
                b"Authorization: Bearer \xff\r\n\r\n".as_slice(),
            ]
            .concat(),
            401,
        ),
        ("another scheme", with("Authorization: Basic YTpi"), 401),
        ("a handler that takes too long", line("GET /test/slow"), 504),
        ("a panic", line("GET /test/panic"), 500),
        ("half a head", b"GET / HTTP/1.1\r\nHo".into(), 408),
    ]
}

/// Paths and the ids in them.
fn paths() -> Vec<Case> {
    vec![
        ("an escape of no hex", line("GET /api/v1/things/%zz"), 400),
        ("an escape cut short", line("GET /api/v1/things/%f"), 400),
        ("an escape of no UTF-8", line("GET /api/v1/things/%ff"), 400),
        ("an overlong escape", line("GET /api/v1/things/%c0%ae"), 400),
        ("an escaped NUL", line("GET /api/v1/things/%00"), 400),
        ("a hidden slash", line("GET /api/v1/things/..%2f..%2fetc"), 400),
        ("a hidden escape", line("GET /api/v1/things/%252e%252e"), 400),
        ("dots", line("GET /api/v1/../../etc/passwd"), 400),
        ("dots with a parameter", line("GET /api/..;/things"), 400),
        ("a backslash", line("GET /api/v1/things\\..\\x"), 400),
        ("double slashes", line("GET /api//v1/things"), 404),
        ("an id that is none", line("GET /api/v1/things/1e3"), 404),
        ("an id of zero", line("GET /api/v1/things/0"), 404),
        ("an id of 40 digits", line(&format!("GET /api/v1/things/{}", "9".repeat(40))), 404),
        ("an id of another version", line("GET /api/v1/things/9b2f3a34-0d5e-4f7a-8d0e-0a5c3d2e1f00"), 404),
    ]
}

/// How a body is framed.
fn framing() -> Vec<Case> {
    let chunked =
        |body: &str| post("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", body.as_bytes());
    let brief = |header: &str| ask("POST /test/text", &format!("Content-Type: application/json\r\n{header}"));
    vec![
        ("length +5", post("Content-Length: +5\r\n", b"hello"), 400),
        ("length 0x5", post("Content-Length: 0x5\r\n", b"hello"), 400),
        ("length -1", post("Content-Length: -1\r\n", b""), 400),
        ("an empty length", post("Content-Length:\r\n", b""), 400),
        ("a list of lengths", post("Content-Length: 5, 6\r\n", b"hello!"), 400),
        ("a length beyond 64 bits", post("Content-Length: 99999999999999999999999\r\n", b""), 400),
        ("a length of an exabyte", post("Content-Length: 1000000000000000000\r\n", b"x"), 413),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"), 400),
        ("length and chunks", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400),
        ("chunks and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
        ("both, in capitals", post("TRANSFER-ENCODING: chunked\r\nCONTENT-LENGTH: 5\r\n", b"0\r\n\r\n"), 400),
        (
            "chunks in HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("an endless chunk", [brief("Transfer-Encoding: chunked\r\n"), b"FFFFFFFFFFFFFFFF\r\n{".into()].concat(), 408),
        ("a chunk size beyond 64 bits", chunked("FFFFFFFFFFFFFFFFF\r\n{"), 400),
        ("a chunk size of letters", chunked("zz\r\n{"), 400),
        ("a chunk size below zero", chunked("-1\r\n{"), 400),
        ("a chunk longer than it says", chunked("1\r\n{}\r\n0\r\n\r\n"), 400),
        ("chunks without end, too many", chunked(&format!("10000\r\n{}\r\n", " ".repeat(65_536)).repeat(20)), 413),
        ("an unknown transfer coding", post("Transfer-Encoding: gzip\r\n", b""), 400),
        ("chunks that are compressed after", post("Transfer-Encoding: chunked, gzip\r\n", b""), 400),
        ("a body where none belongs", [with("Content-Length: 5"), b"hello".into()].concat(), 400),
        ("chunks where none belong", [with("Transfer-Encoding: chunked"), b"0\r\n\r\n".into()].concat(), 400),
        ("half a body", [brief("Content-Length: 9\r\n"), b"1".into()].concat(), 408),
    ]
}

#[tokio::test]
async fn bad_input_gets_a_clear_refusal_in_the_one_form() {
    let (server, address) = serving().await;
    let cases: Vec<Case> = [heads(), paths(), framing(), bad_bodies::bodies(), bad_bodies::queries()].concat();
    let mut wrong = Vec::new();
    for (name, bytes, expected) in cases {
        let heard: Vec<u16> = say(address, bytes).await.iter().map(|it| it.status).collect();
        if heard != [expected] {
            wrong.push((name, heard, expected));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(get(address, THING, BOB).await.status, 200, "and everybody else is still served");
    server.end().await;
}

#[tokio::test]
async fn a_request_framed_twice_is_refused_however_the_network_cuts_it() {
    let server = Server::start(routes(), |it| it.head_within = Duration::from_secs(60)).await;
    let address = server.address;
    let both =
        post("Content-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n");
    let head = both.len() - 5;
    let heard = futures_util::future::join_all((1..head).map(async |cut| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&both[..cut]).await.unwrap();
        // The first part is read by itself: another whole request is answered in the meantime.
        get(address, THING, BOB).await;
        stream.write_all(&both[cut..]).await.unwrap();
        hear(&mut stream).await.iter().map(|it| it.status).collect::<Vec<_>>()
    }));
    assert_eq!(heard.await, vec![[400]; head - 1]);
    server.end().await;
}

#[tokio::test]
async fn the_greeting_of_another_protocol_version_is_closed_without_a_word() {
    let (server, address) = serving().await;
    assert!(say(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.is_empty());
    server.end().await;
}

#[tokio::test]
async fn the_request_after_a_refused_one_is_parsed_right_or_never() {
    let (server, address) = serving().await;
    let next = format!("GET {THING} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let keep = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace("Connection: close\r\n", "");
    for (name, first, statuses) in [
        (
            "a body on a read",
            keep(send(&format!("GET {THING}"), "", b"GET /smuggled HTTP/1.1\r\n\r\n")),
            [400, 200].as_slice(),
        ),
        ("a body that is not read", keep(send("POST /nope", "", b"GET /smuggled HTTP/1.1\r\n\r\n")), &[404, 200]),
        ("both lengths", keep(post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n")), &[400]),
        (
            "lengths the other way round",
            keep(post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"0\r\n\r\n")),
            &[400],
        ),
    ] {
        let heard: Vec<u16> = say(address, format!("{first}{next}")).await.iter().map(|it| it.status).collect();
        assert_eq!(heard, statuses, "{name}");
    }
    server.end().await;
}

#[tokio::test]
async fn whoever_sends_a_byte_at_a_time_is_told_that_it_took_too_long() {
    let (server, address) = serving().await;
    for start in
        ["GET /", "POST /test/text HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"]
    {
        assert_eq!(dribble(address, start).await, 408, "{start}");
    }
    server.end().await;
}

/// Sends a byte each 20 ms until the server has had enough.
async fn dribble(address: SocketAddr, start: &str) -> u16 {
    use tokio::io::AsyncWriteExt;
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    write.write_all(start.as_bytes()).await.unwrap();
    let dribbling = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if write.write_all(b"1").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut raw = vec![0; 4096];
    let hearing = tokio::io::AsyncReadExt::read(&mut read, &mut raw);
    let size = tokio::select! {
        size = tokio::time::timeout(Duration::from_secs(10), hearing) => size.expect("the server hangs").unwrap(),
        () = dribbling => unreachable!(),
    };
    std::str::from_utf8(&raw[9..size.min(12)]).unwrap().parse().unwrap()
}
