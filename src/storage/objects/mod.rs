//! The object port: bytes under a key, in files of the data folder or on a server that speaks S3.
//!
//! An object is bytes and nothing more; what they are, and how many, stands in the database. It is there whole or not at
//! all: a put that is refused, cut off or killed leaves nothing that can be seen, and of two puts of one key the last to
//! end wins. What is put arrives in a file of the data folder first, so a slow sender holds up no server, and only what
//! came whole is handed on; memory holds no more than a piece of it.

mod arriving;
mod embedded;
mod minio;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, stream};

use self::arriving::{Arrived, refused};
use self::embedded::Files;
use self::minio::Bucket;
use crate::clock::Clock;
use crate::config::{ObjectsConfig, Secret};
use crate::error::{Error, Result};
use crate::ids;
use crate::storage::Probe;

/// How long a key may be: a file name holds no more.
pub const KEY_BYTES_MAX: usize = 250;
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
    /// Where: parts between slashes, of plain letters, digits, `-`, `_` and `.`.
    pub key: &'a str,
    /// What kind of content, as `image/png`, for whom a link leads to a server. Nobody outside has a say in it.
    pub content_type: &'static str,
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

/// The bytes of an object, in pieces.
pub type Body = BoxStream<'static, Result<Bytes>>;

macro_rules! ask {
    ($objects:ident, $method:ident($($argument:expr),*)) => {
        match &$objects.backend {
            Backend::Files(files) => files.$method($($argument),*).await,
            Backend::S3(bucket) => bucket.$method($($argument),*).await,
        }
    };
}

impl Objects {
    /// Opens the store, for the one process that has its folder: what arrived for another that was killed is removed.
    /// The secret signs links to files.
    pub fn open(config: &ObjectsConfig, secret: &Secret, clock: &Clock) -> Result<Objects> {
        let (dir, backend) = match config {
            ObjectsConfig::Files { dir } => (dir, Backend::Files(Files::open(dir, secret, clock)?)),
            ObjectsConfig::S3(config) => (&config.dir, Backend::S3(Bucket::open(config, clock)?)),
        };
        let arriving = dir.join("arriving");
        fs::create_dir_all(&arriving).and_then(|()| fs::remove_dir_all(&arriving)).map_err(refused)?;
        fs::create_dir(&arriving).map_err(refused)?;
        Ok(Objects { backend, arriving: arriving.into(), clock: clock.clone() })
    }

    /// Stores what a stream brings, in place of what was there. When this is refused, what was there stays.
    pub async fn put(&self, upload: Upload<'_>, body: impl Stream<Item = Result<Bytes>> + Send) -> Result<Stored> {
        check(upload.key)?;
        let path = self.arriving.join(ids::v7(&self.clock).to_string());
        let arrived = Arrived::receive(path, upload.bytes_max, body).await?;
        let stored = arrived.stored.clone();
        ask!(self, put(&upload, arrived))?;
        Ok(stored)
    }

    /// Reads an object, or a range of the bytes that it has.
    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Body> {
        check(key)?;
        ask!(self, get(key, range))
    }

    /// Removes an object. It is no error when there is none.
    pub async fn delete(&self, key: &str) -> Result<()> {
        check(key)?;
        ask!(self, delete(key))
    }

    /// Makes a link by which anybody can read an object for a while: an absolute one to an S3 server, and for files
    /// a path below `/objects/` that [`Objects::verify_link`] accepts.
    pub async fn signed_url(&self, key: &str, lasts: Duration) -> Result<String> {
        check(key)?;
        ask!(self, signed_url(key, lasts.clamp(Duration::from_secs(1), LINK_LASTS_MAX)))
    }

    /// Tells whether a link to a file is one of ours and still good. Links to an S3 server are verified there.
    pub fn verify_link(&self, key: &str, expires: i64, signature: &str) -> Result<()> {
        match &self.backend {
            Backend::Files(files) => files.verify_link(key, expires, signature),
            Backend::S3(_) => Err(Error::NotFound("object")),
        }
    }

    /// Asks the backend how it is, by storing, reading and removing a small object.
    pub async fn probe(&self) -> Result<Probe> {
        let (backend, version) = ask!(self, version())?;
        let key = format!("probe/{}", ids::v7(&self.clock));
        let upload = Upload { key: &key, content_type: "text/plain", bytes_max: 0 };
        let put = self.put(upload, stream::empty()).await.is_ok();
        let get = put && self.get(&key, None).await.is_ok();
        let delete = put && self.delete(&key).await.is_ok();
        Ok(Probe { backend, version, rights: vec![("put", put), ("get", get), ("delete", delete)] })
    }
}

/// The same keys are valid everywhere, so that an operator can move from one backend to the other.
fn check(key: &str) -> Result<()> {
    let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    let sound = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain);
    if key.len() <= KEY_BYTES_MAX && key.split('/').all(sound) {
        return Ok(());
    }
    Err(Error::invalid("key", "is no key of an object"))
}
