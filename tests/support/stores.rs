//! Both stores of objects, empty, one of its own for each test.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use folio::clock::Clock;
use folio::config::{ObjectsConfig, S3Config, Secret};
use folio::error::Result;
use folio::ids;
use folio::storage::objects::{Found, Objects, Range, Reading, Stored, Upload};
use futures_util::{FutureExt, Stream, TryStreamExt, stream};
use minio::s3::creds::StaticProvider;
use minio::s3::types::S3Api;
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
        let bucket = (kind == Kind::S3).then(|| bucket(&format!("folio-test-{}", ids::v7(&clock))));
        let config = match bucket.clone() {
            None => ObjectsConfig::Files { dir: folder.path().to_owned() },
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

    /// The same bucket by way of another address, with parts of the smallest size.
    pub fn by_way_of(
        &self,
        address: std::net::SocketAddr,
        answer_within: Duration,
        transfer_within: Duration,
    ) -> Objects {
        let (endpoint, part_bytes) = (format!("http://{address}"), 5 * 1024 * 1024);
        open_s3(&S3Config { endpoint, part_bytes, answer_within, transfer_within, ..self.bucket.clone().unwrap() })
    }

    /// Where the server is, as `host:port`.
    pub fn server(&self) -> &str {
        self.bucket.as_ref().unwrap().endpoint.trim_start_matches("http://")
    }

    /// The folder of what is still being written to files.
    pub fn arriving(&self) -> PathBuf {
        self.folder.path().join("arriving")
    }

    /// The keys of everything there.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.objects.list(prefix, None, 1_000).await.unwrap();
        listed.into_iter().map(|object| object.key).collect()
    }

    async fn remove(&self, bucket: &S3Config) {
        let (client, name) = (client(bucket), bucket.bucket.as_str());
        for key in self.keys("").await {
            self.objects.delete(&key).await.unwrap();
        }
        client.delete_bucket(name).unwrap().build().send().await.unwrap();
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

/// An upload without a size that was announced.
pub fn upload(key: &str) -> Upload<'_> {
    Upload { key, content_type: "application/octet-stream", bytes: None, bytes_max: 1 << 30 }
}

/// Finds an object that must be there.
pub async fn find(objects: &Objects, key: &str, range: Option<Range>) -> Result<Found> {
    match objects.get(key, range).await? {
        Reading::Found(found) => Ok(found),
        Reading::OutOfRange { bytes } => panic!("{key} has only {bytes} bytes"),
    }
}

/// Reads an object to its end.
pub async fn read(objects: &Objects, key: &str) -> Result<Vec<u8>> {
    read_range(objects, key, None).await
}

/// Reads a part of an object to its end.
pub async fn read_range(objects: &Objects, key: &str, range: Option<Range>) -> Result<Vec<u8>> {
    let found = find(objects, key, range).await?;
    let bytes = found.bytes;
    let content = found.body.try_fold(Vec::new(), async |mut all, piece| {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    let content = content.await?;
    assert_eq!(content.len() as u64, bytes, "as many bytes come as were promised");
    Ok(content)
}

/// Opens a bucket.
pub fn open_s3(config: &S3Config) -> Objects {
    Objects::open(&ObjectsConfig::S3(config.clone()), &Secret::new("s".repeat(32)), &Clock::system()).unwrap()
}

/// The S3 server that tests use, with some bucket.
pub fn bucket(name: &str) -> S3Config {
    bucket_at(&super::server_url("TEST_S3_URL"), name)
}

/// A bucket of the server at a URL.
pub fn bucket_at(url: &str, name: &str) -> S3Config {
    let url = url::Url::parse(url).unwrap();
    S3Config {
        endpoint: format!("http://{}:{}", url.host_str().unwrap(), url.port().unwrap()),
        key: url.username().to_owned(),
        secret: Secret::new(url.password().unwrap().to_owned()),
        bucket: name.to_owned(),
        region: "us-east-1".to_owned(),
        part_bytes: 8 * 1024 * 1024,
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
