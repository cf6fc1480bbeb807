//! Objects as files of one folder, each under its key.

use std::fs;
use std::io::{ErrorKind, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use ring::hmac;
use tokio::fs::File;
use tokio::io::AsyncSeekExt;

use super::arriving::{Arrived, pieces, refused};
use super::{Body, Upload};
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, Result};

#[derive(Clone, Debug)]
pub(super) struct Files {
    kept: Arc<Path>,
    links: hmac::Key,
    clock: Clock,
}

impl Files {
    pub fn open(dir: &Path, secret: &Secret, clock: &Clock) -> Result<Files> {
        let kept = dir.join("kept");
        fs::create_dir_all(&kept).map_err(refused)?;
        let links = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        Ok(Files { kept: kept.into(), links, clock: clock.clone() })
    }

    pub async fn put(&self, upload: &Upload<'_>, arrived: Arrived) -> Result<()> {
        arrived.file.get_ref().sync_all().await.map_err(refused)?;
        let path = self.path(upload.key);
        self.change(move || fs::rename(&arrived.path, path)).await
    }

    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Body> {
        let mut file = File::open(self.path(key)).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotFound("object"),
            _ => refused(error),
        })?;
        let Range { start, end } = range.unwrap_or(0..u64::MAX);
        file.seek(SeekFrom::Start(start)).await.map_err(refused)?;
        Ok(pieces(file, end.saturating_sub(start)).boxed())
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        self.change(move || match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        })
        .await
    }

    pub async fn signed_url(&self, key: &str, lasts: Duration) -> Result<String> {
        let expires = (self.clock.now() + lasts).timestamp();
        let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.links, link(key, expires).as_bytes()));
        Ok(format!("/objects/{key}?expires={expires}&signature={signature}"))
    }

    pub fn verify_link(&self, key: &str, expires: i64, signature: &str) -> Result<()> {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let genuine = hmac::verify(&self.links, link(key, expires).as_bytes(), &signature).ok();
        let good = genuine.filter(|()| self.clock.now().timestamp() < expires);
        good.ok_or(Error::Forbidden("this link is not valid, or not any more"))
    }

    pub async fn version(&self) -> Result<(&'static str, String)> {
        Ok(("files", env!("CARGO_PKG_VERSION").to_owned()))
    }

    fn path(&self, key: &str) -> PathBuf {
        // No key has the sign that stands for a slash here.
        self.kept.join(key.replace('/', "+"))
    }

    /// Changes what lies in the folder, and makes that survive a loss of power.
    async fn change(&self, change: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<()> {
        let kept = self.kept.clone();
        let changed = tokio::task::spawn_blocking(move || change().and_then(|()| fs::File::open(kept)?.sync_all()));
        changed.await.map_err(Error::internal)?.map_err(refused)
    }
}

/// What is signed of a link.
fn link(key: &str, expires: i64) -> String {
    format!("object link\n{expires}\n{key}")
}
