//! The scenario `chat`: people in a hundred conversations talk; each message is kept before it is heard.
//!
//! Folio and the peer take turns; what counts is the median of what a round of one was to the next round of the other.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::crowd::{Crowd, Talk, Tally};
use crate::measure::{Figures, shown};
use crate::side::{Scene, Servers, Side, Spent, Store};

/// Messages a second at which delays are looked at.
const PACE: u64 = 500;
const TICK: Duration = Duration::from_millis(2);
/// How long a round runs before it counts.
const WARM: Duration = Duration::from_millis(700);

/// Who talks, and for how long.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    servers: Servers,
    /// Conversations
    #[arg(long, default_value_t = 100)]
    conversations: usize,
    /// Members of each
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// Rounds of each server
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Length of a round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Measures one of them alone
    #[arg(long)]
    only: Option<Only>,
}

/// One of those that are compared.
#[derive(Clone, Copy, ValueEnum)]
enum Only {
    Peer,
    Postgres,
    Sqlite,
}

/// What one round of one server came to.
pub struct Outcome {
    pub messages_per_second: f64,
    pub deliveries_per_cpu_second: f64,
    pub postgres_cpu_per_message: f64,
    pub p99: f64,
}

/// Runs the scenario; fails when anything was not heard, heard twice, or heard out of order.
pub fn run(options: &Options) -> Result<(), String> {
    crate::measured(async {
        let scene = Scene { conversations: options.conversations, members: options.members };
        let servers = &options.servers;
        if let Some(only) = options.only {
            let side = match only {
                Only::Peer => servers.peer(scene).await?,
                Only::Postgres => servers.ours(Store::Postgres, scene).await?,
                Only::Sqlite => servers.ours(Store::Sqlite, scene).await?,
            };
            let mut crowd = Crowd::gather(&side).await?;
            for _ in 0..options.pairs {
                for outstanding in [1_000, 100] {
                    full(&mut crowd, outstanding, options.seconds).await?;
                }
                paced(&mut crowd, PACE, options.seconds).await?;
            }
            return Ok(());
        }
        let peer = servers.peer(scene).await?;
        for store in [Store::Postgres, Store::Sqlite] {
            let folio = servers.ours(store, scene).await?;
            compare(options, store, &folio, &peer).await?;
        }
        Ok(())
    })
}

async fn compare(options: &Options, store: Store, folio: &Side, peer: &Side) -> Result<(), String> {
    let (mut us, mut them) = (Crowd::gather(folio).await?, Crowd::gather(peer).await?);
    let mut figures = Figures::default();
    for _ in 0..options.pairs {
        for outstanding in [1_000, 100] {
            let ours = full(&mut us, outstanding, options.seconds).await?;
            let theirs = full(&mut them, outstanding, options.seconds).await?;
            let named = |what: &str| match store {
                Store::Postgres => format!("chat.{what}_{outstanding}"),
                Store::Sqlite => format!("chat.sqlite_{what}_{outstanding}"),
            };
            figures.add(&named("ratio"), ours.messages_per_second / theirs.messages_per_second);
            figures.add(&named("rate"), ours.messages_per_second);
            let each = ours.deliveries_per_cpu_second / theirs.deliveries_per_cpu_second;
            figures.add(&named("cpu_ratio"), each);
            if store == Store::Postgres {
                let ratio = ours.postgres_cpu_per_message / theirs.postgres_cpu_per_message;
                figures.add(&named("postgres_cpu_ratio"), ratio);
            }
        }
        let name = if store == Store::Postgres { "chat.p99_ratio" } else { "chat.sqlite_p99_ratio" };
        let (ours, theirs) =
            (paced(&mut us, PACE, options.seconds).await?, paced(&mut them, PACE, options.seconds).await?);
        figures.add(name, ours.p99 / theirs.p99);
    }
    figures.print();
    Ok(())
}

/// As fast as it goes, with so many messages under way at a time.
pub async fn full(crowd: &mut Crowd<'_>, outstanding: usize, seconds: u64) -> Result<Outcome, String> {
    let side = crowd.side;
    let work = async |talk: &Talk<'_>| {
        talk.round.open.set(true);
        let step = (talk.voices.len() / outstanding).max(1);
        let each = (outstanding / talk.voices.len()).max(1) as u64;
        for voice in talk.voices.iter().step_by(step) {
            talk.say(voice, each, true)?;
        }
        let counted = window(side, talk, seconds).await?;
        talk.round.open.set(false);
        talk.quiet().await?;
        Ok(counted)
    };
    let counted = crowd.listening(work).await?;
    Ok(report(crowd, &format!("{outstanding} outstanding"), &counted))
}

/// So many messages a second, whether or not the last ones were heard.
pub async fn paced(crowd: &mut Crowd<'_>, per_second: u64, seconds: u64) -> Result<Outcome, String> {
    let side = crowd.side;
    let work = async |talk: &Talk<'_>| {
        let speak = async {
            let (began, mut said) = (Instant::now(), 0);
            let mut tick = interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                while said < began.elapsed().as_micros() as u64 * per_second / 1_000_000 {
                    // Strides through all, so that neighbours in time are strangers.
                    let at = (said as usize).wrapping_mul(7_919) % talk.voices.len();
                    talk.say(&talk.voices[at], 1, true)?;
                    said += 1;
                }
            }
        };
        while_speaking(side, talk, seconds, speak).await
    };
    let counted = crowd.listening(work).await?;
    Ok(report(crowd, &format!("{per_second}/s"), &counted))
}

/// What was counted while the clock ran.
pub struct Counted {
    pub tally: Tally,
    pub took: Duration,
    pub before: Spent,
    pub after: Spent,
}

/// Counts while somebody speaks without an end, then waits until all of it was heard.
pub async fn while_speaking(
    side: &Side,
    talk: &Talk<'_>,
    seconds: u64,
    speak: impl Future<Output = Result<Counted, String>>,
) -> Result<Counted, String> {
    let counted = tokio::select! {
        counted = window(side, talk, seconds) => counted?,
        ends = speak => return ends,
    };
    talk.quiet().await?;
    Ok(counted)
}

/// Lets it run warm, then counts.
async fn window(side: &Side, talk: &Talk<'_>, seconds: u64) -> Result<Counted, String> {
    sleep(WARM).await;
    talk.round.tally.take();
    let (before, began) = (side.spent()?, Instant::now());
    sleep(Duration::from_secs(seconds)).await;
    let (tally, took) = (talk.round.tally.take(), began.elapsed());
    Ok(Counted { tally, took, before, after: side.spent()? })
}

impl Counted {
    /// CPU seconds of the server.
    pub fn server(&self) -> f64 {
        (self.after.server.processor - self.before.server.processor).as_secs_f64().max(1e-3)
    }

    /// How much of a processor each had: where this program has all of its own, it is what was measured.
    pub fn shares(&self) -> String {
        let share = |used: f64| used * 100.0 / self.took.as_secs_f64();
        let client = (self.after.client - self.before.client).as_secs_f64();
        format!("server {:.0} %, client {:.0} %", share(self.server()), share(client))
    }
}

fn report(crowd: &Crowd<'_>, how: &str, counted: &Counted) -> Outcome {
    let Counted { tally, took, before, after } = counted;
    let messages = tally.acks.count() as f64;
    let quantiles =
        |it: &crate::measure::Histogram| format!("{} / {}", shown(it.quantile(0.5)), shown(it.quantile(0.99)));
    let outcome = Outcome {
        messages_per_second: messages / took.as_secs_f64(),
        deliveries_per_cpu_second: tally.deliveries.count() as f64 / counted.server(),
        postgres_cpu_per_message: (after.postgres.saturating_sub(before.postgres)).as_secs_f64() / messages.max(1.0),
        p99: tally.deliveries.quantile(0.99).as_secs_f64(),
    };
    let swapped: u64 = crowd.ledgers.iter().map(|it| it.borrow().swapped).sum();
    println!(
        "{:16} {how:>16}: {:6.0} messages/s, ack p50/p99 {}, heard {}, {:.0} deliveries a CPU second ({}), \
         PostgreSQL {:.1} us a message, {} MiB, {swapped} told before an earlier one, {} said again",
        crowd.side.name,
        outcome.messages_per_second,
        quantiles(&tally.acks),
        quantiles(&tally.deliveries),
        outcome.deliveries_per_cpu_second,
        counted.shares(),
        outcome.postgres_cpu_per_message * 1e6,
        after.server.resident_kib / 1024,
        tally.again,
    );
    outcome
}
