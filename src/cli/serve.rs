//! `folio serve`: from settings to a running Folio, and how it is stopped.

use std::net::SocketAddr;

use folio::Listeners;
use folio::clock::Clock;
use folio::config::{Config, Loaded};
use folio::storage::folder::Folder;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::healthcheck::near;
use super::{Failure, runtime, settled, tell};

/// Connections that the system may hold before they are accepted.
const WAITING_MAX: u32 = 4_096;

pub fn run(loaded: &Loaded) -> Result<(), Failure> {
    let settings = settled(loaded)?;
    // Held until the end: a second process on the same folder is refused.
    let folder = Folder::claim(&settings.data_dir).map_err(Failure::failed)?;
    let secret = match &settings.secret {
        Some(secret) => secret.clone(),
        None => folder.secret().map_err(Failure::failed)?,
    };
    let config = settings.config(secret);
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(config));
    // What is still computing is not waited for: everything that was answered is stored.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config) -> Result<(), Failure> {
    let listeners =
        Listeners { http: listen(config.http.listen)?, ops: config.http.ops_listen.map(listen).transpose()? };
    let mut signals = Signals::new()?;
    welcome(&config, &listeners);
    let (stop, stopped) = oneshot::channel();
    let running = folio::run(config, listeners, Clock::system(), async { stopped.await.unwrap_or_default() });
    let mut running = Box::pin(running);
    tokio::select! {
        outcome = &mut running => return outcome.map_err(Failure::failed),
        () = signals.next() => tell("folio: stopping: what is under way may finish; a second signal ends at once"),
    }
    let _ = stop.send(());
    tokio::select! {
        outcome = &mut running => outcome.map_err(Failure::failed),
        () = signals.next() => Err(Failure::failed("ended at once by a second signal")),
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // The port of a server that has just stopped is free again at once.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(WAITING_MAX)
    };
    bound().map_err(|error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program listens there; stop it, or choose another port with --listen".to_owned()
            }
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            std::io::ErrorKind::PermissionDenied => "this user may not; ports from 1024 on are open to all".to_owned(),
            _ => error.to_string(),
        };
        Failure::failed(format!("cannot listen on {address}: {why}"))
    })
}

/// Says where Folio listens and what to do next.
fn welcome(config: &Config, listeners: &Listeners) {
    let here = |listener: &TcpListener, asked: SocketAddr| near(listener.local_addr().unwrap_or(asked));
    let http = here(&listeners.http, config.http.listen);
    tell(&format!("folio: listening on http://{http}, with everything in {}", config.data_dir.display()));
    if let Some((ops, asked)) = listeners.ops.as_ref().zip(config.http.ops_listen) {
        tell(&format!("folio: metrics and details of health on http://{}/metrics", here(ops, asked)));
    }
    tell(&format!(
        "folio: next, open http://{http}/api/docs or http://{http}/health; folio doctor looks at every backend; \
         Ctrl-C stops"
    ));
}

/// What asks a process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")));
        Ok(Signals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
