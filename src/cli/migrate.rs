//! `folio migrate`: brings the database to the form that this version needs.
//!
//! `folio serve` does the same when it starts; a command of its own is for those who want to see it happen first.

use folio::config::{DatabaseConfig, Loaded};
use folio::storage::db::Db;

use super::folder::Folder;
use super::{Failure, causes_to_stderr, runtime, say, settled};

pub fn run(loaded: &Loaded) -> Result<(), Failure> {
    let settings = settled(loaded)?;
    causes_to_stderr();
    let config = settings.database();
    // A file is changed by one process at a time; on a server the migration itself takes a lock.
    let _held = match config {
        DatabaseConfig::Sqlite { .. } => Some(Folder::claim(&settings.data_dir).map_err(Failure::failed)?),
        DatabaseConfig::Postgres { .. } => None,
    };
    let migrated = runtime()?.block_on(async {
        let db = Db::open(&config).await.map_err(|error| Failure::broken(&error))?;
        let migrated = db.migrate().await.map_err(|error| Failure::broken(&error));
        db.close().await;
        migrated
    })?;
    if migrated.from == migrated.to {
        say(&format!("The database is at version {} already.\n", migrated.to))
    } else {
        say(&format!("The database was brought from version {} to version {}.\n", migrated.from, migrated.to))
    }
}
