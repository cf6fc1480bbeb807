//! A client that sends bytes as they are, also those that no library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that says nothing for that long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Debug)]
pub struct Heard {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Heard {
    /// The value of a header; empty without it.
    pub fn header(&self, name: &str) -> &str {
        let value = |line: &str| line.split_once(": ").filter(|it| it.0 == name).map(|it| it.1.len());
        self.head.lines().find_map(|line| value(line).map(|size| &line[line.len() - size..])).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// Writes a request that asks for a close.
pub fn ask(line: &str, headers: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

/// Writes a request with a body.
pub fn send(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [&ask(line, &format!("{headers}Content-Length: {}\r\n", body.len())), body].concat()
}

/// Writes a request with JSON.
pub fn send_json(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    send(line, &format!("Content-Type: application/json\r\n{headers}"), body)
}

/// Sends bytes as they are and hears every answer until the server closes; fails when it never does.
pub async fn say(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<Heard> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may stop listening in the middle: what it says then is what counts.
    let _ = stream.write_all(bytes.as_ref()).await;
    hear(&mut stream).await
}

/// Asks once.
pub async fn get(address: SocketAddr, path: &str, headers: &str) -> Heard {
    say(address, ask(&format!("GET {path}"), headers)).await.pop().expect("an answer")
}

/// Hears every answer until the server closes.
pub async fn hear(stream: &mut TcpStream) -> Vec<Heard> {
    let mut raw = Vec::new();
    let reading = tokio::time::timeout(HANGS_AFTER, stream.read_to_end(&mut raw)).await;
    reading.expect("the server hangs").expect("the server resets instead of answering");
    let mut answers = Vec::new();
    while let Some(heard) = split(&mut raw) {
        answers.push(heard);
    }
    assert!(raw.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&raw));
    answers
}

/// Hears one answer; the connection stays.
pub async fn hear_one(stream: &mut TcpStream) -> Heard {
    let mut raw = Vec::new();
    loop {
        if let Some(heard) = split(&mut raw) {
            return heard;
        }
        let reading = tokio::time::timeout(HANGS_AFTER, stream.read_buf(&mut raw)).await;
        assert!(reading.expect("the server hangs").unwrap() > 0, "closed: {:?}", String::from_utf8_lossy(&raw));
    }
}

fn split(raw: &mut Vec<u8>) -> Option<Heard> {
    let end = raw.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(raw[..end].to_vec()).unwrap();
    let status: u16 = head[9..12].parse().unwrap();
    let size = head.lines().find_map(|it| it.strip_prefix("content-length: ")).map_or(0, |it| it.parse().unwrap());
    let size = if status == 304 { 0 } else { size };
    if raw.len() < end + size {
        return None;
    }
    let body = raw.drain(..end + size).skip(end).collect();
    let heard = Heard { status, head, body };
    let form = if status >= 400 { heard.json() } else { serde_json::Value::Null };
    // Health says what it says with any status, and Engine.IO refuses in its own words.
    if status >= 400 && form.get("service").is_none() && form.get("code").is_none() {
        assert!(["detail", "error", "request_id"].iter().all(|it| form[it].is_string()), "the one form: {form}");
        assert_eq!(form["request_id"], heard.header("x-request-id"));
        assert!(matches!(status, 429 | 503 | 504) == form["retry_after"].is_u64(), "{form}");
    }
    Some(heard)
}
