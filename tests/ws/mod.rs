//! Live connections from outside: what is said on each transport, and what comes back.

mod chat;
mod chat_nodes;
mod conversations;
mod description;
#[path = "../../examples/protocol_echo/echo.rs"]
mod echo;
mod engine_io;
mod front_door;
mod hostile;
mod house;
mod native;
mod neighbours;
mod presence;
mod process;
mod socket_io;
mod sse;
mod stock_client;
mod talks;
mod walk;

use std::net::SocketAddr;
use std::time::Duration;

use folio::config::Config;
use folio::http::Routes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::http::Server;
use crate::support::raw::{Heard, ask, say, send};

const HANGS_AFTER: Duration = Duration::from_secs(20);

/// A server with the two echoes.
async fn echoing(change: impl FnOnce(&mut Config)) -> Server {
    let small = |config: &mut Config| {
        config.sockets.message_bytes_max = 1_000_000;
        config.sockets.outbox_bytes_max = 8_000_000;
        config.sockets.requests_waiting_max = 1_000;
        change(config);
    };
    Server::start_with(echo::routes(Routes::default()), small).await
}

/// The other side of a WebSocket, by a library that is not ours.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn to(address: SocketAddr, path: &str) -> Socket {
        Socket::try_to(address, path).await.expect("it is let in")
    }

    /// An error is the status of the refusal.
    async fn try_to(address: SocketAddr, path: &str) -> Result<Socket, u16> {
        let request = format!("ws://{address}{path}").into_client_request().unwrap();
        match timeout(HANGS_AFTER, connect_async(request)).await.expect("the handshake hangs") {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn says(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    async fn sends(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    async fn next(&mut self) -> Option<Message> {
        timeout(HANGS_AFTER, self.0.next()).await.expect("the server says nothing").and_then(Result::ok)
    }

    /// The next text.
    async fn hears(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }

    /// The next text as JSON.
    async fn hears_json(&mut self) -> Value {
        serde_json::from_str(&self.hears().await).expect("it is JSON")
    }

    /// The next bytes.
    async fn hears_bytes(&mut self) -> Vec<u8> {
        match self.next().await {
            Some(Message::Binary(bytes)) => bytes.to_vec(),
            other => panic!("no bytes but {other:?}"),
        }
    }

    /// The code of the close frame, or 0 when the connection ended without one.
    async fn ends(&mut self) -> u16 {
        loop {
            match self.next().await {
                Some(Message::Close(close)) => return close.map_or(1005, |it| it.code.into()),
                Some(_) => {}
                None => return 0,
            }
        }
    }
}

async fn get(address: SocketAddr, target: &str) -> Heard {
    say(address, ask(&format!("GET {target}"), "")).await.pop().expect("an answer")
}

async fn post(address: SocketAddr, target: &str, body: &[u8]) -> Heard {
    say(address, send(&format!("POST {target}"), "Content-Type: text/plain\r\n", body)).await.pop().expect("an answer")
}

fn text(heard: &Heard) -> &str {
    std::str::from_utf8(&heard.body).unwrap()
}
