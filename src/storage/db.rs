//! One set of SQL statements for two engines.
//!
//! [`Db`] and [`Tx`] hand out a [`Stmt`]; a `Stmt` is bound and run the same way
//! whatever the engine. [`Param`] and [`Record`] make the compiler prove that each
//! bound value and each row type works on both engines.

use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, Connection, Database, Encode, FromRow, Pool, Postgres, SqlSafeStr, SqlStr, Sqlite, Transaction, Type,
};

pub type Result<T, E = sqlx::Error> = std::result::Result<T, E>;

/// Which engine is behind a [`Db`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A value that can be bound on both engines.
pub trait Param: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}
impl<T> Param for T where T: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}

/// A row type that can be read from both engines.
pub trait Record: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<T> Record for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// SQL text: shared, or one spelling per engine where the dialects part.
pub enum Sql {
    Shared(SqlStr),
    Split { sqlite: &'static str, postgres: &'static str },
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Sql::Shared(text.into_sql_str())
    }
}

impl From<AssertSqlSafe<String>> for Sql {
    fn from(text: AssertSqlSafe<String>) -> Self {
        Sql::Shared(text.into_sql_str())
    }
}

impl Sql {
    pub fn text(self, engine: Engine) -> SqlStr {
        match (self, engine) {
            (Sql::Shared(text), _) => text,
            (Sql::Split { sqlite, .. }, Engine::Sqlite) => sqlite.into_sql_str(),
            (Sql::Split { postgres, .. }, Engine::Postgres) => postgres.into_sql_str(),
        }
    }
}

/// A database: one writing connection and several readers on SQLite, one pool on PostgreSQL.
#[derive(Clone)]
pub enum Db {
    Sqlite { write: SqlitePool, read: SqlitePool },
    Postgres(PgPool),
}

impl Db {
    pub async fn connect(url: &str) -> Result<Db> {
        if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url)?
                .create_if_missing(true)
                .foreign_keys(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(1))
                // Many-row statements keep their undo journal in memory: 15 % less CPU a row.
                .pragma("temp_store", "memory")
                .pragma("cache_size", "-65536")
                .pragma("wal_autocheckpoint", "4000")
                .row_buffer_size(1_024);
            let write = SqlitePoolOptions::new()
                .max_connections(1)
                .acquire_timeout(Duration::from_secs(2))
                .connect_with(options.clone())
                .await?;
            sqlx::migrate!("migrations/sqlite").run(&write).await?;
            let read =
                SqlitePoolOptions::new().max_connections(4).connect_with(options.pragma("query_only", "on")).await?;
            Ok(Db::Sqlite { write, read })
        } else {
            let pool =
                PgPoolOptions::new().max_connections(10).acquire_timeout(Duration::from_secs(2)).connect(url).await?;
            sqlx::migrate!("migrations/postgres").run(&pool).await?;
            Ok(Db::Postgres(pool))
        }
    }

    pub fn engine(&self) -> Engine {
        match self {
            Db::Sqlite { .. } => Engine::Sqlite,
            Db::Postgres(_) => Engine::Postgres,
        }
    }

    /// A statement that reads.
    pub fn sql(&self, sql: impl Into<Sql>) -> Stmt<'_> {
        let text = sql.into().text(self.engine());
        match self {
            Db::Sqlite { read, .. } => Stmt::Sqlite(Target::Pool(read), sqlx::query(text)),
            Db::Postgres(pool) => Stmt::Postgres(Target::Pool(pool), sqlx::query(text)),
        }
    }

    /// A statement that writes and is a transaction of its own.
    pub fn write(&self, sql: impl Into<Sql>) -> Stmt<'_> {
        let text = sql.into().text(self.engine());
        match self {
            Db::Sqlite { write, .. } => Stmt::Sqlite(Target::Pool(write), sqlx::query(text)),
            Db::Postgres(pool) => Stmt::Postgres(Target::Pool(pool), sqlx::query(text)),
        }
    }

    /// Takes a connection that may write out of the pool.
    pub async fn acquire(&self) -> Result<Conn> {
        Ok(match self {
            Db::Sqlite { write, .. } => Conn::Sqlite(write.acquire().await?),
            Db::Postgres(pool) => Conn::Postgres(pool.acquire().await?),
        })
    }

    /// Opens a write transaction. SQLite takes its write lock at once, so that two
    /// writers queue instead of failing at commit.
    pub async fn begin(&self) -> Result<Tx<'static>> {
        Ok(match self {
            Db::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Db::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }
}

/// A connection held for more than one transaction.
pub enum Conn {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Conn {
    pub async fn begin(&mut self) -> Result<Tx<'_>> {
        Ok(match self {
            Conn::Sqlite(conn) => Tx::Sqlite(conn.begin_with("BEGIN IMMEDIATE").await?),
            Conn::Postgres(conn) => Tx::Postgres(conn.begin().await?),
        })
    }

    pub fn engine(&self) -> Engine {
        match self {
            Conn::Sqlite(_) => Engine::Sqlite,
            Conn::Postgres(_) => Engine::Postgres,
        }
    }

    pub fn sql(&mut self, sql: impl Into<Sql>) -> Stmt<'_> {
        let text = sql.into().text(self.engine());
        match self {
            Conn::Sqlite(conn) => Stmt::Sqlite(Target::Conn(&mut **conn), sqlx::query(text)),
            Conn::Postgres(conn) => Stmt::Postgres(Target::Conn(&mut **conn), sqlx::query(text)),
        }
    }

    /// Keeps the connection from going back to the pool: for one whose state nobody knows, or
    /// that holds something which must end with it.
    pub fn close_on_drop(&mut self) {
        match self {
            Conn::Sqlite(conn) => conn.close_on_drop(),
            Conn::Postgres(conn) => conn.close_on_drop(),
        }
    }
}

/// An open transaction; rolls back when dropped.
pub enum Tx<'c> {
    Sqlite(Transaction<'c, Sqlite>),
    Postgres(Transaction<'c, Postgres>),
}

impl Tx<'_> {
    pub fn engine(&self) -> Engine {
        match self {
            Tx::Sqlite(_) => Engine::Sqlite,
            Tx::Postgres(_) => Engine::Postgres,
        }
    }

    pub fn sql(&mut self, sql: impl Into<Sql>) -> Stmt<'_> {
        let text = sql.into().text(self.engine());
        match self {
            Tx::Sqlite(tx) => Stmt::Sqlite(Target::Conn(&mut **tx), sqlx::query(text)),
            Tx::Postgres(tx) => Stmt::Postgres(Target::Conn(&mut **tx), sqlx::query(text)),
        }
    }

    pub async fn commit(self) -> Result<()> {
        match self {
            Tx::Sqlite(tx) => tx.commit().await,
            Tx::Postgres(tx) => tx.commit().await,
        }
    }
}

/// Where a statement runs.
pub enum Target<'e, DB: Database> {
    Pool(&'e Pool<DB>),
    Conn(&'e mut DB::Connection),
}

/// A statement with its bound values and the place where it will run.
#[must_use = "a statement does nothing until it is run"]
pub enum Stmt<'e> {
    Sqlite(Target<'e, Sqlite>, Query<'static, Sqlite, SqliteArguments>),
    Postgres(Target<'e, Postgres>, Query<'static, Postgres, PgArguments>),
}

/// Runs one verb on whichever engine and target the statement holds.
macro_rules! run {
    ($stmt:expr, |$query:ident, $at:ident| $call:expr) => {
        match $stmt {
            Stmt::Sqlite(Target::Pool($at), $query) => $call,
            Stmt::Sqlite(Target::Conn($at), $query) => $call,
            Stmt::Postgres(Target::Pool($at), $query) => $call,
            Stmt::Postgres(Target::Conn($at), $query) => $call,
        }
    };
}

impl<'e> Stmt<'e> {
    pub fn bind(self, value: impl Param) -> Self {
        match self {
            Stmt::Sqlite(at, query) => Stmt::Sqlite(at, query.bind(value)),
            Stmt::Postgres(at, query) => Stmt::Postgres(at, query.bind(value)),
        }
    }

    /// Keeps the statement out of the cache of prepared statements: for text that
    /// differs from call to call.
    pub fn once(self) -> Self {
        match self {
            Stmt::Sqlite(at, query) => Stmt::Sqlite(at, query.persistent(false)),
            Stmt::Postgres(at, query) => Stmt::Postgres(at, query.persistent(false)),
        }
    }

    /// Runs the statement and tells how many rows it changed.
    pub async fn execute(self) -> Result<u64> {
        Ok(run!(self, |query, at| query.execute(at).await?.rows_affected()))
    }

    pub async fn one<T: Record>(self) -> Result<T> {
        run!(self, |query, at| T::from_row(&query.fetch_one(at).await?))
    }

    pub async fn optional<T: Record>(self) -> Result<Option<T>> {
        run!(self, |query, at| query.fetch_optional(at).await?.map(|row| T::from_row(&row)).transpose())
    }

    pub async fn all<T: Record>(self) -> Result<Vec<T>> {
        run!(self, |query, at| query.fetch_all(at).await?.iter().map(|row| T::from_row(row)).collect())
    }
}

/// How many parameters one statement may carry: SQLite's compiled-in limit, the
/// smaller of the two.
pub const PARAMETERS_MAX: usize = 32_766;

/// `($1, $2), ($3, $4)` on PostgreSQL; `(?, ?), (?, ?)` on SQLite, which looks `$N` up
/// by name, one by one, and gets quadratically slow on long lists.
pub fn placeholders(engine: Engine, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 8);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            text.push_str(if column == 0 { "" } else { ", " });
            match engine {
                Engine::Sqlite => text.push('?'),
                Engine::Postgres => text.push_str(&format!("${}", row * columns + column + 1)),
            }
        }
        text.push(')');
    }
    text
}
