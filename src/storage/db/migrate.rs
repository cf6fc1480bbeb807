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

/// Why the tables stay as they are: a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct MigrateError(String);

impl From<Error> for MigrateError {
    fn from(error: Error) -> MigrateError {
        MigrateError(error.to_string())
    }
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
        Err(MigrateError(match outcome {
            Ok(()) => return Ok(Migrated { from, to: binary }),
            Err(Cause::VersionMissing(schema)) if schema > binary => {
                format!("the database has schema {from}, this binary knows up to {binary}: run the newer binary")
            }
            Err(Cause::VersionMissing(version) | Cause::VersionMismatch(version) | Cause::Dirty(version)) => format!(
                "migration {version} was applied in another form than this binary has: it is not ours to repair"
            ),
            Err(Cause::Execute(error)) => return Err(Error::from(error).into()),
            Err(error) => format!("the migration stopped and can be tried again: {error}"),
        }))
    }
}
