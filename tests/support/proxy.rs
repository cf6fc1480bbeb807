//! A way to a server that can hang, be cut, or be slow: what networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;

use super::spawn;

/// What the proxy does with the bytes of every connection, old and new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hands them on.
    Pass,
    /// Hands them on, this much later.
    Delay(Duration),
    /// Swallows what arrives, both ways; connections stay open and new ones are taken.
    Hang,
    /// Closes every connection, and each new one.
    Cut,
    /// Hands on what the client sends; once these bytes are in it, answers are swallowed and the connection is cut
    /// as soon as there was one. So the server did it and nobody heard.
    CutAfter(&'static [u8]),
    /// Closes a connection as soon as the client sends these bytes, which do not arrive.
    CutBefore(&'static [u8]),
}

/// Listens on a free port of the loopback, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    listening: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts between a free port and a server, `host:port`.
    pub async fn start(server: &str) -> Proxy {
        let (server, listener) = (Arc::<str>::from(server), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let (mode, seen) = watch::channel(Mode::Pass);
        let listening = spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                spawn(connection(client, server.clone(), seen.clone()));
            }
        });
        Proxy { address, mode, listening }
    }

    /// Starts in front of the server of a URL, and gives the URL that leads through the proxy.
    pub async fn before(url: &str) -> (Proxy, String) {
        let parsed = url::Url::parse(url).unwrap();
        let server = format!("{}:{}", parsed.host_str().unwrap(), parsed.port().unwrap());
        let proxy = Proxy::start(&server).await;
        let url = url.replacen(&server, &proxy.address.to_string(), 1);
        (proxy, url)
    }

    /// Changes what happens from here on, on every connection.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.mode.send_replace(Mode::Cut);
    }
}

async fn connection(client: TcpStream, server: Arc<str>, mode: watch::Receiver<Mode>) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(&*server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (heard, hears) = watch::channel(false);
    let mut cut = mode.clone();
    tokio::select! {
        () = asks(from_client, to_server, mode.clone(), heard) => {}
        () = answers(from_server, to_client, mode, hears) => {}
        _ = cut.wait_for(|it| *it == Mode::Cut) => {}
    }
}

/// From client to server, until either ends or the pattern of the mode was seen.
async fn asks(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mode: watch::Receiver<Mode>,
    seen: watch::Sender<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..count];
        let has = |pattern: &[u8]| bytes.windows(pattern.len()).any(|it| it == pattern);
        let now = mode.borrow().clone();
        match now {
            Mode::Hang => continue,
            Mode::Cut => return,
            Mode::CutBefore(pattern) if has(pattern) => return,
            Mode::CutAfter(pattern) if has(pattern) => drop(seen.send_replace(true)),
            Mode::Delay(wait) => tokio::time::sleep(wait).await,
            _ => {}
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// From server to client, until either ends or an answer came that nobody shall hear.
async fn answers(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mode: watch::Receiver<Mode>,
    seen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let now = mode.borrow().clone();
        match now {
            Mode::Hang => continue,
            Mode::Cut => return,
            Mode::CutAfter(_) if *seen.borrow() => return,
            Mode::Delay(wait) => tokio::time::sleep(wait).await,
            _ => {}
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
