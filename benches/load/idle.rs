//! The scenario `idle`: ten thousand people in one conversation who say nothing. What does each of them cost?

use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::crowd::{Crowd, Talk};
use crate::side::{Scene, Servers, Side, Store};

/// Those that are there before anything is counted: the first ones bring what all share.
const FIRST: usize = 100;

/// How many, and for how long.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    servers: Servers,
    /// Connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How long they are left alone before memory is read
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Measures the peer alone
    #[arg(long)]
    peer_only: bool,
}

/// Runs the scenario; fails when somebody is not let in, or is cut off.
pub fn run(options: &Options) -> Result<(), String> {
    crate::measured(async {
        let scene = Scene { conversations: 1, members: options.connections };
        let theirs = kib(options, &options.servers.peer(scene).await?).await?;
        if options.peer_only {
            return Ok(());
        }
        let ours = kib(options, &options.servers.ours(Store::Sqlite, scene).await?).await?;
        println!("FLOOR idle.connection_kib={ours:.2}");
        println!("FLOOR idle.peer_ratio={:.3}", ours / theirs);
        Ok(())
    })
}

/// What a connection holds in the server.
async fn kib(options: &Options, side: &Side) -> Result<f64, String> {
    let resident = async |_: &Talk<'_>| {
        sleep(Duration::from_secs(options.seconds)).await;
        Ok(side.spent()?.server.resident_kib as f64)
    };
    let mut crowd = Crowd::gather_some(side, FIRST).await?;
    let before = crowd.listening(resident).await?;
    crowd.let_in(FIRST..options.connections).await?;
    let after = crowd.listening(resident).await?;
    let each = (after - before) / (options.connections - FIRST) as f64;
    println!(
        "{:16} {} connections: {each:.2} KiB each, {:.1} MiB in all",
        side.name,
        options.connections,
        after / 1024.0
    );
    Ok(each)
}
