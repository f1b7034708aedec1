//! Receives the files that a build exports to its client: one stream of bytes.

use std::sync::Arc;

use bollard::moby::filesync::v1::BytesMessage;
use bollard::moby::filesync::v1::file_send_server::FileSend;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

/// How many pieces may wait to be taken.
const WAITING: usize = 64;

/// Hands on what a build sends, once. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Receiver(Arc<Mutex<Option<mpsc::Sender<Bytes>>>>);

impl Receiver {
    /// A receiver, and where it hands on to.
    pub fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, received) = mpsc::channel(WAITING);
        (Self(Arc::new(Mutex::new(Some(sender)))), received)
    }
}

#[tonic::async_trait]
impl FileSend for Receiver {
    type DiffCopyStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let sender = self.0.lock().take();
        let sender = sender.ok_or_else(|| Status::failed_precondition("the files were sent before"))?;
        let mut incoming = request.into_inner();
        while let Some(message) = incoming.next().await {
            let sent = sender.send(message?.data.into()).await;
            sent.map_err(|_| Status::aborted("the engine does not take the image"))?;
        }
        Ok(Response::new(futures::stream::empty().boxed()))
    }
}
