//! Rows of the planner: a state in a few words, and the actions and the status that follow from it.

mod given;

use std::path::Path;

use super::application_status::status;
use super::{Action, ActionResult, CancelReason, Plan, Records, ReleaseOutcome, plan, record};
use given::{Given, NOW};

/// The rows. `UPDATE=1 cargo test --lib plan::tests` writes the expected lines anew.
const ROWS: &str = include_str!("rows.txt");

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
    let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/tests/rows.txt");
    if found != ROWS && update() {
        std::fs::write(&rows, &found).unwrap();
    } else {
        for (row, (expected, got)) in ROWS.split("\n\n").zip(found.split("\n\n")).enumerate() {
            assert_eq!(expected.trim_end(), got.trim_end(), "row {row}");
        }
        assert_eq!(found, ROWS);
    }
}

#[allow(clippy::disallowed_methods, reason = "rows are written anew by request")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Returns the actions and the status as lines.
fn outcome(given: &str) -> Vec<String> {
    let given = Given::parse(given);
    let input = given.input();
    let plan = plan(&input, NOW);
    let mut records = Records::new(&input, NOW);
    for action in &plan.actions {
        let result = match action {
            Action::StartJob { .. } => {
                ActionResult::Job(Some(super::state::JobState::Fetching { since: NOW }))
            }
            Action::Deploy { .. } => ActionResult::Skipped,
            _ => ActionResult::Done,
        };
        record(&mut records, &input, action, result, NOW);
    }
    records.finish(&input, &input.running);
    let status = status(&input, &records, &input.running, NOW);
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
