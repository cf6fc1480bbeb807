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

use super::Stored;
use crate::error::{Error, Result};

const PIECE_BYTES: usize = 64 * 1024;

/// All of an object, in a file that is gone when this is dropped before it was put in its place.
pub(super) struct Arrived {
    pub path: PathBuf,
    pub file: BufWriter<File>,
    pub stored: Stored,
}

impl Arrived {
    pub async fn receive(
        path: PathBuf,
        bytes_max: u64,
        body: impl Stream<Item = Result<Bytes>> + Send,
    ) -> Result<Arrived> {
        let file = BufWriter::with_capacity(PIECE_BYTES, File::create_new(&path).await.map_err(refused)?);
        let mut arrived = Arrived { path, file, stored: Stored { bytes: 0, sha256: String::new() } };
        let (mut body, mut digest) = (pin!(body), digest::Context::new(&digest::SHA256));
        while let Some(piece) = body.next().await.transpose()? {
            arrived.stored.bytes += piece.len() as u64;
            if arrived.stored.bytes > bytes_max {
                return Err(Error::TooLarge("the content is larger than allowed"));
            }
            digest.update(&piece);
            arrived.file.write_all(&piece).await.map_err(refused)?;
        }
        // A file of the runtime reports a failed write by the next call.
        arrived.file.flush().await.map_err(refused)?;
        arrived.stored.sha256 = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(arrived)
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        // In its place there is nothing left under this name; what cannot be removed goes with the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// So many bytes of a file at most, from where it stands.
pub(super) fn pieces(file: File, bytes_max: u64) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::try_unfold(file.take(bytes_max), |mut file| async move {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let count = file.read_buf(&mut piece).await.map_err(refused)?;
        Ok((count > 0).then(|| (piece.freeze(), file)))
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
