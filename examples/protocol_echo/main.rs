//! The Socket.IO codec with nothing behind it, for the published protocol suites:
//! `cargo run --example protocol_echo -- --port 3000 --ping-interval-ms 300 --ping-timeout-ms 200`.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

mod echo;

use std::future::pending;
use std::time::Duration;

use clap::Parser;
use folio::Folio;
use folio::clock::Clock;
use folio::config::{Bytes, LogFormat, Secret, Settings};
use folio::http::{Listeners, Routes};
use folio::telemetry::Log;
use tokio::net::TcpListener;

/// What the suites want to set.
#[derive(Parser)]
struct Flags {
    #[arg(long, default_value_t = 3000)]
    port: u16,
    #[arg(long, default_value_t = 25_000)]
    ping_interval_ms: u64,
    #[arg(long, default_value_t = 20_000)]
    ping_timeout_ms: u64,
    #[arg(long, default_value_t = 45_000)]
    connect_timeout_ms: u64,
    #[arg(long, default_value_t = 1_000_000)]
    max_payload: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, folder, clock) = (Flags::parse(), tempfile::tempdir()?, Clock::system());
    let mut settings = Settings { data_dir: folder.path().to_owned(), rate_limit: false, ..Settings::default() };
    settings.socket_ping_every = Duration::from_millis(flags.ping_interval_ms);
    settings.socket_pong_within = Duration::from_millis(flags.ping_timeout_ms);
    settings.socket_connect_within = Duration::from_millis(flags.connect_timeout_ms);
    settings.socket_message_bytes_max = Bytes(flags.max_payload);
    settings.socket_outbox_bytes_max = Bytes(flags.max_payload.saturating_mul(8).max(1 << 20));
    settings.sockets_per_address_max = 100_000;
    settings.socket_requests_waiting_max = 10_000;
    let config = settings.config(Secret::new("nothing is signed by this, and it is long".into()));
    let log = Log::to(std::io::sink(), LogFormat::Json, &clock);
    let folio = Box::pin(Folio::start(config, clock, log, echo::routes(Routes::default()))).await;
    let folio = folio.map_err(|error| format!("{error:?}"))?;
    let public = TcpListener::bind(("127.0.0.1", flags.port)).await?;
    println!("listening on http://{}", public.local_addr()?);
    folio.serve(Listeners { public, operation: None }, pending()).await;
    Ok(())
}
