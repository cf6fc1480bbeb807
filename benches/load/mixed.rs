//! The scenario `mixed`: a conversation at a steady pace, alone, and beside people who sign in, as fast as passwords are
//! hashed, and others who read. How much longer does a message take?

use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::chat::paced;
use crate::client::Connection;
use crate::crowd::Crowd;
use crate::logins::post;
use crate::measure::Figures;
use crate::side::{Scene, Servers, Side, Store};

const PACE: u64 = 500;
const PASSWORD: &str = "a long walk by the sea";
const ACCOUNTS: usize = 8;
const SIGN_INS_AT_ONCE: usize = 16;
const READERS: usize = 8;
const READ_EVERY: Duration = Duration::from_millis(10);
/// Whoever is asked to wait, waits that long.
const WAITS: Duration = Duration::from_millis(20);

/// Who is there, and for how long.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    servers: Servers,
    /// Where Folio keeps it
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Rounds, each alone and then beside the others
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Length of a round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

/// Runs the scenario; fails when a message was not heard, or an answer was wrong.
pub fn run(options: &Options) -> Result<(), String> {
    crate::measured(async {
        let folio = options.servers.ours(options.store, Scene { conversations: 100, members: 10 }).await?;
        let mut door = Connection::open(folio.address).await.map_err(|it| it.to_string())?;
        for account in 0..ACCOUNTS {
            let form = json!({ "username": format!("somebody{account}"), "password": PASSWORD });
            folio.post(&mut door, 0, "/api/v1/auth/register", &form).await?;
        }
        let (mut crowd, mut figures) = (Crowd::gather(&folio).await?, Figures::default());
        for _ in 0..options.pairs {
            let alone = paced(&mut crowd, PACE, options.seconds).await?;
            let others = async {
                tokio::try_join!(sign_in_again_and_again(&folio), read_again_and_again(&folio)).map(|it| it.0)
            };
            let beside = tokio::select! {
                outcome = paced(&mut crowd, PACE, options.seconds) => outcome?,
                ends = others => return ends,
            };
            figures.add("mixed.p99_ratio", beside.p99 / alone.p99);
        }
        figures.print();
        Ok(())
    })
}

async fn sign_in_again_and_again(side: &Side) -> Result<(), String> {
    let all = (0..SIGN_INS_AT_ONCE).map(|nth| async move {
        let mut door = Connection::open(side.address).await.map_err(|it| it.to_string())?;
        let form = json!({ "username": format!("somebody{}", nth % ACCOUNTS), "password": PASSWORD });
        let request = post("/api/v1/auth/login", &form);
        loop {
            match door.ask(&request).await.map_err(|it| it.to_string())?.status {
                200 => {}
                503 => sleep(WAITS).await,
                status => return Err::<(), _>(format!("a sign-in was answered {status}")),
            }
        }
    });
    join_all(all).await.into_iter().collect()
}

async fn read_again_and_again(side: &Side) -> Result<(), String> {
    let all = (0..READERS).map(|nth| async move {
        let mut door = Connection::open(side.address).await.map_err(|it| it.to_string())?;
        let head = "GET /api/v1/auth/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer";
        let request = format!("{head} {}\r\n\r\n", side.folk.token(nth)?);
        let mut tick = interval(READ_EVERY);
        loop {
            tick.tick().await;
            match door.ask(request.as_bytes()).await.map_err(|it| it.to_string())?.status {
                200 => {}
                status => return Err::<(), _>(format!("a read was answered {status}")),
            }
        }
    });
    join_all(all).await.into_iter().collect()
}
