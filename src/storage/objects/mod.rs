//! The object port: bytes under a key, in files of the data folder or on a server that speaks S3.
//!
//! An object is bytes and nothing more; what they are stands in the database. It is there whole or not at all: a put
//! that is refused, cut off or killed leaves nothing that can be seen, and of two puts of one key the last to end wins.
//! What is put arrives in a file of the data folder first, so a slow sender holds up no server, and only what came whole
//! is handed on; memory holds no more than a piece of it.

mod arriving;
mod embedded;
mod minio;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use futures_util::{Stream, stream};

use self::arriving::{Arrived, refused};
use self::embedded::{Files, name};
use self::minio::Bucket;
use crate::clock::Clock;
use crate::config::{ObjectsConfig, Secret};
use crate::error::{Error, Result};
use crate::ids;
use crate::storage::Probe;

/// How long a key may be as it stands in a link: a file name holds no more.
pub const KEY_BYTES_MAX: usize = 250;
/// How long a content type may be.
pub const CONTENT_TYPE_BYTES_MAX: usize = 200;
/// How long a signed link may be good: S3 allows no more.
pub const LINK_LASTS_MAX: Duration = Duration::from_hours(7 * 24);

/// The store of objects. Cloning it gives the same store.
#[derive(Clone, Debug)]
pub struct Objects {
    backend: Backend,
    arriving: Arc<Path>,
    clock: Clock,
}

#[derive(Clone, Debug)]
enum Backend {
    Files(Files),
    S3(Bucket),
}

/// What is to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// Where: parts between slashes.
    pub key: &'a str,
    /// What kind of content, as `image/png`, for whom a link leads to a server.
    pub content_type: &'a str,
    /// How many bytes were announced; what arrives must be as many.
    pub bytes: Option<u64>,
    /// How many bytes are taken.
    pub bytes_max: u64,
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How many bytes.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal.
    pub sha256: String,
}

/// An object, or a part of it, to be read once.
pub struct Found {
    /// How many bytes are read.
    pub bytes: u64,
    /// The bytes. It ends with an error when fewer of them came.
    pub body: BoxStream<'static, Result<Bytes>>,
}

macro_rules! ask {
    ($objects:ident, $method:ident($($argument:expr),*)) => {
        match &$objects.backend {
            Backend::Files(files) => files.$method($($argument),*).await,
            Backend::S3(bucket) => bucket.$method($($argument),*).await,
        }
    };
}

impl Objects {
    /// Opens the store. The secret signs links to files.
    pub fn open(config: &ObjectsConfig, secret: &Secret, clock: &Clock) -> Result<Objects> {
        let (dir, backend) = match config {
            ObjectsConfig::Files { dir } => (dir, Backend::Files(Files::open(dir, secret, clock)?)),
            ObjectsConfig::S3(config) => (&config.dir, Backend::S3(Bucket::open(config, clock)?)),
        };
        let arriving = dir.join("arriving");
        fs::create_dir_all(&arriving).map_err(refused)?;
        Ok(Objects { backend, arriving: arriving.into(), clock: clock.clone() })
    }

    /// Stores what a stream brings, in place of what was there. When this is refused, what was there stays.
    pub async fn put(&self, upload: Upload<'_>, body: impl Stream<Item = Result<Bytes>> + Send) -> Result<Stored> {
        check_key(upload.key)?;
        check_content_type(upload.content_type)?;
        let path = self.arriving.join(ids::v7(&self.clock).to_string());
        let arrived = Arrived::receive(path, &upload, body).await?;
        let stored = Stored { bytes: arrived.bytes, sha256: arrived.sha256.clone() };
        ask!(self, put(&upload, arrived))?;
        Ok(stored)
    }

    /// Reads an object, or those bytes of a range that it has; nothing when it has none of them.
    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Found>> {
        check_key(key)?;
        // The largest place that an S3 server knows.
        match range.map(|range| range.start..range.end.min(i64::MAX as u64)) {
            Some(range) if range.is_empty() => Ok(None),
            range => ask!(self, get(key, range)),
        }
    }

    /// Removes an object. It is no error when there is none.
    pub async fn delete(&self, key: &str) -> Result<()> {
        check_key(key)?;
        ask!(self, delete(key))
    }

    /// Makes a link by which anybody can read an object for a while: an absolute one to an S3 server, and for files
    /// a path below `/objects/` that [`Objects::verify_link`] accepts.
    pub async fn signed_url(&self, key: &str, lasts: Duration) -> Result<String> {
        check_key(key)?;
        ask!(self, signed_url(key, lasts.clamp(Duration::from_secs(1), LINK_LASTS_MAX)))
    }

    /// Tells whether a link to a file is one of ours and still good. Links to an S3 server are verified there.
    pub fn verify_link(&self, key: &str, expires: i64, signature: &str) -> Result<()> {
        match &self.backend {
            Backend::Files(files) => files.verify_link(key, expires, signature),
            Backend::S3(_) => Err(Error::NotFound("object")),
        }
    }

    /// Removes what arrived for a process that was killed meanwhile, and tells how many. They are known by their age.
    pub async fn sweep_leftovers(&self, older_than: Duration) -> Result<usize> {
        let (arriving, before) = (self.arriving.clone(), self.clock.now() - older_than);
        let sweep = move || {
            // One that has just been renamed or removed is none any more.
            let changed = |it: &fs::DirEntry| Some(DateTime::<Utc>::from(it.metadata().ok()?.modified().ok()?));
            let left = fs::read_dir(&arriving)?.flatten().filter(|it| changed(it).is_some_and(|it| it < before));
            Ok(left.filter(|it| fs::remove_file(it.path()).is_ok()).count())
        };
        tokio::task::spawn_blocking(sweep).await.map_err(Error::internal)?.map_err(refused)
    }

    /// Asks the backend how it is, by storing, reading and removing a small object.
    pub async fn probe(&self) -> Result<Probe> {
        let (backend, version) = ask!(self, version())?;
        let key = format!("probe/{}", ids::v7(&self.clock));
        let upload = Upload { key: &key, content_type: "text/plain", bytes: None, bytes_max: 0 };
        let put = self.put(upload, stream::empty()).await.is_ok();
        let get = put && self.get(&key, None).await.is_ok();
        let delete = put && self.delete(&key).await.is_ok();
        Ok(Probe { backend, version, rights: vec![("put", put), ("get", get), ("delete", delete)] })
    }
}

/// The same keys are valid everywhere, so that an operator can move from one backend to the other.
fn check_key(key: &str) -> Result<()> {
    // The last two are no characters of XML, in which S3 servers answer.
    let banned = |it: char| it.is_control() || matches!(it, '\\' | '\u{fffe}' | '\u{ffff}');
    let why = match () {
        () if name(key).len() > KEY_BYTES_MAX => "is too long",
        () if key.contains(banned) => "holds a character that is not allowed",
        () if key.split('/').any(|it| matches!(it, "" | "." | "..")) => "has a part that is empty or made of dots",
        () => return Ok(()),
    };
    Err(Error::invalid("key", why))
}

fn check_content_type(content_type: &str) -> Result<()> {
    let plain = content_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !plain || content_type.is_empty() || content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return Err(Error::invalid("content_type", "is not a content type"));
    }
    Ok(())
}
