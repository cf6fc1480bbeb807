//! `folio admin`: what is done before there is an admin who could sign in, and what no admin should do by HTTP.
//!
//! On PostgreSQL it works beside running servers, which see the change within a second. A file of SQLite has one
//! process at a time: there it works while nothing serves.

mod change;
mod import;
mod people_file;

use std::io::{BufRead, IsTerminal};

use clap::Subcommand;
use folio::clock::Clock;
use folio::config::{DatabaseConfig, Loaded, Settings};
use folio::storage::db::Db;

use super::folder::Folder;
use super::{Failure, causes_to_stderr, runtime, settled, tell};

#[derive(Subcommand)]
pub enum Admin {
    /// Makes an account; the first admin is made so.
    Create(change::Create),
    /// Gives somebody a role.
    Grant(change::Grant),
    /// Makes somebody's password useless, ends their sessions and prints a word that sets a new one, once.
    ResetPassword(change::ResetPassword),
    /// Takes over people from elsewhere, with the hashes of their passwords.
    Import(import::Import),
    /// Lists accounts by name.
    List(change::List),
    /// Keys of services.
    #[command(subcommand)]
    Key(Key),
}

#[derive(Subcommand)]
pub enum Key {
    /// Makes a key and prints it: it is never shown again.
    Create(change::CreateKey),
}

impl Admin {
    pub fn run(self, loaded: &Loaded) -> Result<(), Failure> {
        let settings = settled(loaded)?;
        causes_to_stderr();
        let config = settings.database();
        let _held = match config {
            DatabaseConfig::Sqlite { .. } => Some(hold(settings)?),
            DatabaseConfig::Postgres { .. } => None,
        };
        runtime()?.block_on(async {
            let db = Db::open(&config).await.map_err(|error| Failure::broken(&error))?;
            let done = match db.migrate().await {
                Ok(_) => Box::pin(self.act(settings, &db)).await,
                Err(error) => Err(Failure::broken(&error)),
            };
            db.close().await;
            done
        })
    }

    async fn act(self, settings: &Settings, db: &Db) -> Result<(), Failure> {
        let clock = Clock::system();
        match self {
            Admin::Create(it) => it.run(settings, db, &clock).await,
            Admin::Grant(it) => it.run(settings, db, &clock).await,
            Admin::ResetPassword(it) => it.run(settings, db, &clock).await,
            Admin::Import(it) => it.run(db, &clock).await,
            Admin::List(it) => it.run(db).await,
            Admin::Key(Key::Create(it)) => it.run(settings, db, &clock).await,
        }
    }
}

/// The folder of SQLite, which a running server does not share.
fn hold(settings: &Settings) -> Result<Folder, Failure> {
    if let Some(holder) = Folder::holder(&settings.data_dir) {
        let who = holder.map_or("a running Folio".to_owned(), |id| format!("process {id}"));
        return Err(Failure::failed(format!(
            "the data folder {} is in use by {who}, and SQLite has one process at a time: stop it, do this, start it \
             again. On PostgreSQL this works beside a running server; an admin who has signed in can do most of it by \
             HTTP",
            settings.data_dir.display()
        )));
    }
    Folder::claim(&settings.data_dir).map_err(Failure::failed)
}

/// Asks whether something that cannot be taken back is to be done; off a terminal `--yes` has to say so.
fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure { code: 64, reasons: vec![format!("{what} Say --yes to do it")] });
    }
    tell(&format!("{what} Type yes to do it:"));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && answer.trim() == "yes" {
        true => Ok(()),
        false => Err(Failure::failed("nothing was changed")),
    }
}
