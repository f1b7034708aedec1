//! How releases follow each other: host ports, failed ones, the queue, history, and what is orphaned.

use std::time::Duration;

use serde_json::{Value, json};

use super::{active, create_release, dockerfile, git, inspect, phase, web};
use crate::common::davit::Davit;
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::http::request;
use crate::common::process::Port;
use crate::common::{run, try_run, wait_for};

#[test]
fn host_port_is_bound_at_two_addresses() {
    let davit = Davit::up("addresses");
    let port = Port::take();
    let number = port.number();
    let script = "for p in 80 81 82; do mkdir -p /w$p; echo $p > /w$p/index.html; httpd -p $p -h /w$p; done; exec sleep 10000";
    let spec = |places: &[(u16, &str)]| {
        let ports: Vec<_> = places
            .iter()
            .map(|(inside, ip)| json!({"containerPort": inside, "hostPort": number, "hostIp": ip}))
            .collect();
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", script], "ports": ports,
            "healthCheck": {"tcp": {"port": places[0].0}, "interval": "200ms"}, "stopGracePeriod": "0s"})
    };
    let serves = |places: &[(u16, &str)]| {
        let app = davit.wait_until_done("web");
        let urls: Vec<_> = places
            .iter()
            .map(|(_, ip)| format!("http://{ip}:{number}"))
            .collect();
        assert_eq!(app["status"]["urls"], json!(urls));
        for ((inside, _), url) in places.iter().zip(&urls) {
            assert_eq!(
                request("GET", url).send().body.trim(),
                inside.to_string(),
                "{url}"
            );
        }
    };
    let both = [(80, "127.0.0.1"), (81, "127.0.0.2")];
    davit.apply("web", spec(&both));
    serves(&both);
    // Each address belongs to one Application: another one has a third address, and cannot take these two.
    davit.apply("peer", spec(&[(82, "127.0.0.3")]));
    davit.wait_until_done("peer");
    let third = [both[0], both[1], (82, "127.0.0.3")];
    davit.apply("web", spec(&third));
    let said = davit.wait_for_error("web", "PortTaken");
    assert!(
        said.contains(&format!("host port 127.0.0.3:{number}")) && said.contains("addresses/peer"),
        "{said}"
    );
    davit.wait_until("web", 30, "the places where it listens, and no other", |app| {
        app["status"]["urls"] == json!(both.map(|(_, ip)| format!("http://{ip}:{number}")))
    });
    davit.delete_and_wait("peer");
    davit.patch(
        "web",
        json!({"metadata": {"annotations": {"davit.dev/requestedAt": "now"}}}),
    );
    davit.wait_until("web", 30, "three addresses", |app| {
        app["status"]["urls"]
            .as_array()
            .is_some_and(|urls| urls.len() == 3)
    });
    serves(&third);
    // One for all of them leaves none to another.
    davit.apply("web", spec(&[both[0], (81, "0.0.0.0")]));
    let said = davit.wait_for_error("web", "InvalidSpec");
    assert!(
        said.contains(&format!("hostPort {number} twice")) && said.contains("hostIp 0.0.0.0"),
        "{said}"
    );
    assert_eq!(davit.containers("web").len(), 1);
}

#[test]
fn host_port_moves_to_the_new_container_and_a_failed_one_may_stay() {
    let davit = Davit::up("ports");
    let port = Port::take();
    let repo = GitRepo::with(&[("Dockerfile", &web("one"))]);
    let check = json!({"http": {"port": 80}, "interval": "500ms"});
    davit.apply(
        "web",
        json!({"source": git(&repo), "ports": [{"containerPort": 80, "hostPort": port.number(), "hostIp": "127.0.0.1"}],
            "healthCheck": check, "rollout": {"autoRollback": false, "progressDeadline": "4s"}}),
    );
    let app = davit.wait_until_done("web");
    let url = format!("http://127.0.0.1:{}", port.number());
    assert_eq!(app["status"]["urls"], json!([url]));
    assert_eq!(request("GET", &url).send().body.trim(), "one");
    repo.commit("Two", &[("Dockerfile", &web("two"))]);
    davit.request_reconcile("web");
    active(&davit, "web", 2);
    assert_eq!(request("GET", &url).send().body.trim(), "two");
    let events = run(davit.kubectl().args([
        "get",
        "events",
        "--field-selector",
        "reason=StopFirst,involvedObject.name=web-2",
        "--output",
        "jsonpath={.items[*].message}",
    ]));
    assert!(
        events.contains("hostPort"),
        "that StopFirst is chosen is said: {events:?}"
    );
    // More replicas than host ports cannot be.
    let patch = json!({"spec": {"replicas": 2}}).to_string();
    let (ok, _, said) = try_run(
        davit
            .kubectl()
            .args(["patch", "dapp", "web", "--type", "merge", "--patch", &patch]),
    );
    assert!(!ok && said.contains("hostPort"), "{said}");

    // autoRollback: false leaves the failed containers as they are.
    repo.commit(
        "Never healthy",
        &[("Dockerfile", &dockerfile("CMD [\"sleep\", \"10000\"]"))],
    );
    davit.request_reconcile("web");
    davit.wait_for_error("web", "Unhealthy");
    let release = |davit: &Davit| inspect(davit, "web")["Config"]["Labels"]["dev.davit.release"].clone();
    wait_for(
        "the failed one to be what is left",
        Duration::from_secs(20),
        || (davit.containers("web").iter().any(|_| release(&davit) == "web-3")).then_some(()),
    );
    let app = davit.application("web");
    assert_eq!(app["status"]["release"]["active"], "web-2");
    assert_eq!(app["status"]["phase"], "error");
    // With it, the release before comes back at once.
    davit.patch("web", json!({"spec": {"rollout": {"autoRollback": true}}}));
    wait_for("the release before to serve", Duration::from_secs(30), || {
        (request("GET", &url).send().body.trim() == "two").then_some(())
    });
}

#[test]
fn releases_are_queued_rejected_and_pruned() {
    let davit = Davit::up("order");
    let slow = |text: &str| dockerfile(&format!("RUN echo {text}; sleep 2\nCMD [\"sleep\", \"10000\"]"));
    let repo = GitRepo::with(&[("Dockerfile", &slow("one"))]);
    davit.apply(
        "queue",
        json!({"source": git(&repo), "concurrencyPolicy": "Queue"}),
    );
    davit.wait_until("queue", 30, "building", |_| {
        davit
            .releases_of("queue")
            .first()
            .is_some_and(|release| phase(release) == "Building")
    });
    create_release(
        &davit,
        "mine",
        &json!({"application": "queue", "type": "Redeploy", "title": "Once more"}),
    );
    let waits = wait_for("the second to wait", Duration::from_secs(10), || {
        let all = davit.releases_of("queue");
        (all.len() == 2 && all[1]["status"]["number"] == 2).then(|| all[1].clone())
    });
    assert!(!matches!(phase(&waits), "Failed" | "Superseded"), "{waits}");
    davit.wait_until("queue", 60, "through both", |_| {
        let all = davit.releases_of("queue");
        all.len() == 2 && all.iter().all(|release| phase(release) == "Succeeded")
    });
    let all = davit.releases_of("queue");
    let time = |release: &Value, field: &str| release["status"][field].as_str().unwrap().to_owned();
    assert!(
        time(&all[0], "finishedAt") <= time(&all[1], "finishedAt"),
        "in their order"
    );
    assert_eq!(all[1]["status"]["cause"]["kind"], "Manual");

    davit.patch("queue", json!({"spec": {"concurrencyPolicy": "Forbid"}}));
    repo.commit("Two", &[("Dockerfile", &slow("two"))]);
    davit.request_reconcile("queue");
    davit.wait_until("queue", 30, "building", |_| {
        davit
            .releases_of("queue")
            .get(2)
            .is_some_and(|release| phase(release) == "Building")
    });
    create_release(&davit, "refused", &json!({"application": "queue"}));
    let refused = wait_for("the other to be refused", Duration::from_secs(20), || {
        davit
            .releases_of("queue")
            .get(3)
            .filter(|release| phase(release) == "Failed")
            .cloned()
    });
    assert_eq!(refused["status"]["failure"]["reason"], "Concurrent", "{refused}");
    davit.wait_until("queue", 60, "at the third", |app| {
        app["status"]["release"]["active"] == "queue-3"
    });

    // History: of those that ended well one is kept, of the others one; their images and logs go with them.
    davit.patch(
        "queue",
        json!({"spec": {"concurrencyPolicy": "Supersede", "history": {"succeeded": 1, "failed": 1}}}),
    );
    for (number, lines) in [
        (5, "RUN false"),
        (6, "RUN false; true; false"),
        (7, "CMD [\"sleep\", \"10001\"]"),
    ] {
        repo.commit(&number.to_string(), &[("Dockerfile", &dockerfile(lines))]);
        davit.request_reconcile("queue");
        davit.wait_until("queue", 60, "through the next", |app| {
            let last = davit.releases_of("queue").pop();
            app["status"]["release"]["count"] == number
                && last.is_some_and(|release| matches!(phase(&release), "Failed" | "Succeeded"))
        });
        let kept = davit.application("queue")["status"]["release"]["active"].clone();
        assert!(
            davit
                .releases_of("queue")
                .iter()
                .any(|release| release["metadata"]["name"] == kept),
            "the active one is never forgotten"
        );
    }
    davit.wait_until_done("queue");
    wait_for("the history to be cut", Duration::from_secs(30), || {
        let names: Vec<String> = davit
            .releases_of("queue")
            .iter()
            .map(|release| release["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        (names == ["queue-6", "queue-7"]).then_some(())
    });
    let uid = davit.application("queue")["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut logs: Vec<String> = std::fs::read_dir(davit.data_dir().join("logs/order").join(uid))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    logs.sort();
    assert_eq!(logs, ["queue-6.log", "queue-7.log"]);
    wait_for("old images to go", Duration::from_secs(30), || {
        (davit.list_in_engine("images").len() == 1).then_some(())
    });
}

#[test]
fn orphaned_containers_keep_running() {
    let mut davit = Davit::up("orphan");
    davit.apply(
        "app",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "10000"], "deletionPolicy": "Orphan"}),
    );
    davit.wait_until_done("app");
    let containers = davit.containers("app");
    davit.delete_and_wait("app");
    assert_eq!(davit.containers("app"), containers);
    // The next Davit removes orphaned containers, but keeps those that were left on purpose. A container with the same
    // labels shows that the search has run.
    assert!(davit.stop());
    let labels = [
        format!("dev.davit.instance={}", davit.instance),
        "dev.davit.namespace=orphan".to_owned(),
        "dev.davit.application=lost".to_owned(),
        "dev.davit.uid=nobody".to_owned(),
    ];
    let mut lost = davit.docker();
    lost.args(["run", "--detach"]);
    for label in &labels {
        lost.args(["--label", label]);
    }
    run(lost.args([BASE_IMAGE, "sleep", "10000"]));
    davit.start();
    wait_for("what was lost to be swept", Duration::from_secs(30), || {
        davit.containers("lost").is_empty().then_some(())
    });
    assert_eq!(
        davit.containers("app"),
        containers,
        "what was orphaned is removed"
    );
}
