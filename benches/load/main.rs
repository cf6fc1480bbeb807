//! folio-load: puts load on a running Folio, says how it did, and fails when an answer was wrong.
//!
//! A scenario is one file with `Options` and `run`; `client` speaks, `measure` counts, `server` watches the other side.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a load program speaks on standard output")]

mod chat;
mod churn;
mod client;
mod crowd;
mod fanout;
mod folk;
mod guesses;
mod http;
mod idle;
mod ledger;
mod logins;
mod measure;
mod mixed;
mod profiles;
mod server;
#[path = "../settled.rs"]
mod settled;
mod side;
mod speech;
mod start;
mod storm;
mod voice;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};

/// How long a crowd looks away when it has nothing to do.
const RESTS: Duration = Duration::from_micros(200);

/// Puts load on a running Folio, says how it did, and fails when an answer was wrong.
///
/// For load tests start Folio with FOLIO_RATE_LIMIT=off, in a release build; scripts/load keeps server and client on
/// processors of their own.
#[derive(Parser)]
#[command(name = "folio-load", bin_name = "scripts/load")]
enum Scenario {
    /// Lets a hundred conversations of ten go on as fast as they can, beside the Socket.IO peer
    Chat(chat::Options),
    /// Lets one speak to a thousand, beside the Socket.IO peer
    Fanout(fanout::Options),
    /// Guesses passwords of somebody and of nobody, and tells whether the answers take as long
    Guesses(guesses::Options),
    /// Asks for one or several paths over kept-alive connections, and compares every answer
    Http(http::Options),
    /// Lets hundreds of people sign in at once, and tells how long everybody else waits meanwhile
    Logins(logins::Options),
    /// Reads the profiles of many people, as somebody who has signed in
    Profiles(profiles::Options),
    /// Lets people come, show a token, join a conversation and go, beside the Socket.IO peer
    Churn(churn::Options),
    /// Lets ten thousand be there and say nothing: what does each hold
    Idle(idle::Options),
    /// Lets people talk while others sign in and read: how much longer does a message take
    Mixed(mixed::Options),
    /// Cuts ten thousand off at once, and waits until all are back and have caught up
    Storm(storm::Options),
    /// Starts a release build on an empty data folder: how long until it is ready, what it holds when idle
    Start(start::Options),
}

fn main() -> ExitCode {
    // Cargo puts words of its own behind those of the caller.
    let words: Vec<String> = std::env::args().filter(|it| it != "--bench").collect();
    if words.len() == 1 {
        println!("{}", Scenario::command().render_help());
        return ExitCode::SUCCESS;
    }
    let done = match Scenario::parse_from(words) {
        Scenario::Chat(options) => chat::run(&options),
        Scenario::Fanout(options) => fanout::run(&options),
        Scenario::Guesses(options) => guesses::run(&options),
        Scenario::Http(options) => http::run(&options).map(|_| ()),
        Scenario::Logins(options) => logins::run(&options),
        Scenario::Profiles(options) => profiles::run(&options),
        Scenario::Churn(options) => churn::run(&options),
        Scenario::Idle(options) => idle::run(&options),
        Scenario::Mixed(options) => mixed::run(&options),
        Scenario::Storm(options) => storm::run(&options),
        Scenario::Start(options) => start::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("folio-load: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a scenario that starts servers of its own, away from them.
fn measured(scenario: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    side::keep_apart();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // A server on another machine would not pay for waking its clients: nobody waits for a socket while they rest.
    runtime.on_thread_park(|| std::thread::sleep(RESTS));
    let runtime = runtime.enable_all().build().map_err(|it| it.to_string())?;
    runtime.block_on(scenario)
}
