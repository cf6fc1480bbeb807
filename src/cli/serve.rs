//! `folio serve`: from settings to a running Folio, and how it is stopped.

use std::net::SocketAddr;

use folio::Folio;
use folio::clock::Clock;
use folio::config::{Config, Loaded};
use folio::http::{self, Listeners, Shell};
use folio::telemetry::{self, Log};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::folder::Folder;
use super::healthcheck::near;
use super::{Failure, runtime, settled, tell};

/// Connections that the system may hold before they are accepted.
const WAITING_MAX: u32 = 4_096;

pub fn run(load: impl Fn() -> Loaded) -> Result<(), Failure> {
    let loaded = load();
    let settings = settled(&loaded)?;
    // Held until the end: a second process on the same folder is refused.
    let folder = Folder::claim(&settings.data_dir).map_err(Failure::failed)?;
    let secret = match &settings.secret {
        Some(secret) => secret.clone(),
        None => folder.secret().map_err(Failure::failed)?,
    };
    let config = settings.config(secret);
    // A page of 2 MiB for each few KiB that are used would double what an idle Folio holds. Where the system does not
    // know the word, it has no such pages.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(config, loaded.clone(), &load));
    // What is still computing is not waited for: everything that was answered is stored.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config, loaded: Loaded, load: &dyn Fn() -> Loaded) -> Result<(), Failure> {
    let listeners =
        Listeners { public: listen(config.http.listen)?, operation: config.http.ops_listen.map(listen).transpose()? };
    let (signals, clock) = (Signals::new()?, Clock::system());
    let log = telemetry::start(&config.log, &clock).map_err(|error| Failure::broken(&error))?;
    let live = Live { loaded, load, log: log.clone(), hangup: hear(SignalKind::hangup())? };
    let outcome = Box::pin(answer(config, listeners, clock, live, signals)).await;
    log.flush();
    outcome
}

/// Starts everything, answers until a signal comes, then lets what is under way finish.
async fn answer(
    config: Config,
    listeners: Listeners,
    clock: Clock,
    mut live: Live<'_>,
    mut signals: Signals,
) -> Result<(), Failure> {
    let welcome = welcome(&config, &listeners);
    let folio = tokio::select! {
        started = Box::pin(Folio::start(config, clock, live.log.clone(), http::routes())) => {
            started.map_err(|error| Failure::broken(&error))?
        }
        () = signals.next() => return Err(Failure::failed("told to stop before everything was started")),
    };
    let (shell, (stop, stopped)) = (folio.shell.clone(), oneshot::channel());
    let mut serving = Box::pin(folio.serve(listeners, async { stopped.await.unwrap_or_default() }));
    welcome.iter().for_each(|line| tell(line));
    loop {
        tokio::select! {
            _ = &mut serving => return Err(Failure::failed("the server ended by itself; the log says why")),
            _ = live.hangup.recv() => live.reload(&shell),
            () = signals.next() => break,
        }
    }
    tell("folio: stopping: what is under way may finish; a second signal ends at once");
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
    let mail =
        config.mail.server.is_none().then(|| "folio: without smtp_url mail stays here: folio mail shows it".to_owned());
    [Some(first), operation, mail, Some(next)].into_iter().flatten().collect()
}

/// The settings that a running Folio takes anew: levels of the log and limits on rates.
const LIVE: [&str; 2] = ["log", "rate_"];

/// What is needed to take settings anew.
struct Live<'a> {
    loaded: Loaded,
    load: &'a dyn Fn() -> Loaded,
    log: Log,
    hangup: Signal,
}

impl Live<'_> {
    /// Reads all settings again and takes what can change at once; tells what waits for a restart. If anything is
    /// wrong, nothing changes.
    fn reload(&mut self, shell: &Shell) {
        let loaded = (self.load)();
        let settings = match loaded.settings() {
            Ok(settings) => settings,
            Err(problems) => {
                let problems = problems.join("; ");
                return tracing::warn!(event = "settings.refused", problems, "the settings stay as they were");
            }
        };
        let pairs = self.loaded.values.iter().zip(&loaded.values);
        let changed = pairs.filter(|(before, after)| before.text != after.text).map(|it| it.1.key.name);
        let is_live = |name: &&str| *name == LIVE[0] || name.starts_with(LIVE[1]);
        let (taken, waiting): (Vec<&str>, Vec<&str>) = changed.partition(is_live);
        shell.limit(settings.rate_limits());
        if let Err(error) = self.log.set_levels(&settings.log.0) {
            tracing::warn!(event = "settings.refused", %error, "the levels of the log stay as they were");
        }
        let (taken, waiting) = (taken.join(", "), waiting.join(", "));
        tracing::info!(event = "settings.reloaded", taken, waiting, "what waits needs a restart");
        // What waits is compared again with what runs; what was taken runs.
        for (before, after) in self.loaded.values.iter_mut().zip(loaded.values) {
            if is_live(&after.key.name) {
                *before = after;
            }
        }
    }
}

/// What asks a process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Failure> {
        Ok(Signals { terminate: hear(SignalKind::terminate())?, interrupt: hear(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn hear(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")))
}
