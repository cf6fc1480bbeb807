//! Objects on MinIO, or on another server that speaks S3.
//!
//! Every request on an object is a link that the client library signs; bytes pass through our own HTTP client, since
//! the library holds what it sends in memory. Neither bounds anything in time, so every step has a deadline here.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ::minio::s3::creds::StaticProvider;
use ::minio::s3::error::{Error as S3Error, ValidationErr};
use ::minio::s3::http::BaseUrl;
use ::minio::s3::response::BucketExistsResponse;
use ::minio::s3::response_traits::HasS3Fields;
use ::minio::s3::types::{BucketName, Region, S3Api};
use ::minio::s3::{MinioClient, MinioClientBuilder};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE, SERVER};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode};
use tokio::fs::File;
use tokio::time::timeout;

use super::arriving::{Arrived, pieces, refused};
use super::{Found, Upload};
use crate::clock::Clock;
use crate::config::S3Config;
use crate::error::{Error, Result};

/// How long our own requests may be on their way, by a server's clock.
const REQUEST_LASTS: Duration = Duration::from_secs(900);
const GONE: Error = Error::unavailable("objects");

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    client: MinioClient,
    http: Client,
    name: BucketName,
    config: Arc<S3Config>,
    made: Arc<AtomicBool>,
    clock: Clock,
}

impl Bucket {
    /// Talks to nobody yet: the bucket is made when it is first needed, so that Folio starts without its server.
    pub fn open(config: &S3Config, clock: &Clock) -> Result<Bucket> {
        let wrong = |field: &'static str| move |error: ValidationErr| Error::invalid(field, error.to_string());
        let mut url: BaseUrl = config.endpoint.parse().map_err(wrong("endpoint"))?;
        url.region = Region::new(&config.region).map_err(wrong("region"))?;
        let provider = StaticProvider::new(&config.key, config.secret.expose(), None);
        Ok(Bucket {
            client: MinioClientBuilder::new(url).provider(Some(provider)).build().map_err(Error::internal)?,
            // A link is signed for one server.
            http: Client::builder().redirect(Policy::none()).build().map_err(Error::internal)?,
            name: BucketName::new(&config.bucket).map_err(wrong("bucket"))?,
            config: Arc::new(config.clone()),
            made: Arc::default(),
            clock: clock.clone(),
        })
    }

    /// The object is seen when all of it was taken. As long as the server takes something it may take its time.
    pub async fn put(&self, upload: &Upload<'_>, arrived: Arrived) -> Result<()> {
        self.make().await?;
        let taken = Arc::new(AtomicU64::new(0));
        let (bytes, counted) = (arrived.bytes, taken.clone());
        let content = pieces(File::open(&arrived.path).await.map_err(refused)?, bytes)
            .inspect_ok(move |piece| _ = counted.fetch_add(piece.len() as u64, Relaxed));
        let request = self.request(Method::PUT, upload.key).await?.header(CONTENT_TYPE, upload.content_type);
        let mut sending = std::pin::pin!(request.header(CONTENT_LENGTH, bytes).body(Body::wrap_stream(content)).send());
        let answer = loop {
            match timeout(self.config.transfer_within, &mut sending).await {
                Ok(answer) => break answer.map_err(|error| gone(&error.without_url()))?,
                Err(_) if taken.swap(0, Relaxed) > 0 => {}
                Err(_) => return Err(GONE),
            }
        };
        match self.judge(answer).await {
            Ok(_) => Ok(()),
            // What is missing is the bucket, not what the caller asked for.
            Err(Error::NotFound(_)) => Err(GONE),
            Err(error) => Err(error),
        }
    }

    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Found>> {
        let (mut request, ranged) = (self.request(Method::GET, key).await?, range.is_some());
        if let Some(Range { start, end }) = range {
            request = request.header(RANGE, format!("bytes={start}-{}", end - 1));
        }
        let answer = self.send(request).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(None);
        }
        let answer = self.judge(answer).await?;
        let as_asked = ranged == (answer.status() == StatusCode::PARTIAL_CONTENT);
        let bytes = answer.content_length().filter(|_| as_asked).ok_or(GONE)?;
        let pause_within = self.config.transfer_within;
        let body = stream::try_unfold(answer, move |mut answer| async move {
            let piece = timeout(pause_within, answer.chunk()).await.map_err(|_| GONE)?.map_err(|_| GONE)?;
            Ok(piece.map(|piece| (piece, answer)))
        });
        Ok(Some(Found { bytes, body: body.boxed() }))
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        let answer = self.send(self.request(Method::DELETE, key).await?).await?;
        match self.judge(answer).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub async fn signed_url(&self, key: &str, lasts: Duration) -> Result<String> {
        self.link(Method::GET, key, lasts, self.clock.now()).await
    }

    /// The name that the server gives itself.
    pub async fn version(&self) -> Result<(&'static str, String)> {
        let head = self.head().await?;
        let name = head.headers().get(SERVER).and_then(|it| it.to_str().ok());
        Ok(("s3", name.unwrap_or("unknown").to_owned()))
    }

    async fn make(&self) -> Result<()> {
        if !self.made.load(Relaxed) {
            if !self.head().await?.exists() {
                // Where another node was faster this fails, and the next put finds the bucket.
                self.answer(async { self.client.create_bucket(&self.name)?.build().send().await }).await?;
            }
            self.made.store(true, Relaxed);
        }
        Ok(())
    }

    async fn head(&self) -> Result<BucketExistsResponse> {
        self.answer(async { self.client.bucket_exists(&self.name)?.build().send().await }).await
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<T, S3Error>>) -> Result<T> {
        timeout(self.config.answer_within, call).await.map_err(|_| GONE)?.map_err(|error| gone(&error))
    }

    async fn link(&self, method: Method, key: &str, lasts: Duration, from: DateTime<Utc>) -> Result<String> {
        let link = self.client.get_presigned_object_url(&self.name, key, method).map_err(Error::internal)?;
        let link = link.expiry_seconds(lasts.as_secs() as u32).request_time(from).build().send().await;
        Ok(link.map_err(Error::internal)?.url)
    }

    async fn request(&self, method: Method, key: &str) -> Result<RequestBuilder> {
        let link = self.link(method.clone(), key, REQUEST_LASTS, Clock::system().now()).await?;
        Ok(self.http.request(method, link))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let answer = timeout(self.config.answer_within, request.send()).await;
        answer.map_err(|_| GONE)?.map_err(|error| gone(&error.without_url()))
    }

    /// An answer that is not what was asked for, in our words. Of its text only the code of S3 counts, which stands
    /// near the beginning.
    async fn judge(&self, mut answer: Response) -> Result<Response> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let text = timeout(self.config.answer_within, answer.chunk()).await;
        let text = text.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Err(match answer.status().as_u16() {
            404 => Error::NotFound("object"),
            507 => Error::Full,
            _ if text.contains("QuotaExceeded</Code>") => Error::Full,
            _ if text.contains("<Code>EntityTooLarge</Code>") => {
                Error::TooLarge("the content is larger than the server takes")
            }
            status => gone(&format_args!("{status} {text}")),
        })
    }
}

/// A refusal that is the operator's to mend is not a defect of ours either.
fn gone(why: &dyn std::fmt::Display) -> Error {
    tracing::warn!(%why, "the object store refused");
    GONE
}
