//! The scenario `logins`: hundreds of people sign in at once, while others go on reading.
//!
//! Folio runs in a release build on an empty folder. A few readers ask at a steady pace, first alone and then beside the
//! logins; what counts is how much longer the slowest hundredth of their answers takes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::Connection;
use crate::measure::{Histogram, shown};
use crate::start::Running;

const PASSWORD: &str = "a long walk by the sea";
const READERS: usize = 8;
/// Each reader asks so often.
const PACE: Duration = Duration::from_millis(4);
const ALONE: Duration = Duration::from_secs(4);

/// How many sign in, and how often.
#[derive(Args)]
pub struct Options {
    /// The program
    #[arg(long, default_value = "target/release/folio")]
    program: PathBuf,
    /// People who sign in at once
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    logins: u16,
    /// Accounts that they share
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    accounts: u16,
    /// Waves, one after the other
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    waves: u8,
}

/// Runs the scenario; fails when a login is answered otherwise than with tokens or a time to wait.
pub fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|it| it.to_string())?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|it| it.to_string())?;
    let settings = [("FOLIO_RATE_LIMIT", "off"), ("FOLIO_LOG", "warn")];
    let folio = Running::begin(&options.program, folder.path(), &settings).await?;
    let mut front = Connection::open(folio.address).await.map_err(|it| it.to_string())?;
    for account in 0..options.accounts {
        let body = json!({ "username": format!("somebody{account}"), "password": PASSWORD });
        ask(&mut front, &post("/api/v1/auth/register", &body)).await.map(drop)?;
    }
    let body = json!({ "username": "somebody0", "password": PASSWORD });
    let tokens = ask(&mut front, &post("/api/v1/auth/login", &body)).await?.1;
    let token = tokens["access_token"].as_str().ok_or("no token came")?;
    let read = format!("GET /api/v1/auth/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let read: Arc<[u8]> = read.into_bytes().into();

    let quiet = async {
        sleep(ALONE).await;
        Ok(())
    };
    let alone = beside(&folio, &read, quiet).await?.0;
    let (mut beside_logins, mut came, mut waited) = (Histogram::default(), 0, 0);
    for _ in 0..options.waves {
        let mut doors = Vec::new();
        for _ in 0..options.logins {
            doors.push(Connection::open(folio.address).await.map_err(|it| it.to_string())?);
        }
        let (times, statuses) = beside(&folio, &read, wave(options, &mut doors)).await?;
        beside_logins.merge(&times);
        came += statuses.iter().filter(|it| **it == 200).count();
        waited += statuses.iter().filter(|it| **it == 503).count();
    }
    let all = usize::from(options.logins) * usize::from(options.waves);
    if came + waited != all || came == 0 {
        return Err(format!("of {all} logins {came} came in and {waited} were asked to wait"));
    }
    let (before, during) = (alone.quantile(0.99), beside_logins.quantile(0.99));
    println!("logins   {came} of {all} came in, {:.0} % were asked to wait", waited as f64 * 100.0 / all as f64);
    println!("reads    p99 {} alone, {} beside them", shown(before), shown(during));
    println!("FLOOR logins.p99_ratio={:.2}", during.as_secs_f64() / before.as_secs_f64());
    Ok(())
}

async fn wave(options: &Options, doors: &mut [Connection]) -> Result<Vec<u16>, String> {
    let logins = doors.iter_mut().enumerate().map(|(at, door)| async move {
        let name = format!("somebody{}", at % usize::from(options.accounts));
        let body = json!({ "username": name, "password": PASSWORD });
        door.ask(&post("/api/v1/auth/login", &body)).await.map(|it| it.status).map_err(|it| it.to_string())
    });
    join_all(logins).await.into_iter().collect()
}

/// Reads at a steady pace for as long as something else goes on.
async fn beside<T>(
    folio: &Running,
    read: &Arc<[u8]>,
    work: impl Future<Output = Result<T, String>>,
) -> Result<(Histogram, T), String> {
    let over = AtomicBool::new(false);
    let readers = (0..READERS).map(|nth| reader(folio, read, &over, PACE * nth as u32 / READERS as u32));
    let work = async {
        let done = work.await;
        over.store(true, Relaxed);
        done
    };
    let (times, done) = tokio::join!(join_all(readers), work);
    let mut all = Histogram::default();
    for times in times {
        all.merge(&times?);
    }
    Ok((all, done?))
}

async fn reader(folio: &Running, read: &[u8], over: &AtomicBool, first: Duration) -> Result<Histogram, String> {
    let mut connection = Connection::open(folio.address).await.map_err(|it| it.to_string())?;
    let (mut times, mut due) = (Histogram::default(), Instant::now() + first);
    while !over.load(Relaxed) {
        sleep_until(due).await;
        let began = Instant::now();
        let status = connection.ask(read).await.map_err(|it| it.to_string())?.status;
        times.record(began.elapsed());
        if status != 200 {
            return Err(format!("a read was answered {status}"));
        }
        due += PACE;
    }
    Ok(times)
}

pub fn post(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub async fn ask(connection: &mut Connection, request: &[u8]) -> Result<(u16, Value), String> {
    let answer = connection.ask(request).await.map_err(|it| it.to_string())?;
    let body = serde_json::from_slice(answer.body).unwrap_or_default();
    if answer.status < 300 { Ok((answer.status, body)) } else { Err(format!("{}: {body}", answer.status)) }
}
