//! `releases/NAME/log`: the log of a Release's build or pull, while it is written and afterwards.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, BoxStream, StreamExt as _};
use http::header;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::{Interval, MissedTickBehavior};

use super::failure::Failure;
use super::lookup;
use super::parameters::Parameters;
use super::target::Target;
use crate::api::{Application, Release, ReleasePhase};
use crate::controller::context::Context;
use crate::controller::logs;
use crate::controller::problem::cluster_problem;
use crate::error::Problem;
use crate::model::AppId;
use crate::runtime::LogOptions;

/// How often a log that is being written is read on.
const READ_ON: Duration = Duration::from_millis(100);
/// How much is read and sent at once.
const CHUNK: usize = 32 * 1024;

/// `releases/NAME/log`.
pub(super) async fn log(
    controller: &Arc<Context>,
    target: &Target,
    parameters: &Parameters,
) -> Result<Response, Failure> {
    for name in ["sinceSeconds", "sinceTime", "timestamps", "previous", "replica"] {
        if parameters.text(name).is_some_and(|value| value != "false") {
            let message = format!(
                "the parameter {name} is not for the log of a build, whose lines have no times: leave it out"
            );
            return Err(Failure::bad_request(message));
        }
    }
    let follow = parameters.flag("follow")?;
    let tail: Option<u64> = parameters.value("tailLines", "a number of lines")?;
    let api: Api<Release> = Api::namespaced(controller.client.clone(), &target.namespace);
    let Some(release) = lookup::read(&api, target).await? else {
        let all = api.list_metadata(&ListParams::default()).await;
        let all = all.map_err(|error| cluster_problem("list the Releases", &error))?;
        let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
        return Err(lookup::not_found::<Release>(target, &names));
    };
    let is_of_hook = parameters.flag("hook")?;
    let name = if is_of_hook {
        logs::of_hook(&release.name_any())
    } else {
        release.name_any()
    };
    let path = path(controller, &release, &name, target).await?;
    let writes = !is_of_hook && may_still_write(&release);
    let file = match File::open(&path).await {
        Ok(file) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(Failure::unavailable(format!(
                "open the log of {}: {error}",
                target.name
            )));
        }
    };
    if file.is_none() && is_of_hook {
        return running_hook(controller, &release, target, follow, tail).await;
    }
    if file.is_none() && !writes {
        let message = format!(
            "Release {:?} has no log of a build: its image existed already, or its log was removed",
            target.name
        );
        return Err(Failure::not_found(&message, target));
    }
    let mut reader = Reader {
        path,
        file,
        buffer: Vec::new(),
        release: (follow && writes).then(|| watcher::watch_object(api, &target.name).boxed()),
        tick: tokio::time::interval(READ_ON),
    };
    reader.tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if let (Some(tail), Some(file)) = (tail, &mut reader.file) {
        let begun = seek_to_tail(file, tail).await;
        begun.map_err(|error| Failure::unavailable(format!("read the log of {}: {error}", target.name)))?;
    }
    let body = Body::from_stream(stream::try_unfold(reader, Reader::next));
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// The output of a hook that has not ended: its log is kept when it has.
async fn running_hook(
    controller: &Arc<Context>,
    release: &Release,
    target: &Target,
    follow: bool,
    tail: Option<u64>,
) -> Result<Response, Failure> {
    let none = || {
        let message = format!(
            "Release {:?} has no log of a hook: its Application has no hooks.preDeploy, or it has not begun",
            target.name
        );
        Failure::not_found(&message, target)
    };
    let api: Api<Application> = Api::namespaced(controller.client.clone(), &target.namespace);
    let app = api.get_opt(&release.spec.application).await;
    let app = app.map_err(|error| cluster_problem("read the Application", &error))?;
    let app = app.ok_or_else(none)?;
    let redaction = logs::redaction(controller, &app).await;
    let redaction = redaction.map_err(|error| cluster_problem("read the Releases", &error))?;
    let task = AppId::new(&*target.namespace, app.name_any()).hook();
    let unread = |error| Failure::from(Problem::of(&error));
    let running = controller
        .runtime
        .observe(&task, &redaction)
        .await
        .map_err(unread)?;
    let mut replicas = running.replicas.into_iter();
    let replica = replicas
        .find(|replica| replica.release == target.name)
        .ok_or_else(none)?;
    let options = LogOptions {
        follow,
        tail,
        ..LogOptions::default()
    };
    let lines = controller
        .runtime
        .log(&task, &replica.id, &options, &redaction)
        .await;
    let lines = lines.map_err(unread)?.map(|line| match line {
        Ok(line) => Ok(Bytes::from(format!("{}\n", line.text))),
        Err(error) => Err(std::io::Error::other(Problem::of(&error).message)),
    });
    let body = Body::from_stream(lines);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// The path of a log of the Release. It is named by the UID of the Application, which the Release records as its owner.
async fn path(
    controller: &Context,
    release: &Release,
    name: &str,
    target: &Target,
) -> Result<PathBuf, Failure> {
    let owner = release.owner_references().first().map(|owner| owner.uid.clone());
    let uid = if let Some(uid) = owner {
        uid
    } else {
        let api: Api<Application> = Api::namespaced(controller.client.clone(), &target.namespace);
        let found = api.get_opt(&release.spec.application).await;
        let found = found.map_err(|error| cluster_problem("read the Application", &error))?;
        found.and_then(|app| app.metadata.uid).unwrap_or_default()
    };
    let uid = Path::new(&uid).file_name().unwrap_or_default().to_string_lossy();
    Ok(logs::path(&controller.log_dir, &target.namespace, &uid, name))
}

/// Whether a job for the Release may still begin or write.
fn may_still_write(release: &Release) -> bool {
    match release
        .status
        .as_ref()
        .map(|status| status.phase)
        .unwrap_or_default()
    {
        ReleasePhase::Pending | ReleasePhase::Fetching | ReleasePhase::Building | ReleasePhase::Pushing => {
            true
        }
        ReleasePhase::Deploying
        | ReleasePhase::Verifying
        | ReleasePhase::Succeeded
        | ReleasePhase::Failed
        | ReleasePhase::Cancelled
        | ReleasePhase::Superseded => false,
    }
}

struct Reader {
    path: PathBuf,
    /// `None` before the job has begun.
    file: Option<File>,
    buffer: Vec<u8>,
    /// The Release while it may write; `None` if the log ends where the file ends.
    release: Option<BoxStream<'static, watcher::Result<Option<Release>>>>,
    tick: Interval,
}

impl Reader {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, std::io::Error> {
        loop {
            if self.file.is_none() {
                self.file = File::open(&self.path).await.ok();
            }
            if let Some(file) = &mut self.file {
                self.buffer.resize(CHUNK, 0);
                let length = file.read(&mut self.buffer).await?;
                if length > 0 {
                    let read = Bytes::copy_from_slice(self.buffer.get(..length).unwrap_or_default());
                    return Ok(Some((read, self)));
                }
            }
            let Some(release) = &mut self.release else {
                return Ok(None);
            };
            tokio::select! {
                Some(seen) = release.next() => {
                    let has_ended = match seen {
                        Ok(Some(seen)) => !may_still_write(&seen),
                        Ok(None) => true,
                        Err(error) => {
                            tracing::debug!(%error, "the watch of a Release was interrupted");
                            false
                        }
                    };
                    if has_ended {
                        // What was written before is read, and then the log ends.
                        self.release = None;
                    }
                }
                _ = self.tick.tick() => {}
            }
        }
    }
}

/// Sets the position to the beginning of the last `lines` lines.
async fn seek_to_tail(file: &mut File, lines: u64) -> std::io::Result<()> {
    let mut position = file.seek(SeekFrom::End(0)).await?;
    let length = position;
    let mut block = vec![0; CHUNK];
    let mut found = 0;
    while position > 0 {
        let size = position.min(CHUNK as u64);
        position -= size;
        file.seek(SeekFrom::Start(position)).await?;
        let part = block
            .get_mut(..usize::try_from(size).unwrap_or(CHUNK))
            .unwrap_or_default();
        file.read_exact(part).await?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = position + index as u64 + 1;
            // The line feed at the end of the file ends the last line.
            if after == length {
                continue;
            }
            found += 1;
            if found >= lines {
                let start = if lines == 0 { length } else { after };
                file.seek(SeekFrom::Start(start)).await?;
                return Ok(());
            }
        }
    }
    let start = if lines == 0 { length } else { 0 };
    file.seek(SeekFrom::Start(start)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tail_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long = "y".repeat(CHUNK);
        let text = format!("one\n{long}\ntwo\nthree\n");
        std::fs::write(&path, &text).unwrap();
        for (lines, expected) in [
            (0, String::new()),
            (1, "three\n".to_owned()),
            (2, "two\nthree\n".to_owned()),
            (3, format!("{long}\ntwo\nthree\n")),
            (4, text.clone()),
            (9, text.clone()),
        ] {
            let mut file = File::open(&path).await.unwrap();
            seek_to_tail(&mut file, lines).await.unwrap();
            let mut rest = String::new();
            file.read_to_string(&mut rest).await.unwrap();
            assert!(rest == expected, "{lines}: {} bytes", rest.len());
        }
    }
}
