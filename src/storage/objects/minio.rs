//! Objects on MinIO, or on another server that speaks S3.
//!
//! The client bounds nothing in time and holds what it sends in memory, so every call has a deadline here, and what is
//! larger than a part goes up part by part.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ::minio::s3::builders::UploadPart;
use ::minio::s3::client::Method;
use ::minio::s3::creds::StaticProvider;
use ::minio::s3::error::{Error as S3Error, ValidationErr};
use ::minio::s3::http::BaseUrl;
use ::minio::s3::multimap_ext::Multimap;
use ::minio::s3::response::BucketExistsResponse;
use ::minio::s3::response_traits::HasEtagFromHeaders;
use ::minio::s3::segmented_bytes::SegmentedBytes;
use ::minio::s3::types::{BucketName, ETag, ObjectKey, PartInfo, Region, S3Api, ToStream};
use ::minio::s3::{MinioClient, MinioClientBuilder};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;

use super::answers::{GONE, code, completed, header, refused, stat};
use super::transfer::Intake;
use super::{Found, Listed, Range, Reading, Stat, Stored, Upload};
use crate::clock::Clock;
use crate::config::S3Config;
use crate::error::{Error, Result};

/// Uploads that wait for the sweep; what is more is left to the server.
const LEFT_MAX: usize = 1_024;
const PARTS_MAX: usize = 10_000;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    client: MinioClient,
    name: BucketName,
    config: Arc<S3Config>,
    made: Arc<AtomicBool>,
    left: Left,
    clock: Clock,
}

/// Uploads in parts that were dropped on the way, or could not be given up: key and id.
type Left = Arc<Mutex<Vec<(String, String)>>>;

/// An upload in parts. Dropped before it is over, it is left to the sweep.
struct Begun {
    left: Left,
    upload: Option<(String, String)>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut left = self.left.lock();
        left.extend(self.upload.take());
        left.truncate(LEFT_MAX);
    }
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
        let (made, left) = Default::default();
        Ok(Bucket { client, name, config: Arc::new(config.clone()), made, left, clock: clock.clone() })
    }

    pub(super) async fn put(&self, upload: &Upload<'_>, mut intake: Intake<'_>) -> Result<Stored> {
        self.make().await?;
        let first = self.part(&mut intake).await?;
        let etag = if first.len() < self.config.part_bytes {
            self.send(upload, None, first).await?.into_inner()
        } else {
            self.put_parts(upload, first, &mut intake).await?
        };
        let (bytes, sha256) = intake.finish();
        Ok(Stored { bytes, sha256, etag })
    }

    async fn put_parts(&self, upload: &Upload<'_>, first: Bytes, intake: &mut Intake<'_>) -> Result<String> {
        let call = async {
            let call = self.client.create_multipart_upload(&self.name, upload.key)?;
            let call = call.content_type(upload.content_type.to_owned());
            Ok(call.build().send().await?.upload_id().await?.to_string())
        };
        let id = self.transfer(call).await?;
        let mut begun = Begun { left: self.left.clone(), upload: Some((upload.key.to_owned(), id.clone())) };
        let sent = self.send_parts(upload, &id, first, intake).await;
        if sent.is_ok() || self.abort(upload.key, &id).await.is_ok() {
            begun.upload = None;
        }
        sent
    }

    async fn send_parts(&self, upload: &Upload<'_>, id: &str, first: Bytes, intake: &mut Intake<'_>) -> Result<String> {
        let (mut part, mut parts) = (first, Vec::new());
        while !part.is_empty() {
            if parts.len() == PARTS_MAX {
                return Err(Error::TooLarge("the content has more parts than a server takes"));
            }
            let (number, bytes) = (parts.len() as u16 + 1, part.len() as u64);
            parts.push(PartInfo::new(number, self.send(upload, Some((id, number)), part).await?, bytes, None));
            part = self.part(intake).await?;
        }
        let call = self.client.complete_multipart_upload(&self.name, upload.key, id, parts);
        completed(&self.transfer(async { call?.build().send().await }).await?).ok_or(GONE)
    }

    /// Sends a part of an upload, or a whole object.
    async fn send(&self, upload: &Upload<'_>, part: Option<(&str, u16)>, content: Bytes) -> Result<ETag> {
        let call = async {
            let call = UploadPart::builder().client(self.client.clone()).bucket(self.name.clone());
            let call = call.object(ObjectKey::new(upload.key)?).data(Arc::new(SegmentedBytes::from(content)));
            let call = call.upload_id(part.map(|(id, _)| id.to_owned())).part_number(part.map(|(_, number)| number));
            // A part takes after the upload that it belongs to.
            let content_type = part.is_none().then(|| upload.content_type.to_owned());
            Ok(call.content_type(content_type).build().send().await?.etag()?)
        };
        self.transfer(call).await
    }

    async fn abort(&self, key: &str, id: &str) -> Result<()> {
        let call = self.client.abort_multipart_upload(&self.name, key, id);
        missing_is_fine(self.answer(async { call?.build().send().await }).await)
    }

    /// Reads on until a part is full; it is not when the body has ended.
    async fn part(&self, intake: &mut Intake<'_>) -> Result<Bytes> {
        let mut part = BytesMut::new();
        while part.len() < self.config.part_bytes {
            let Some(piece) = intake.next().await? else { break };
            // Copied, since very many very small pieces would weigh more than what they hold.
            part.extend_from_slice(&piece);
        }
        Ok(part.freeze())
    }

    pub(super) async fn get(&self, key: &str, range: Option<Range>) -> Result<Reading> {
        let part = range.map(|range| Multimap::from_iter([("Range".to_owned(), range.header())]));
        let call = async { self.client.get_object(&self.name, key)?.extra_headers(part).build().send().await };
        let answer = match tokio::time::timeout(self.config.answer_within, call).await.map_err(|_| GONE)? {
            Err(error) if code(&error).as_deref() == Some("invalidrange") => {
                return Ok(Reading::OutOfRange { bytes: self.stat(key).await?.bytes });
            }
            answer => answer.map_err(refused)?,
        };
        let mut stat = stat(&answer)?;
        // Of a range the length is that of the part; the size of the whole is behind the slash.
        let size = header(&answer, "content-range").and_then(|part| part.rsplit_once('/')?.1.parse().ok());
        stat.bytes = size.unwrap_or(stat.bytes);
        let (first, _) = range.map_or(Some((0, 0)), |range| range.within(stat.bytes)).ok_or(GONE)?;
        let (body, bytes) = answer.into_boxed_stream().map_err(refused)?;
        let pause_within = self.config.transfer_within;
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
            let page = tokio::time::timeout(self.config.answer_within, pages.next()).await.map_err(|_| GONE)?;
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
        let left = self.left.lock().clone();
        for upload in &left {
            self.abort(&upload.0, &upload.1).await?;
            self.left.lock().retain(|it| it != upload);
        }
        Ok(left.len())
    }

    /// The name that the server gives itself.
    pub(super) async fn version(&self) -> Result<(&'static str, String)> {
        Ok(("s3", header(&self.head().await?, "server").unwrap_or("unknown").to_owned()))
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
        within(self.config.answer_within, call).await
    }

    async fn transfer<T>(&self, call: impl Future<Output = Result<T, S3Error>>) -> Result<T> {
        match within(self.config.transfer_within, call).await {
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
