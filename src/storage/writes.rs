//! Hot writes that are committed many at a time.
//!
//! The list is closed and lives here, so that the writer above knows of a write no more than how large it is.

use chrono::{DateTime, Utc};

use super::conversations::{self, Receipt};
use super::db::Conn;
use super::streams::{self, Append, Appended};
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

    const fn append(&self) -> Option<&Append> {
        match self {
            Write::Entry(append) | Write::Receipt(_, Some(append)) => Some(append),
            Write::Receipt(_, None) => None,
        }
    }
}

/// Commits a batch in one transaction, a lone entry in one statement, and tells what became of each, in order.
pub async fn commit(conn: &mut Conn, batch: &[Write], now: DateTime<Utc>) -> Result<Vec<Result<Written>>, Trouble> {
    if let [Write::Entry(alone)] = batch {
        // What is in its way is found out the long way.
        match streams::append_alone(conn, alone, now).await.map_err(Trouble::from) {
            Ok(Some(appended)) => return Ok(vec![Ok(Written::Entry(appended))]),
            Ok(None) | Err(Trouble::Taken) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    let appends: Vec<&Append> = batch.iter().filter_map(Write::append).collect();
    let mut tx = conn.begin().await?;
    let mut appended = match appends.is_empty() {
        true => Vec::new().into_iter(),
        false => streams::append(&mut tx, &appends, now).await?.into_iter(),
    };
    let (mut outcomes, mut receipts) = (Vec::with_capacity(batch.len()), Vec::new());
    for write in batch {
        let told = write.append().and_then(|_| appended.next()).transpose();
        outcomes.push(match write {
            Write::Entry(_) => told.map(|it| Written::Entry(it.expect("each append has an outcome"))),
            Write::Receipt(receipt, _) => told.map(|it| {
                receipts.push(*receipt);
                Written::Receipt(it)
            }),
        });
    }
    conversations::raise(&mut tx, &receipts).await?;
    tx.commit().await?;
    Ok(outcomes)
}
