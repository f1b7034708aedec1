//! A preview behind the real Traefik: at its own host name, from the pull request of a real Gitea to the end of it.

use kube::api::PostParams;
use serde_json::{Value, json};

use super::{PATIENCE, Proxy};
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::gitea::Gitea;
use crate::common::wait_for;

#[test]
fn preview_is_served_at_its_own_host_until_its_pull_request_is_closed() {
    let gitea = Gitea::start();
    let dockerfile = format!(
        "FROM {BASE_IMAGE}\nCOPY page /w/index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/w\"]\n"
    );
    let repo = GitRepo::with(&[("Dockerfile", &dockerfile), ("page", "main")]);
    gitea.create_repository("shop", &repo);
    let proxy = Proxy::up("previews", &[]);
    let davit = &proxy.davit;
    davit.create_secret("gt", &[("token", &gitea.token)]);
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": gitea.url, "tokenSecretRef": {"name": "gt"}}}});
    let provider = serde_json::from_value(provider).unwrap();
    davit
        .block_on(davit.providers().create(&PostParams::default(), &provider))
        .unwrap();
    davit.apply(
        "shop",
        json!({
            "source": {"gitea": {"provider": {"name": "gt"}, "owner": gitea.user, "repository": "shop", "ref": {"branch": "main"}}},
            "trigger": {"pollInterval": "1s"},
            "build": {"dockerfile": {}},
            "ports": [{"name": "http", "containerPort": 8080}],
            "healthCheck": {"http": {"path": "/", "port": "http"}, "interval": "1s"},
            "stopGracePeriod": "1s",
            "routes": [{"host": "shop.example.com"}],
            "previews": {"host": "{{number}}-{{branch}}.preview.example.com"},
        }),
    );
    proxy.wait_ready("shop");
    let serves = |host: &str, text: &str| {
        wait_for(&format!("{text:?} at {host}"), PATIENCE * 2, || {
            let reply = proxy.get(host, "/");
            (reply.status == 200 && reply.body.trim() == text).then_some(())
        });
    };
    serves("shop.example.com", "main");

    repo.git(["checkout", "--quiet", "-b", "feature/Ünïcode_and_more"]);
    repo.commit("first", &[("page", "first")]);
    gitea.push("shop", &repo);
    let api = |method: &str, path: &str, body: &Value| {
        let path = format!("/repos/{}/shop{path}", gitea.user);
        let body = Some(body).filter(|body| !body.is_null());
        let reply = gitea.api(method, &path, Some(&gitea.token), body);
        assert!((200..300).contains(&reply.status), "{method} {path}: {reply:?}");
        reply.json()
    };
    let pull = json!({"head": "feature/Ünïcode_and_more", "base": "main", "title": "A change"});
    let number = api("POST", "/pulls", &pull)["number"].as_u64().unwrap();
    let name = format!("shop-pr-{number}");
    davit.wait_until(&name, 120, "there", |app| {
        app["metadata"]["annotations"].is_object()
    });
    let app = proxy.wait_ready(&name);
    let host = app["metadata"]["annotations"]["davit.dev/preview-host"]
        .as_str()
        .unwrap();
    assert!(
        host.starts_with(&format!("{number}-feature-")) && host.is_ascii(),
        "{host}"
    );
    assert_eq!(app["status"]["urls"], json!([proxy.url(host)]));
    serves(host, "first");
    serves("shop.example.com", "main");
    wait_for("its address in the comment", PATIENCE, || {
        let comments = api("GET", &format!("/issues/{number}/comments"), &Value::Null);
        comments.to_string().contains(&proxy.url(host)).then_some(())
    });

    // A push reaches it, and only it.
    repo.commit("second", &[("page", "second")]);
    gitea.push("shop", &repo);
    serves(host, "second");
    serves("shop.example.com", "main");

    api("PATCH", &format!("/pulls/{number}"), &json!({"state": "closed"}));
    wait_for("the host to go", PATIENCE, || {
        (proxy.get(host, "/").status == 404).then_some(())
    });
    serves("shop.example.com", "main");
    wait_for("the preview to go", PATIENCE, || {
        (davit.application(&name).is_null() && davit.containers(&name).is_empty()).then_some(())
    });
}
