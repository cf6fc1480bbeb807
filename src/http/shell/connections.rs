//! Connections from accept to close: how many there may be, what each is doing, and how they end.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::Release};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::Shell;
use super::answer::late;
use super::limits::household;
use super::link::{Fate, Link, Phase, Taken};
use super::pass::answer;
use super::socket::{Socket, linger};
use crate::error::{Error, RETRY_AFTER};
use crate::http::error::Refusal;

const SWEEP_EVERY: Duration = Duration::from_millis(100);
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

/// Every connection of a door, and how many each household has.
#[derive(Default)]
struct Connections {
    links: HashMap<u64, Arc<Link>>,
    by_address: HashMap<u128, usize>,
}

/// A connection's place among the others; free again when it is dropped.
struct Place {
    connections: Arc<Mutex<Connections>>,
    number: u64,
    address: u128,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.connections.lock();
        connections.links.remove(&self.number);
        if let Some(count) = connections.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.by_address.remove(&self.address);
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
    let (started, clock) = (Instant::now(), Arc::new(AtomicU32::new(1)));
    let connections: Arc<Mutex<Connections>> = Arc::default();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let (mut stop, mut stopping, mut listener) = (std::pin::pin!(stop), None, Some(listener));
    for number in 0.. {
        let accepted = tokio::select! {
            accepted = OptionFuture::from(listener.as_ref().map(TcpListener::accept)), if listener.is_some() => accepted,
            () = &mut stop, if stopping.is_none() => {
                (stopping, listener) = (Some(Instant::now()), None);
                shell.app.health.drain();
                shell.stopping.send_replace(true);
                continue;
            }
            _ = sweep.tick() => {
                clock.store(started.elapsed().as_millis() as u32 | 1, Relaxed);
                let left = look_after(&connections);
                match stopping {
                    Some(since) if left == 0 || since.elapsed() > config.drain_within => return,
                    _ => continue,
                }
            }
        };
        let Some(Ok((stream, peer))) = accepted else {
            // Out of file descriptors: wait for some to come back.
            shell.traffic.accept_failures.add();
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        let link = Arc::new(Link::new(&shell, peer.ip(), operation, clock.clone()));
        let place = match take_place(&connections, number, &link) {
            Ok(place) => place,
            Err(refusal) => {
                let _ = stream.try_write(&shell.raw(&refusal));
                continue;
            }
        };
        // A socket that refuses the option is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let socket = Socket { stream, ahead: Bytes::new(), link };
        // What surrounds a task holds it twice over: it holds a box, then.
        shell.app.actors.root.task("connections", attend(socket, place).boxed());
    }
}

/// Wakes every connection that has been at the same thing for too long; says how many there are.
fn look_after(connections: &Mutex<Connections>) -> usize {
    let connections = connections.lock();
    for link in connections.links.values().filter(|it| it.fate() != Fate::GoOn) {
        link.alarm.store(true, Release);
        link.waker.wake();
    }
    connections.links.len()
}

/// Finds a place for a connection. Proxies of ours stand for many.
fn take_place(all: &Arc<Mutex<Connections>>, number: u64, link: &Arc<Link>) -> Result<Place, Refusal> {
    let shell = &link.shell;
    let (config, address, mut connections) = (&shell.app.config.http, household(link.peer), all.lock());
    let here = connections.by_address.get(&address).copied().unwrap_or(0);
    if connections.links.len() >= config.connections_max {
        shell.traffic.refused_total.add();
        return Err(Error::unavailable("a place for one more connection").into());
    }
    if !link.trusted && here >= config.connections_per_address_max {
        shell.traffic.refused_address.add();
        return Err(Error::TooMany { retry_after: RETRY_AFTER }.into());
    }
    connections.links.insert(number, link.clone());
    connections.by_address.insert(address, here + 1);
    Ok(Place { connections: all.clone(), number, address })
}

/// Serves one connection. When nothing happens on it, hyper and its buffers go, and only the socket stays.
async fn attend(mut socket: Socket, _place: Place) {
    let link = socket.link.clone();
    let _open = link.shell.traffic.connections.hold();
    loop {
        let fate;
        (fate, socket) = converse(socket).await;
        match fate {
            Fate::Park if socket.ahead.is_empty() => {
                link.enter(Phase::Parked);
                let closed = poll_fn(|cx| match link.alarmed(cx) && link.fate() == Fate::Close {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                });
                tokio::select! {
                    _ = socket.stream.readable() => link.enter(Phase::Idle),
                    () = closed => return,
                }
            }
            Fate::Park => {}
            Fate::Cut => return,
            Fate::Late => {
                socket.say(&late("the request took too long to arrive"));
                return linger(socket.stream).await;
            }
            Fate::Close | Fate::GoOn => break,
        }
    }
    let Some(session) = link.session.lock().take() else { return linger(socket.stream).await };
    link.enter(Phase::Taken);
    let stopping = link.shell.stopping.subscribe();
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
    let fate = poll_fn(|cx| {
        match if link.alarmed(cx) { link.fate() } else { Fate::GoOn } {
            Fate::GoOn => {}
            Fate::Close => Pin::new(&mut *connection).graceful_shutdown(),
            fate => return Poll::Ready(fate),
        }
        Pin::new(&mut *connection).poll(cx).map(|_| Fate::Close)
    });
    let fate = fate.await;
    let parts = connection.into_parts();
    // An empty rest would keep the whole buffer it was cut from.
    let ahead = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
    (fate, Socket { ahead, ..parts.io.into_inner() })
}
