//! A statement: text, bound values, and the place where it runs.

use std::fmt::Write as _;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Database, Encode, FromRow, Pool, Postgres, SqlSafeStr, SqlStr, Sqlite, Type};

use super::Result;

/// Which engine is behind a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file of this process.
    Sqlite,
    /// A server.
    Postgres,
}

/// A value that can be bound on both engines.
pub trait Param: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}
impl<T> Param for T where T: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}

/// A row type that can be read from both engines.
pub trait Record: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<T> Record for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// SQL text: shared, or one spelling per engine where the dialects part.
#[derive(Debug)]
pub enum Sql {
    /// The same text on both.
    Shared(SqlStr),
    /// One for each.
    Split {
        /// As SQLite reads it.
        sqlite: &'static str,
        /// As PostgreSQL reads it.
        postgres: &'static str,
    },
}

impl<T: SqlSafeStr> From<T> for Sql {
    fn from(text: T) -> Sql {
        Sql::Shared(text.into_sql_str())
    }
}

impl Sql {
    /// The text for one engine.
    pub fn text(self, engine: Engine) -> SqlStr {
        match (self, engine) {
            (Sql::Shared(text), _) => text,
            (Sql::Split { sqlite, .. }, Engine::Sqlite) => sqlite.into_sql_str(),
            (Sql::Split { postgres, .. }, Engine::Postgres) => postgres.into_sql_str(),
        }
    }
}

/// Where a statement runs.
#[derive(Debug)]
pub enum Target<'e, DB: Database> {
    /// On any connection of a pool.
    Pool(&'e Pool<DB>),
    /// On this one.
    Conn(&'e mut DB::Connection),
}

/// A statement of PostgreSQL with its bound values.
pub type PgQuery = Query<'static, Postgres, PgArguments>;

/// A statement with its bound values and the place where it will run.
#[must_use = "a statement does nothing until it is run"]
pub enum Stmt<'e> {
    /// For SQLite.
    Sqlite(Target<'e, Sqlite>, Query<'static, Sqlite, SqliteArguments>),
    /// For PostgreSQL.
    Postgres(Target<'e, Postgres>, PgQuery),
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
    pub(super) fn sqlite(at: Target<'e, Sqlite>, sql: impl Into<Sql>) -> Stmt<'e> {
        Stmt::Sqlite(at, sqlx::query(sql.into().text(Engine::Sqlite)))
    }

    pub(super) fn postgres(at: Target<'e, Postgres>, sql: impl Into<Sql>) -> Stmt<'e> {
        Stmt::Postgres(at, sqlx::query(sql.into().text(Engine::Postgres)))
    }

    /// Binds the next value.
    pub fn bind(self, value: impl Param) -> Self {
        match self {
            Stmt::Sqlite(at, query) => Stmt::Sqlite(at, query.bind(value)),
            Stmt::Postgres(at, query) => Stmt::Postgres(at, query.bind(value)),
        }
    }

    /// Keeps the statement out of the cache of prepared statements: for text that differs from call to call.
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

    /// Reads the one row there is. SQLite stops there: what follows it in the text is not run.
    pub async fn one<T: Record>(self) -> Result<T> {
        run!(self, |query, at| T::from_row(&query.fetch_one(at).await?))
    }

    /// Reads the one row there may be.
    pub async fn optional<T: Record>(self) -> Result<Option<T>> {
        run!(self, |query, at| query.fetch_optional(at).await?.map(|row| T::from_row(&row)).transpose())
    }

    /// Reads every row.
    pub async fn all<T: Record>(self) -> Result<Vec<T>> {
        run!(self, |query, at| query.fetch_all(at).await?.iter().map(|row| T::from_row(row)).collect())
    }
}

/// How many values one statement may carry: SQLite's compiled-in limit, the smaller of the two.
pub const PARAMETERS_MAX: usize = 32_766;

/// `($1, $2), ($3, $4)` on PostgreSQL; `(?, ?), (?, ?)` on SQLite, which looks `$N` up by name, one by one, and gets
/// quadratically slow on long lists.
pub fn placeholders(engine: Engine, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 8);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            text.push_str(if column == 0 { "" } else { ", " });
            // Writing to a String cannot fail.
            let _ = match engine {
                Engine::Sqlite => write!(text, "?"),
                Engine::Postgres => write!(text, "${}", row * columns + column + 1),
            };
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_spelled_as_each_engine_reads_them() {
        assert_eq!(placeholders(Engine::Postgres, 2, 2), "($1, $2), ($3, $4)");
        assert_eq!(placeholders(Engine::Sqlite, 2, 2), "(?, ?), (?, ?)");
    }
}
