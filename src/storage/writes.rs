//! Hot writes that are committed many at a time.
//!
//! The list is closed and lives here, so that the writer above knows of a write no more than how large it is.

use chrono::{DateTime, Utc};

use super::conversations::{self, Receipt};
use super::db::{Conn, Engine};
use super::streams::{self, Append, Appended, SQLITE_ROWS_MAX};
use super::trouble::Trouble;
use crate::error::Result;

/// A write that goes into a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An entry at the end of a stream.
    Entry(Append),
    /// How far somebody has come in a conversation, and what their own stream tells of it.
    Receipt(Receipt, Option<Append>),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Where the entry lies.
    Entry(Appended),
    /// The cursors stand at least there; and where the entry lies that tells of it.
    Receipt(Option<Appended>),
}

impl Written {
    /// Where the entry lies, if it made one.
    pub const fn entry(self) -> Option<Appended> {
        match self {
            Written::Entry(appended) => Some(appended),
            Written::Receipt(told) => told,
        }
    }
}

/// Writes that one transaction takes, so that SQLite's limit on values is never met.
pub const WRITES_MAX: usize = 2_000;

impl Write {
    /// What it takes while it waits.
    pub const fn bytes(&self) -> usize {
        match self {
            Write::Entry(append) | Write::Receipt(_, Some(append)) => append.bytes(),
            Write::Receipt(_, None) => size_of::<Write>(),
        }
    }

    const fn entry(&self) -> Option<&Append> {
        if let Write::Entry(append) = self { Some(append) } else { None }
    }

    const fn receipt(&self) -> Option<(Receipt, Option<&Append>)> {
        if let Write::Receipt(receipt, told) = self { Some((*receipt, told.as_ref())) } else { None }
    }
}

/// Commits a batch, entries before receipts, and tells what became of each write, in order.
pub async fn commit(conn: &mut Conn, batch: &[Write], now: DateTime<Utc>) -> Result<Vec<Result<Written>>, Trouble> {
    let entries: Vec<&Append> = batch.iter().filter_map(Write::entry).collect();
    let receipts: Vec<(Receipt, Option<&Append>)> = batch.iter().filter_map(Write::receipt).collect();
    let mut entered = enter(conn, &entries, now).await?.into_iter();
    let mut noted = match note(conn, &receipts, now).await {
        // What was entered stays, whatever became of the receipts.
        Err(trouble) if !entries.is_empty() => vec![Err(trouble.into()); receipts.len()],
        noted => noted?,
    }
    .into_iter();
    let outcomes = batch.iter().map(|write| match write {
        Write::Entry(_) => entered.next().expect("each entry has an outcome").map(Written::Entry),
        Write::Receipt(..) => noted.next().expect("each receipt has an outcome").map(Written::Receipt),
    });
    Ok(outcomes.collect())
}

async fn enter(conn: &mut Conn, entries: &[&Append], now: DateTime<Utc>) -> Result<Vec<Result<Appended>>, Trouble> {
    if conn.engine() == Engine::Postgres || entries.len() <= SQLITE_ROWS_MAX {
        return Ok(streams::append(conn, entries, now).await?);
    }
    let mut tx = conn.begin().await?;
    let outcomes = streams::append(&mut tx, entries, now).await?;
    tx.commit().await?;
    Ok(outcomes)
}

/// Moves cursors up, and tells of it in the same transaction.
async fn note(
    conn: &mut Conn,
    receipts: &[(Receipt, Option<&Append>)],
    now: DateTime<Utc>,
) -> Result<Vec<Result<Option<Appended>>>, Trouble> {
    if receipts.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = conn.begin().await?;
    let told: Vec<&Append> = receipts.iter().filter_map(|it| it.1).collect();
    let mut told = streams::append(&mut tx, &told, now).await?.into_iter();
    let outcomes: Vec<_> = receipts.iter().map(|it| it.1.and_then(|_| told.next()).transpose()).collect();
    let good = receipts.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    conversations::raise(&mut tx, &good.map(|(it, _)| it.0).collect::<Vec<_>>()).await?;
    tx.commit().await?;
    Ok(outcomes)
}
