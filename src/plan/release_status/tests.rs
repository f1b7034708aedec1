use super::*;
use crate::api::QueuePlace;
use crate::builder::BuilderDetails;
use crate::error::{Class, Problem};
use crate::plan::action::ReleaseOutcome;
use crate::plan::state::{JobFailure, JobOutput, JobState};
use crate::runtime::Progress;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_release_passes_through_its_steps_and_then_never_changes() {
    let mut status = ReleaseStatus::default();
    job(&mut status, &JobState::Queued { position: 2 }, at(1));
    assert_eq!(status.queue, Some(QueuePlace { position: 2 }));
    job(&mut status, &JobState::Fetching { since: at(2) }, at(2));
    job(&mut status, &JobState::Building { since: at(3) }, at(4));
    image(
        &mut status,
        &JobOutput {
            image: "sha256:1".into(),
            ..JobOutput::default()
        },
        false,
        at(5),
    );
    let rolling = |created| Progress::Rolling {
        created,
        ready: 0,
        check_in: None,
        waiting_for: String::new(),
    };
    progress(&mut status, &rolling(1), 2, at(6));
    assert_eq!(status.phase, ReleasePhase::Deploying);
    progress(&mut status, &rolling(2), 2, at(7));
    assert_eq!(status.phase, ReleasePhase::Verifying);
    progress(&mut status, &Progress::Complete, 2, at(8));
    assert_eq!(status.phase, ReleasePhase::Succeeded);
    let names: Vec<_> = status
        .steps
        .iter()
        .map(|step| (step.name.as_str(), step.finished_at.is_some()))
        .collect();
    assert_eq!(
        names,
        [
            ("Fetching", true),
            ("Building", true),
            ("Deploying", true),
            ("Verifying", true)
        ]
    );
    assert!(condition::is_true(&status.conditions, ConditionType::Succeeded));
    let before = status.clone();
    end(&mut status, &ReleaseOutcome::Superseded, at(9));
    progress(&mut status, &rolling(0), 2, at(9));
    job(&mut status, &JobState::Building { since: at(9) }, at(9));
    cancelling(&mut status, at(9));
    assert_eq!(status, before);
}

#[test]
fn the_deadline_counts_anew_after_an_outage() {
    let mut status = ReleaseStatus::default();
    let rolling = Progress::Rolling {
        created: 1,
        ready: 0,
        check_in: None,
        waiting_for: String::new(),
    };
    progress(&mut status, &rolling, 1, at(1));
    let problem = Problem::new(Class::Transient, Reason::EngineUnavailable, "it is away");
    outage(&mut status, None, at(2));
    assert_eq!(step_began(&status, Step::Deploying), Some(at(1)));
    outage(&mut status, Some(&problem), at(3));
    let before = status.clone();
    outage(&mut status, Some(&problem), at(4));
    assert_eq!(status, before, "the same problem is written once");
    assert_eq!(status.phase, ReleasePhase::Verifying);
    outage(&mut status, None, at(9));
    assert_eq!(step_began(&status, Step::Deploying), Some(at(9)));
    progress(&mut status, &rolling, 1, at(10));
    let before = status.clone();
    outage(&mut status, None, at(11));
    assert_eq!(status, before);
    assert_eq!(status.phase, ReleasePhase::Verifying);
}

#[test]
fn a_failure_says_where_why_and_the_last_lines() {
    let mut status = ReleaseStatus::default();
    job(&mut status, &JobState::Building { since: at(0) }, at(0));
    let problem = Problem::new(Class::Terminal, Reason::BuildFailed, "exit code: 1");
    end(
        &mut status,
        &ReleaseOutcome::Failed {
            step: Step::Building,
            problem,
            log_tail: "boom".into(),
        },
        at(90),
    );
    let failure = status.failure.unwrap();
    assert_eq!(
        (failure.step.as_str(), failure.reason.as_str()),
        ("Building", "BuildFailed")
    );
    assert_eq!(failure.log_tail.as_deref(), Some("boom"));
    assert!(condition::is_true(&status.conditions, ConditionType::Stalled));
    assert!(condition::find(&status.conditions, ConditionType::Reconciling).is_none());
    assert_eq!(status.duration.as_deref(), Some("0s"));
}

#[test]
fn a_release_that_failed_names_its_commit() {
    let mut status = ReleaseStatus {
        source: Some(ResolvedSource::default()),
        ..ReleaseStatus::default()
    };
    let failure = JobFailure {
        at: at(1),
        problem: Problem::new(Class::Terminal, Reason::BuildFailed, "exit code 1"),
        cancelled: false,
        step: Step::Building,
        log_tail: String::new(),
        commit: Some(("Break it".into(), "Jane <jane@example.com>".into())),
        built_at: Some(at(0)),
        pushed_at: None,
        builder: Some(Box::new((
            "railpack".to_owned(),
            BuilderDetails {
                detected: Some("node".to_owned()),
                ..BuilderDetails::default()
            },
        ))),
    };
    job(&mut status, &JobState::Ended(Err(failure.clone())), at(2));
    let source = status.source.clone().unwrap();
    assert_eq!(source.message.as_deref(), Some("Break it"));
    assert_eq!(source.author.as_deref(), Some("Jane <jane@example.com>"));
    let builder = status.builder.clone().unwrap();
    assert_eq!(
        (builder.kind.as_str(), builder.detected.as_deref()),
        ("railpack", Some("node"))
    );
    let mut again = ReleaseStatus {
        source: Some(ResolvedSource::default()),
        ..ReleaseStatus::default()
    };
    retrying(&mut again, &failure, at(2));
    assert_eq!(again.source, status.source);
    for status in [&status, &again] {
        assert!(
            step_began(status, Step::Building).is_some(),
            "nobody looked while it was built"
        );
    }
    let told = again.clone();
    retrying(&mut again, &failure, at(3));
    assert_eq!(again, told, "what waits changes with no look");
}

#[test]
fn release_that_fails_at_its_first_deploy_has_that_step() {
    let mut status = ReleaseStatus {
        phase: ReleasePhase::Pending,
        ..ReleaseStatus::default()
    };
    let failed = ReleaseOutcome::Failed {
        step: Step::Deploying,
        problem: Problem::new(Class::Terminal, Reason::PortTaken, "port 80 is taken"),
        log_tail: String::new(),
    };
    end(&mut status, &failed, at(5));
    let step = status.steps.last().unwrap();
    assert_eq!(
        (step.name.as_str(), step.reason.as_deref()),
        ("Deploying", Some("PortTaken"))
    );
    assert_eq!(step.finished_at, Some(at(5).to_string()));
}
