//! `davit status`: what runs, since when, why, and what to do next.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::args::{Format, Output};
use super::commands::Status;
use super::connect::{Access, Cluster};
use super::follow::Deadline;
use super::output::{list, object, say};
use super::release_wait::{quoted_log, step};
use super::repair::after_failure;
use super::settle::{Asked, settled};
use super::terminal::{tone_of, wrap};
use super::times::{ago, short};
use crate::api::{
    Application, ApplicationStatus, ConditionType, GROUP, Phase, Reason, Release, ReleasePhase,
    ReleaseStatus, condition,
};
use crate::cli::failure::Failure;

/// The column in which values begin.
const INDENT: usize = 12;

/// The width of a value that is wrapped where the terminal's width is unknown.
const WIDTH: usize = 100;

/// The width that a value has also on a narrower terminal.
const NARROWEST: usize = 20;

/// `davit status`.
///
/// # Errors
/// The Application does not exist, or the API server does not answer or refuses; with `--wait`, it is not as it should be.
pub async fn status(args: Status) -> Result<(), Failure> {
    let cluster = Cluster::new(&args.connection).await?;
    let deadline = args.wait.begin();
    let Some(name) = &args.application else {
        let waited = match &deadline {
            Some(deadline) => wait_for_all(&cluster, args.all_namespaces, deadline).await,
            None => Ok(()),
        };
        let prefix = format!("/apis/{GROUP}/v1alpha1");
        let path = if args.all_namespaces {
            format!("{prefix}/applications")
        } else {
            format!("{prefix}/namespaces/{}/applications", cluster.namespace)
        };
        list(&cluster, &path, args.output.format, args.all_namespaces).await?;
        return waited;
    };
    let mut application = cluster.application(name).await?;
    // A failure is shown on the screen, too.
    let mut waited = Ok(());
    if let Some(deadline) = &deadline {
        waited = Box::pin(settled(&cluster, &Asked::seen(&application), deadline))
            .await
            .map(drop);
        application = cluster.application(name).await?;
    }
    show(&cluster, &application, &args).await?;
    waited
}

/// Waits until every Application of the namespace, or of all, is as it should be; the first failure counts.
///
/// # Errors
/// One is not as it should be, or the API server does not answer or refuses.
pub async fn wait_for_all(cluster: &Cluster, everywhere: bool, deadline: &Deadline) -> Result<(), Failure> {
    let api: Api<Application> = if everywhere {
        Api::all(cluster.client.clone())
    } else {
        cluster.applications()
    };
    let all = api.list(&ListParams::default()).await;
    let mut waited = Ok(());
    for application in all.map_err(|error| cluster.refused(&error, Access::View))? {
        let one = Box::pin(settled(cluster, &Asked::seen(&application), deadline)).await;
        waited = waited.and(one.map(drop));
    }
    waited
}

async fn show(cluster: &Cluster, application: &Application, args: &Status) -> Result<(), Failure> {
    if let Output {
        format: Some(format @ (Format::Name | Format::Json | Format::Yaml)),
    } = args.output
    {
        return object(Some(format), application, "");
    }
    let releases = cluster.releases_of(&application.name_any()).await?;
    let screen = Screen {
        cluster,
        application,
        releases: &releases,
        now: Timestamp::now(),
    };
    say(screen.text(args.output.format == Some(Format::Wide)).trim_end())
}

/// One Application on one screen.
struct Screen<'a> {
    cluster: &'a Cluster,
    application: &'a Application,
    releases: &'a [Release],
    now: Timestamp,
}

impl Screen<'_> {
    fn text(&self, wide: bool) -> String {
        let mut lines = Lines {
            width: self.cluster.terminal.width.unwrap_or(WIDTH),
            text: String::new(),
        };
        let status = self.application.status.clone().unwrap_or_default();
        lines.add("Name", &self.application.name_any());
        lines.add("Namespace", &self.application.namespace().unwrap_or_default());
        self.phase(&status, &mut lines);
        if let Some(active) = self.active(&status) {
            self.running(&status, active, wide, &mut lines);
        }
        if let Some(held) = condition::find(&status.conditions, ConditionType::AutoDeployHeld) {
            lines.add("Held", &format!("for {}: {}", self.since(held), held.message));
        }
        for url in &status.urls {
            lines.add("URL", url);
        }
        if let Some(routes) = routes_in_trouble(&status) {
            lines.add("Routes", &format!("{}: {}", routes.reason, routes.message));
        }
        self.latest(&mut lines);
        lines.add("Next", &self.next(&status));
        lines.text
    }

    /// The phase with the message of Ready, and since when.
    fn phase(&self, status: &ApplicationStatus, lines: &mut Lines) {
        let phase = format!("{:?}", status.phase).to_lowercase();
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        let latest = self.releases.last().and_then(|latest| latest.status.as_ref());
        let since = ready
            .map(|ready| format!(" for {}", self.passed(stands_since(status, ready, latest))))
            .unwrap_or_default();
        let message = ready.map_or(
            "the controller has not observed it yet: is davit up or davit controller running?",
            |ready| ready.message.as_str(),
        );
        lines.add_with(
            "Status",
            &format!("{phase}{since}: {message}"),
            &self.painted(&phase),
        );
    }

    /// A word, and the same in its colour.
    fn painted(&self, word: &str) -> (String, String) {
        (word.to_owned(), self.cluster.terminal.paint(tone_of(word), word))
    }

    fn since(&self, condition: &Condition) -> String {
        self.passed(condition.last_transition_time.0)
    }

    fn passed(&self, time: Timestamp) -> String {
        let passed = std::time::Duration::try_from(self.now.duration_since(time)).unwrap_or_default();
        short(passed)
    }

    fn active(&self, status: &ApplicationStatus) -> Option<&Release> {
        let name = status.release.as_ref()?.active.as_ref()?;
        self.releases.iter().find(|release| release.name_any() == *name)
    }

    /// The Release that runs, and why it was deployed.
    fn running(&self, status: &ApplicationStatus, active: &Release, wide: bool, lines: &mut Lines) {
        let release = active.status.clone().unwrap_or_default();
        let title = release
            .title
            .as_deref()
            .map(|title| format!(" \"{title}\""))
            .unwrap_or_default();
        let finished = release
            .finished_at
            .as_deref()
            .and_then(|time| ago(time, self.now));
        let since = finished
            .map(|time| format!(", deployed {time}"))
            .unwrap_or_default();
        lines.add("Running", &format!("{}{title}{since}", active.name_any()));
        let healthy = condition::find(&status.conditions, ConditionType::Healthy);
        let trouble = healthy
            .filter(|healthy| healthy.status != "True")
            .map(|healthy| format!(": {}", healthy.message));
        lines.add(
            "Replicas",
            &format!(
                "{}/{} ready{}",
                status.ready_replicas,
                status.replicas,
                trouble.unwrap_or_default()
            ),
        );
        if let Some(source) = &release.source {
            let revision = if wide {
                &source.revision
            } else {
                &source.short_revision
            };
            let message = source
                .message
                .as_deref()
                .map(|message| format!(" \"{message}\""))
                .unwrap_or_default();
            let author = source
                .author
                .as_deref()
                .map(|author| format!(" by {author}"))
                .unwrap_or_default();
            lines.add("Revision", &format!("{revision}{message}{author}"));
        }
        if let Some(image) = release.image.as_ref().filter(|_| wide) {
            lines.add("Image", image);
        }
        let cause = release.cause.as_ref().map(|cause| match &cause.actor {
            Some(actor) => format!("{:?} by {actor}", cause.kind),
            None => format!("{:?}", cause.kind),
        });
        let why: Vec<String> = cause.into_iter().chain(release.why.clone()).collect();
        lines.add("Why", &why.join("; "));
    }

    /// The newest Release, unless it is the one that runs.
    fn latest(&self, lines: &mut Lines) {
        let Some(latest) = self.releases.last() else {
            return;
        };
        let status = latest.status.clone().unwrap_or_default();
        let name = latest.name_any();
        match status.phase {
            ReleasePhase::Succeeded => {}
            phase if !phase.has_ended() => {
                let begun = status.started_at.as_deref().and_then(|time| ago(time, self.now));
                let begun = begun.map(|time| format!(", begun {time}")).unwrap_or_default();
                lines.add("Under way", &format!("{name}: {}{begun}", step(&status)));
            }
            _ => self.ended(&name, &status, lines),
        }
    }

    fn ended(&self, name: &str, status: &ReleaseStatus, lines: &mut Lines) {
        let when = status
            .finished_at
            .as_deref()
            .and_then(|time| ago(time, self.now))
            .unwrap_or_default();
        let phase = format!("{:?}", status.phase);
        let failure = status
            .failure
            .as_ref()
            .map(|failure| format!(" in step {}: {}", failure.step, failure.reason));
        let text = format!("{name}: {phase} {when}{}", failure.unwrap_or_default());
        lines.add_with("Latest", &text, &self.painted(&phase));
        let log = status
            .failure
            .as_ref()
            .and_then(|failure| failure.log_tail.as_deref());
        lines
            .text
            .push_str(quoted_log(self.cluster, log).trim_start_matches('\n'));
        if log.is_some() {
            lines.text.push('\n');
        }
    }

    /// What the user can do next.
    fn next(&self, status: &ApplicationStatus) -> String {
        let name = self.application.name_any();
        let spec = &self.application.spec;
        let namespace = &self.cluster.namespace;
        if spec.suspend {
            return format!("reconcile it again: davit resume {name} -n {namespace}");
        }
        if spec.stopped {
            return format!("start it: davit start {name} -n {namespace}");
        }
        if status
            .release
            .as_ref()
            .is_some_and(|release| release.held_by.is_some())
            && status.phase == Phase::Done
        {
            return format!(
                "let new commits deploy again: davit resume {name} -n {namespace}, or change the spec"
            );
        }
        match status.phase {
            Phase::Running => {
                format!("wait for its end: kubectl wait dapp/{name} -n {namespace} --for=condition=Ready")
            }
            Phase::Done if routes_in_trouble(status).is_some() => {
                "solve what the routes need; nothing else: it is as the spec asks for".to_owned()
            }
            Phase::Done => "nothing: it is as the spec asks for".to_owned(),
            Phase::Idle if status.conditions.is_empty() => {
                format!(
                    "wait until the controller has looked at it: davit status {name} -n {namespace} --wait"
                )
            }
            Phase::Idle => "set spec.source, so that there is something to run".to_owned(),
            Phase::Error if condition::is_true(&status.conditions, ConditionType::Reconciling) => {
                "nothing, if it is temporary: Davit tries again; otherwise solve what the status names"
                    .to_owned()
            }
            Phase::Error if was_cancelled(status) => {
                format!(
                    "the latest release was cancelled; to deploy again: davit deploy {name} -n {namespace} (without the cache: \
                     davit redeploy {name} -n {namespace} --clean)"
                )
            }
            Phase::Error => after_failure(self.application, self.releases.last(), namespace),
        }
    }
}

/// Returns since when an Application stands as its condition Ready says. The transition time of Ready does not move from one reason
/// for `False` to the next, so the times of the Release and of conditions with the same reason count, too.
fn stands_since(status: &ApplicationStatus, ready: &Condition, latest: Option<&ReleaseStatus>) -> Timestamp {
    let since = ready.last_transition_time.0;
    if ready.status == "True" {
        return since;
    }
    let same = status
        .conditions
        .iter()
        .filter(|condition| condition.reason == ready.reason)
        .map(|condition| condition.last_transition_time.0);
    let of_release = latest.and_then(|latest| {
        if !latest.phase.has_ended() {
            return latest.started_at.as_deref();
        }
        let mut verdicts = latest.conditions.iter();
        let is_reason = verdicts.any(|verdict| verdict.reason == ready.reason);
        latest.finished_at.as_deref().filter(|_| is_reason)
    });
    let of_release: Option<Timestamp> = of_release.and_then(|time| time.parse().ok());
    same.chain(of_release).max().unwrap_or(since)
}

/// Reports whether an Application is an error only because its Release was cancelled.
fn was_cancelled(status: &ApplicationStatus) -> bool {
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    ready.is_some_and(|ready| ready.reason == Reason::Cancelled.as_str())
}

/// The condition of the routes, if it is not that all is well.
fn routes_in_trouble(status: &ApplicationStatus) -> Option<&Condition> {
    let routes = condition::find(&status.conditions, ConditionType::RoutesReady);
    routes.filter(|routes| routes.status != "True" || routes.reason != Reason::RoutesReady.as_str())
}

/// Labels with their values.
struct Lines {
    width: usize,
    text: String,
}

impl Lines {
    fn add(&mut self, label: &str, value: &str) {
        self.add_with(label, value, &(String::new(), String::new()));
    }

    /// Adds a value in which the first occurrence of a word is painted. Escape sequences have no width, so they are
    /// added after the lines are broken.
    fn add_with(&mut self, label: &str, value: &str, (word, painted): &(String, String)) {
        if value.is_empty() {
            return;
        }
        let lines = wrap(value, self.width.saturating_sub(INDENT).max(NARROWEST));
        for (at, line) in lines.iter().enumerate() {
            let label = if at == 0 {
                format!("{label}:")
            } else {
                String::new()
            };
            let line = if at == 0 {
                line.replacen(word, painted, 1)
            } else {
                line.clone()
            };
            self.text
                .extend([&format!("{label:INDENT$}"), line.as_str(), "\n"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_time_of_a_status_is_that_of_what_it_says() {
        let condition = |kind: &str, status: &str, reason: &str, minute: u32| {
            json!({"type": kind, "status": status, "reason": reason, "message": "",
                "lastTransitionTime": format!("2026-01-01T00:{minute:02}:00Z")})
        };
        let failed = json!([
            condition("Ready", "False", "BuildFailed", 1),
            condition("Healthy", "True", "Healthy", 0)
        ]);
        let running = json!([
            condition("Ready", "False", "Progressing", 1),
            condition("Reconciling", "True", "Progressing", 2)
        ]);
        for (conditions, release, minute) in [
            // Running since the Release began, although an error was before it.
            (
                &running,
                json!({"phase": "Building", "startedAt": "2026-01-01T00:05:00Z"}),
                5,
            ),
            (&running, Value::Null, 2),
            (
                &failed,
                json!({"phase": "Failed", "finishedAt": "2026-01-01T00:07:00Z",
                "conditions": [condition("Succeeded", "False", "BuildFailed", 7)]}),
                7,
            ),
            // The error is not that of the Release.
            (
                &failed,
                json!({"phase": "Failed", "finishedAt": "2026-01-01T00:07:00Z",
                "conditions": [condition("Succeeded", "False", "BuildTimeout", 7)]}),
                1,
            ),
            (
                &json!([condition("Ready", "True", "Ready", 3)]),
                json!({"phase": "Succeeded", "finishedAt": "2026-01-01T00:02:00Z"}),
                3,
            ),
        ] {
            let status = json!({"phase": "error", "conditions": conditions});
            let status: ApplicationStatus = serde_json::from_value(status).unwrap();
            let release: Option<ReleaseStatus> = serde_json::from_value(release).unwrap();
            let ready = condition::find(&status.conditions, ConditionType::Ready).unwrap();
            let expected: Timestamp = format!("2026-01-01T00:{minute:02}:00Z").parse().unwrap();
            assert_eq!(
                stands_since(&status, ready, release.as_ref()),
                expected,
                "{conditions}"
            );
        }
    }

    #[test]
    fn a_cancelled_release_is_no_failure_to_solve() {
        for (reason, cancelled) in [("Cancelled", true), ("BuildFailed", false)] {
            let status = json!({"phase": "error", "conditions": [{"type": "Ready", "status": "False", "reason": reason,
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
            let status: ApplicationStatus = serde_json::from_value(status).unwrap();
            assert_eq!(was_cancelled(&status), cancelled, "{reason}");
        }
    }
}
