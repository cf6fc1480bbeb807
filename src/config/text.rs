//! Reads small text files that people write: settings and secrets. Whatever is wrong with one is a sentence.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A file's text, and whether every user of the machine may read it.
#[derive(Debug)]
pub struct Text {
    /// The text, without a byte order mark.
    pub text: String,
    /// Whether every user of the machine may read it.
    pub is_open: bool,
}

/// Reads a file of at most `bytes_max`. What is refused is told as "/etc/folio.toml is a directory".
pub fn read(path: &Path, bytes_max: u64) -> Result<Text, String> {
    let refused = |why: &str| format!("{} {why}", path.display());
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => refused("does not exist"),
        io::ErrorKind::PermissionDenied => refused("may not be read by this user"),
        _ => refused(&format!("cannot be read: {error}")),
    };
    // Asked before it is opened: opening a pipe would wait for a writer.
    let metadata = path.metadata().map_err(failed)?;
    if let Some(why) = unfit(&metadata, bytes_max) {
        return Err(refused(&why));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(refused(&too_large(bytes_max)));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(refused("is UTF-16 text: save it as UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(refused("is a binary file, not text"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused("is not UTF-8 text"))?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Text { text, is_open: metadata.permissions().mode() & 0o004 != 0 })
}

fn unfit(metadata: &Metadata, bytes_max: u64) -> Option<String> {
    match metadata {
        it if it.is_dir() => Some("is a directory, not a file".to_owned()),
        it if !it.is_file() => Some("is not a regular file".to_owned()),
        it if it.len() > bytes_max => Some(too_large(bytes_max)),
        _ => None,
    }
}

fn too_large(bytes_max: u64) -> String {
    format!("is larger than {} KiB", bytes_max / 1024)
}
