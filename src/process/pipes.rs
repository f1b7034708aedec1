//! Reads the output of a program: all of it, of which a bounded part is kept.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The result of a task that reads a pipe, with a time limit.
type Read<T> = Result<Result<io::Result<T>, tokio::task::JoinError>, tokio::time::error::Elapsed>;

/// Returns what was read, or the first error.
pub fn flatten<T>(read: Read<T>) -> io::Result<T> {
    match read {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(io::Error::other(error)),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "a program that it started keeps its output open",
        )),
    }
}

/// Keeps the first `limit` bytes and reads the rest away, so that the writer never waits.
pub async fn read_first(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    let mut cut = false;
    let Some(mut pipe) = pipe else {
        return Ok((kept, cut));
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            return Ok((kept, cut));
        }
        let room = limit.saturating_sub(kept.len()).min(count);
        cut |= room < count;
        kept.extend(buffer.iter().take(room));
    }
}

/// Keeps the last `limit` bytes.
pub async fn read_last(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<Vec<u8>> {
    let mut kept = std::collections::VecDeque::new();
    let Some(mut pipe) = pipe else {
        return Ok(Vec::new());
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept.into());
        }
        kept.extend(buffer.iter().take(count).copied());
        kept.drain(..kept.len().saturating_sub(limit));
    }
}
