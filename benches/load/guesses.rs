//! The scenario `guesses`: does the time of an answer tell whether there is somebody of that name?
//!
//! Wrong passwords, in turn for somebody who is there and for somebody who is not, over one connection. What counts is
//! how far the medians of both lie apart.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use crate::client::Connection;
use crate::logins::{ask, post};
use crate::measure::shown;
use crate::start::Running;

/// How often each of both is asked.
#[derive(Args)]
pub struct Options {
    /// The program
    #[arg(long, default_value = "target/release/folio")]
    program: PathBuf,
    /// Wrong passwords for each of both
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(10..=990))]
    guesses: u16,
}

/// Runs the scenario; fails when a guess is answered otherwise than by 401.
pub fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|it| it.to_string())?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|it| it.to_string())?;
    let settings = [
        ("FOLIO_RATE_LIMIT", "off"),
        ("FOLIO_LOG", "warn"),
        ("FOLIO_GUESSES_PER_ACCOUNT", "1000"),
        ("FOLIO_GUESSES_PER_ADDRESS", "100000"),
    ];
    let folio = Running::begin(&options.program, folder.path(), &settings).await?;
    let mut door = Connection::open(folio.address).await.map_err(|it| it.to_string())?;
    let body = json!({ "username": "somebody", "password": "a long walk by the sea" });
    ask(&mut door, &post("/api/v1/auth/register", &body)).await?;
    let mut times = [("somebody", Vec::new()), ("nobody", Vec::new())];
    for turn in 0..options.guesses {
        // Whoever comes first in one turn comes second in the next.
        times.rotate_left(1);
        for (name, times) in &mut times {
            let body = json!({ "username": name, "password": format!("guess number {turn}") });
            let request = post("/api/v1/auth/login", &body);
            let began = Instant::now();
            let status = door.ask(&request).await.map_err(|it| it.to_string())?.status;
            times.push(began.elapsed());
            if status != 401 {
                return Err(format!("a guess for {name} was answered {status}"));
            }
        }
    }
    let [one, other] = times.map(|(name, mut times)| {
        times.sort_unstable();
        let median = times[times.len() / 2];
        println!(
            "guesses  {name}: p50 {}, from {} to {}",
            shown(median),
            shown(times[0]),
            shown(times[times.len() - 1])
        );
        median.as_secs_f64()
    });
    println!("FLOOR guesses.timing_ratio={:.3}", one.max(other) / one.min(other));
    Ok(())
}
