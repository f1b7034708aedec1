//! Rows of the planner: a state in a few words, and the actions and the status that follow from it.

mod given;
mod parts;
mod whole;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use serde_json::{Value, json};

use super::application_status::{announce, status};
use super::pin::fresh_source;
use super::{
    Action, ActionResult, CancelReason, Plan, Records, ReleaseOutcome, created, needs_containers, plan,
    record, redaction_policy, release_name, requeue,
};
use crate::api::ApplicationStatus;
use given::Given;
use parts::NOW;

/// The rows. `UPDATE=1 cargo test --lib plan::tests` writes the expected lines, and the messages, anew.
const ROWS: &str = include_str!("rows.txt");
/// Every message of a condition, a failure or a cause that a row leads to.
const MESSAGES: &str = include_str!("messages.txt");
/// The fields of the statuses that the reconcile of each row changes, except for conditions.
const STATUSES: &str = include_str!("statuses.txt");

#[test]
fn plan_of_each_state_is_as_the_row_says() {
    let mut found = String::new();
    for block in ROWS.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let lines = block
            .lines()
            .filter(|line| !line.starts_with("  "))
            .collect::<Vec<_>>();
        found.push_str(&lines.join("\n"));
        found.push('\n');
        if let Some(given) = lines.iter().rev().find(|line| !line.starts_with('#')) {
            for line in outcome(given) {
                found.extend(["  ", &line, "\n"]);
            }
        }
        found.push('\n');
    }
    let found = format!("{}\n", found.trim_end());
    if found != ROWS && update() {
        write("rows.txt", &found);
    } else {
        for (row, (expected, got)) in ROWS.split("\n\n").zip(found.split("\n\n")).enumerate() {
            assert_eq!(expected.trim_end(), got.trim_end(), "row {row}");
        }
        assert_eq!(found, ROWS);
    }
}

#[test]
fn messages_of_all_states_are_as_recorded() {
    let mut messages = BTreeSet::new();
    for given in ROWS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ' ']))
    {
        let (_, records, status) = reconcile(given);
        messages.extend(described_conditions("Application", &status.conditions));
        for (_, release) in records.in_order() {
            messages.extend(described_conditions("Release", &release.conditions));
            let failure = release.failure.iter();
            messages.extend(
                failure.map(|it| format!("Release failure in {} {}: {}", it.step, it.reason, it.message)),
            );
            let progress = release.progress.iter();
            messages.extend(progress.map(|it| format!("Release progress {:?}: {}", it.reason, it.message)));
            messages.extend(release.why.iter().map(|why| format!("Release why: {why}")));
            messages.extend(
                release
                    .title
                    .iter()
                    .map(|title| format!("Release title: {title}")),
            );
        }
    }
    let found: String = messages
        .into_iter()
        .flat_map(|message| [message, "\n".to_owned()])
        .collect();
    compare("messages.txt", MESSAGES, &found);
}

#[test]
fn statuses_of_all_states_are_as_recorded() {
    let mut found = String::new();
    for row in ROWS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
    {
        if row.starts_with('#') {
            found.extend([row, "\n"]);
            continue;
        }
        let given = Given::parse(row);
        let input = given.input();
        let (plan, records, status) = reconcile(row);
        let next = requeue(&input, &plan, &records, status.retry.as_ref(), NOW);
        let policy = redaction_policy(None, input.desired.known(), &input.releases);
        let fresh = fresh_source(input.app, &input.releases);
        let fresh = fresh.map_or(String::new(), |request| {
            format!("; source resolved anew for {request}")
        });
        let files = policy.current_files.len();
        writeln!(
            found,
            "  next after {next:?}{fresh}; {files} hashes with current files"
        )
        .unwrap();
        let mut objects = vec![(
            "shop".to_owned(),
            changes(input.app.status.as_ref(), Some(&status)),
        )];
        let policy = input.app.spec.concurrency_policy;
        let running = input.running.as_ref().ok();
        let needy = running.and_then(|running| needs_containers(&input.releases, policy, running));
        if let Some(release) = needy {
            writeln!(found, "  {} needs containers", release.name).unwrap();
        }
        for (name, status) in &records.statuses {
            let before = input.releases.iter().find(|view| view.name == *name);
            let before = before.map(|view| &view.status);
            objects.push((name.clone(), changes(before, Some(status))));
        }
        for (name, changed) in objects.iter().filter(|(_, changed)| *changed != json!({})) {
            writeln!(found, "  {name} {changed}").unwrap();
        }
        for line in next_reconcile(row, &status) {
            writeln!(found, "  {line}").unwrap();
        }
    }
    compare("statuses.txt", STATUSES, &found);
}

/// Returns what the same state leads to after its status was written, and after the source was at another commit before.
fn next_reconcile(row: &str, status: &ApplicationStatus) -> Vec<String> {
    let mut lines = Vec::new();
    let mut given = Given::parse(row);
    given.reconciled(status.clone());
    let (_, _, again) = reconcile_given(&given);
    let changed = changes(Some(status), Some(&again));
    if changed != json!({}) {
        lines.push(format!("again {changed}"));
    }
    let mut before = status.clone();
    if let Some(source) = &mut before.source {
        "0".repeat(40).clone_into(&mut source.revision);
    }
    given.reconciled(before.clone());
    let input = given.input();
    let wanted = input
        .inputs
        .source
        .as_ref()
        .and_then(|source| source.as_ref().ok());
    let announced = announce(input.app, wanted, &plan(&input, NOW), NOW);
    if let Some(announced) = announced {
        let changed = changes(Some(&before), Some(&announced));
        lines.push(format!("announced {changed}"));
        lines.extend(described_conditions("announced", &announced.conditions));
    }
    lines
}

/// Returns the fields that differ, with their new values. Digests are left out: they change with every new kind of build.
fn changes<T: Serialize>(before: Option<&T>, after: Option<&T>) -> Value {
    let [before, after] = [before, after].map(|status| serde_json::to_value(status).unwrap());
    let mut changed = json!({});
    for (name, _) in [&before, &after]
        .into_iter()
        .filter_map(Value::as_object)
        .flatten()
    {
        if name == "conditions" || before[name] == after[name] {
            continue;
        }
        let value = &after[name];
        changed[name] = match name.as_str() {
            "inputs" | "config" | "handled" => json!(!value.is_null()),
            "imageTag" => json!(
                value
                    .as_str()
                    .and_then(|tag| tag.rsplit_once('-'))
                    .map(|(tag, _)| tag)
            ),
            _ => value.clone(),
        };
    }
    changed
}

/// Compares a text with its file, or writes the file by request.
fn compare(name: &str, recorded: &str, found: &str) {
    if found != recorded && update() {
        return write(name, found);
    }
    for (expected, got) in recorded.lines().zip(found.lines()) {
        assert_eq!(expected, got, "{name}");
    }
    assert_eq!(found, recorded, "{name}");
}

fn described_conditions(object: &str, conditions: &[Condition]) -> Vec<String> {
    let describe = |condition: &Condition| {
        let (kind, status, reason) = (&condition.type_, &condition.status, &condition.reason);
        format!("{object} {kind}={status} {reason}: {}", condition.message)
    };
    conditions.iter().map(describe).collect()
}

fn write(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/tests");
    std::fs::write(folder.join(name), text).unwrap();
}

#[allow(clippy::disallowed_methods, reason = "rows are written anew by request")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Plans and records one reconcile, in which every action succeeds.
fn reconcile(given: &str) -> (Plan, Records, ApplicationStatus) {
    reconcile_given(&Given::parse(given))
}

fn reconcile_given(given: &Given) -> (Plan, Records, ApplicationStatus) {
    let input = given.input();
    let plan = plan(&input, NOW);
    let mut records = Records::new(&input, NOW);
    for action in &plan.actions {
        let result = match action {
            Action::StartJob { .. } => {
                ActionResult::Job(Some(super::state::JobState::Fetching { since: NOW }))
            }
            Action::Deploy { .. } => given.deployed(),
            Action::Create {
                number,
                desired,
                revision,
                reason,
            } => {
                let name = release_name(input.app, *number);
                let revision = revision.as_deref();
                let status = created(&input, &name, *number, desired, revision, *reason, NOW);
                let status = Box::new(status);
                ActionResult::Created { name, status }
            }
            Action::End { .. } => ActionResult::Ended {
                output: "last line".to_owned(),
            },
            _ => ActionResult::Done,
        };
        record(&mut records, &input, action, result, NOW);
    }
    records.finish(&input, &input.running);
    let status = status(&input, &records, &input.running, NOW);
    (plan, records, status)
}

/// Returns the actions and the status as lines.
fn outcome(text: &str) -> Vec<String> {
    let given = Given::parse(text);
    let input = given.input();
    let (plan, records, status) = reconcile(text);
    let mut lines = described(&plan);
    for (name, release) in records.in_order() {
        let before = input.releases.iter().find(|view| view.name == name);
        if before.is_none_or(|before| before.status.phase != release.phase) {
            lines.push(format!("{name} is {:?}", release.phase));
        }
    }
    let conditions = status
        .conditions
        .iter()
        .filter(|condition| condition.type_ != "SourceReady" && condition.type_ != "Built")
        .map(|condition| match condition.status.as_str() {
            "True" if condition.type_ == condition.reason => condition.type_.clone(),
            "True" => format!("{}({})", condition.type_, condition.reason),
            "False" => format!("!{}({})", condition.type_, condition.reason),
            _ => format!("?{}({})", condition.type_, condition.reason),
        });
    let conditions: Vec<String> = conditions.collect();
    let phase = format!("{:?}", status.phase).to_lowercase();
    lines.push(format!("{phase}: {}", conditions.join(" ")));
    lines.extend(details(&status, input.app.status.as_ref()));
    lines
}

/// Returns what else the status contains, as lines.
fn details(status: &ApplicationStatus, before: Option<&ApplicationStatus>) -> Vec<String> {
    let mut lines = Vec::new();
    if (status.replicas, status.ready_replicas) != (0, 0) || !status.urls.is_empty() {
        let urls = status.urls.join(" ");
        lines.push(
            format!(
                "{} replicas, {} ready {urls}",
                status.replicas, status.ready_replicas
            )
            .trim_end()
            .to_owned(),
        );
    }
    if let Some(release) = &status.release {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".to_owned());
        lines.push(format!(
            "active {}, latest {}, {} in all",
            name(&release.active),
            name(&release.latest),
            release.count
        ));
    }
    if let Some(retry) = &status.retry {
        lines.push(format!("retry: {}", serde_json::to_string(retry).unwrap()));
    }
    if before.is_none_or(|before| before.last_handled_reconcile_at != status.last_handled_reconcile_at)
        && let Some(request) = &status.last_handled_reconcile_at
    {
        lines.push(format!("answers the request {request}"));
    }
    lines
}

fn described(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = plan.actions.iter().map(describe).collect();
    if let Some(check_in) = plan.check_in {
        lines.push(format!("reconcile in {}s", check_in.as_secs()));
    }
    if lines.is_empty() {
        lines.push("nothing".to_owned());
    }
    lines
}

fn describe(action: &Action) -> String {
    match action {
        Action::Number { release, number } => format!("number {release} {number}"),
        Action::Adopt { release } => format!("adopt {release}"),
        Action::Create {
            number,
            desired,
            revision,
            reason,
        } => {
            let pinned = revision.as_ref().map_or(String::new(), |revision| {
                format!(" pinned to {}", revision.trim_start_matches('0'))
            });
            let commit = desired.source.revision.to_string();
            let commit = commit.trim_start_matches('0');
            format!("create {number} of commit {commit}{pinned} because of {reason:?}")
        }
        Action::Begin { release, desired } => {
            let commit = desired.source.revision.to_string();
            format!("begin {release} of commit {}", commit.trim_start_matches('0'))
        }
        Action::StartJob { release, job } => match &job.work {
            super::JobWork::Build(build) if build.no_cache => format!("build {release} without cache"),
            super::JobWork::Build(_) => format!("build {release}"),
            super::JobWork::Pull { .. } => format!("pull {release}"),
        },
        Action::RunHook {
            release,
            overdue: false,
        } => format!("run the hook of {release}"),
        Action::RunHook {
            release,
            overdue: true,
        } => format!("stop the hook of {release}"),
        Action::Restart { release } => format!("restart {release}"),
        Action::Wait { release, problem } => format!("{release} waits: {:?}", problem.reason),
        Action::CancelJob => "cancel the job".to_owned(),
        Action::HandOver { release, .. } => format!("hand the job over to {release}"),
        Action::ForgetJob => "forget the job".to_owned(),
        Action::RecordImage { release, reused, .. } => {
            format!(
                "record the {}image of {release}",
                if *reused { "existing " } else { "" }
            )
        }
        Action::Deploy { release, preserve } => {
            let preserve = preserve
                .as_ref()
                .map_or(String::new(), |name| format!(", preserving {name}"));
            match release {
                Some(release) => format!("deploy {release}{preserve}"),
                None => "stop all containers".to_owned(),
            }
        }
        Action::End { release, outcome } => match outcome {
            ReleaseOutcome::Cancelled => format!("end {release}: cancelled"),
            ReleaseOutcome::Superseded => format!("end {release}: superseded"),
            ReleaseOutcome::NotNeeded(CancelReason::Stopped) => format!("end {release}: stopped"),
            ReleaseOutcome::NotNeeded(CancelReason::NoSource) => format!("end {release}: no source"),
            ReleaseOutcome::NotNeeded(CancelReason::NotOnBranch) => {
                format!("end {release}: not on the branch")
            }
            ReleaseOutcome::NotNeeded(CancelReason::Deleted) => format!("end {release}: deleted"),
            ReleaseOutcome::Failed { step, problem, .. } => {
                format!("end {release}: failed in {step} with {:?}", problem.reason)
            }
        },
        Action::Prune { release, image_tag } => {
            let image = if image_tag.is_some() { " and its image" } else { "" };
            format!("delete {release}{image}")
        }
        Action::RemoveContainers { volumes } => {
            format!("remove containers{}", if *volumes { " and volumes" } else { "" })
        }
        Action::Orphan => "orphan".to_owned(),
        Action::Forget => "forget the Application".to_owned(),
    }
}
