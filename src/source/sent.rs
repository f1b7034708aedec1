//! Whether what was received is what was sent.

use std::fs;
use std::io;
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::archive::ArchiveError;
use crate::model::hex;

/// Compares the bytes of an upload with the digest that the client gave, in hexadecimal digits. They are read unless their digest is known.
pub(super) fn verify(part: &Path, digest: Option<Context>, expected: &str) -> Result<(), ArchiveError> {
    let digest = match digest {
        Some(digest) => digest,
        None => read_digest(part).map_err(ArchiveError::read)?,
    };
    if hex(digest.finish().as_ref()) == expected {
        return Ok(());
    }
    Err(ArchiveError::NotAsSent)
}

fn read_digest(part: &Path) -> io::Result<Context> {
    let mut file = fs::File::open(part)?;
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = io::Read::read(&mut file, &mut buffer)?;
        if length == 0 {
            return Ok(digest);
        }
        digest.update(buffer.get(..length).unwrap_or_default());
    }
}
