//! Hot writes that are committed many at a time.
//!
//! The list is closed and lives here, so that the writer above knows of a write no more than how large it is.

use chrono::{DateTime, Utc};

use super::db::Conn;
use super::streams::{self, Append, Appended};
use super::trouble::Trouble;
use crate::error::Result;

/// A write that goes into a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An entry at the end of a stream.
    Entry(Append),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Where the entry lies.
    Entry(Appended),
}

/// Writes that one transaction takes, so that SQLite's limit on values is never met.
pub const WRITES_MAX: usize = 2_000;

impl Write {
    /// What it takes while it waits.
    pub const fn bytes(&self) -> usize {
        match self {
            Write::Entry(append) => append.bytes(),
        }
    }
}

/// Commits a batch in one transaction, a lone write in one statement, and tells what became of each, in order.
pub async fn commit(conn: &mut Conn, batch: &[Write], now: DateTime<Utc>) -> Result<Vec<Result<Written>>, Trouble> {
    if let [Write::Entry(alone)] = batch {
        // What is in its way is found out the long way.
        match streams::append_alone(conn, alone, now).await.map_err(Trouble::from) {
            Ok(Some(appended)) => return Ok(vec![Ok(Written::Entry(appended))]),
            Ok(None) | Err(Trouble::Taken) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    let appends: Vec<&Append> = batch.iter().map(|Write::Entry(append)| append).collect();
    let mut tx = conn.begin().await?;
    let outcomes = streams::append(&mut tx, &appends, now).await?;
    tx.commit().await?;
    Ok(outcomes.into_iter().map(|it| it.map(Written::Entry)).collect())
}
