//! The object port: bytes under a key, in files of the data folder or on a server that speaks S3.
//!
//! An object is there whole or not at all: a put that is refused, cut off or killed leaves nothing that can be seen,
//! and of two puts of one key the last to end wins. Bytes pass through in pieces and are never held whole.

mod answers;
mod embedded;
mod minio;
mod transfer;

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use futures_util::{Stream, stream};

use self::embedded::Files;
use self::minio::Bucket;
use self::transfer::Intake;
pub use self::transfer::Range;
use crate::clock::Clock;
use crate::config::{ObjectsConfig, Secret};
use crate::error::{Error, Result};
use crate::ids;
use crate::storage::Probe;

/// How long a key may be.
pub const KEY_BYTES_MAX: usize = 512;
/// How long a part of a key between two slashes may be: a file name holds no more.
pub const SEGMENT_BYTES_MAX: usize = 200;
/// How long a content type may be.
pub const CONTENT_TYPE_BYTES_MAX: usize = 200;
/// How many objects are listed at once.
pub const LIST_MAX: usize = 1_000;
/// How long a signed link may be good: S3 allows no more.
pub const LINK_LASTS_MAX: Duration = Duration::from_hours(7 * 24);

/// The store of objects. Cloning it gives the same store.
#[derive(Clone, Debug)]
pub struct Objects(Backend);

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
    /// What kind of content, as `image/png`.
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
    /// Changes with the content.
    pub etag: String,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// How many bytes it has.
    pub bytes: u64,
    /// What kind of content it is.
    pub content_type: String,
    /// Changes with the content.
    pub etag: String,
    /// When it was stored.
    pub stored_at: DateTime<Utc>,
}

/// An object, or a part of it, to be read once.
pub struct Found {
    /// What is known of the whole object.
    pub stat: Stat,
    /// The first byte that is read.
    pub first: u64,
    /// How many bytes are read.
    pub bytes: u64,
    /// The bytes. It ends with an error when fewer of them came.
    pub body: BoxStream<'static, Result<Bytes>>,
}

/// The answer to a read.
pub enum Reading {
    /// The bytes.
    Found(Found),
    /// The object has none of the bytes asked for.
    OutOfRange {
        /// How many bytes it has.
        bytes: u64,
    },
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub key: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// When it was stored.
    pub stored_at: DateTime<Utc>,
}

macro_rules! ask {
    ($objects:ident, $method:ident($($argument:expr),*)) => {
        match &$objects.0 {
            Backend::Files(files) => files.$method($($argument),*).await,
            Backend::S3(bucket) => bucket.$method($($argument),*).await,
        }
    };
}

impl Objects {
    /// Opens the store. The secret signs links to files.
    pub fn open(config: &ObjectsConfig, secret: &Secret, clock: &Clock) -> Result<Objects> {
        Ok(Objects(match config {
            ObjectsConfig::Files { dir } => Backend::Files(Files::open(dir, secret, clock)?),
            ObjectsConfig::S3(config) => Backend::S3(Bucket::open(config, clock)?),
        }))
    }

    /// Stores what a stream brings, in place of what was there. When this is refused, what was there stays.
    pub async fn put(&self, upload: Upload<'_>, body: impl Stream<Item = Result<Bytes>> + Send) -> Result<Stored> {
        check_key(upload.key)?;
        check_content_type(upload.content_type)?;
        let intake = Intake::new(&upload, body)?;
        ask!(self, put(&upload, intake))
    }

    /// Reads an object, or a range of it.
    pub async fn get(&self, key: &str, range: Option<Range>) -> Result<Reading> {
        check_key(key)?;
        ask!(self, get(key, range))
    }

    /// Tells what is known of an object without reading it.
    pub async fn stat(&self, key: &str) -> Result<Stat> {
        check_key(key)?;
        ask!(self, stat(key))
    }

    /// Removes an object. It is no error when there is none.
    pub async fn delete(&self, key: &str) -> Result<()> {
        check_key(key)?;
        ask!(self, delete(key))
    }

    /// Lists objects whose key begins with a prefix, in the order of the bytes of their keys, after one of them.
    ///
    /// MinIO does not list what lies below a key that is an object itself, so nobody should rely on that.
    pub async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<Listed>> {
        if !prefix.is_empty() {
            check_key(prefix.strip_suffix('/').unwrap_or(prefix))?;
        }
        ask!(self, list(prefix, after.unwrap_or_default(), max.clamp(1, LIST_MAX)))
    }

    /// Makes a link by which anybody can read an object for a while: an absolute one to an S3 server, and for files
    /// a path below `/objects/` that [`Objects::verify_link`] accepts.
    pub async fn signed_url(&self, key: &str, lasts: Duration) -> Result<String> {
        check_key(key)?;
        ask!(self, signed_url(key, lasts.clamp(Duration::from_secs(1), LINK_LASTS_MAX)))
    }

    /// Tells whether a link to a file is one of ours and still good. Links to an S3 server are verified there.
    pub fn verify_link(&self, key: &str, expires: i64, signature: &str) -> Result<()> {
        match &self.0 {
            Backend::Files(files) => files.verify_link(key, expires, signature),
            Backend::S3(_) => Err(Error::NotFound("object")),
        }
    }

    /// Removes what puts left behind that were cut off, and tells how many.
    ///
    /// A put that is dropped cleans up after itself on files; on S3 it leaves that to this sweep. What a killed
    /// process left is found by its age on files; MinIO ends such uploads after a day, elsewhere a rule of the bucket
    /// has to.
    pub async fn sweep_leftovers(&self, older_than: Duration) -> Result<usize> {
        ask!(self, sweep_leftovers(older_than))
    }

    /// Asks the backend how it is, by storing, reading and removing a small object.
    pub async fn probe(&self) -> Result<Probe> {
        let (backend, version) = ask!(self, version())?;
        let key = format!("probe/{}", ids::v7(&Clock::system()));
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
        () if key.len() > KEY_BYTES_MAX => "is too long",
        () if key.contains(banned) => "holds a character that is not allowed",
        () if key.split('/').any(|it| matches!(it, "" | "." | "..")) => "has a part that is empty or made of dots",
        () if key.split('/').any(|it| it.len() > SEGMENT_BYTES_MAX) => "has a part that is too long",
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
