//! Brings the tables to what this binary knows, or says why it will not.

use sqlx::migrate::{MigrateError as Cause, Migrator};

use super::{Conn, Db};
use crate::error::Error;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// From which version to which the tables were brought; 0 is an empty database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Before.
    pub from: i64,
    /// Now.
    pub to: i64,
}

/// Why the tables stay as they are.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MigrateError {
    /// A newer binary was here.
    #[error("the database has schema {schema}, this binary knows up to {binary}: run the newer binary")]
    Newer {
        /// The version of the tables.
        schema: i64,
        /// The newest version this binary knows.
        binary: i64,
    },
    /// A migration that was applied is not the one this binary has.
    #[error("migration {0} was applied in another form than this binary has: it is not ours to repair")]
    Changed(i64),
    /// The database did not do it; what was done before this step stays, and it can be tried again.
    #[error("the migration stopped and can be tried again: {0}")]
    Stopped(String),
    /// The database is not there.
    #[error(transparent)]
    Database(#[from] Error),
}

impl Db {
    /// Applies what is missing, one transaction a file. On PostgreSQL nodes take turns, by a lock that ends with its
    /// session, so one that dies does not keep it.
    pub async fn migrate(&self) -> Result<Migrated, MigrateError> {
        let mut conn = self.acquire().await.map_err(Error::from)?;
        let migrator = if matches!(conn, Conn::Sqlite(_)) { &SQLITE } else { &POSTGRES };
        let binary = migrator.iter().map(|it| it.version).max().unwrap_or(0);
        if let Conn::Postgres(_) = conn {
            // The session has the lock, so it may not live on in the pool; and it may take its time.
            conn.close_on_drop();
            conn.sql("SET statement_timeout = '15min'").execute().await.map_err(Error::from)?;
        }
        // Fails where nothing was ever applied, because there is no such table.
        let version = conn.sql("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations").one().await;
        let from = version.map_or(0, |(version,)| version);
        let outcome = match &mut conn {
            Conn::Sqlite(conn) => migrator.run(&mut **conn).await,
            Conn::Postgres(conn) => migrator.run(&mut **conn).await,
        };
        match outcome {
            Ok(()) => Ok(Migrated { from, to: binary }),
            Err(Cause::VersionMissing(schema)) if schema > binary => Err(MigrateError::Newer { schema: from, binary }),
            Err(Cause::VersionMissing(version) | Cause::VersionMismatch(version) | Cause::Dirty(version)) => {
                Err(MigrateError::Changed(version))
            }
            Err(Cause::Execute(error)) => Err(Error::from(error).into()),
            Err(error) => Err(MigrateError::Stopped(error.to_string())),
        }
    }
}
