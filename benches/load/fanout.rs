//! The scenario `fanout`: one speaks, a thousand hear it.
//!
//! Folio keeps each message before it tells it, the peer keeps none: it tells the room and no more. Singly: the next
//! message is said when all have heard the last. In bursts: eight at once.

use std::time::Duration;

use clap::Args;

use crate::chat::{Counted, while_speaking};
use crate::crowd::{Crowd, Talk};
use crate::measure::{Figures, shown};
use crate::side::{Scene, Servers, Store};

const BURST: u64 = 8;
/// Messages a second at which delays are looked at.
const PACE: u32 = 20;
/// So many hear it when costs are compared.
const FEW: usize = 100;
const MANY: usize = 10_000;

/// Who hears, and for how long.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    servers: Servers,
    /// Those who hear
    #[arg(long, default_value_t = 1_000)]
    hearers: usize,
    /// Rounds of each server
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Length of a round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Lets the peer keep messages as well
    #[arg(long)]
    kept: bool,
    /// Measures the peer alone
    #[arg(long)]
    peer_only: bool,
}

/// Runs the scenario; fails when anything was not heard, heard twice, or heard out of order.
pub fn run(options: &Options) -> Result<(), String> {
    crate::measured(async {
        let scene = |members| Scene { conversations: 1, members };
        let peer = options.servers.peer(scene(options.hearers)).await?;
        let mut them = Crowd::gather(&peer).await?;
        if options.peer_only {
            for _ in 0..options.pairs {
                round(options, &mut them).await?;
            }
            return Ok(());
        }
        let folio = options.servers.ours(Store::Sqlite, scene(options.hearers)).await?;
        let mut us = Crowd::gather(&folio).await?;
        let mut figures = Figures::default();
        for _ in 0..options.pairs {
            let ([single, burst, p99], theirs) = (round(options, &mut us).await?, round(options, &mut them).await?);
            figures.add("fanout.peer_single_ratio", single / theirs[0]);
            figures.add("fanout.peer_burst_ratio", burst / theirs[1]);
            figures.add("fanout.peer_p99_ratio", p99 / theirs[2]);
        }
        drop((us, them));
        drop(peer);
        growth(options, &mut figures).await?;
        figures.print();
        Ok(())
    })
}

/// What a delivery costs at ten thousand against a hundred.
async fn growth(options: &Options, figures: &mut Figures) -> Result<(), String> {
    let scene = |members| Scene { conversations: 1, members };
    let few = options.servers.ours(Store::Sqlite, scene(FEW)).await?;
    let many = options.servers.ours(Store::Sqlite, scene(MANY)).await?;
    let (mut few, mut many) = (Crowd::gather(&few).await?, Crowd::gather(&many).await?);
    for _ in 0..options.pairs {
        let (few, many) = (said(options, &mut few, 1).await?, said(options, &mut many, 1).await?);
        figures.add("fanout.growth_10000", few / many);
    }
    Ok(())
}

/// Deliveries a CPU second singly and in bursts, and the slowest hundredth of deliveries at a steady pace, in seconds.
async fn round(options: &Options, crowd: &mut Crowd<'_>) -> Result<[f64; 3], String> {
    Ok([said(options, crowd, 1).await?, said(options, crowd, BURST).await?, paced(options, crowd).await?])
}

/// Says so many at a time, again and again; gives deliveries a CPU second.
async fn said(options: &Options, crowd: &mut Crowd<'_>, at_once: u64) -> Result<f64, String> {
    let side = crowd.side;
    let work = async |talk: &Talk<'_>| {
        let speak = async {
            loop {
                talk.say(&talk.voices[0], at_once, options.kept)?;
                talk.quiet().await?;
            }
        };
        while_speaking(side, talk, options.seconds, speak).await
    };
    let counted = crowd.listening(work).await?;
    Ok(report(crowd, &format!("{at_once} at once"), &counted))
}

async fn paced(options: &Options, crowd: &mut Crowd<'_>) -> Result<f64, String> {
    let side = crowd.side;
    let work = async |talk: &Talk<'_>| {
        let speak = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / PACE);
            loop {
                tick.tick().await;
                talk.say(&talk.voices[0], 1, options.kept)?;
            }
        };
        while_speaking(side, talk, options.seconds, speak).await
    };
    let counted = crowd.listening(work).await?;
    report(crowd, &format!("{PACE}/s"), &counted);
    Ok(counted.tally.deliveries.quantile(0.99).as_secs_f64())
}

fn report(crowd: &Crowd<'_>, how: &str, counted: &Counted) -> f64 {
    let heard = &counted.tally.deliveries;
    let rate = heard.count() as f64 / counted.server();
    println!(
        "{:16} {how:>12} to {:5}: {:7.0} deliveries/s, {rate:7.0} a CPU second ({}), p50 {}, p99 {}",
        crowd.side.name,
        crowd.voices.len(),
        heard.count() as f64 / counted.took.as_secs_f64(),
        counted.shares(),
        shown(heard.quantile(0.5)),
        shown(heard.quantile(0.99)),
    );
    rate
}
