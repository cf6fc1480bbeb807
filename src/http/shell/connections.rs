//! Connections from accept to close: how many there may be, what each is doing, and how they end.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::answer::late;
use super::limits::{household, is_trusted};
use super::link::{Fate, Link, Phase, Socket, Taken, linger};
use super::{Shell, answer_request};
use crate::error::{Error, RETRY_AFTER};
use crate::http::error::Refusal;

/// How often a connection in use is asked whether it has been at the same thing for too long.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const READ_BYTES_MIN: usize = 64 * 1024;

/// Where connections come from.
#[derive(Debug)]
pub struct Listeners {
    /// The one for everybody.
    pub public: TcpListener,
    /// The one for operation, where it is another.
    pub operation: Option<TcpListener>,
}

/// How many connections each household has: as many as hold its mark, beside the table itself.
type Households = HashMap<u128, Arc<()>>;
/// A connection's place among all, and its household's mark; free again when it is dropped.
type Place = (OwnedSemaphorePermit, Arc<()>);

/// Accepts connections until told to stop, then lets each finish what it has begun, within the setting's time.
pub async fn serve(listeners: Listeners, shell: Arc<Shell>, stop: impl Future<Output = ()>) {
    let stop = stop.shared();
    let public = serve_door(listeners.public, false, shell.clone(), stop.clone());
    match listeners.operation {
        Some(listener) => _ = tokio::join!(public, serve_door(listener, true, shell, stop)),
        None => public.await,
    }
}

async fn serve_door(listener: TcpListener, operation: bool, shell: Arc<Shell>, stop: impl Future<Output = ()>) {
    let config = &shell.app.config.http;
    let (places, mut households) = (Arc::new(Semaphore::new(config.connections_max)), Households::new());
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors: wait for some to come back.
            shell.traffic.accept_failures.add();
            sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        let link = Arc::new(Link::new(&shell, peer.ip(), operation));
        let place = match take_place(&places, &mut households, &link) {
            Ok(place) => place,
            Err(refusal) => {
                let _ = stream.try_write(&shell.raw(refusal));
                continue;
            }
        };
        // A socket that refuses the option is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let socket = Socket { stream, ahead: Bytes::new(), link };
        // What surrounds a task holds it twice over: it holds a box, then.
        shell.app.actors.root.task("connections", attend(socket, place).boxed());
    }
    drop(listener);
    shell.app.health.drain();
    shell.stopping.send_replace(true);
    shell.app.sockets.send_away();
    // All places are free when the last connection has gone.
    let _ = timeout(config.drain_within, places.acquire_many(config.connections_max as u32)).await;
}

/// Finds a place for a connection. Proxies of ours stand for many.
fn take_place(places: &Arc<Semaphore>, households: &mut Households, link: &Link) -> Result<Place, Refusal> {
    let (traffic, config) = (&link.shell.traffic, &link.shell.app.config.http);
    let Ok(place) = places.clone().try_acquire_owned() else {
        traffic.refused_total.add();
        return Err(Error::unavailable("a place for one more connection").into());
    };
    if households.len() > 2 * config.connections_max {
        households.retain(|_, mark| Arc::strong_count(mark) > 1);
    }
    let mark = households.entry(household(link.peer)).or_default();
    if Arc::strong_count(mark) > config.connections_per_address_max && !is_trusted(&config.trusted_proxies, link.peer) {
        traffic.refused_address.add();
        return Err(Error::TooMany { retry_after: RETRY_AFTER }.into());
    }
    Ok((place, mark.clone()))
}

/// Serves one connection. When nothing happens on it, hyper and its buffers go, and only the socket stays.
async fn attend(mut socket: Socket, _place: Place) {
    let link = socket.link.clone();
    let shell = &link.shell;
    let _open = shell.traffic.connections.hold();
    let mut stopping = shell.stopping.subscribe();
    let mut fate = Fate::Park;
    while fate == Fate::Park {
        if socket.ahead.is_empty() {
            tokio::select! {
                _ = socket.stream.readable() => link.enter(Phase::Idle),
                () = sleep(shell.app.config.http.idle_within) => return,
                _ = stopping.wait_for(|it| *it) => return,
            }
        }
        (fate, socket) = converse(socket).await;
    }
    let session = link.session.lock().take();
    match (fate, session) {
        (Fate::Cut, _) => return,
        (Fate::Late, _) => socket.say(late("the request took too long to arrive")),
        // The session runs in this very task: it is a connection still.
        (_, Some(session)) => {
            return session(Taken { stream: socket.stream, early: socket.ahead, peer: link.peer, stopping }).await;
        }
        _ => {}
    }
    linger(socket.stream).await;
}

/// Lets hyper serve the socket until the client is done or fate has it otherwise, and takes the socket back.
async fn converse(socket: Socket) -> (Fate, Socket) {
    let link = socket.link.clone();
    let head_bytes_max = link.shell.app.config.http.head_bytes_max;
    let mut http = hyper::server::conn::http1::Builder::new();
    http.max_buf_size(READ_BYTES_MIN.max(head_bytes_max * 2)).max_header_size(head_bytes_max);
    let asked = link.clone();
    let service = service_fn(move |request| answer_request(&asked, request));
    let mut connection = Box::new(http.serve_connection(TokioIo::new(socket), service));
    let mut seen = (0, Instant::now());
    let fate = loop {
        tokio::select! {
            biased;
            _ = &mut connection => break Fate::Close,
            () = sleep(LOOK_EVERY) => match link.fate(&mut seen) {
                Some(Fate::Close) => Pin::new(&mut *connection).graceful_shutdown(),
                Some(fate) => break fate,
                None => {}
            },
        }
    };
    let parts = connection.into_parts();
    // An empty rest would keep the whole buffer it was cut from.
    let ahead = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
    (fate, Socket { ahead, ..parts.io.into_inner() })
}
