//! `folio admin import`: takes over people, with the hashes of their passwords.

use std::path::PathBuf;

use clap::Args;
use folio::actors::auth::Hand;
use folio::clock::Clock;
use folio::storage::db::Db;
use folio::storage::{audit, import};

use super::people_file::PeopleFile;
use crate::cli::{Failure, say, tell};

/// People that one transaction takes.
const BATCH: usize = 1_000;
/// Bad lines that are told; the others are counted.
const BAD_LINES_MAX: usize = 1_000;
const TELL_EVERY: u64 = 100_000;

#[derive(Args)]
pub struct Import {
    /// The file: JSON lines, or CSV with the names of the columns in its first line. A person has `username`,
    /// `password_hash` (bcrypt or argon2id), and perhaps `email`, `display_name`, `role`, `created_at`.
    file: PathBuf,
    /// Looks at every line and says what would be done, but does nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    /// Looks at every line first: a file with a bad line is not taken at all. What is here already is skipped, so that
    /// the same file can be given again.
    pub async fn run(self, db: &Db, clock: &Clock) -> Result<(), Failure> {
        let people = self.check(clock)?;
        let (mut added, mut file) = (0, self.open(clock)?);
        let mut done: u64 = 0;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            while let Some((number, person)) = next(&mut file)?.filter(|_| batch.len() < BATCH) {
                batch.push(
                    person.map_err(|why| Failure::failed(format!("line {number}: {why}; the file has changed")))?,
                );
                if batch.len() == BATCH {
                    break;
                }
            }
            if batch.is_empty() {
                break;
            }
            added += import::add(db, &batch, !self.dry_run).await.map_err(|error| Failure::broken(&error))? as u64;
            done += batch.len() as u64;
            if done.is_multiple_of(TELL_EVERY) {
                tell(&format!("folio: {done} of {people} lines are done"));
            }
        }
        let skipped = done - added;
        if self.dry_run {
            return say(&format!("{added} people would be added; {skipped} are here already. Nothing was changed.\n"));
        }
        note(db, clock, added, skipped).await.map_err(|error| Failure::broken(&error))?;
        say(&format!("{added} people were added; {skipped} were here already.\n"))
    }

    fn open<'a>(&self, clock: &'a Clock) -> Result<PeopleFile<'a>, Failure> {
        PeopleFile::open(&self.file, clock).map_err(Failure::failed)
    }

    /// Reads every line once; tells all that are bad, or how many are good.
    fn check(&self, clock: &Clock) -> Result<u64, Failure> {
        let (mut good, mut bad, mut reasons) = (0, 0, Vec::new());
        let mut file = self.open(clock)?;
        while let Some((number, person)) = next(&mut file)? {
            match person {
                Ok(_) => good += 1,
                Err(why) => {
                    bad += 1;
                    reasons.extend((bad <= BAD_LINES_MAX).then(|| format!("line {number}: {why}")));
                }
            }
        }
        if bad == 0 {
            return Ok(good);
        }
        reasons.push(format!("{bad} of {} lines are bad: nobody was added", good + bad as u64));
        Err(Failure { code: 1, reasons })
    }
}

fn next(file: &mut PeopleFile<'_>) -> Result<Option<super::people_file::Line>, Failure> {
    file.next().map_err(Failure::failed)
}

async fn note(db: &Db, clock: &Clock, added: u64, skipped: u64) -> folio::error::Result<()> {
    let detail = serde_json::json!({ "added": added, "skipped": skipped });
    let mut tx = db.begin().await?;
    audit::append(&mut tx, &Hand::command_line().incident(clock, None, "people.imported", detail)).await?;
    Ok(tx.commit().await?)
}
