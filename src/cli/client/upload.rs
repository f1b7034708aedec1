//! Sends an archive to the subresource `applications/NAME/source`, part by part.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::connect::{Access, Cluster};
use super::pack::{Archive, amount};
use super::subresource;
use crate::cli::failure::Failure;
use crate::subresources::UPLOAD_PART;

/// The pause before a request that failed is repeated.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest part, in bytes: this program holds one of them.
const LARGEST_PART: u64 = 16 << 20;
/// A part that took less time is followed by one of twice its size. API servers end a request after 60 s.
const SHORT: Duration = Duration::from_secs(2);
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

async fn send(cluster: &Cluster, application: &str, archive: &Archive) -> Result<Content, Failure> {
    let path = subresource::path(&cluster.namespace, "applications", application, "source");
    let path = format!("{path}?archive={}&size={}", archive.digest, archive.size);
    let mut failures = 0;
    let mut length = UPLOAD_PART;
    // How much the server has, once it has told.
    let mut known: Option<u64> = None;
    loop {
        let (path, part) = match known {
            Some(offset) if offset < archive.size => {
                (format!("{path}&offset={offset}"), part(archive, offset, length)?)
            }
            _ => (path.clone(), Vec::new()),
        };
        let begun = Instant::now();
        match post(cluster, &path, part).await {
            Ok(State {
                content: Some(content),
                ..
            }) => return Ok(content),
            Ok(state) => {
                failures = 0;
                if begun.elapsed() < SHORT {
                    length = (length * 2).min(LARGEST_PART);
                }
                known = Some(state.received);
                let (received, size) = (amount(state.received), amount(archive.size));
                let doing = if state.received < archive.size {
                    format!("{application}: uploading, {received} of {size}")
                } else {
                    format!("{application}: checking the upload")
                };
                cluster.terminal.show(&doing);
            }
            Err(error) => {
                let is_final = match &error {
                    // Another request may still hold the upload, or have continued it.
                    kube::Error::Api(status) => !matches!(status.code, 409 | 429 | 502 | 503 | 504),
                    _ => false,
                };
                failures += 1;
                if is_final || failures > ATTEMPTS {
                    let continues = "\nRun the command again: the upload continues where it ended.";
                    let text = cluster.refused(&error, Access::Edit);
                    let text = text.message().trim_start_matches("error: ").to_owned();
                    let continues = if is_final { "" } else { continues };
                    return Err(Failure::new(format!("{text}{continues}")));
                }
                known = None;
                length = UPLOAD_PART;
                cluster.terminal.show(&format!(
                    "{application}: the upload was interrupted, trying again"
                ));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Reads a part of the archive.
fn part(archive: &Archive, offset: u64, longest: u64) -> Result<Vec<u8>, Failure> {
    let size = (archive.size - offset).min(longest);
    let mut part = vec![0; usize::try_from(size).unwrap_or_default()];
    let read = archive.file.read_exact_at(&mut part, offset);
    read.map_err(|error| Failure::new(format!("cannot read the archive: {error}")))?;
    Ok(part)
}

async fn post(cluster: &Cluster, path: &str, part: Vec<u8>) -> Result<State, kube::Error> {
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/octet-stream")
        .body(part)
        .map_err(kube::Error::HttpError)?;
    cluster.client.request(request).await
}
