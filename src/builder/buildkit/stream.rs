//! A stream of bytes, of whichever kind.

use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes to a daemon.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
