//! How a database is opened, and how it says that it is well.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor, Row};

use super::{Db, Result};
use crate::config::DatabaseConfig;
use crate::error::{Error, Result as Outcome};
use crate::storage::Probe;

/// A connection that rested this long is looked at before it is used.
const RESTED: Duration = Duration::from_secs(1);

/// What each session on PostgreSQL asks for: nobody waits for ever, and a node that vanished lets go of its locks.
const SESSION: [(&str, &str); 5] = [
    ("statement_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

impl Db {
    /// Opens what the settings name. SQLite is opened at once and must promise durability; PostgreSQL is reached on
    /// first use, so that a server which is not there yet is an answer in time and no failed start.
    pub async fn open(config: &DatabaseConfig) -> Outcome<Db> {
        match config {
            DatabaseConfig::Sqlite { path, readers, acquire_within } => {
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    .foreign_keys(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    // Shorter than the wait for a connection: whoever waits hears why.
                    .busy_timeout(*acquire_within / 2)
                    // Many-row statements keep their undo journal in memory: 15 % less work a row.
                    .pragma("temp_store", "memory")
                    // Each commit looks at all pages that are kept, and one of so many waits until they are in the file.
                    .pragma("cache_size", "-16384")
                    .pragma("wal_autocheckpoint", "16000")
                    .row_buffer_size(1_024)
                    // One text for each size of a batch, and all the others.
                    .statement_cache_capacity(256);
                // A file does not hang up: nobody asks it before each use whether it is still there.
                let lasting = || {
                    SqlitePoolOptions::new()
                        .acquire_timeout(*acquire_within)
                        .max_lifetime(None)
                        .idle_timeout(None)
                        .test_before_acquire(false)
                };
                let write = lasting().max_connections(1).connect_with(options.clone()).await?;
                let promises = "SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous";
                let (journal, synchronous): (String, i64) = sqlx::query_as(promises).fetch_one(&write).await?;
                if (&*journal, synchronous) != ("wal", 2) {
                    let why = format!(
                        "{}: the file does not keep what it confirms: journal_mode is {journal} instead of wal, \
                         synchronous is {synchronous} instead of 2",
                        path.display()
                    );
                    return Err(Error::internal(why));
                }
                let read = lasting()
                    .max_connections((*readers).max(1))
                    .connect_with(options.pragma("query_only", "on"))
                    .await?;
                Ok(Db::Sqlite { write, read })
            }
            DatabaseConfig::Postgres { url, connections_max, acquire_within } => {
                let options = PgConnectOptions::from_str(url.expose())?.application_name("folio").options(SESSION);
                let pool = PgPoolOptions::new()
                    .max_connections((*connections_max).max(2))
                    .acquire_timeout(*acquire_within)
                    // A look at a rested connection says more than a ping, and a busy one needs none.
                    .test_before_acquire(false)
                    .after_connect(|conn, _| Box::pin(async { check(conn).await.map(|_| ()) }))
                    .before_acquire(|conn, meta| {
                        Box::pin(async move { if meta.idle_for < RESTED { Ok(true) } else { check(conn).await } })
                    });
                Ok(Db::Postgres(pool.connect_lazy_with(options)))
            }
        }
    }

    /// Tells version and rights. Whoever asks says how long that may take.
    pub async fn probe(&self) -> Outcome<Probe> {
        match self {
            Db::Sqlite { .. } => {
                let (version,): (String,) = self.sql("SELECT sqlite_version()").one().await?;
                let mut conn = self.acquire().await?;
                // The lock is asked for and given back: a full or read-only disk shows here.
                let writes = conn.begin().await.is_ok();
                Ok(Probe { backend: "sqlite", version, rights: vec![("write", writes)] })
            }
            Db::Postgres(_) => {
                let (version, create, writes): (String, bool, bool) = self
                    .sql(
                        "SELECT current_setting('server_version'),
                                COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false),
                                NOT CAST(current_setting('transaction_read_only') AS BOOLEAN)",
                    )
                    .one()
                    .await?;
                Ok(Probe { backend: "postgresql", version, rights: vec![("create tables", create), ("write", writes)] })
            }
        }
    }
}

/// Whether a session can be written through: after a failover an old one may lead to a server that only reads. A
/// server that would confirm before it has stored is told otherwise, for this session.
async fn check(conn: &mut PgConnection) -> Result<bool> {
    let row = conn
        .fetch_one(
            "SELECT CAST(current_setting('transaction_read_only') AS BOOLEAN),
                    CASE current_setting('synchronous_commit')
                         WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END",
        )
        .await?;
    Ok(!row.try_get::<bool, _>(0)?)
}
