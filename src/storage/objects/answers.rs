//! What the answers of an S3 server mean. The client's errors are long texts: only the codes of S3 count.

use ::minio::s3::error::{Error as S3Error, NetworkError, S3ServerError, ValidationErr};
use ::minio::s3::response_traits::{HasEtagFromHeaders, HasS3Fields};
use chrono::{DateTime, Utc};

use super::Stat;
use crate::error::{Error, Result};

pub(super) const GONE: Error = Error::unavailable("objects");

/// The code of S3, in small letters.
pub(super) fn code(error: &S3Error) -> Option<String> {
    match error {
        S3Error::S3Server(S3ServerError::S3Error(answer)) => Some(answer.code().to_string().to_ascii_lowercase()),
        _ => None,
    }
}

pub(super) fn refused(error: S3Error) -> Error {
    match (code(&error).as_deref(), error) {
        (Some("nosuchkey" | "nosuchbucket" | "nosuchupload" | "resourcenotfound"), _) => Error::NotFound("object"),
        (Some("xminiostoragefull" | "xminioadminbucketquotaexceeded"), _)
        | (_, S3Error::Network(NetworkError::ServerError(507))) => Error::Full,
        (Some("entitytoolarge"), _) => Error::TooLarge("the content is larger than the server takes"),
        (_, S3Error::Validation(error)) if !matches!(error, ValidationErr::HttpError(_)) => Error::internal(error),
        // A refusal that is the operator's to mend is not a defect of ours either.
        (_, error) => {
            tracing::warn!(?error, "the object store refused");
            GONE
        }
    }
}

pub(super) fn header<'a>(answer: &'a impl HasS3Fields, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

pub(super) fn stat(answer: &impl HasEtagFromHeaders) -> Result<Stat> {
    let stored_at = header(answer, "last-modified").and_then(|time| DateTime::parse_from_rfc2822(time).ok());
    Ok(Stat {
        bytes: header(answer, "content-length").and_then(|bytes| bytes.parse().ok()).ok_or(GONE)?,
        content_type: header(answer, "content-type").unwrap_or("application/octet-stream").to_owned(),
        etag: answer.etag().map_err(|_| GONE)?.into_inner(),
        stored_at: stored_at.map(|time| time.with_timezone(&Utc)).ok_or(GONE)?,
    })
}

/// What a completed upload is known by. A server may answer that all is well and name an error further down.
pub(super) fn completed(answer: &impl HasS3Fields) -> Option<String> {
    let etag = str::from_utf8(answer.body()).ok()?.split_once("<ETag>")?.1.split_once("</ETag>")?.0;
    Some(etag.replace("&#34;", "").replace("&quot;", "").replace('"', ""))
}
