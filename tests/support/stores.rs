//! Both stores of objects, empty, one of its own for each test.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use folio::clock::Clock;
use folio::config::{ObjectsConfig, S3Config, Secret};
use folio::error::Result;
use folio::ids;
use folio::storage::objects::{Body, Objects, Stored, Upload};
use futures_util::StreamExt;
use futures_util::{FutureExt, Stream, TryStreamExt, stream};
use minio::s3::creds::StaticProvider;
use minio::s3::types::{S3Api, ToStream};
use minio::s3::{MinioClient, MinioClientBuilder};
use tempfile::TempDir;

/// Which backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Files in a folder.
    Files,
    /// A bucket of an S3 server.
    S3,
}

/// An empty store.
pub struct Store {
    /// Which backend.
    pub kind: Kind,
    /// What it tells the time by.
    pub clock: Clock,
    /// The store itself.
    pub objects: Objects,
    folder: TempDir,
    bucket: Option<S3Config>,
}

impl Store {
    /// Makes one.
    pub fn new(kind: Kind) -> Store {
        let (clock, folder) = (Clock::manual(), TempDir::new().unwrap());
        let dir = folder.path().to_owned();
        let bucket = (kind == Kind::S3).then(|| bucket(&format!("folio-test-{}", ids::v7(&clock)), &dir));
        let config = match bucket.clone() {
            None => ObjectsConfig::Files { dir },
            Some(bucket) => ObjectsConfig::S3(bucket),
        };
        let objects = Objects::open(&config, &Secret::new("s".repeat(32)), &clock).unwrap();
        Store { kind, clock, objects, folder, bucket }
    }

    /// Runs a test on a fresh store, and throws that away whatever comes of it.
    pub async fn run(kind: Kind, test: impl AsyncFnOnce(&Store)) {
        let store = Store::new(kind);
        let outcome = AssertUnwindSafe(test(&store)).catch_unwind().await;
        if let Some(bucket) = &store.bucket {
            store.remove(bucket).await;
        }
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    }

    /// The same bucket by way of another address.
    pub fn by_way_of(
        &self,
        address: std::net::SocketAddr,
        answer_within: Duration,
        transfer_within: Duration,
    ) -> Objects {
        let endpoint = format!("http://{address}");
        open_s3(&S3Config { endpoint, answer_within, transfer_within, ..self.bucket.clone().unwrap() })
    }

    /// Where the server is, as `host:port`.
    pub fn server(&self) -> &str {
        self.bucket.as_ref().unwrap().endpoint.trim_start_matches("http://")
    }

    /// How many objects are still arriving.
    pub fn arriving(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("arriving")).unwrap().count()
    }

    /// The keys of everything there, in order.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = match &self.bucket {
            None => {
                let names = std::fs::read_dir(self.folder.path().join("kept")).unwrap();
                names.map(|it| it.unwrap().file_name().to_str().unwrap().replace('+', "/")).collect()
            }
            Some(bucket) => {
                let pages = client(bucket).list_objects(&*bucket.bucket).unwrap().recursive(true).build();
                // A bucket that was never needed was never made.
                let pages = pages.to_stream().await.filter_map(async |page| page.ok());
                pages.flat_map(|page| stream::iter(page.contents).map(|it| it.name)).collect().await
            }
        };
        keys.sort();
        keys
    }

    async fn remove(&self, bucket: &S3Config) {
        let (client, name) = (client(bucket), bucket.bucket.as_str());
        for key in self.keys().await {
            self.objects.delete(&key).await.unwrap();
        }
        let _ = client.delete_bucket(name).unwrap().build().send().await;
    }
}

/// Stores some bytes in one piece.
pub async fn put(objects: &Objects, key: &str, content: impl Into<Bytes>) -> Result<Stored> {
    let content = content.into();
    objects.put(upload(key), stream::iter([Ok(content)])).await
}

/// Stores what a stream brings.
pub async fn put_pieces(
    objects: &Objects,
    key: &str,
    body: impl Stream<Item = Result<Bytes>> + Send,
) -> Result<Stored> {
    objects.put(upload(key), body).await
}

/// An upload of any kind of content.
pub fn upload(key: &str) -> Upload<'_> {
    Upload { key, content_type: "application/octet-stream", bytes_max: 1 << 30 }
}

/// Reads an object to its end.
pub async fn read(objects: &Objects, key: &str) -> Result<Vec<u8>> {
    read_range(objects, key, None).await
}

/// Reads a part of an object to its end.
pub async fn read_range(objects: &Objects, key: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
    let body: Body = objects.get(key, range).await?;
    let content = body.try_fold(Vec::new(), async |mut all, piece| {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    content.await
}

/// Opens a bucket.
pub fn open_s3(config: &S3Config) -> Objects {
    Objects::open(&ObjectsConfig::S3(config.clone()), &Secret::new("s".repeat(32)), &Clock::system()).unwrap()
}

/// The S3 server that tests use, with some bucket.
pub fn bucket(name: &str, dir: &Path) -> S3Config {
    bucket_at(&super::server_url("TEST_S3_URL"), name, dir)
}

/// A bucket of the server at a URL.
pub fn bucket_at(url: &str, name: &str, dir: &Path) -> S3Config {
    let url = url::Url::parse(url).unwrap();
    S3Config {
        endpoint: format!("http://{}:{}", url.host_str().unwrap(), url.port().unwrap()),
        key: url.username().to_owned(),
        secret: Secret::new(url.password().unwrap().to_owned()),
        bucket: name.to_owned(),
        region: "us-east-1".to_owned(),
        dir: dir.to_owned(),
        answer_within: Duration::from_secs(10),
        transfer_within: Duration::from_secs(30),
    }
}

fn client(bucket: &S3Config) -> MinioClient {
    let provider = StaticProvider::new(&bucket.key, bucket.secret.expose(), None);
    MinioClientBuilder::new(bucket.endpoint.parse().unwrap()).provider(Some(provider)).build().unwrap()
}

/// Writes each test once and runs it on both stores.
#[macro_export]
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod files {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::support::stores::Store::run($crate::support::stores::Kind::Files, super::$name).await;
            })*
        }
        mod s3 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::support::stores::Store::run($crate::support::stores::Kind::S3, super::$name).await;
            })*
        }
    };
}
