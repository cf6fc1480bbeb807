//! Objects on MinIO, or on another server that speaks S3.
//!
//! The client bounds nothing in time and holds what it sends in memory, so every call has a deadline here, and what is
//! larger than a part goes up part by part.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ::minio::s3::builders::{CreateMultipartUpload, PutObject, UploadPart};
use ::minio::s3::client::Method;
use ::minio::s3::creds::StaticProvider;
use ::minio::s3::error::{Error as S3Error, ValidationErr};
use ::minio::s3::http::BaseUrl;
use ::minio::s3::multimap_ext::Multimap;
use ::minio::s3::response::BucketExistsResponse;
use ::minio::s3::response_traits::HasEtagFromHeaders;
use ::minio::s3::segmented_bytes::SegmentedBytes;
use ::minio::s3::types::{BucketName, ObjectKey, PartInfo, Region, S3Api, ToStream};
use ::minio::s3::{MinioClient, MinioClientBuilder};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;

use super::answers::{GONE, code, completed, content_range, header, refused, stat};
use super::transfer::Intake;
use super::{Found, Listed, Range, Reading, Stat, Stored, Upload};
use crate::clock::Clock;
use crate::config::S3Config;
use crate::error::{Error, Result};

/// Uploads that were dropped and wait for the sweep; older ones are left to the server.
const ABANDONED_MAX: usize = 1_024;
const PARTS_MAX: u16 = 10_000;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    client: MinioClient,
    name: BucketName,
    part_bytes: usize,
    answer_within: Duration,
    transfer_within: Duration,
    made: Arc<AtomicBool>,
    abandoned: Arc<Mutex<Vec<Begun>>>,
    pub(super) clock: Clock,
}

/// An upload in parts.
#[derive(Clone, Debug)]
struct Begun {
    key: String,
    id: String,
}

impl Bucket {
    /// Talks to nobody yet: the bucket is made when it is first needed, so that Folio starts without its server.
    pub(super) fn open(config: &S3Config, clock: &Clock) -> Result<Bucket> {
        let wrong = |field: &'static str| move |error: ValidationErr| Error::invalid(field, error.to_string());
        let mut url: BaseUrl = config.endpoint.parse().map_err(wrong("endpoint"))?;
        url.region = Region::new(&config.region).map_err(wrong("region"))?;
        let provider = StaticProvider::new(&config.key, config.secret.expose(), None);
        let client = MinioClientBuilder::new(url).provider(Some(provider)).build().map_err(refused)?;
        let name = BucketName::new(&config.bucket).map_err(wrong("bucket"))?;
        Ok(Bucket {
            client,
            name,
            part_bytes: config.part_bytes,
            answer_within: config.answer_within,
            transfer_within: config.transfer_within,
            made: Arc::default(),
            abandoned: Arc::default(),
            clock: clock.clone(),
        })
    }

    pub(super) async fn put<S>(&self, upload: &Upload<'_>, mut intake: Intake<S>) -> Result<Stored>
    where
        S: Stream<Item = Result<Bytes>>,
    {
        self.make().await?;
        let content_type = upload.content_type.to_owned();
        let (content, ended) = self.part(&mut intake).await?;
        let etag = if ended {
            let call = async {
                let call = UploadPart::builder().client(self.client.clone()).bucket(self.name.clone());
                let call = call.object(ObjectKey::new(upload.key)?).content_type(content_type);
                let call = call.data(Arc::new(SegmentedBytes::from(content))).build();
                Ok(PutObject::builder().inner(call).build().send().await?.etag()?.into_inner())
            };
            self.transfer(call).await?
        } else {
            let call = async {
                let call = CreateMultipartUpload::builder().client(self.client.clone()).bucket(self.name.clone());
                let call = call.object(ObjectKey::new(upload.key)?).content_type(content_type).build();
                Ok(call.send().await?.upload_id().await?.to_string())
            };
            let begun = Begun { key: upload.key.to_owned(), id: self.transfer(call).await? };
            let mut unfinished = Unfinished { bucket: self, begun: Some(begun.clone()) };
            let sent = self.put_parts(&begun, content, &mut intake).await;
            if sent.is_ok() || self.abort(&begun).await.is_ok() {
                unfinished.begun = None;
            }
            sent?
        };
        let (bytes, sha256) = intake.finish();
        Ok(Stored { bytes, sha256, etag })
    }

    async fn put_parts<S>(&self, begun: &Begun, mut content: Bytes, intake: &mut Intake<S>) -> Result<String>
    where
        S: Stream<Item = Result<Bytes>>,
    {
        let (mut parts, mut ended) = (Vec::new(), false);
        loop {
            let number = parts.len() as u16 + 1;
            if number > PARTS_MAX {
                return Err(Error::TooLarge("the content has more parts than a server takes"));
            }
            let size = content.len() as u64;
            let call = async {
                let content = SegmentedBytes::from(content);
                let call = self.client.upload_part(&self.name, &begun.key, &*begun.id, number, content)?;
                Ok(PartInfo::new(number, call.build().send().await?.etag()?, size, None))
            };
            parts.push(self.transfer(call).await?);
            if ended {
                break;
            }
            (content, ended) = self.part(intake).await?;
            if content.is_empty() {
                break;
            }
        }
        let call = self.client.complete_multipart_upload(&self.name, &begun.key, &*begun.id, parts);
        completed(&self.transfer(async { call?.build().send().await }).await?).ok_or(GONE)
    }

    async fn abort(&self, begun: &Begun) -> Result<()> {
        let call = self.client.abort_multipart_upload(&self.name, &begun.key, &*begun.id);
        missing_is_fine(self.answer(async { call?.build().send().await }).await)
    }

    /// Reads on until a part is full or the body has ended, and tells which.
    async fn part<S: Stream<Item = Result<Bytes>>>(&self, intake: &mut Intake<S>) -> Result<(Bytes, bool)> {
        let mut part = BytesMut::new();
        while part.len() < self.part_bytes {
            match intake.next().await? {
                // Copied, since very many very small pieces would weigh more than what they hold.
                Some(piece) => part.extend_from_slice(&piece),
                None => return Ok((part.freeze(), true)),
            }
        }
        Ok((part.freeze(), false))
    }

    pub(super) async fn get(&self, key: &str, range: Option<Range>) -> Result<Reading> {
        let range = range.map(|range| Multimap::from_iter([("Range".to_owned(), range.header())]));
        let call = async { self.client.get_object(&self.name, key)?.extra_headers(range).build().send().await };
        let answer = match tokio::time::timeout(self.answer_within, call).await.map_err(|_| GONE)? {
            Err(error) if code(&error).as_deref() == Some("invalidrange") => {
                return Ok(Reading::OutOfRange { bytes: self.stat(key).await?.bytes });
            }
            answer => answer.map_err(refused)?,
        };
        let (mut stat, mut first) = (stat(&answer)?, 0);
        if let Some(part) = header(&answer, "content-range") {
            (first, stat.bytes) = content_range(part).ok_or(GONE)?;
        }
        let (body, bytes) = answer.into_boxed_stream().map_err(refused)?;
        let pause_within = self.transfer_within;
        let body = stream::try_unfold((body, bytes), move |(mut body, left)| async move {
            match tokio::time::timeout(pause_within, body.next()).await {
                Ok(Some(Ok(piece))) => {
                    let left = left.checked_sub(piece.len() as u64).ok_or(GONE)?;
                    Ok(Some((piece, (body, left))))
                }
                Ok(None) if left == 0 => Ok(None),
                _ => Err(GONE),
            }
        });
        Ok(Reading::Found(Found { stat, first, bytes, body: body.boxed() }))
    }

    pub(super) async fn stat(&self, key: &str) -> Result<Stat> {
        stat(&self.answer(async { self.client.stat_object(&self.name, key)?.build().send().await }).await?)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let call = async { self.client.delete_object(&self.name, key)?.build().send().await };
        missing_is_fine(self.answer(call).await)
    }

    pub(super) async fn list(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<Listed>> {
        self.make().await?;
        let call = self.client.list_objects(&self.name).map_err(|error| refused(error.into()))?.recursive(true);
        let call = call.prefix(prefix.to_owned()).start_after(after.to_owned()).max_keys(max as u16).build();
        let (mut pages, mut found) = (call.to_stream().await, Vec::new());
        while found.len() < max {
            let page = tokio::time::timeout(self.answer_within, pages.next()).await.map_err(|_| GONE)?;
            let Some(page) = page.transpose().map_err(refused)? else { break };
            found.extend(page.contents.into_iter().map(|entry| Listed {
                key: entry.name,
                bytes: entry.size.unwrap_or_default(),
                stored_at: entry.last_modified.unwrap_or_default(),
            }));
        }
        found.truncate(max);
        Ok(found)
    }

    pub(super) async fn signed_url(&self, key: &str, lasts: Duration) -> Result<String> {
        let call = self.client.get_presigned_object_url(&self.name, key, Method::GET);
        let (seconds, now) = (lasts.as_secs() as u32, self.clock.now());
        let call = async { call?.expiry_seconds(seconds).request_time(now).build().send().await };
        Ok(self.answer(call).await?.url)
    }

    pub(super) async fn sweep_leftovers(&self, _older_than: Duration) -> Result<usize> {
        let mut swept = 0;
        loop {
            let Some(begun) = self.abandoned.lock().pop() else { return Ok(swept) };
            if let Err(error) = self.abort(&begun).await {
                self.abandoned.lock().push(begun);
                return Err(error);
            }
            swept += 1;
        }
    }

    /// The name that the server gives itself.
    pub(super) async fn version(&self) -> Result<String> {
        Ok(header(&self.head().await?, "server").unwrap_or("unknown").to_owned())
    }

    async fn head(&self) -> Result<BucketExistsResponse> {
        self.answer(async { self.client.bucket_exists(&self.name)?.build().send().await }).await
    }

    async fn make(&self) -> Result<()> {
        if !self.made.load(Relaxed) {
            if !self.head().await?.exists() {
                let made = self.answer(async { self.client.create_bucket(&self.name)?.build().send().await }).await;
                // Another node may have been faster.
                if !self.head().await?.exists() {
                    return made.and(Err(GONE));
                }
            }
            self.made.store(true, Relaxed);
        }
        Ok(())
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<T, S3Error>>) -> Result<T> {
        within(self.answer_within, call).await
    }

    async fn transfer<T>(&self, call: impl Future<Output = Result<T, S3Error>>) -> Result<T> {
        match within(self.transfer_within, call).await {
            // What is missing while something is stored is the bucket or the upload, not what the caller asked for.
            Err(Error::NotFound(_)) => Err(GONE),
            outcome => outcome,
        }
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, S3Error>>) -> Result<T> {
    tokio::time::timeout(limit, call).await.map_err(|_| GONE)?.map_err(refused)
}

fn missing_is_fine<T>(outcome: Result<T>) -> Result<()> {
    match outcome {
        Ok(_) | Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// An upload in parts that is not complete. Dropped as such, it waits for the sweep: nobody can wait for the server here.
struct Unfinished<'a> {
    bucket: &'a Bucket,
    begun: Option<Begun>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let mut abandoned = self.bucket.abandoned.lock();
        if abandoned.len() < ABANDONED_MAX {
            abandoned.extend(self.begun.take());
        }
    }
}
