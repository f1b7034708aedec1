//! Ours against the recorded answers of the real kube-apiserver.

use tokio::net::TcpListener;

use crate::compare::{answers, case, client, diff::Accepted, differences, recorded};
use crate::support::server;

#[tokio::test(flavor = "multi_thread")]
async fn ours_answers_as_the_real_one_was_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let server = server().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server.serve(listener).unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig(address)).unwrap();
    let client = client(&kubeconfig).await;
    let mut accepted = Accepted::read();
    let (mut wrong, mut files, mut requests) = (Vec::new(), Vec::new(), 0);
    for (file, cases) in case::all() {
        let ours = answers(&client, &cases).await;
        requests += cases.iter().map(|case| case.steps.len()).sum::<usize>();
        wrong.extend(differences(&cases, &ours, &recorded(&file), &mut accepted));
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
