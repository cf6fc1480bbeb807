//! `folio keys`: the keys that sign access tokens.
//!
//! Works beside running servers: they hear of a new key within a second, and sign with it ten seconds later. Tokens of
//! the keys before it stay good until they end, so nobody is signed out.

use chrono::TimeDelta;
use clap::Subcommand;
use folio::clock::Clock;
use folio::config::{DatabaseConfig, Loaded, Settings};
use folio::error::Error;
use folio::ids;
use folio::storage::db::Db;
use folio::storage::signing_keys::{self, SigningKey};

use super::folder::Folder;
use super::{Failure, causes_to_stderr, runtime, say, settled};

/// How long a former key signs on, where a server has not heard of its successor yet.
const SIGNS_ON: TimeDelta = TimeDelta::seconds(60);

#[derive(Subcommand)]
pub enum Keys {
    /// Lists the keys by which tokens are known.
    List,
    /// Makes a key that signs from now on. Those before it go when the last token that they signed has ended.
    Rotate,
}

impl Keys {
    pub fn run(self, loaded: &Loaded) -> Result<(), Failure> {
        let settings = settled(loaded)?;
        causes_to_stderr();
        let config = settings.database();
        // Nobody else may change the file's form meanwhile; beside a server, which holds the folder, it has the right one.
        let alone = matches!(config, DatabaseConfig::Sqlite { .. }) && Folder::holder(&settings.data_dir).is_none();
        let _held = alone.then(|| Folder::claim(&settings.data_dir)).transpose().map_err(Failure::failed)?;
        let keys = runtime()?.block_on(async {
            let db = Db::open(&config).await.map_err(|error| Failure::broken(&error))?;
            let done = match db.migrate().await {
                Ok(_) => self.act(settings, &db).await.map_err(|error| Failure::broken(&error)),
                Err(error) => Err(Failure::broken(&error)),
            };
            db.close().await;
            done
        })?;
        say(&keys.iter().map(line).collect::<String>())
    }

    async fn act(self, settings: &Settings, db: &Db) -> Result<Vec<SigningKey>, Error> {
        let (clock, now) = (Clock::system(), Clock::system().now());
        if matches!(self, Keys::Rotate) {
            let lives = TimeDelta::from_std(settings.access_lives).map_err(Error::internal)?;
            let mut tx = db.begin().await?;
            signing_keys::rotate(&mut tx, ids::v7(&clock), now, now + lives + SIGNS_ON).await?;
            tx.commit().await?;
        }
        signing_keys::list(db, now).await
    }
}

fn line(key: &SigningKey) -> String {
    let made = key.created_at.format("%Y-%m-%d %H:%M:%S");
    match key.ends_at {
        Some(ends) => format!("{}  made {made}  verifies until {}\n", key.id, ends.format("%Y-%m-%d %H:%M:%S")),
        None => format!("{}  made {made}  signs\n", key.id),
    }
}
