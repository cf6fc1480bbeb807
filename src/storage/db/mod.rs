//! One set of SQL statements for two engines.
//!
//! [`Db`], [`Tx`] and [`Conn`] hand out a [`Stmt`]; a `Stmt` is bound and run the same way whatever the engine.
//! [`Param`] and [`Record`] make the compiler prove that each bound value and each row type works on both.

mod migrate;
mod open;
mod stmt;

use std::ops::DerefMut;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{AssertSqlSafe, Connection, Postgres, Sqlite, Transaction};

pub use self::migrate::{MigrateError, Migrated};
use self::stmt::Target;
pub use self::stmt::{Engine, PARAMETERS_MAX, Param, PgQuery, Record, Sql, Stmt, placeholders};

/// The result of a statement. `?` turns it into the crate's own.
pub type Result<T, E = sqlx::Error> = std::result::Result<T, E>;

/// Rows in one insert on SQLite: multiples of the first, at most the second, and a rest.
const ROWS: (usize, usize) = (16, 256);

/// A database: one writing connection and several readers on SQLite, one pool on PostgreSQL.
#[derive(Clone, Debug)]
pub enum Db {
    /// One file.
    Sqlite {
        /// The one connection that writes.
        write: SqlitePool,
        /// Those that read, and never wait for it.
        read: SqlitePool,
    },
    /// A server.
    Postgres(PgPool),
}

impl Db {
    /// Tells the engine.
    pub const fn engine(&self) -> Engine {
        match self {
            Db::Sqlite { .. } => Engine::Sqlite,
            Db::Postgres(_) => Engine::Postgres,
        }
    }

    /// A statement that reads.
    pub fn sql(&self, sql: impl Into<Sql>) -> Stmt<'_> {
        match self {
            Db::Sqlite { read, .. } => Stmt::sqlite(Target::Pool(read), sql),
            Db::Postgres(pool) => Stmt::postgres(Target::Pool(pool), sql),
        }
    }

    /// A statement that writes and is a transaction of its own.
    pub fn write(&self, sql: impl Into<Sql>) -> Stmt<'_> {
        match self {
            Db::Sqlite { write, .. } => Stmt::sqlite(Target::Pool(write), sql),
            Db::Postgres(pool) => Stmt::postgres(Target::Pool(pool), sql),
        }
    }

    /// Takes a connection that may write out of the pool.
    pub async fn acquire(&self) -> Result<Conn> {
        Ok(match self {
            Db::Sqlite { write, .. } => Conn::Sqlite(write.acquire().await?),
            Db::Postgres(pool) => Conn::Postgres(pool.acquire().await?),
        })
    }

    /// Takes a connection for one who looks up a little of much: the planner cannot know, and left to itself it may read
    /// every entry there is. What it has planned it keeps.
    pub async fn session(&self) -> Result<Conn> {
        let mut conn = self.acquire().await?;
        if let Conn::Postgres(session) = &mut conn {
            // Back in the pool it would go on like this.
            session.close_on_drop();
            conn.sql(
                "SELECT set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
                        set_config('enable_mergejoin', 'off', false),
                        set_config('plan_cache_mode', 'force_generic_plan', false)",
            )
            .execute()
            .await?;
        }
        Ok(conn)
    }

    /// Opens a write transaction. SQLite takes its write lock at once, so that two writers queue instead of failing
    /// at the commit.
    pub async fn begin(&self) -> Result<Tx<'static>> {
        Ok(match self {
            Db::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Db::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// Closes every connection, once what runs on it is done.
    pub async fn close(&self) {
        match self {
            Db::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

/// A connection to the file, or what stands for one.
pub trait ToSqlite: DerefMut<Target = SqliteConnection> {}
impl<T: DerefMut<Target = SqliteConnection>> ToSqlite for T {}

/// A connection to the server, or what stands for one.
pub trait ToPostgres: DerefMut<Target = PgConnection> {}
impl<T: DerefMut<Target = PgConnection>> ToPostgres for T {}

/// A connection of one engine or the other, or what stands for one.
#[derive(Debug)]
pub enum Held<S, P> {
    /// To the file.
    Sqlite(S),
    /// To the server.
    Postgres(P),
}

/// A connection held for more than one transaction: the one that writes, or one of the pool.
pub type Conn = Held<PoolConnection<Sqlite>, PoolConnection<Postgres>>;

/// An open transaction; it rolls back when it is dropped. It holds the lock on the whole file, or the rows it touched.
pub type Tx<'c> = Held<Transaction<'c, Sqlite>, Transaction<'c, Postgres>>;

impl<S: ToSqlite, P: ToPostgres> Held<S, P> {
    /// A statement that runs here.
    pub fn sql(&mut self, sql: impl Into<Sql>) -> Stmt<'_> {
        match self {
            Held::Sqlite(conn) => Stmt::sqlite(Target::Conn(&mut **conn), sql),
            Held::Postgres(conn) => Stmt::postgres(Target::Conn(&mut **conn), sql),
        }
    }

    /// Which engine it is.
    pub const fn engine(&self) -> Engine {
        match self {
            Held::Sqlite(_) => Engine::Sqlite,
            Held::Postgres(_) => Engine::Postgres,
        }
    }

    /// Inserts many rows: `head` is `INSERT INTO likes (project_id, user_id)`, `tail` what follows the rows. Tells how
    /// many rows were changed.
    pub async fn insert_rows<R>(
        &mut self,
        head: &'static str,
        tail: &'static str,
        columns: usize,
        rows: &[R],
        bind: impl for<'q> Fn(Stmt<'q>, &R) -> Stmt<'q>,
    ) -> Result<u64> {
        let (mut changed, mut rest, engine) = (0, rows, self.engine());
        // SQLite keeps a few sizes prepared; a way to PostgreSQL and back is worth more than a plan.
        let (step, most) = if engine == Engine::Sqlite { ROWS } else { (1, PARAMETERS_MAX / columns) };
        while !rest.is_empty() {
            let size = if rest.len() < step { rest.len() } else { rest.len().min(most) / step * step };
            let (chunk, more) = rest.split_at(size);
            let stmt = self.sql(AssertSqlSafe(format!("{head} VALUES {} {tail}", placeholders(engine, size, columns))));
            let stmt = if engine == Engine::Sqlite { stmt } else { stmt.once() };
            changed += chunk.iter().fold(stmt, &bind).execute().await?;
            rest = more;
        }
        Ok(changed)
    }
}

impl Conn {
    /// Opens a write transaction on this connection.
    pub async fn begin(&mut self) -> Result<Tx<'_>> {
        Ok(match self {
            Held::Sqlite(conn) => Held::Sqlite(conn.begin_with("BEGIN IMMEDIATE").await?),
            Held::Postgres(conn) => Held::Postgres(conn.begin().await?),
        })
    }

    /// Keeps the connection from going back to the pool: for one whose state nobody knows, or that holds something
    /// which must end with it.
    pub fn close_on_drop(&mut self) {
        match self {
            Held::Sqlite(conn) => conn.close_on_drop(),
            Held::Postgres(conn) => conn.close_on_drop(),
        }
    }
}

impl Tx<'_> {
    /// Makes it last.
    pub async fn commit(self) -> Result<()> {
        match self {
            Held::Sqlite(tx) => tx.commit().await,
            Held::Postgres(tx) => tx.commit().await,
        }
    }
}
