//! `applications/NAME/source`: an archive in, in parts that can be resumed; the digest of its content out.
//!
//! An API server ends such requests after 60 seconds, so no request does more than one part, and none waits long for the
//! check of the whole archive.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use kube::Api;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::failure::Failure;
use super::group::{GROUP, VERSION};
use super::lookup;
use super::parameters::Parameters;
use super::target::Target;
use crate::api::Application;
use crate::controller::context::Context;
use crate::controller::uploads::{collect, collect_all};
use crate::error::Problem;
use crate::model::Digest;
use crate::source::archive::ArchiveError;
use crate::source::uploads::{Outcome, Part, Refused, Upload, Uploads};

/// The size of a part that clients send, in bytes: an API server takes bodies of 3 MiB.
pub const PART: u64 = 2 << 20;
/// How long a part waits for those before it.
const TURN: Duration = Duration::from_secs(3);
/// How long a request waits for the check of an archive.
const PATIENCE: Duration = Duration::from_secs(40);
/// The pause between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// `applications/NAME/source`.
pub(super) async fn source(
    controller: &Arc<Context>,
    target: &Target,
    parameters: &Parameters,
    body: Body,
) -> Result<Response, Failure> {
    let api: Api<Application> = Api::namespaced(controller.client.clone(), &target.namespace);
    lookup::object(&api, target, &controller.applications).await?;
    let upload = Upload {
        namespace: target.namespace.clone(),
        archive: archive(parameters)?,
        size: size(parameters)?,
    };
    let offset: Option<u64> = parameters.value("offset", "the number of bytes that were sent before")?;
    let uploads = &controller.tools.uploads;
    uploads.check_size(&upload).map_err(|error| Problem::of(&error))?;
    // A client that sends bytes is told of them, and not of those of another one.
    let outcome = match offset {
        Some(_) => uploads.known(&upload),
        None => uploads.outcome(&upload),
    };
    if let Some(outcome) = outcome {
        return answer(&upload, upload.size, Some(outcome));
    }
    let received = match offset {
        Some(offset) => receive(controller, &upload, offset, body).await?,
        None => uploads.received(&upload).map_err(|error| Problem::of(&error))?,
    };
    if received < upload.size {
        return answer(&upload, received, None);
    }
    let outcome = check(uploads, &upload).await?;
    if matches!(outcome, Some(Ok(_))) {
        // What was uploaded before and is used no more makes room.
        collect(controller, &target.namespace).await;
    }
    answer(&upload, received, outcome)
}

fn archive(parameters: &Parameters) -> Result<Digest, Failure> {
    let text = parameters.text("archive").unwrap_or_default();
    Digest::parse(text).ok_or_else(|| {
        let message = "the parameter archive is missing or invalid: write the digest of the archive as sha256: and 64 digits";
        Failure::bad_request(message)
    })
}

fn size(parameters: &Parameters) -> Result<u64, Failure> {
    let size: Option<u64> = parameters.value("size", "the size of the archive in bytes")?;
    match size {
        Some(0) => Err(Failure::bad_request(
            "the parameter size is 0, and an empty file is no archive: upload a directory, or a tar, tar.gz, tar.zst or zip",
        )),
        Some(size) => Ok(size),
        None => Err(Failure::bad_request(
            "the parameter size is missing: write the size of the archive in bytes",
        )),
    }
}

/// Begins a part. A client sends several at the same time, so those before it may still be on their way.
async fn in_turn(uploads: &Uploads, upload: &Upload, offset: u64) -> Result<Part, Refused> {
    let end = Instant::now() + TURN;
    loop {
        let mut freed = std::pin::pin!(uploads.freed());
        freed.as_mut().enable();
        let until = match uploads.append(upload, offset) {
            // A request that only looks at the upload tells no other one when it ends.
            Err(Refused::Busy) => end.min(Instant::now() + LOOK),
            Err(Refused::Offset { received }) if received < offset => end,
            begun => return begun,
        };
        let _ = timeout_at(until, freed).await;
        if Instant::now() >= end {
            return uploads.append(upload, offset);
        }
    }
}

/// Receives one part; returns how much of the archive is there.
async fn receive(controller: &Context, upload: &Upload, offset: u64, body: Body) -> Result<u64, Failure> {
    let uploads = &controller.tools.uploads;
    let begun = match in_turn(uploads, upload, offset).await {
        Err(Refused::Archive(
            ArchiveError::StoreFull { .. } | ArchiveError::ShareFull { .. } | ArchiveError::NoRoom { .. },
        )) => {
            // What is used no more, of any namespace, makes room.
            collect_all(controller).await;
            let begun = uploads.append(upload, offset);
            if let Err(Refused::Archive(error)) = &begun
                && error.is_of_disk()
            {
                // It cannot go on, and what was received would keep the disk full.
                uploads.discard(upload);
            }
            begun
        }
        begun => begun,
    };
    let mut part = begun.map_err(refused)?;
    let mut chunks = body.into_data_stream();
    let mut lost = None;
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => part.write(&chunk).await.map_err(|error| Problem::of(&error))?,
            Err(error) => {
                lost = Some(error);
                break;
            }
        }
    }
    // What was received stays, and the client continues there.
    let received = part.end().await.map_err(|error| Problem::of(&error))?;
    match lost {
        None => Ok(received),
        Some(error) => Err(Failure::bad_request(format!(
            "the connection was lost during the upload: {error}: upload again, which continues where it ended"
        ))),
    }
}

/// Checks the archive, and waits for the outcome; `None` if it takes longer.
async fn check(uploads: &Uploads, upload: &Upload) -> Result<Option<Outcome>, Failure> {
    let end = Instant::now() + PATIENCE;
    match uploads.finish(upload) {
        Ok(()) | Err(Refused::Busy) => {}
        Err(other) => return Err(refused(other)),
    }
    while Instant::now() < end {
        if let Some(outcome) = uploads.outcome(upload) {
            return Ok(Some(outcome));
        }
        sleep(LOOK).await;
    }
    Ok(None)
}

fn answer(upload: &Upload, received: u64, outcome: Option<Outcome>) -> Result<Response, Failure> {
    let mut document = json!({"kind": "SourceUpload", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {},
        "archive": upload.archive.as_str(), "size": upload.size, "received": received, "partBytes": PART});
    if let Some(outcome) = outcome {
        let content = outcome?;
        document["content"] = json!({"digest": content.digest.as_str(), "files": content.files,
            "bytes": content.bytes, "root": content.root});
    }
    Ok(Json(document).into_response())
}

fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Offset { received } => Failure::conflict(format!(
            "{received} bytes of the archive were received: continue with offset={received}"
        )),
        Refused::Busy => {
            Failure::conflict("another request sends or checks the same archive: ask again in a moment")
        }
        Refused::TooMany => Failure::conflict(
            "16 uploads of this namespace are unfinished: finish one of them, or wait until they are removed after 24 hours",
        ),
        Refused::Archive(error) => from_archive(&error),
    }
}

fn from_archive(error: &ArchiveError) -> Failure {
    Problem::of(error).into()
}
