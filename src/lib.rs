//! Folio: a realtime home for a community of creators, in one binary.
//!
//! The map: [`http`] and `ws` are how Folio is asked and heard; they route messages into [`actors`], which is what
//! Folio does; [`storage`] is where it is kept. Arrows run that way only, and everybody may use [`config`], [`error`],
//! [`ids`], [`clock`] and [`telemetry`].

pub mod actors;
pub mod clock;
pub mod config;
pub mod error;
pub mod http;
pub mod ids;
pub mod storage;
pub mod telemetry;
pub mod ws;

use tokio::net::TcpListener;

/// The sockets that Folio answers on, bound before anything else starts.
#[derive(Debug)]
pub struct Listeners {
    /// For everybody.
    pub http: TcpListener,
    /// For operators, where they have one of their own.
    pub ops: Option<TcpListener>,
}

/// Runs Folio until `stop` is done, then lets what is under way finish.
pub async fn run(
    _config: config::Config,
    _listeners: Listeners,
    _clock: clock::Clock,
    stop: impl Future<Output = ()> + Send,
) -> error::Result<()> {
    stop.await;
    Ok(())
}
