//! `folio serve`: from settings to a running Folio, and how it is stopped.

use std::net::SocketAddr;

use folio::Folio;
use folio::clock::Clock;
use folio::config::{Config, Loaded};
use folio::http::{self, Listeners};
use folio::storage::folder::Folder;
use folio::telemetry::{self, Log};
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
        Listeners { public: listen(config.http.listen)?, operation: config.http.ops_listen.map(listen).transpose()? };
    let (signals, clock) = (Signals::new()?, Clock::system());
    let log = telemetry::start(&config.log, &clock).map_err(|error| Failure::broken(&error))?;
    let outcome = Box::pin(answer(config, listeners, clock, log.clone(), signals)).await;
    log.flush();
    outcome
}

/// Starts everything, answers until a signal comes, then lets what is under way finish.
async fn answer(
    config: Config,
    listeners: Listeners,
    clock: Clock,
    log: Log,
    mut signals: Signals,
) -> Result<(), Failure> {
    let welcome = welcome(&config, &listeners);
    let folio = tokio::select! {
        started = Box::pin(Folio::start(config, clock, log, http::routes())) => {
            started.map_err(|error| Failure::broken(&error))?
        }
        () = signals.next() => return Err(Failure::failed("told to stop before everything was started")),
    };
    let (stop, stopped) = oneshot::channel();
    let mut serving = Box::pin(folio.serve(listeners, async { stopped.await.unwrap_or_default() }));
    welcome.iter().for_each(|line| tell(line));
    tokio::select! {
        _ = &mut serving => return Err(Failure::failed("the server ended by itself; the log says why")),
        () = signals.next() => tell("folio: stopping: what is under way may finish; a second signal ends at once"),
    }
    let _ = stop.send(());
    let drained = tokio::select! {
        drained = &mut serving => drained,
        () = signals.next() => return Err(Failure::failed("ended at once by a second signal")),
    };
    match drained {
        true => Ok(()),
        false => Err(Failure::failed("stopped, but not everything that was accepted was finished in time")),
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

/// Where Folio listens and what to do next, line by line.
fn welcome(config: &Config, listeners: &Listeners) -> Vec<String> {
    let here = |listener: &TcpListener, asked: SocketAddr| near(listener.local_addr().unwrap_or(asked));
    let http = here(&listeners.public, config.http.listen);
    let operation = listeners.operation.as_ref().zip(config.http.ops_listen).map(|(listener, asked)| {
        format!("folio: metrics and details of health on http://{}/metrics", here(listener, asked))
    });
    let first = format!("folio: listening on http://{http}, with everything in {}", config.data_dir.display());
    let next = format!(
        "folio: next, open http://{http}/api/docs or http://{http}/health; folio doctor looks at every backend; \
         Ctrl-C stops"
    );
    [Some(first), operation, Some(next)].into_iter().flatten().collect()
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
