//! The engine's answer to `/build`: lines of JSON, most of which carry a report of BuildKit.

use base64::Engine as _;
use bollard::moby::buildkit::v1::StatusResponse;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use prost::Message as _;
use serde::Deserialize;

use super::engine_http::unavailable;
use super::progress::Progress;
use crate::builder::error::BuildError;
use crate::job_log::JobLog;

/// The longest line, in bytes; BuildKit's own limit for a message is 16 MiB.
const LONGEST: usize = 32 * 1024 * 1024;

/// A line of the engine's answer.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: String,
    aux: Option<serde_json::Value>,
    error: Option<String>,
}

/// Reads the answer to its end: nothing, or what the build failed with.
pub async fn read(
    mut body: hyper::body::Incoming,
    progress: &mut Progress,
    log: &JobLog,
) -> Result<Option<String>, BuildError> {
    let mut buffer = BytesMut::new();
    let mut failed = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| unavailable(&error))?.into_data() else {
            continue;
        };
        let searched = buffer.len();
        buffer.extend_from_slice(&data);
        let mut from = searched;
        while let Some(at) = buffer
            .get(from..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let line = buffer.split_to(from + at + 1);
            from = 0;
            if let Some(error) = handle_line(&line, progress, log) {
                failed = Some(error);
            }
        }
        if buffer.len() > LONGEST {
            return Err(BuildError::Engine("the engine's answer does not end".to_owned()));
        }
    }
    if let Some(error) = handle_line(&buffer, progress, log) {
        failed = Some(error);
    }
    Ok(failed)
}

/// Takes in a line; returns the error that it may tell.
fn handle_line(line: &[u8], progress: &mut Progress, log: &JobLog) -> Option<String> {
    let line: Line = serde_json::from_slice(line.trim_ascii()).ok()?;
    if line.id == "moby.buildkit.trace"
        && let Some(text) = line.aux.as_ref().and_then(serde_json::Value::as_str)
        && let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text)
        && let Ok(status) = StatusResponse::decode(bytes.as_slice())
    {
        progress.report(status, log);
    }
    line.error
}
