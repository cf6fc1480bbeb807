//! Connections from accept to close: how many there may be, what each is doing, and how they end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::Shell;
use super::answer::late;
use super::limits::household;
use super::link::{Fate, Link, Phase, Taken};
use super::pass::answer;
use super::socket::{Socket, linger};
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

/// How many connections each household has.
type Households = Arc<Mutex<HashMap<u128, usize>>>;

/// A connection's place among the others; free again when it is dropped.
struct Place {
    households: Households,
    address: u128,
    _one: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut households = self.households.lock();
        if let Entry::Occupied(mut count) = households.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

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
    let (places, households) = (Arc::new(Semaphore::new(config.connections_max)), Households::default());
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
        let place = match take_place(&places, &households, &link) {
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
fn take_place(places: &Arc<Semaphore>, households: &Households, link: &Link) -> Result<Place, Refusal> {
    let (shell, address) = (&link.shell, household(link.peer));
    let Ok(_one) = places.clone().try_acquire_owned() else {
        shell.traffic.refused_total.add();
        return Err(Error::unavailable("a place for one more connection").into());
    };
    let mut counts = households.lock();
    let here = counts.get(&address).copied().unwrap_or(0);
    if !link.trusted && here >= shell.app.config.http.connections_per_address_max {
        shell.traffic.refused_address.add();
        return Err(Error::TooMany { retry_after: RETRY_AFTER }.into());
    }
    counts.insert(address, here + 1);
    Ok(Place { households: households.clone(), address, _one })
}

/// Serves one connection. When nothing happens on it, hyper and its buffers go, and only the socket stays.
async fn attend(mut socket: Socket, _place: Place) {
    let link = socket.link.clone();
    let shell = &link.shell;
    let _open = shell.traffic.connections.hold();
    loop {
        let fate;
        (fate, socket) = converse(socket).await;
        match fate {
            Fate::Park if socket.ahead.is_empty() => {
                let mut stopping = shell.stopping.subscribe();
                tokio::select! {
                    _ = socket.stream.readable() => link.enter(Phase::Idle),
                    () = sleep(shell.app.config.http.idle_within) => return,
                    _ = stopping.wait_for(|it| *it) => return,
                }
            }
            Fate::Park => {}
            Fate::Cut => return,
            Fate::Late => {
                socket.say(late("the request took too long to arrive"));
                return linger(socket.stream).await;
            }
            Fate::Close | Fate::GoOn => break,
        }
    }
    let Some(session) = link.session.lock().take() else { return linger(socket.stream).await };
    let stopping = shell.stopping.subscribe();
    // The session runs in this very task: it is a connection still.
    session(Taken { stream: socket.stream, early: socket.ahead, peer: link.peer, stopping }).await;
}

/// Lets hyper serve the socket until the client is done or fate has it otherwise, and takes the socket back.
async fn converse(socket: Socket) -> (Fate, Socket) {
    let link = socket.link.clone();
    let head_bytes_max = link.shell.app.config.http.head_bytes_max;
    let mut http = hyper::server::conn::http1::Builder::new();
    http.max_buf_size(READ_BYTES_MIN.max(head_bytes_max * 2)).max_header_size(head_bytes_max);
    let asked = link.clone();
    let service = service_fn(move |request| answer(&asked, request));
    let mut connection = Box::new(http.serve_connection(TokioIo::new(socket), service));
    let mut seen = (0, 0);
    let fate = loop {
        tokio::select! {
            biased;
            _ = &mut connection => break Fate::Close,
            () = sleep(LOOK_EVERY) => match link.fate(&mut seen) {
                Fate::GoOn => {}
                Fate::Close => Pin::new(&mut *connection).graceful_shutdown(),
                fate => break fate,
            },
        }
    };
    let parts = connection.into_parts();
    // An empty rest would keep the whole buffer it was cut from.
    let ahead = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
    (fate, Socket { ahead, ..parts.io.into_inner() })
}
