//! What both backends do with bytes on their way: count, hash and bound what comes in, and choose a part to go out.

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use ring::digest;

use super::Upload;
use crate::error::{Error, Result};

/// A body on its way in, bounded while it arrives.
pub(super) struct Intake<'b> {
    body: BoxStream<'b, Result<Bytes>>,
    announced: Option<u64>,
    bytes_max: u64,
    bytes: u64,
    digest: digest::Context,
}

impl<'b> Intake<'b> {
    pub(super) fn new(upload: &Upload<'_>, body: impl Stream<Item = Result<Bytes>> + Send + 'b) -> Result<Self> {
        if upload.bytes.is_some_and(|bytes| bytes > upload.bytes_max) {
            return Err(TOO_LARGE);
        }
        let (body, digest) = (body.fuse().boxed(), digest::Context::new(&digest::SHA256));
        Ok(Intake { body, announced: upload.bytes, bytes_max: upload.bytes_max, bytes: 0, digest })
    }

    /// The next piece; none when the body has ended as it should.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(piece) = self.body.next().await.transpose()? else {
            let short = self.announced.is_some_and(|announced| self.bytes < announced);
            return if short { Err(Error::Malformed("the body is shorter than announced")) } else { Ok(None) };
        };
        self.bytes += piece.len() as u64;
        if self.announced.is_some_and(|announced| self.bytes > announced) {
            return Err(Error::Malformed("the body is longer than announced"));
        }
        if self.bytes > self.bytes_max {
            return Err(TOO_LARGE);
        }
        self.digest.update(&piece);
        Ok(Some(piece))
    }

    /// How many bytes came, and their SHA-256.
    pub(super) fn finish(self) -> (u64, String) {
        (self.bytes, self.digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

const TOO_LARGE: Error = Error::TooLarge("the content is larger than allowed");

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// From the first to the last byte, both read; the end when there is no last one.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

impl Range {
    /// Reads the value of a `Range` header. What is not one range of bytes is ignored, as HTTP asks.
    pub fn parse(header: &str) -> Option<Range> {
        let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
        // Parsing alone would take a sign.
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        match (first, last) {
            ("", last) => Some(Range::Last(number(last)?)),
            (first, "") => Some(Range::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Range::From(first, Some(last)))
            }
        }
    }

    /// The first byte and how many, in an object of so many bytes; none when it has none of them.
    pub fn within(self, bytes: u64) -> Option<(u64, u64)> {
        match self {
            Range::From(first, last) if first < bytes => {
                let end = last.map_or(bytes, |last| last.saturating_add(1).min(bytes));
                (end > first).then(|| (first, end - first))
            }
            Range::Last(count) if count.min(bytes) > 0 => Some((bytes - count.min(bytes), count.min(bytes))),
            _ => None,
        }
    }

    pub(super) fn header(self) -> String {
        match self {
            Range::From(first, None) => format!("bytes={first}-"),
            Range::From(first, Some(last)) => format!("bytes={first}-{last}"),
            Range::Last(count) => format!("bytes=-{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_names_the_bytes_that_http_says() {
        let within = |header| Range::parse(header).map(|range| range.within(10));
        assert_eq!(within("bytes=0-"), Some(Some((0, 10))));
        assert_eq!(within("bytes=2-4"), Some(Some((2, 3))));
        assert_eq!(within("bytes=9-99"), Some(Some((9, 1))));
        assert_eq!(within("bytes=-3"), Some(Some((7, 3))));
        assert_eq!(within("bytes=-99"), Some(Some((0, 10))));
        assert_eq!(within("bytes=0-18446744073709551615"), Some(Some((0, 10))));
    }

    #[test]
    fn a_range_beyond_the_end_has_no_bytes() {
        let within = |header| Range::parse(header).map(|range| range.within(10));
        assert_eq!(within("bytes=10-"), Some(None));
        assert_eq!(within("bytes=-0"), Some(None));
        assert_eq!(Range::From(0, None).within(0), None);
        assert_eq!(Range::Last(5).within(0), None);
    }

    #[test]
    fn what_is_not_one_range_is_ignored() {
        for header in ["", "bytes=", "bytes=-", "bytes=4-2", "bytes=0-1,3-4", "bytes=+1-2", "lines=0-1", "bytes=a-b"] {
            assert_eq!(Range::parse(header), None, "{header}");
        }
    }
}
