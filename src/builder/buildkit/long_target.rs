//! A request target longer than the 64 KiB that the type of URIs holds: the engine takes build arguments in the query only.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The target that a request has in place of a longer one.
pub const STAND_IN: &str = "/longer-target";
/// The longest target that needs no stand-in, in bytes.
pub const LONGEST: usize = 60_000;

/// A connection whose first request has [`STAND_IN`] as its target, which is replaced as it is sent.
pub struct LongTarget<C> {
    inner: C,
    /// What is to be sent in place of the beginning of the request; empty once it is sent.
    head: Vec<u8>,
    sent: usize,
    /// How many bytes of the request `head` stands for.
    replaces: usize,
}

impl<C> LongTarget<C> {
    /// Sends `target` in place of the stand-in of a request with this method; nothing is replaced without a target.
    pub fn new(inner: C, method: &str, target: Option<&str>) -> Self {
        Self {
            inner,
            head: target.map_or_else(Vec::new, |target| format!("{method} {target} ").into_bytes()),
            sent: 0,
            replaces: format!("{method} {STAND_IN} ").len(),
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for LongTarget<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for LongTarget<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        // The client writes the head of a request at once.
        if bytes.len() < self.replaces {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        while self.sent < self.head.len() {
            let this = &mut *self;
            let rest = this.head.get(this.sent..).unwrap_or_default();
            let count = ready!(Pin::new(&mut this.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.sent += count;
        }
        self.head = Vec::new();
        Poll::Ready(Ok(self.replaces))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn long_target_is_sent_in_place_of_its_stand_in() {
        let target = format!("/build?{}", "x".repeat(200_000));
        let (near, mut far) = tokio::io::duplex(1000);
        let request = format!("POST {STAND_IN} HTTP/1.1\r\nhost: docker\r\n\r\n");
        let expected = request.replace(STAND_IN, &target);
        let mut connection = LongTarget::new(near, "POST", Some(&target));
        tokio::spawn(async move {
            connection.write_all(request.as_bytes()).await.unwrap();
            connection.shutdown().await.unwrap();
        });
        let mut received = String::new();
        far.read_to_string(&mut received).await.unwrap();
        assert!(received == expected, "{} bytes", received.len());
    }
}
