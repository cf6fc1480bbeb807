//! The data folder: who may use it, and the secret that lies in it.
//!
//! One process holds a folder at a time, by a lock that ends with the process. Layout: `folio.toml` (settings, by
//! hand), `folio.lock`, `secret`, `folio.db`, `objects/`, `search/`.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use folio::config::{Secret, weakness};
use ring::rand::{SecureRandom, SystemRandom};

const TRIES: u32 = 10;
const LOCK: &str = "folio.lock";
const SECRET: &str = "secret";
/// The secret while it is written; one left behind by a crash is overwritten.
const SECRET_UNFINISHED: &str = "secret.unfinished";

/// Why a folder cannot be used: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// A data folder that this process holds until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the folder, and makes it on first start. Another process that holds it is an error.
    pub fn claim(path: &Path) -> Result<Folder, Unusable> {
        match DirBuilder::new().mode(0o700).create(path) {
            // One that is there stays as it is.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made.map_err(|error| unusable(path, "cannot be made", &error))?,
        }
        let unwritable = |error: io::Error| unusable(path, "cannot be written to", &error);
        let mut lock = private(&path.join(LOCK), false).map_err(unwritable)?;
        // One that is just ending, or only looks who is there, lets go within a moment.
        let mut tries = 0..TRIES;
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::WouldBlock if tries.next().is_some() => std::thread::sleep(Duration::from_millis(20)),
                TryLockError::WouldBlock => return Err(taken(path, &lock)),
                TryLockError::Error(error) => return Err(unusable(path, "cannot be locked", &error)),
            }
        }
        let noted = lock.set_permissions(Permissions::from_mode(0o600)).and_then(|()| lock.set_len(0));
        noted.and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(unwritable)?;
        Ok(Folder { path: path.to_owned(), _lock: lock })
    }

    /// Who holds a folder at the moment: the number of the process, if it is known.
    pub fn holder(path: &Path) -> Option<Option<u32>> {
        let lock = File::open(path.join(LOCK)).ok()?;
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| process_in(&lock))
    }

    /// The secret that is kept here, made on first start: 32 random bytes in hexadecimal.
    pub fn secret(&self) -> Result<Secret, Unusable> {
        let path = self.path.join(SECRET);
        let text = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.make_secret().map_err(|error| unusable(&path, "cannot be made", &error));
            }
            opened => opened.and_then(|file| Ok((file.metadata()?.permissions().mode(), beginning(&file)?))),
        };
        let (mode, text) = text.map_err(|error| unusable(&path, "cannot be read", &error))?;
        let shown = path.display();
        let refusal = match weakness(text.trim_end()) {
            _ if mode & 0o007 != 0 => format!(
                "is open to every user of this machine, who may have read it: remove the file to have a new one made, \
                 or chmod 600 {shown} if you are sure"
            ),
            Some(why) => format!("{why}: remove the file to have a new one made"),
            None => return Ok(Secret::new(text.trim_end().to_owned())),
        };
        Err(Unusable(format!("the secret in {shown} {refusal}")))
    }

    /// Written beside, made durable, then renamed: a crash leaves the whole secret or none.
    fn make_secret(&self) -> io::Result<Secret> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let unfinished = self.path.join(SECRET_UNFINISHED);
        let mut file = private(&unfinished, true)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&unfinished, self.path.join(SECRET))?;
        File::open(&self.path)?.sync_all()?;
        Ok(Secret::new(text))
    }
}

/// Opens for reading and writing what belongs to the owner alone.
fn private(path: &Path, anew: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(anew).mode(0o600);
    // A link put there by somebody else must not lead the writing elsewhere.
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// More of a file than any of ours holds, and no more than that.
fn beginning(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text)?;
    Ok(text)
}

fn process_in(lock: &File) -> Option<u32> {
    beginning(lock).ok()?.trim().parse().ok()
}

fn taken(path: &Path, lock: &File) -> Unusable {
    let who = process_in(lock).map_or("another process".to_owned(), |id| format!("process {id}"));
    Unusable(format!(
        "the data folder {} is in use by {who}: stop that one, or give this one its own folder with --data-dir",
        path.display()
    ))
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Unusable {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "the folder above it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not write there".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "a file is in the way".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        _ => error.to_string(),
    };
    Unusable(format!("{} {what}: {advice}", path.display()))
}
