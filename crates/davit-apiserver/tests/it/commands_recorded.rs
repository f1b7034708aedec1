//! What kubectl says on ours against what it was recorded to say on the real kube-apiserver.

use crate::accepted::{Accepted, differences};
use crate::commands::{Kubectl, answers, case};
use crate::compare::{client, recorded};
use crate::support::served;

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_says_what_it_was_recorded_to_say() {
    says_as_recorded(Kubectl::Current).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_kubectl_says_what_it_was_recorded_to_say() {
    says_as_recorded(Kubectl::Debian).await;
}

async fn says_as_recorded(kubectl: Kubectl) {
    let directory = tempfile::tempdir().unwrap();
    let (server, kubeconfig) = served(directory.path()).await;
    let client = client(&kubeconfig).await;
    let mut accepted = Accepted::read();
    let (mut wrong, mut files, mut commands) = (Vec::new(), Vec::new(), 0);
    for (file, mut cases) in case::all() {
        cases.retain(|case| !(case.new && kubectl == Kubectl::Debian));
        let file = format!("{}/{file}", kubectl.name());
        let ours = answers(&client, kubectl, &kubeconfig, &cases).await;
        let named: Vec<_> = cases
            .iter()
            .map(|case| {
                let steps = case.steps.iter();
                let steps: Vec<_> = steps.map(|step| step.run.list().join(" ")).collect();
                (format!("{}/{}", kubectl.name(), case.name()), steps)
            })
            .collect();
        commands += ours.values().flatten().filter(|said| !said.is_null()).count();
        wrong.extend(differences(&named, &ours, &recorded(&file), &mut accepted));
        files.push(file);
    }
    server.close().await;
    // As many as were promised, of each kubectl: fewer only where a selection was asked for.
    let whole = std::env::var("COMMANDS").unwrap_or_default().is_empty();
    assert!(!whole || commands >= 120, "only {commands} commands were run");
    let stale = accepted.stale(&files);
    assert!(
        wrong.is_empty() && stale.is_empty(),
        "{} of {commands} commands say otherwise:\n{}\naccepted, but not different: {stale:#?}",
        wrong.len(),
        wrong.join("\n")
    );
}
