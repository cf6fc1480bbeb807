//! Objects on MinIO, or on another server that speaks S3.
//!
//! Every request on an object is a link that the client library signs; bytes pass through our own HTTP client, since
//! the library holds what it sends in memory. Neither bounds anything in time, so every step has a deadline here.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ::minio::s3::creds::StaticProvider;
use ::minio::s3::error::ValidationErr;
use ::minio::s3::http::BaseUrl;
use ::minio::s3::types::{BucketName, Region, S3Api};
use ::minio::s3::{MinioClient, MinioClientBuilder};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE, SERVER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use tokio::fs::File;
use tokio::time::timeout;

use super::arriving::{Arrived, pieces, refused};
use super::{Body, Upload};
use crate::clock::Clock;
use crate::config::S3Config;
use crate::error::{Error, Result};

/// How long our own requests may be on their way, by a server's clock.
const REQUEST_LASTS: Duration = Duration::from_secs(900);
/// What a server takes in a second at the least, beside the time that every transfer has.
const BYTES_PER_SECOND: u64 = 128 * 1024;
const GONE: Error = Error::unavailable("objects");

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    client: MinioClient,
    http: Client,
    name: BucketName,
    config: Arc<S3Config>,
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
            clock: clock.clone(),
        })
    }

    /// The object is seen when all of it was taken.
    pub async fn put(&self, upload: &Upload<'_>, arrived: Arrived) -> Result<()> {
        let bytes = arrived.stored.bytes;
        let within = self.config.transfer_within + Duration::from_secs(bytes / BYTES_PER_SECOND);
        for _ in 0..2 {
            let content = pieces(File::open(&arrived.path).await.map_err(refused)?, bytes);
            let request = self.request(Method::PUT, upload.key).await?.header(CONTENT_TYPE, upload.content_type);
            let request = request.header(CONTENT_LENGTH, bytes).body(reqwest::Body::wrap_stream(content));
            match self.send(request, within).await {
                // What is missing is the bucket, not what the caller asked for.
                Err(Error::NotFound(_)) => self.make().await?,
                answer => return answer.map(drop),
            }
        }
        Err(GONE)
    }

    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Body> {
        let (mut request, mut status) = (self.request(Method::GET, key).await?, StatusCode::OK);
        if let Some(Range { start, end }) = range {
            request = request.header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
            status = StatusCode::PARTIAL_CONTENT;
        }
        let answer = self.send(request, self.config.answer_within).await?;
        if answer.status() != status {
            return Err(GONE);
        }
        let pause_within = self.config.transfer_within;
        let body = stream::try_unfold(answer, move |mut answer| async move {
            let piece = timeout(pause_within, answer.chunk()).await.map_err(|_| GONE)?.map_err(|_| GONE)?;
            Ok(piece.map(|piece| (piece, answer)))
        });
        Ok(body.boxed())
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        match self.send(self.request(Method::DELETE, key).await?, self.config.answer_within).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub async fn signed_url(&self, key: &str, lasts: Duration) -> Result<String> {
        self.link(Method::GET, key, lasts, self.clock.now()).await
    }

    /// The name that the server gives itself, to whoever asks.
    pub async fn version(&self) -> Result<(&'static str, String)> {
        let asked = self.http.get(&self.config.endpoint).timeout(self.config.answer_within).send().await;
        let answer = asked.map_err(|error| gone(&error.without_url()))?;
        let name = answer.headers().get(SERVER).and_then(|it| it.to_str().ok());
        Ok(("s3", name.unwrap_or("unknown").to_owned()))
    }

    /// Where another node was faster this fails, and the next put finds the bucket.
    async fn make(&self) -> Result<()> {
        let made = async { self.client.create_bucket(&self.name)?.build().send().await };
        timeout(self.config.answer_within, made).await.map_err(|_| GONE)?.map(drop).map_err(|error| gone(&error))
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

    /// An answer that is not what was asked for is an error in our words. Of its text only the code of S3 counts, which
    /// stands near the beginning.
    async fn send(&self, request: RequestBuilder, within: Duration) -> Result<Response> {
        let answer = timeout(within, request.send()).await.map_err(|_| GONE)?;
        let mut answer = answer.map_err(|error| gone(&error.without_url()))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let text = timeout(within, answer.chunk()).await.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Err(match answer.status().as_u16() {
            404 => Error::NotFound("object"),
            507 => Error::Full,
            _ if text.contains("QuotaExceeded</Code>") => Error::Full,
            status => gone(&format_args!("{status} {text}")),
        })
    }
}

/// A refusal that is the operator's to mend is not a defect of ours either.
fn gone(why: &dyn std::fmt::Display) -> Error {
    tracing::warn!(%why, "the object store refused");
    GONE
}
