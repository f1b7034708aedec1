//! The commands of tests/it/commands on the real kube-apiserver: kubectl still says what was recorded, or
//! (`UPDATE=1`) that is recorded anew.

use crate::commands::{Kubectl, answers, case};
use crate::compare::{client, recorded};
use crate::compare_live::{failed, no_longer, record, updating};
use davit_test_support::kube_apiserver::KubeApiserver;

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_says_on_the_real_api_server_what_was_recorded() {
    let mut server = KubeApiserver::start();
    server.start_controllers();
    let client = client(&server.kubeconfig).await;
    let mut wrong = Vec::new();
    for kubectl in [Kubectl::Current, Kubectl::Debian] {
        for (file, mut cases) in case::all() {
            cases.retain(|case| !(case.new && kubectl == Kubectl::Debian));
            let file = format!("{}/{file}", kubectl.name());
            let live = answers(&client, kubectl, &server.kubeconfig, &cases).await;
            wrong.extend(failed(&live));
            if updating() {
                record(&file, &live);
            } else {
                wrong.extend(no_longer(&recorded(&file), &live));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "no longer as recorded (UPDATE=1 records anew):\n{}",
        wrong.join("\n")
    );
}
