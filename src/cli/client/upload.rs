//! Sends an archive to the subresource `applications/NAME/source`, part by part.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use serde::Deserialize;

use super::connect::{Access, Cluster};
use super::pack::{Archive, amount};
use super::subresource;
use crate::cli::failure::Failure;
use crate::subresources::UPLOAD_PART;

/// The pause before a request that failed is repeated.
const PAUSE: Duration = Duration::from_secs(1);
/// How many parts may be under way at the same time, and how soon each must arrive for that.
const UNDER_WAY: usize = 2;
const SHORT: Duration = Duration::from_secs(2);
/// How long a request may take: API servers end one after 60 s, and a dead connection shows nothing.
const SILENCE: Duration = Duration::from_secs(90);
/// How many times in a row a request may fail.
const ATTEMPTS: u32 = 30;

/// How an upload stands.
#[derive(Debug, Deserialize)]
struct State {
    received: u64,
    content: Option<Content>,
}

/// What an archive holds.
#[derive(Debug, Deserialize)]
pub struct Content {
    /// The digest of its content.
    pub digest: String,
    /// The directory that everything is in, if it is one.
    pub root: Option<String>,
}

/// Uploads an archive and waits until it is checked. What was received before is not sent again.
///
/// # Errors
/// The archive is refused, or the connection is lost for longer.
pub async fn upload(cluster: &Cluster, application: &str, archive: &Archive) -> Result<Content, Failure> {
    let sent = send(cluster, application, archive).await;
    cluster.terminal.clear();
    sent
}

/// Why an upload does not go on.
enum Stopped {
    /// The archive cannot be read.
    Unread(Failure),
    /// The server cannot be reached, or refuses a part.
    Refused(kube::Error),
    /// The server has not answered for a long time.
    Silent,
}

async fn send(cluster: &Cluster, application: &str, archive: &Archive) -> Result<Content, Failure> {
    let path = subresource::path(&cluster.namespace, "applications", application, "source");
    let path = format!("{path}?archive={}&size={}", archive.digest, archive.size);
    let mut failures = 0;
    loop {
        let ended = async {
            let state = post(cluster, &path, Vec::new()).await?;
            show(cluster, application, archive, &state);
            send_parts(cluster, application, archive, &path, state, &mut failures).await
        };
        let error = match ended.await {
            Ok(State {
                content: Some(content),
                ..
            }) => {
                // On a terminal the line of progress goes away.
                if cluster.terminal.progress_width.is_none() {
                    let size = amount(archive.size);
                    cluster.terminal.show(&format!("{application}: uploaded, {size}"));
                }
                return Ok(content);
            }
            // The check goes on.
            Ok(_) => {
                failures = 0;
                continue;
            }
            Err(Stopped::Unread(failure)) => return Err(failure),
            Err(Stopped::Refused(error)) => Some(error),
            Err(Stopped::Silent) => None,
        };
        let is_final = match &error {
            // Another request may still hold the upload, or have continued it.
            Some(kube::Error::Api(status)) => !matches!(status.code, 409 | 429 | 502 | 503 | 504),
            _ => false,
        };
        failures += 1;
        if is_final || failures > ATTEMPTS {
            let continues = "\nRun the command again: the upload continues where it ended.";
            let text = error.map_or_else(
                || {
                    "the API server does not answer: see that it runs, and that the connection to it is good"
                        .to_owned()
                },
                |error| {
                    let refused = cluster.refused(&error, Access::Edit);
                    refused.message().trim_start_matches("error: ").to_owned()
                },
            );
            let continues = if is_final { "" } else { continues };
            return Err(Failure::new(format!("{text}{continues}")));
        }
        cluster.terminal.show(&format!(
            "{application}: the upload was interrupted, trying again"
        ));
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends what the server does not have yet. Each part is on its way while the server still writes those before it.
async fn send_parts(
    cluster: &Cluster,
    application: &str,
    archive: &Archive,
    path: &str,
    mut state: State,
    failures: &mut u32,
) -> Result<State, Stopped> {
    let mut sent = FuturesOrdered::new();
    let mut offset = state.received;
    let mut most = 1;
    loop {
        while sent.len() < most && offset < archive.size {
            let at = offset;
            sent.push_back(async move {
                let begun = Instant::now();
                let part = part(archive, at).map_err(Stopped::Unread)?;
                let path = format!("{path}&offset={at}");
                let state = post(cluster, &path, part).await?;
                Ok((state, begun.elapsed()))
            });
            offset += UPLOAD_PART;
        }
        let Some(next) = sent.next().await else { break };
        let (next, took) = next?;
        // Those under way share the connection, and an API server ends a request after 60 s.
        most = if took < SHORT {
            (most + 1).min(UNDER_WAY)
        } else {
            1
        };
        *failures = 0;
        show(cluster, application, archive, &next);
        state = next;
    }
    Ok(state)
}

fn show(cluster: &Cluster, application: &str, archive: &Archive, state: &State) {
    let (received, size) = (amount(state.received), amount(archive.size));
    cluster.terminal.show(&if state.received < archive.size {
        format!("{application}: uploading, {received} of {size}")
    } else {
        format!("{application}: checking the upload")
    });
}

/// Reads a part of the archive.
fn part(archive: &Archive, offset: u64) -> Result<Vec<u8>, Failure> {
    let size = (archive.size - offset).min(UPLOAD_PART);
    let mut part = vec![0; usize::try_from(size).unwrap_or_default()];
    let read = archive.file.read_exact_at(&mut part, offset);
    read.map_err(|error| Failure::new(format!("cannot read the archive: {error}")))?;
    Ok(part)
}

async fn post(cluster: &Cluster, path: &str, part: Vec<u8>) -> Result<State, Stopped> {
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/octet-stream")
        .body(part)
        .map_err(|error| Stopped::Refused(kube::Error::HttpError(error)))?;
    match tokio::time::timeout(SILENCE, cluster.client.request(request)).await {
        Ok(answer) => answer.map_err(Stopped::Refused),
        Err(_) => Err(Stopped::Silent),
    }
}
