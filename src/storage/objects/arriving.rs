//! An object on its way: counted, hashed and bounded while it comes in, in a file that nobody sees; in pieces when it
//! goes out.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use ring::digest;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

use super::Upload;
use crate::error::{Error, Result};

const PIECE_BYTES: usize = 64 * 1024;
const TOO_LARGE: Error = Error::TooLarge("the content is larger than allowed");

/// All of an object, in a file that is gone when this is dropped before it was put in its place.
pub(super) struct Arrived {
    pub path: PathBuf,
    pub file: BufWriter<File>,
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
}

impl Arrived {
    pub async fn receive(
        path: PathBuf,
        upload: &Upload<'_>,
        body: impl Stream<Item = Result<Bytes>> + Send,
    ) -> Result<Arrived> {
        let announced = upload.bytes.unwrap_or(upload.bytes_max);
        if announced > upload.bytes_max {
            return Err(TOO_LARGE);
        }
        let file = BufWriter::with_capacity(PIECE_BYTES, File::create_new(&path).await.map_err(refused)?);
        let mut arrived = Arrived { path, file, bytes: 0, sha256: String::new() };
        let (mut body, mut digest) = (pin!(body), digest::Context::new(&digest::SHA256));
        while let Some(piece) = body.next().await.transpose()? {
            arrived.bytes += piece.len() as u64;
            if arrived.bytes > announced {
                let longer = Error::Malformed("the body is longer than announced");
                return Err(if upload.bytes.is_some() { longer } else { TOO_LARGE });
            }
            digest.update(&piece);
            arrived.file.write_all(&piece).await.map_err(refused)?;
        }
        if upload.bytes.is_some_and(|announced| arrived.bytes < announced) {
            return Err(Error::Malformed("the body is shorter than announced"));
        }
        // A file of the runtime reports a failed write by the next call.
        arrived.file.flush().await.map_err(refused)?;
        arrived.sha256 = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(arrived)
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        // In its place there is nothing left under this name; what cannot be removed is swept later.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// So many bytes of a file, from where it stands.
pub(super) fn pieces(file: File, bytes: u64) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::try_unfold(file.take(bytes), |mut file| async move {
        if file.limit() == 0 {
            return Ok(None);
        }
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        match file.read_buf(&mut piece).await.map_err(refused)? {
            0 => Err(Error::internal("an object's file is shorter than it was")),
            _ => Ok(Some((piece.freeze(), file))),
        }
    })
}

pub(super) fn refused(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::Full,
        _ => Error::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_in_words_of_its_own() {
        for code in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT, rustix::io::Errno::FBIG] {
            assert_eq!(refused(code.into()), Error::Full);
        }
    }
}
