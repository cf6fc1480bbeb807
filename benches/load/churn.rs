//! The scenario `churn`: people come, show a token that nobody has seen, join their conversation, and go.

use std::cell::Cell;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use tokio::task::unconstrained;
use tokio::time::timeout;

use crate::measure::Figures;
use crate::side::{Scene, Servers, Side, Store};
use crate::voice::join;

const JOINS_WITHIN: Duration = Duration::from_secs(10);

/// Who comes, and for how long.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    servers: Servers,
    /// Those that come at a time
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// Rounds of each server
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Length of a round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Measures the peer alone
    #[arg(long)]
    peer_only: bool,
}

/// Runs the scenario; fails when somebody is not let in.
pub fn run(options: &Options) -> Result<(), String> {
    crate::measured(async {
        let scene = Scene { conversations: 100, members: 10 };
        let (peer, mut figures) = (options.servers.peer(scene).await?, Figures::default());
        // The first round of each runs it warm.
        round(options, &peer).await?;
        if options.peer_only {
            return round(options, &peer).await.map(drop);
        }
        let folio = options.servers.ours(Store::Sqlite, scene).await?;
        round(options, &folio).await?;
        for _ in 0..options.pairs {
            let (ours, theirs) = (round(options, &folio).await?, round(options, &peer).await?);
            figures.add("churn.peer_ratio", ours / theirs);
        }
        figures.print();
        Ok(())
    })
}

/// Connects a CPU second of the server.
async fn round(options: &Options, side: &Side) -> Result<f64, String> {
    let (next, ends) = (Cell::new(0), Instant::now() + Duration::from_secs(options.seconds));
    let before = side.spent()?;
    let come_and_go = async || {
        while Instant::now() < ends {
            let nth = next.replace(next.get() + 1);
            // Neighbours in time are strangers.
            let who = nth * 7_919 % side.people();
            let joined = timeout(JOINS_WITHIN, join(side, who, None, |_, _| Ok(()))).await;
            joined.unwrap_or_else(|_| Err("nobody was let in in time".to_owned())).map(drop)?;
        }
        Ok::<_, String>(())
    };
    unconstrained(try_join_all((0..options.at_once).map(|_| come_and_go()))).await?;
    let used = (side.spent()?.server.processor - before.server.processor).as_secs_f64();
    let (count, rate) = (next.get(), next.get() as f64 / used.max(1e-3));
    let each = 1e6 / rate;
    println!("{:16} {count} connects, {rate:.0} a CPU second, {each:.0} us each", side.name);
    Ok(rate)
}
