//! Waits for the end of a Release and shows its steps meanwhile.

use kube::ResourceExt as _;

use super::connect::Cluster;
use super::follow::{Deadline, Stand, follow};
use super::output::full_name;
use super::terminal::Tone;
use crate::api::{Reason, Release, ReleasePhase, ReleaseStatus};
use crate::cli::failure::{Code, Failure};

/// Waits for the end of a Release.
///
/// # Errors
/// It failed, was cancelled or deleted, or the time is over; the exit code tells which.
pub async fn wait_for_release(
    cluster: &Cluster,
    name: &str,
    deadline: &Deadline,
) -> Result<Release, Failure> {
    let judge = |release: &Release| {
        let status = release.status.clone().unwrap_or_default();
        if status.phase.has_ended() {
            verdict(cluster, release)
        } else {
            Stand::Waits(step(&status))
        }
    };
    follow(cluster, cluster.releases(), name, deadline, judge).await
}

/// Returns where a Release stands, in a few words.
pub fn step(status: &ReleaseStatus) -> String {
    let runs = status
        .steps
        .last()
        .filter(|step| step.name == "PreDeploy" && step.finished_at.is_none());
    let mut text = runs.map_or_else(|| format!("{:?}", status.phase), |step| step.name.clone());
    if let Some(queue) = &status.queue {
        text.extend([", position ", &queue.position.to_string(), " in the queue"]);
    }
    let waits = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Succeeded");
    if waits.is_some_and(|waits| waits.reason == Reason::Suspended.as_str()) {
        text.push_str(": the Application is suspended, and davit resume lets it go on");
        return text;
    }
    let said = status.progress.as_ref().map(|progress| progress.message.as_str());
    let retrying = waits
        .filter(|condition| condition.reason == "ProgressingWithRetry")
        .map(|condition| condition.message.as_str());
    if let Some(more) = said.or(retrying).filter(|more| !more.is_empty()) {
        text.extend([": ", more]);
    }
    text
}

/// Judges a Release that ended.
fn verdict(cluster: &Cluster, release: &Release) -> Stand {
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
            Stand::Bad(Failure::new(text))
        }
        ReleasePhase::Cancelled | ReleasePhase::Superseded => Stand::Bad(Failure::with_code(
            Code::Cancelled,
            format!("release {name} ended as {:?}: {message}", status.phase),
        )),
        _ => Stand::Good,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_step_names_the_suspension_that_holds_it_up() {
        for (reason, words) in [
            (
                "Suspended",
                "Pending: the Application is suspended, and davit resume",
            ),
            ("ProgressingWithRetry", "Pending: says why"),
            ("Pending", "Pending"),
        ] {
            let status = json!({"phase": "Pending", "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": reason,
                "message": "says why", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
            let text = step(&serde_json::from_value(status).unwrap());
            assert!(text.starts_with(words), "{text}");
        }
    }
}
