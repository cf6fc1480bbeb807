//! The scenario `storm`: ten thousand people are cut off at once, miss something, and all come back in the same moment.
//! And somebody comes back who has missed five thousand messages.

use std::cell::Cell;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::stream::{FuturesUnordered, TryStreamExt};
use tokio::task::unconstrained;
use tokio::time::sleep;

use crate::crowd::{Crowd, Talk};
use crate::measure::{Figures, Histogram, shown};
use crate::side::{Scene, Servers, Side, Store};
use crate::speech;
use crate::voice::{Left, Voice, join};
use crate::wire::Incoming;

/// How long somebody waits who did not get through.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// When a storm has failed.
const WITHIN: Duration = Duration::from_secs(120);
const REPLAYS: usize = 5;

/// How many, and what they miss.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    servers: Servers,
    /// Conversations
    #[arg(long, default_value_t = 100)]
    conversations: usize,
    /// Members of each
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// Messages that each misses
    #[arg(long, default_value_t = 20)]
    missed: u64,
    /// Storms
    #[arg(long, default_value_t = 3)]
    storms: usize,
    /// Messages that the one misses who has been away for long
    #[arg(long, default_value_t = 5_000)]
    replayed: u64,
    /// Where Folio keeps them
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
}

/// Runs the scenario; fails when somebody is not back in time, does not hear all that was missed in order, or is answered
/// by an error of the server.
pub fn run(options: &Options) -> Result<(), String> {
    crate::measured(async {
        if options.servers.stock {
            return Err("a stock client holds one offset: this needs a place for each stream".to_owned());
        }
        let mut figures = Figures::default();
        let scene = Scene { conversations: options.conversations, members: options.members };
        let folio = options.servers.ours(options.store, scene).await?;
        let mut crowd = Crowd::gather(&folio).await?;
        for _ in 0..options.storms {
            figures.add("storm.back_seconds", storm(options, &mut crowd).await?);
            // Those that came back are not the ones that the crowd knows: it begins anew.
            drop(crowd);
            crowd = Crowd::gather(&folio).await?;
        }
        drop(crowd);
        drop(folio);
        let few = options.servers.ours(options.store, Scene { conversations: 1, members: 2 }).await?;
        replay(options, &few, &mut figures).await?;
        figures.print();
        Ok(())
    })
}

/// Cuts everybody off but one in each conversation, who goes on talking; gives how long it takes until all are back.
async fn storm(options: &Options, crowd: &mut Crowd<'_>) -> Result<f64, String> {
    let side = crowd.side;
    let everybody_hears = async |talk: &Talk<'_>| {
        let mut firsts = talk.voices.iter().step_by(side.scene.members);
        firsts.try_for_each(|it| talk.say(it, 1, true))?;
        talk.quiet().await
    };
    crowd.listening(everybody_hears).await?;
    let gone = crowd.part();
    let work = async |talk: &Talk<'_>| {
        for voice in talk.voices {
            talk.say(voice, options.missed, true)?;
        }
        talk.quiet().await?;
        let (began, before) = (Instant::now(), side.spent()?);
        let (times, again) = (Cell::new(Histogram::default()), Cell::new(0_u32));
        let back: FuturesUnordered<_> = gone
            .iter()
            .map(|(nth, voice)| {
                let (heard, times, again) = (voice.heard.get(), &times, &again);
                async move {
                    let seq = talk.seq(voice.conversation, heard).ok_or("nothing was heard")?;
                    let left = Left { at: (voice.epoch.get(), seq as i64), heard };
                    let came = come_back(talk, side, *nth, left, again).await?;
                    let mut all = times.take();
                    all.record(began.elapsed());
                    times.set(all);
                    // Whoever is back stays until all are.
                    let missed = came.1.heard.get() - heard;
                    if missed as u64 == options.missed { Ok(came) } else { Err(format!("{missed} were caught up")) }
                }
            })
            .collect();
        let back: Vec<_> = tokio::time::timeout(WITHIN, unconstrained(back.try_collect()))
            .await
            .map_err(|_| "not everybody is back".to_owned())??;
        let (took, used) = (began.elapsed(), side.spent()?.server.processor - before.server.processor);
        let times = times.into_inner();
        println!(
            "{:16} {} back after {} (half after {}), {} times a connection had to be tried again; {} of CPU",
            side.name,
            back.len(),
            shown(took),
            shown(times.quantile(0.5)),
            again.get(),
            shown(used)
        );
        Ok(took.as_secs_f64())
    };
    crowd.listening(work).await
}

/// Comes back, and tries again where the network alone is in the way.
async fn come_back(
    talk: &Talk<'_>,
    side: &Side,
    nth: usize,
    left: Left,
    again: &Cell<u32>,
) -> Result<(Incoming, Voice), String> {
    loop {
        match join(side, nth, Some(left), |voice, text| talk.event(voice, text)).await {
            Err(why) if why.starts_with("handshake: ") && !why.contains("HTTP/1.1 ") => {
                again.set(again.get() + 1);
                sleep(AGAIN_AFTER).await;
            }
            done => return done,
        }
    }
}

/// Fills a conversation, and comes back to it after long.
async fn replay(options: &Options, side: &Side, figures: &mut Figures) -> Result<(), String> {
    const AT_ONCE: u64 = 50;
    let mut crowd = Crowd::gather(side).await?;
    let work = async |talk: &Talk<'_>| {
        for _ in 0..options.replayed / AT_ONCE {
            talk.say(&talk.voices[0], AT_ONCE, true)?;
            talk.quiet().await?;
        }
        let said = talk.voices[0].heard.get();
        let last = talk.seq(0, said).ok_or("nothing was heard")?;
        let first = last.checked_sub(options.replayed).ok_or("fewer were said")?;
        for _ in 0..REPLAYS {
            let (began, heard) = (Instant::now(), Cell::new(first));
            let left = Left { at: (talk.voices[0].epoch.get(), first as i64), heard: 0 };
            let early = |_: &Voice, text: &[u8]| {
                let seq = speech::number(text, br#""seq":"#).ok_or("an event without a place")?;
                match seq == heard.get() + 1 {
                    true => heard.set(seq),
                    false => return Err(format!("place {seq} after {}", heard.get())),
                }
                Ok(())
            };
            let _stays = join(side, 1, Some(left), early).await?;
            let took = began.elapsed();
            if heard.get() != last {
                return Err(format!("the replay ended at {}, not at {last}", heard.get()));
            }
            println!("{:16} {} missed messages caught up in {}", side.name, options.replayed, shown(took));
            figures.add("storm.replay_ms", took.as_secs_f64() * 1e3);
        }
        Ok(())
    };
    crowd.listening(work).await
}
