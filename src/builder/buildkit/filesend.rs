//! Receives the files that a build exports to its client: one stream of bytes.

use std::sync::Arc;

use bollard::moby::filesync::v1::BytesMessage;
use bollard::moby::filesync::v1::file_send_server::FileSend;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tonic::{Request, Response, Status, Streaming};

/// The most that a build may send, in bytes.
const LARGEST: usize = 16 << 20;

/// Keeps the archive that a build sends. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Archive(Arc<Mutex<Option<Vec<u8>>>>);

impl Archive {
    /// The archive, once it is complete.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().take()
    }
}

#[tonic::async_trait]
impl FileSend for Archive {
    type DiffCopyStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let mut incoming = request.into_inner();
        let mut received = Vec::new();
        while let Some(message) = incoming.next().await {
            received.extend_from_slice(&message?.data);
            if received.len() > LARGEST {
                return Err(Status::resource_exhausted("the build exports too many files"));
            }
        }
        *self.0.lock() = Some(received);
        Ok(Response::new(futures::stream::empty().boxed()))
    }
}
