//! Objects as files of the data folder.
//!
//! A part of a key is a folder `+part` or, at the end, a file `=part`: so `a` and `a/b` can both be there. A file ends
//! with a label of fixed size that says what the rest is, so that both become visible by one rename.

use std::fs;
use std::io::{self, ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::transfer::Intake;
use super::{Found, Listed, Range, Reading, Stat, Stored, Upload};
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::ids;

const LABEL_BYTES: usize = 320;
const LABEL_MARK: &str = "folio1";
const PIECE_BYTES: usize = 64 * 1024;
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

#[derive(Clone, Debug)]
pub(super) struct Files {
    kept: Arc<Path>,
    arriving: Arc<Path>,
    links: hmac::Key,
    clock: Clock,
}

impl Files {
    pub(super) fn open(dir: &Path, secret: &Secret, clock: &Clock) -> Result<Files> {
        let (kept, arriving) = (dir.join("kept"), dir.join("arriving"));
        for folder in [&kept, &arriving] {
            fs::create_dir_all(folder).map_err(refused)?;
        }
        let links = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        Ok(Files { kept: kept.into(), arriving: arriving.into(), links, clock: clock.clone() })
    }

    pub(super) async fn put(&self, upload: &Upload<'_>, mut intake: Intake<'_>) -> Result<Stored> {
        let arriving = Arriving(self.arriving.join(ids::v7(&self.clock).to_string()));
        let mut file = BufWriter::with_capacity(PIECE_BYTES, File::create_new(&arriving.0).await.map_err(refused)?);
        while let Some(piece) = intake.next().await? {
            file.write_all(&piece).await.map_err(refused)?;
        }
        let (bytes, sha256) = intake.finish();
        file.write_all(label(&sha256, upload.content_type).as_bytes()).await.map_err(refused)?;
        // A file of the runtime reports a failed write by the next call, and `sync_all` does not.
        file.flush().await.map_err(refused)?;
        file.get_ref().sync_all().await.map_err(refused)?;
        let (kept, path) = (self.kept.clone(), self.path(upload.key));
        blocking(move || arriving.keep(&path, &kept)).await?;
        Ok(Stored { bytes, etag: sha256.clone(), sha256 })
    }

    pub(super) async fn get(&self, key: &str, range: Option<Range>) -> Result<Reading> {
        let (mut file, stat) = self.find(key).await?;
        let (first, bytes) = match range.map(|range| range.within(stat.bytes)) {
            None => (0, stat.bytes),
            Some(Some(part)) => part,
            Some(None) => return Ok(Reading::OutOfRange { bytes: stat.bytes }),
        };
        file.seek(SeekFrom::Start(first)).await.map_err(refused)?;
        let body = stream::try_unfold(file.take(bytes), |mut file| async move {
            if file.limit() == 0 {
                return Ok(None);
            }
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            match file.read_buf(&mut piece).await.map_err(refused)? {
                0 => Err(Error::internal("an object's file is shorter than it was")),
                _ => Ok(Some((piece.freeze(), file))),
            }
        });
        Ok(Reading::Found(Found { stat, first, bytes, body: body.boxed() }))
    }

    pub(super) async fn stat(&self, key: &str) -> Result<Stat> {
        Ok(self.find(key).await?.1)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        blocking(move || match fs::remove_file(&path).and_then(|()| sync_folder(&path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        })
        .await
    }

    pub(super) async fn list(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<Listed>> {
        let (kept, prefix, after) = (self.kept.clone(), prefix.to_owned(), after.to_owned());
        blocking(move || {
            let mut walk = Walk { prefix, after, max, found: Vec::new() };
            walk.folder(&kept, "")?;
            Ok(walk.found)
        })
        .await
    }

    pub(super) async fn signed_url(&self, key: &str, lasts: Duration) -> Result<String> {
        let expires = (self.clock.now() + lasts).timestamp();
        let path = utf8_percent_encode(key, IN_A_PATH);
        let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.links, link(key, expires).as_bytes()));
        Ok(format!("/objects/{path}?expires={expires}&signature={signature}"))
    }

    pub(super) fn verify_link(&self, key: &str, expires: i64, signature: &str) -> Result<()> {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        match hmac::verify(&self.links, link(key, expires).as_bytes(), &signature) {
            Err(_) => Err(Error::Forbidden("this link is not valid")),
            Ok(()) if self.clock.now().timestamp() >= expires => Err(Error::Forbidden("this link has expired")),
            Ok(()) => Ok(()),
        }
    }

    pub(super) async fn sweep_leftovers(&self, older_than: Duration) -> Result<usize> {
        let (arriving, before) = (self.arriving.clone(), self.clock.now() - older_than);
        blocking(move || {
            // One that has just been renamed or removed is none any more.
            let changed =
                |it: &fs::DirEntry| it.metadata().and_then(|it| it.modified()).ok().map(DateTime::<Utc>::from);
            let left = fs::read_dir(&arriving)?.flatten().filter(|it| changed(it).is_some_and(|it| it < before));
            Ok(left.filter(|it| fs::remove_file(it.path()).is_ok()).count())
        })
        .await
    }

    fn path(&self, key: &str) -> PathBuf {
        self.kept.join(match key.rsplit_once('/') {
            None => format!("={key}"),
            Some((folders, name)) => format!("+{}/={name}", folders.replace('/', "/+")),
        })
    }

    pub(super) async fn version(&self) -> Result<(&'static str, String)> {
        Ok(("files", LABEL_MARK.to_owned()))
    }

    async fn find(&self, key: &str) -> Result<(File, Stat)> {
        let mut file = File::open(self.path(key)).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotFound("object"),
            _ => refused(error),
        })?;
        let metadata = file.metadata().await.map_err(refused)?;
        let damaged = || Error::internal("an object's file has no label");
        let bytes = metadata.len().checked_sub(LABEL_BYTES as u64).ok_or_else(damaged)?;
        let mut label = [0; LABEL_BYTES];
        file.seek(SeekFrom::Start(bytes)).await.map_err(refused)?;
        file.read_exact(&mut label).await.map_err(refused)?;
        let mut fields = str::from_utf8(&label).map_err(|_| damaged())?.trim_end().splitn(3, ' ');
        let (Some(LABEL_MARK), Some(sha256), Some(content_type)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(damaged());
        };
        let (etag, content_type) = (sha256.to_owned(), content_type.to_owned());
        let stored_at = metadata.modified().map_err(refused)?.into();
        Ok((file, Stat { bytes, content_type, etag, stored_at }))
    }
}

/// What is signed of a link.
fn link(key: &str, expires: i64) -> String {
    format!("object link\n{expires}\n{key}")
}

fn label(sha256: &str, content_type: &str) -> String {
    format!("{:LABEL_BYTES$}", format_args!("{LABEL_MARK} {sha256} {content_type}").to_string())
}

/// A file that is being written; gone when it is dropped before it was kept.
struct Arriving(PathBuf);

impl Arriving {
    /// Makes it visible, and makes that survive a loss of power.
    fn keep(&self, path: &Path, kept: &Path) -> io::Result<()> {
        let folder = path.parent().expect("an object lies in a folder");
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            for made in folder.ancestors().take_while(|made| *made != kept) {
                sync_folder(made)?;
            }
        }
        fs::rename(&self.0, path)?;
        sync_folder(path)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // After it was kept there is nothing under this name; what cannot be removed is swept later.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes the folder's knowledge of this name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().expect("it lies in a folder"))?.sync_all()
}

struct Walk {
    prefix: String,
    after: String,
    max: usize,
    found: Vec<Listed>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, base: &str) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let key = match name.to_str().and_then(|name| name.split_at_checked(1)) {
                Some(("+", part)) => format!("{base}{part}/"),
                Some(("=", part)) => format!("{base}{part}"),
                _ => continue,
            };
            let is_folder = key.ends_with('/');
            let may_match = key.starts_with(&self.prefix) || (is_folder && self.prefix.starts_with(&key));
            if may_match && (key > self.after || (is_folder && self.after.starts_with(&key))) {
                names.push((key, entry));
            }
        }
        // With the slash at the end of folders, this is the order of the whole keys.
        names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (key, entry) in names {
            if self.found.len() == self.max {
                break;
            }
            if key.ends_with('/') {
                self.folder(&entry.path(), &key)?;
                continue;
            }
            // One that was deleted since is not listed.
            let Ok(metadata) = entry.metadata() else { continue };
            let bytes = metadata.len().saturating_sub(LABEL_BYTES as u64);
            self.found.push(Listed { key, bytes, stored_at: metadata.modified()?.into() });
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?.map_err(refused)
}

fn refused(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::Full,
        _ => Error::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_in_words_of_its_own() {
        for code in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT, rustix::io::Errno::FBIG] {
            assert_eq!(refused(code.into()), Error::Full);
        }
    }
}
