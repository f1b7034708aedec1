//! When a pass is due.

use serde_json::json;

use super::*;

fn app(name: &str, spec: &serde_json::Value) -> Application {
    serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": name, "namespace": "ns", "generation": 1}, "spec": spec}))
    .unwrap()
}

fn ended(listed: bool, problem: bool) -> PassResult {
    PassResult {
        listed: listed.then(Arc::default),
        states: Some(Vec::new()),
        facts: Facts::default(),
        is_decided: true,
        asked: 0,
        looked_at: 0,
        expires_in: None,
        refused: Refused::new(),
        comments: None,
        problem: problem.then(|| PassProblem {
            message: "the forge is down".to_owned(),
            pause: None,
            longest: Duration::MAX,
            is_reported: true,
            holds: true,
        }),
    }
}

/// Whether a pass begins, and whether it lists the pull requests.
fn begins(due: Due) -> Option<bool> {
    match due {
        Due::Now(begin) => Some(begin.pull_requests.is_none()),
        Due::In(_) | Due::Never => None,
    }
}

#[tokio::test(start_paused = true)]
async fn pass_is_due_at_the_interval_and_when_a_preview_changes() {
    let (wake, mut woken) = mpsc::unbounded_channel();
    let previews = Previews::new(20, wake);
    let (id, shop) = (AppId::new("ns", "shop"), app("shop", &json!({"previews": {}})));
    let mut status = ApplicationStatus::default();
    assert!(matches!(previews.due(&app("other", &json!({}))), Due::Never));
    assert_eq!(begins(previews.due(&shop)), Some(true));
    assert_eq!(begins(previews.due(&shop)), None, "it is running");
    assert_eq!(previews.end(&id, false, ended(true, false)), None);
    assert_eq!(woken.recv().await, Some(id.clone()));
    assert!(
        matches!(previews.due(&shop), Due::Never),
        "its result is not recorded"
    );
    previews.record(&id, &mut status);
    assert!(matches!(previews.due(&shop), Due::In(rest) if rest == INTERVAL));

    let mut copy = app("shop-pr-1", &json!({}));
    copy.labels_mut()
        .insert(LABEL_PREVIEW_OF.to_owned(), "shop".to_owned());
    previews.preview_seen(&copy, Some(&status));
    previews.preview_seen(&copy, Some(&status));
    assert_eq!(woken.recv().await, Some(id.clone()));
    assert!(woken.try_recv().is_err(), "the same again is no change");
    assert_eq!(
        begins(previews.due(&shop)),
        Some(false),
        "the list from before will do"
    );

    // The forge is down: it is reported once.
    let first = previews.end(&id, false, ended(false, true));
    previews.record(&id, &mut status);
    assert!(first.is_some_and(|message| message.contains("down")));
    assert!(matches!(previews.due(&shop), Due::In(_)));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(begins(previews.due(&shop)), Some(false));
    assert_eq!(previews.end(&id, false, ended(false, true)), None);
    previews.record(&id, &mut status);
    // Another spec is looked at without a pause.
    let mut other = shop.clone();
    other.metadata.generation = Some(2);
    assert_eq!(begins(previews.due(&other)), Some(true));
    previews.end(&id, false, ended(true, false));
    previews.record(&id, &mut status);
    tokio::time::advance(INTERVAL).await;
    assert_eq!(begins(previews.due(&other)), Some(true));
}

#[tokio::test(start_paused = true)]
async fn deletion_waits_for_one_pass() {
    let (wake, _woken) = mpsc::unbounded_channel();
    let previews = Previews::new(20, wake);
    let (id, mut shop) = (AppId::new("ns", "shop"), app("shop", &json!({"previews": {}})));
    assert!(matches!(previews.hold_deletion(&shop), Hold::No));
    assert_eq!(begins(previews.due(&shop)), Some(true));
    shop.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        jiff::Timestamp::now(),
    ));
    assert!(matches!(previews.hold_deletion(&shop), Hold::Running));
    previews.end(&id, false, ended(true, false));
    assert!(matches!(previews.hold_deletion(&shop), Hold::Begin(_)));
    previews.end(&id, true, ended(false, false));
    assert!(matches!(previews.hold_deletion(&shop), Hold::No));
}
