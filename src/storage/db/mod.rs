//! One set of SQL statements for two engines.
//!
//! [`Db`], [`Tx`] and [`Conn`] hand out a [`Stmt`]; a `Stmt` is bound and run the same way whatever the engine.
//! [`Param`] and [`Record`] make the compiler prove that each bound value and each row type works on both.

mod migrate;
mod open;
mod stmt;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection, Postgres, Sqlite, Transaction};

pub use self::migrate::{MigrateError, Migrated};
use self::stmt::Target;
pub use self::stmt::{Engine, PARAMETERS_MAX, Param, Record, Sql, Stmt, placeholders};

/// The result of a statement. `?` turns it into the crate's own.
pub type Result<T, E = sqlx::Error> = std::result::Result<T, E>;

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

/// A connection held for more than one transaction.
#[derive(Debug)]
pub enum Conn {
    /// The one that writes.
    Sqlite(PoolConnection<Sqlite>),
    /// One of the pool.
    Postgres(PoolConnection<Postgres>),
}

impl Conn {
    /// Tells the engine.
    pub const fn engine(&self) -> Engine {
        match self {
            Conn::Sqlite(_) => Engine::Sqlite,
            Conn::Postgres(_) => Engine::Postgres,
        }
    }

    /// Opens a write transaction on this connection.
    pub async fn begin(&mut self) -> Result<Tx<'_>> {
        Ok(match self {
            Conn::Sqlite(conn) => Tx::Sqlite(conn.begin_with("BEGIN IMMEDIATE").await?),
            Conn::Postgres(conn) => Tx::Postgres(conn.begin().await?),
        })
    }

    /// A statement on this connection.
    pub fn sql(&mut self, sql: impl Into<Sql>) -> Stmt<'_> {
        let text = sql.into().text(self.engine());
        match self {
            Conn::Sqlite(conn) => Stmt::Sqlite(Target::Conn(&mut **conn), sqlx::query(text)),
            Conn::Postgres(conn) => Stmt::Postgres(Target::Conn(&mut **conn), sqlx::query(text)),
        }
    }

    /// Runs one text that is a transaction, with one way to the engine: on SQLite it begins and commits by itself. An
    /// error rolls it back; when nobody waits for its end, the connection ends with it.
    pub async fn transact<T: Record>(
        &mut self,
        sql: impl Into<Sql>,
        bind: impl for<'q> FnOnce(Stmt<'q>) -> Stmt<'q>,
    ) -> Result<Vec<T>> {
        let mut open = Open { conn: self, settled: false };
        // Every row: SQLite stops behind the last one that is asked for and leaves the rest undone.
        let rows = bind(open.conn.sql(sql)).all().await;
        if rows.is_err() && open.conn.engine() == Engine::Sqlite {
            // Fails where the transaction never began or SQLite has ended it.
            let _ = open.conn.sql("ROLLBACK").execute().await;
        }
        open.settled = true;
        rows
    }

    /// Keeps the connection from going back to the pool: for one whose state nobody knows, or that holds something
    /// which must end with it.
    pub fn close_on_drop(&mut self) {
        match self {
            Conn::Sqlite(conn) => conn.close_on_drop(),
            Conn::Postgres(conn) => conn.close_on_drop(),
        }
    }
}

/// A connection in a transaction that only SQLite knows of.
struct Open<'c> {
    conn: &'c mut Conn,
    settled: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.conn.close_on_drop();
        }
    }
}

/// An open transaction; it rolls back when it is dropped.
#[derive(Debug)]
pub enum Tx<'c> {
    /// Holds the lock on the whole file.
    Sqlite(Transaction<'c, Sqlite>),
    /// Holds the rows it touched.
    Postgres(Transaction<'c, Postgres>),
}

impl Tx<'_> {
    /// Tells the engine.
    pub const fn engine(&self) -> Engine {
        match self {
            Tx::Sqlite(_) => Engine::Sqlite,
            Tx::Postgres(_) => Engine::Postgres,
        }
    }

    /// A statement in this transaction.
    pub fn sql(&mut self, sql: impl Into<Sql>) -> Stmt<'_> {
        let text = sql.into().text(self.engine());
        match self {
            Tx::Sqlite(tx) => Stmt::Sqlite(Target::Conn(&mut **tx), sqlx::query(text)),
            Tx::Postgres(tx) => Stmt::Postgres(Target::Conn(&mut **tx), sqlx::query(text)),
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
        let mut changed = 0;
        for chunk in rows.chunks(PARAMETERS_MAX / columns) {
            let values = placeholders(self.engine(), chunk.len(), columns);
            let stmt = self.sql(sqlx::AssertSqlSafe(format!("{head} VALUES {values} {tail}"))).once();
            changed += chunk.iter().fold(stmt, &bind).execute().await?;
        }
        Ok(changed)
    }

    /// Makes it last.
    pub async fn commit(self) -> Result<()> {
        match self {
            Tx::Sqlite(tx) => tx.commit().await,
            Tx::Postgres(tx) => tx.commit().await,
        }
    }
}
