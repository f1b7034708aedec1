//! BuildKit's control API, over one connection for each build.

use std::io;
use std::sync::Arc;

use bollard::moby::buildkit::v1::control_client::ControlClient;
use bollard::moby::buildkit::v1::{
    BytesMessage, DiskUsageRequest, ListWorkersRequest, PruneRequest, UsageRecord,
};
use bytes::Bytes;
use futures::{SinkExt as _, TryStreamExt as _};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::PollSender;
use tonic::Request;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::daemon::Daemon;
use crate::builder::error::BuildError;
use crate::error::chain;

/// The longest message from BuildKit, in bytes: a report of a step that prints much.
const LONGEST_MESSAGE: usize = 32 << 20;
/// How many messages of a session may wait to be sent.
const WAITING: usize = 16;

/// The control API of a daemon. A clone uses the same connection.
#[derive(Clone, Debug)]
pub struct Control {
    daemon: Arc<Daemon>,
    /// The generated client.
    pub client: ControlClient<Channel>,
}

impl Control {
    /// Connects.
    ///
    /// # Errors
    /// The daemon does not answer, or cannot build.
    pub async fn open(daemon: &Daemon) -> Result<Self, BuildError> {
        let stream = Arc::new(Mutex::new(Some(daemon.connect().await?)));
        // One stream, so that the end of the connection is the end of the build.
        let connector = tower::service_fn(move |_| {
            let stream = stream.lock().take();
            std::future::ready(
                stream
                    .map(TokioIo::new)
                    .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)),
            )
        });
        let endpoint = Endpoint::from_static("http://buildkit");
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| unavailable(daemon, &chain(&error)))?;
        Ok(Self {
            daemon: Arc::new(daemon.clone()),
            client: ControlClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE),
        })
    }

    /// Makes sure that the daemon can build.
    ///
    /// # Errors
    /// It has no worker, or no control API.
    pub async fn check(&self) -> Result<(), BuildError> {
        self.architecture().await.map(|_| ())
    }

    /// The CPU architecture that the daemon builds for.
    ///
    /// # Errors
    /// It has no worker, or no control API.
    pub async fn architecture(&self) -> Result<String, BuildError> {
        let mut client = self.client.clone();
        let workers = client.list_workers(ListWorkersRequest::default()).await;
        let workers = workers
            .map_err(|status| self.failed(&status))?
            .into_inner()
            .record;
        let Some(worker) = workers.into_iter().next() else {
            return Err(BuildError::BuildkitUnsuitable(format!(
                "{} has no worker",
                self.daemon
            )));
        };
        let platform = worker.platforms.into_iter().next();
        Ok(platform.map_or_else(|| "amd64".to_owned(), |platform| platform.architecture))
    }

    /// A stream of bytes to the daemon, on which it calls back. `headers` say what it may call.
    pub fn callback(
        &self,
        headers: &[(&'static str, String)],
    ) -> (
        impl AsyncRead + AsyncWrite + Send + Unpin + use<>,
        impl Future<Output = ()> + use<>,
    ) {
        let (to_daemon, mut outgoing) = mpsc::channel::<BytesMessage>(WAITING);
        let (from_daemon, incoming) = mpsc::channel::<io::Result<Bytes>>(WAITING);
        let mut request = Request::new(futures::stream::poll_fn(move |cx| outgoing.poll_recv(cx)));
        for (name, value) in headers {
            append(request.metadata_mut(), name, value);
        }
        let mut client = self.client.clone();
        let carried = async move {
            let Ok(answer) = client.session(request).await else {
                return;
            };
            let mut messages = answer.into_inner();
            while let Ok(Some(message)) = messages.message().await {
                if from_daemon.send(Ok(message.data.into())).await.is_err() {
                    return;
                }
            }
        };
        let sink = PollSender::new(to_daemon)
            .sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
            .with(|data: Bytes| std::future::ready(Ok::<_, io::Error>(BytesMessage { data: data.to_vec() })));
        let writer = SinkWriter::new(CopyToBytes::new(Box::pin(sink)));
        let mut incoming = incoming;
        let reader = StreamReader::new(futures::stream::poll_fn(move |cx| incoming.poll_recv(cx)));
        (tokio::io::join(reader, writer), carried)
    }

    /// What the cache has.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn cache(&self) -> Result<Vec<UsageRecord>, BuildError> {
        let mut client = self.client.clone();
        let usage = client.disk_usage(DiskUsageRequest::default()).await;
        Ok(usage.map_err(|status| self.failed(&status))?.into_inner().record)
    }

    /// Removes what the filters mean from the cache, or what was not used for the longest time until `keep` bytes are left.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn prune(&self, filter: Vec<String>, keep: u64) -> Result<(), BuildError> {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let request = PruneRequest {
            filter,
            all: true,
            reserved_space: keep,
            max_used_space: keep,
            ..PruneRequest::default()
        };
        let mut client = self.client.clone();
        let removed = client.prune(request).await;
        let removed = removed.map_err(|status| self.failed(&status))?.into_inner();
        let ended = removed.try_for_each(|_| std::future::ready(Ok(()))).await;
        ended.map_err(|status| self.failed(&status))
    }

    /// The error of a call.
    pub fn failed(&self, status: &tonic::Status) -> BuildError {
        if is_lost(status) {
            return unavailable(&self.daemon, &said(status));
        }
        match status.code() {
            tonic::Code::Unimplemented => BuildError::BuildkitUnsuitable(format!(
                "{} lacks a part of the API: {}",
                self.daemon,
                status.message()
            )),
            _ => BuildError::Engine(status.message().to_owned()),
        }
    }
}

/// Reports whether the connection ended, and not the call.
pub fn is_lost(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some() || status.code() == tonic::Code::Unavailable
}

fn said(status: &tonic::Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => chain(source),
        None => status.message().to_owned(),
    }
}

fn unavailable(daemon: &Daemon, why: &str) -> BuildError {
    match daemon {
        Daemon::Engine(place) => BuildError::EngineUnavailable(format!("{place}: {why}")),
        Daemon::Buildkitd { place, .. } => BuildError::BuildkitUnavailable(format!("{place}: {why}")),
    }
}

fn append(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    if let Ok(value) = MetadataValue::try_from(value) {
        metadata.append(name, value);
    }
}
