//! A file of people who come from elsewhere: JSON lines, or CSV with a line of names on top. It is read a line at a
//! time, so its size does not matter.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use chrono::{DateTime, Utc};
use folio::actors::auth::{Role, passwords};
use folio::actors::users::names::{Email, Name};
use folio::clock::Clock;
use folio::error::Error;
use folio::ids::UserId;
use folio::storage::accounts::NewAccount;
use serde::Deserialize;
use serde_json::{Map, Value};

const LINE_BYTES_MAX: u64 = 64 * 1024;
const DISPLAY_LETTERS_MAX: usize = 64;
/// Work that one comparison of a password may take: more would keep everybody else waiting.
const BCRYPT_COST_MAX: u32 = 16;
const ARGON_KIB_MAX: u32 = 256 * 1024;
const ARGON_ROUNDS_MAX: u32 = 16;

/// A person as a line tells of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    username: String,
    password_hash: String,
    email: Option<String>,
    display_name: Option<String>,
    role: Option<Role>,
    created_at: Option<DateTime<Utc>>,
}

/// The lines of a file, one after the other.
pub struct PeopleFile<'a> {
    lines: BufReader<File>,
    clock: &'a Clock,
    /// The names of the columns, where it is CSV.
    columns: Option<Vec<String>>,
    number: u64,
}

/// A line that tells of somebody: its number, and who it is or why it is not taken.
pub type Line = (u64, Result<NewAccount, String>);

impl PeopleFile<'_> {
    /// Opens a file. What begins with a brace is JSON lines.
    pub fn open<'a>(path: &Path, clock: &'a Clock) -> Result<PeopleFile<'a>, String> {
        let told = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
        let mut lines = BufReader::new(File::open(path).map_err(told)?);
        // A mark of the byte order, as spreadsheets write it.
        if lines.fill_buf().map_err(told)?.starts_with("\u{feff}".as_bytes()) {
            lines.consume(3);
        }
        let json = lines.fill_buf().map_err(told)?.trim_ascii_start().starts_with(b"{");
        let mut file = PeopleFile { lines, clock, columns: None, number: 0 };
        if !json {
            let top = file.line().map_err(told)?.unwrap_or(Ok(String::new()));
            let names = top.and_then(|it| cells(&it)).map_err(|why| format!("line 1: {why}"))?;
            file.columns = Some(names.into_iter().map(|it| it.trim().to_owned()).collect());
        }
        Ok(file)
    }

    /// The next line that is not empty; none behind the last one.
    pub fn next(&mut self) -> Result<Option<Line>, String> {
        loop {
            let line = self.line().map_err(|error| format!("line {}: it cannot be read: {error}", self.number + 1))?;
            match line {
                None => return Ok(None),
                Some(Ok(text)) if text.trim().is_empty() => {}
                Some(text) => return Ok(Some((self.number, text.and_then(|it| self.person(&it))))),
            }
        }
    }

    /// One line; the outer error is the disk's, the inner one the line's.
    fn line(&mut self) -> std::io::Result<Option<Result<String, String>>> {
        let mut bytes = Vec::new();
        let read = self.lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 == LINE_BYTES_MAX && !bytes.ends_with(b"\n") {
            self.lines.skip_until(b'\n')?;
            return Ok(Some(Err(format!("it is longer than {LINE_BYTES_MAX} bytes"))));
        }
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned());
        Ok(Some(text.map(|it| it.trim_end_matches(['\r', '\n']).to_owned())))
    }

    fn person(&self, line: &str) -> Result<NewAccount, String> {
        let value = match &self.columns {
            None => serde_json::from_str(line).map_err(|error| format!("it is not JSON: {error}"))?,
            Some(columns) => table_row(columns, cells(line)?)?,
        };
        let row: Row = serde_json::from_value(value).map_err(|error| error.to_string())?;
        account(row, self.clock).map_err(|error| told(&error))
    }
}

/// The cells of a line as a record; empty ones say nothing.
fn table_row(columns: &[String], cells: Vec<String>) -> Result<Value, String> {
    if cells.len() != columns.len() {
        return Err(format!("it has {} cells, the first line {}", cells.len(), columns.len()));
    }
    let said = columns.iter().cloned().zip(cells).filter(|it| !it.1.is_empty());
    Ok(said.map(|(name, cell)| (name, Value::String(cell))).collect::<Map<_, _>>().into())
}

/// The cells of one line: with commas between them, and quotes around those that hold commas or quotes.
fn cells(line: &str) -> Result<Vec<String>, String> {
    let (mut cells, mut rest) = (Vec::new(), line);
    loop {
        let (mut cell, mut after) = (String::new(), rest);
        if let Some(quoted) = rest.strip_prefix('"') {
            after = quoted;
            loop {
                let (part, behind) = after.split_once('"').ok_or("a quote is not closed")?;
                cell.push_str(part);
                after = behind;
                let Some(more) = behind.strip_prefix('"') else { break };
                cell.push('"');
                after = more;
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            cell.push_str(&rest[..end]);
            after = &after[end..];
        }
        cells.push(cell);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(cells),
            None => return Err("something follows a closing quote".to_owned()),
        }
    }
}

fn account(row: Row, clock: &Clock) -> Result<NewAccount, Error> {
    let name = Name::read(&row.username)?;
    let email = row.email.filter(|it| !it.is_empty()).map(|it| Email::read(&it)).transpose()?;
    let display_name = row.display_name.filter(|it| !it.is_empty()).unwrap_or_else(|| name.shown.clone());
    if display_name.chars().count() > DISPLAY_LETTERS_MAX || display_name.chars().any(char::is_control) {
        return Err(Error::invalid("display_name", "must have 1 to 64 letters"));
    }
    if !passwords::is_known_scheme(&row.password_hash) || !is_affordable(&row.password_hash) {
        return Err(Error::invalid("password_hash", "must be one of bcrypt or argon2id, of a cost that can be paid"));
    }
    let now = clock.now();
    if row.created_at.is_some_and(|it| it > now) {
        return Err(Error::invalid("created_at", "lies in the future"));
    }
    Ok(NewAccount {
        id: UserId::new(clock),
        name: name.shown,
        name_folded: name.folded,
        name_skeleton: name.skeleton,
        email: email.as_ref().map(|it| it.shown.clone()),
        email_folded: email.map(|it| it.folded),
        password: row.password_hash,
        role: row.role.unwrap_or(Role::User).name().to_owned(),
        display_name,
        age: None,
        created_at: row.created_at.unwrap_or(now),
    })
}

/// Whether a password can be compared with it in reasonable time and space.
fn is_affordable(hash: &str) -> bool {
    let number = |from: &str, name: &str| -> Option<u32> {
        from.split(',').find_map(|it| it.strip_prefix(name)).and_then(|it| it.parse().ok())
    };
    match hash.strip_prefix("$argon2id$") {
        None => hash.split('$').nth(2).and_then(|it| it.parse().ok()).is_some_and(|it: u32| it <= BCRYPT_COST_MAX),
        Some(rest) => rest.split('$').find(|it| it.starts_with("m=")).is_some_and(|it| {
            number(it, "m=").is_some_and(|it| it <= ARGON_KIB_MAX)
                && number(it, "t=").is_some_and(|it| it <= ARGON_ROUNDS_MAX)
                && number(it, "p=").is_some_and(|it| it <= ARGON_ROUNDS_MAX)
        }),
    }
}

/// What is wrong with a line: each field with its reason.
pub fn told(error: &Error) -> String {
    match error {
        Error::Invalid { fields, .. } => {
            fields.iter().map(|(field, why)| format!("{field} {why}")).collect::<Vec<_>>().join("; ")
        }
        error => error.to_string(),
    }
}
