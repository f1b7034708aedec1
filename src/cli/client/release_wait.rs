//! Waits for the end of a Release and shows its steps meanwhile.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::time::{Instant, interval};

use super::args::Wait;
use super::connect::Cluster;
use super::output::full_name;
use super::terminal::Tone;
use super::times::short;
use crate::api::{Release, ReleasePhase, ReleaseStatus};
use crate::cli::failure::{Code, Failure};

/// How often the line on a terminal is drawn again, for the elapsed time.
const REDRAW: Duration = Duration::from_secs(1);

/// Waits for the end of a Release.
///
/// # Errors
/// It failed, was cancelled or deleted, or the time is over; the exit code tells which.
pub async fn wait_for_release(cluster: &Cluster, name: &str, wait: &Wait) -> Result<Release, Failure> {
    let begun = Instant::now();
    let limit = wait.timeout.as_ref().map(crate::api::Duration::get);
    let mut changes = pin!(watcher::watch_object(cluster.releases(), name).default_backoff());
    let mut redraw = interval(REDRAW);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let on_terminal = cluster.terminal.progress_width.is_some();
    let (mut seen, mut said): (Option<Release>, String) = (None, String::new());
    let mut lost = false;
    loop {
        let rest = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
        let timer = async {
            match rest {
                Some(rest) => tokio::time::sleep(rest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Some(release))) => {
                    lost = false;
                    let phase = release.status.as_ref().map(|status| status.phase).unwrap_or_default();
                    if phase.has_ended() {
                        cluster.terminal.clear();
                        return ended(cluster, release);
                    }
                    seen = Some(release);
                }
                Some(Ok(None)) if seen.is_some() => {
                    cluster.terminal.clear();
                    return Err(Failure::with_code(Code::Cancelled, format!("release {name} was deleted before it ended")));
                }
                Some(Ok(None)) | None => {}
                // The watch is tried again until the time is over.
                Some(Err(_)) => lost = true,
            },
            () = timer => {
                cluster.terminal.clear();
                return Err(timed_out(name, limit.unwrap_or_default(), seen.as_ref()));
            }
            _ = &mut interrupt => {
                cluster.terminal.clear();
                let application = seen.map(|release| release.spec.application).unwrap_or_default();
                return Err(Failure::with_code(
                    Code::Interrupted,
                    format!("no longer waiting: release {name} goes on; see davit status {application}"),
                ));
            }
            _ = redraw.tick() => {}
        }
        let state = seen.as_ref().and_then(|release| release.status.as_ref());
        let mut line = format!("{name}: {}", state.map_or("Pending".to_owned(), step));
        if lost {
            line.push_str(" (connection lost, trying again)");
        }
        if on_terminal {
            cluster
                .terminal
                .show(&format!("{line}  {}", short(begun.elapsed())));
        } else if line != said {
            cluster.terminal.show(&line);
            said = line;
        }
    }
}

/// Returns where a Release stands, in a few words.
pub fn step(status: &ReleaseStatus) -> String {
    let mut text = format!("{:?}", status.phase);
    if let Some(queue) = &status.queue {
        text.extend([", position ", &queue.position.to_string(), " in the queue"]);
    }
    let waits = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Succeeded");
    let said = status.progress.as_ref().map(|progress| progress.message.as_str());
    let retrying = waits
        .filter(|condition| condition.reason == "ProgressingWithRetry")
        .map(|condition| condition.message.as_str());
    if let Some(more) = said.or(retrying).filter(|more| !more.is_empty()) {
        text.extend([": ", more]);
    }
    text
}

fn timed_out(name: &str, limit: Duration, seen: Option<&Release>) -> Failure {
    let status = seen.and_then(|release| release.status.as_ref());
    let stands = status.map_or("Pending".to_owned(), step);
    Failure::with_code(
        Code::TimedOut,
        format!(
            "timed out after {}: release {name} is {stands}; it goes on: wait longer with --timeout, or see davit status",
            short(limit)
        ),
    )
}

/// Returns a Release that succeeded.
fn ended(cluster: &Cluster, release: Release) -> Result<Release, Failure> {
    let status = release.status.clone().unwrap_or_default();
    let name = release.name_any();
    let message = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Succeeded")
        .map(|condition| condition.message.clone())
        .unwrap_or_default();
    match status.phase {
        ReleasePhase::Failed => {
            let text = match &status.failure {
                Some(failure) => {
                    let mut text = format!(
                        "release {name} failed in step {}: {}: {}",
                        failure.step, failure.reason, failure.message
                    );
                    text.push_str(&quoted_log(cluster, failure.log_tail.as_deref()));
                    text
                }
                None => format!("release {name} failed: {message}"),
            };
            Err(Failure::new(text))
        }
        ReleasePhase::Cancelled | ReleasePhase::Superseded => Err(Failure::with_code(
            Code::Cancelled,
            format!("release {name} ended as {:?}: {message}", status.phase),
        )),
        _ => Ok(release),
    }
}

/// Returns the last lines of a log, each after a mark.
pub fn quoted_log(cluster: &Cluster, log: Option<&str>) -> String {
    let lines = log
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim().is_empty());
    lines
        .flat_map(|line| {
            [
                "\n  | ".to_owned(),
                cluster.terminal.paint(Some(Tone::Faint), line),
            ]
        })
        .collect()
}

/// Returns what a Release that succeeded came to.
pub fn outcome(release: &Release) -> String {
    let status = release.status.clone().unwrap_or_default();
    let duration = status
        .duration
        .map(|duration| format!(" in {duration}"))
        .unwrap_or_default();
    let revision = status
        .source
        .map(|source| source.short_revision)
        .filter(|revision| !revision.is_empty());
    let revision = revision
        .map(|revision| format!(", revision {revision}"))
        .unwrap_or_default();
    format!("{} succeeded{duration}{revision}", full_name(release))
}
