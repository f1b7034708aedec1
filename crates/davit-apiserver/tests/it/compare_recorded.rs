//! Ours against the recorded answers of the real kube-apiserver.

use crate::accepted::{Accepted, differences};
use crate::compare::{answers, case, client, recorded};
use crate::support::served;

#[tokio::test(flavor = "multi_thread")]
async fn ours_answers_as_the_real_one_was_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let (server, kubeconfig) = served(directory.path()).await;
    let client = client(&kubeconfig).await;
    let mut accepted = Accepted::read();
    let (mut wrong, mut files, mut requests) = (Vec::new(), Vec::new(), 0);
    for (file, cases) in case::all() {
        let ours = answers(&client, &cases).await;
        requests += cases.iter().map(|case| case.steps.len()).sum::<usize>();
        let named: Vec<_> = cases.iter().map(case::Case::shown).collect();
        wrong.extend(differences(&named, &ours, &recorded(&file), &mut accepted));
        files.push(file);
    }
    server.close().await;
    let stale = accepted.stale(&files);
    assert!(
        wrong.is_empty() && stale.is_empty(),
        "{} of {requests} requests are answered otherwise:\n{}\naccepted, but not different: {stale:#?}",
        wrong.len(),
        wrong.join("\n")
    );
}
