//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 failed, 64 the command line is wrong, 78 the settings are wrong.

mod admin;
mod config;
mod doctor;
mod folder;
mod healthcheck;
mod keys;
mod mail;
mod migrate;
mod serve;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use folio::config::{Asked, Loaded, Settings, load};

/// Folio, a realtime home for a community of creators.
///
/// Without a command it serves: everything it needs lies in ./folio-data, and it listens on 127.0.0.1:8080.
#[derive(Parser)]
#[command(name = "folio", version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

/// Flags that every command takes.
#[derive(Args)]
struct Flags {
    /// Reads settings from this file instead of folio.toml in the data folder.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keeps everything in this folder.
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Listens on this address and port.
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Logs these levels, such as info or info,folio::http=debug.
    #[arg(long, global = true, value_name = "LEVELS")]
    log: Option<String>,
    /// Sets any setting that is no secret; may be given more than once.
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs Folio until it is told to stop. This is what happens without a command.
    Serve,
    /// Brings the database to the form that this version needs, and ends.
    Migrate,
    /// Makes accounts, gives out roles, takes over people from elsewhere: at the machine itself.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Shows, checks and explains the settings.
    #[command(subcommand)]
    Config(config::Config),
    /// Lists and changes the keys that sign access tokens.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Asks a running Folio on this machine whether it is ready.
    Healthcheck(healthcheck::Healthcheck),
    /// Lists the letters that Folio has written, and shows one.
    Mail(mail::Mail),
    /// Looks at the data folder and at every backend, and says what to do about what is wrong.
    Doctor(doctor::Doctor),
}

/// Why a command did not do what it should, and the exit code that says so.
#[derive(Debug)]
struct Failure {
    code: u8,
    reasons: Vec<String>,
}

impl Failure {
    fn failed(reason: impl Display) -> Failure {
        Failure { code: 1, reasons: vec![reason.to_string()] }
    }

    /// What a part of Folio could not do, down to the cause, and where to look next.
    fn broken(error: &dyn std::error::Error) -> Failure {
        let mut chain: Vec<String> =
            std::iter::successors(Some(error), |it| it.source()).map(|it| it.to_string()).collect();
        // A transparent error says the same as its cause.
        chain.dedup();
        Failure::failed(format!("{}; folio doctor looks at every backend", chain.join(": ")))
    }

    fn settings(reasons: &[String]) -> Failure {
        Failure { code: 78, reasons: reasons.to_vec() }
    }
}

/// Runs the command that the arguments name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let done = CommandLine::try_parse_from(arguments).map_or_else(|refusal| usage(&refusal), run);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, reasons }) => {
            for reason in reasons {
                tell(&format!("folio: {reason}"));
            }
            ExitCode::from(code)
        }
    }
}

fn run(line: CommandLine) -> Result<(), Failure> {
    // Two providers of cryptography are compiled in by dependencies: one has to be named before the first connection.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let loaded = || load(&line.flags.asked(), std::env::vars_os());
    match line.command {
        None | Some(Command::Serve) => serve::run(loaded),
        Some(Command::Migrate) => migrate::run(&loaded()),
        Some(Command::Admin(command)) => command.run(&loaded()),
        Some(Command::Config(command)) => command.run(loaded),
        Some(Command::Keys(command)) => command.run(&loaded()),
        Some(Command::Healthcheck(command)) => command.run(loaded),
        Some(Command::Mail(command)) => command.run(&loaded()),
        Some(Command::Doctor(command)) => command.run(&loaded()),
    }
}

impl Flags {
    fn asked(&self) -> Asked {
        let named = [
            ("data_dir", &self.data_dir, "--data-dir"),
            ("listen", &self.listen, "--listen"),
            ("log", &self.log, "--log"),
        ];
        let named = named.into_iter().filter_map(|(name, value, flag)| Some((name, value.as_ref()?, flag)));
        let set = self.set.iter().map(|(name, value)| (name.as_str(), value, "--set"));
        let owned = |(name, value, flag): (&str, &String, &str)| (name.to_owned(), value.clone(), flag.to_owned());
        Asked { config: self.config.clone(), flags: named.chain(set).map(owned).collect() }
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The settings, when nothing is wrong with them; what should be mended is told.
fn settled(loaded: &Loaded) -> Result<&Settings, Failure> {
    let settings = loaded.settings().map_err(Failure::settings)?;
    loaded.warnings.iter().for_each(|warning| tell(&format!("folio: warning: {warning}")));
    Ok(settings)
}

/// Help and version are answers; everything else is a wrong command line.
fn usage(refusal: &clap::Error) -> Result<(), Failure> {
    let text = refusal.to_string();
    if !refusal.use_stderr() {
        return say(&text);
    }
    // An argument may be a megabyte long, and it is repeated in the refusal.
    let short: String = text.trim_start_matches("error: ").trim_end().chars().take(2_000).collect();
    Err(Failure { code: 64, reasons: vec![short] })
}

/// Writes an answer to the standard output. Whoever stopped reading has heard enough.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the answer cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line for people to the standard error. There is nobody to tell if that fails.
fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Lets causes that parts of Folio only log be read, for commands that have no log of their own.
fn causes_to_stderr() {
    let lines = tracing_subscriber::fmt().with_env_filter("folio=warn").with_writer(io::stderr);
    let lines = lines.with_ansi(io::stderr().is_terminal()).without_time().with_target(false);
    // It fails when there is a log already, which serves as well.
    let _ = lines.try_init();
}

/// The runtime that every command with connections works on.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Failure::failed(format!("threads cannot be started: {error}")))
}
