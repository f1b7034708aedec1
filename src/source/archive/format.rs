//! Recognises the format of an archive by its first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::budget::{Budget, Metered};
use super::error::ArchiveError;
use super::unpack::Unpacker;
use super::{tarball, zipped};

/// The size of a block of a tar.
const BLOCK: usize = 512;
/// How much of the archive is read at once.
const BUFFER: usize = 128 * 1024;
/// The largest window of zstd, in bytes: so much memory its decoder needs. `zstd --long` asks for more.
const WINDOW: u64 = 32 << 20;

/// Formats that are recognised and not accepted.
const OTHERS: [(&[u8], &str); 5] = [
    (b"\xfd7zXZ\0", "compressed with xz, which is not accepted"),
    (b"BZh", "compressed with bzip2, which is not accepted"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive, which is not accepted"),
    (b"Rar!\x1a\x07", "a rar archive, which is not accepted"),
    (b"\x04\x22\x4d\x18", "compressed with lz4, which is not accepted"),
];

/// Passes every entry of an archive to `into`.
pub(super) fn walk(mut file: File, budget: &Budget, into: &mut Unpacker<'_>) -> Result<(), ArchiveError> {
    let mut head = Vec::with_capacity(BLOCK);
    let read = (&mut file).take(BLOCK as u64).read_to_end(&mut head);
    read.map_err(ArchiveError::read)?;
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::read)?;
    if head.is_empty() {
        return Err(ArchiveError::Format { what: "empty" });
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return zipped::walk(file, budget, into);
    }
    let file = BufReader::with_capacity(BUFFER, file);
    if head.starts_with(b"\x1f\x8b") {
        return tarball::walk(Metered::new(MultiGzDecoder::new(file), budget), into);
    }
    if is_zstd(&head) {
        return tarball::walk(Metered::new(Frames::new(file), budget), into);
    }
    if tarball::is_header(&head) {
        return tarball::walk(Metered::new(file, budget), into);
    }
    let other = OTHERS.iter().find(|(magic, _)| head.starts_with(magic));
    Err(ArchiveError::Format {
        what: other.map_or("no archive that is accepted", |(_, what)| what),
    })
}

/// A frame, or one that decoders skip.
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(b"\x28\xb5\x2f\xfd") || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The content of zstd frames, one after the other.
struct Frames<R: Read> {
    state: Option<Frame<R>>,
}

enum Frame<R: Read> {
    Between(R),
    Within(Box<StreamingDecoder<R, FrameDecoder>>),
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        Self {
            state: Some(Frame::Between(source)),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(Frame::Between(mut source)) => {
                    let next = source.fill_buf()?;
                    if next.is_empty() {
                        return Ok(0);
                    }
                    if !next.starts_with(b"\x28\xb5\x2f\xfd") && is_zstd(next) {
                        skip(&mut source)?;
                        self.state = Some(Frame::Between(source));
                        continue;
                    }
                    let frame = StreamingDecoder::new_with_max_window_size(source, WINDOW);
                    let frame = frame.map_err(|error| io::Error::other(error.to_string()))?;
                    self.state = Some(Frame::Within(Box::new(frame)));
                }
                Some(Frame::Within(mut frame)) => {
                    let length = frame.read(buffer)?;
                    if length > 0 {
                        self.state = Some(Frame::Within(frame));
                        return Ok(length);
                    }
                    self.state = Some(Frame::Between(frame.into_inner()));
                }
            }
        }
    }
}

/// Passes over a frame without content.
fn skip(source: &mut impl Read) -> io::Result<()> {
    let mut head = [0; 8];
    source.read_exact(&mut head)?;
    let [_, _, _, _, size @ ..] = head;
    let size = u64::from(u32::from_le_bytes(size));
    io::copy(&mut source.take(size), &mut io::sink()).map(drop)
}
