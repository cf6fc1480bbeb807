//! folio-load: puts load on a running Folio, says how it did, and fails when an answer was wrong.
//!
//! A scenario is one file with `Options` and `run`; `client` speaks, `measure` counts, `server` watches the other side.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a load program speaks on standard output")]

mod client;
mod guesses;
mod http;
mod logins;
mod measure;
mod profiles;
mod server;
mod start;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// Puts load on a running Folio, says how it did, and fails when an answer was wrong.
///
/// For load tests start Folio with FOLIO_RATE_LIMIT=off, in a release build; scripts/load keeps server and client on
/// processors of their own.
#[derive(Parser)]
#[command(name = "folio-load", bin_name = "scripts/load")]
enum Scenario {
    /// Guesses passwords of somebody and of nobody, and tells whether the answers take as long
    Guesses(guesses::Options),
    /// Asks for one or several paths over kept-alive connections, and compares every answer
    Http(http::Options),
    /// Lets hundreds of people sign in at once, and tells how long everybody else waits meanwhile
    Logins(logins::Options),
    /// Reads the profiles of many people, as somebody who has signed in
    Profiles(profiles::Options),
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
        Scenario::Guesses(options) => guesses::run(&options),
        Scenario::Http(options) => http::run(&options).map(|_| ()),
        Scenario::Logins(options) => logins::run(&options),
        Scenario::Profiles(options) => profiles::run(&options),
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
