//! Webhooks from the user's side, with a real Gitea: it is told of Davit by Davit itself, a push becomes a running container,
//! and nothing is left at the forge.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::davit::{condition, fetch_from_network};
use crate::common::git_repo::GitRepo;
use crate::common::gitea::Gitea;
use crate::common::process::Port;
use crate::common::wait_for;
use crate::examples::Terminal;

fn hooks(gitea: &Gitea) -> Vec<Value> {
    let path = format!("/repos/{}/shop/hooks", gitea.user);
    let found = gitea.api("GET", &path, Some(&gitea.token), None).expect(200);
    found.json().as_array().unwrap().clone()
}

#[test]
fn example_webhooks_deploys_a_push_and_leaves_no_hook_behind() {
    let gitea = Gitea::start();
    let repo = GitRepo::with(&[("index.html", "<p>First.")]);
    gitea.create_repository("shop", &repo);
    let port = Port::take();
    let public = format!("http://127.0.0.1:{}", port.number());
    let listen = format!("127.0.0.1:{}", port.number());
    let flags = ["--webhook-listen", &listen, "--public-url", &public];
    let terminal = Terminal::with_flags("ex-webhooks", &flags);
    let token = gitea.create_token(&gitea.user, &["read:user", "write:repository"]);
    let url = format!("{public}/webhooks/gitproviders/platform/gitea");
    let said = terminal.follow(
        "11-webhooks",
        &[
            ("https://git.example.com", &gitea.url),
            ("owner: acme", &format!("owner: {}", gitea.user)),
            ("token=…", &format!("token={token}")),
        ],
    );
    assert!(said.ends_with(&format!("{url} {}/shop", gitea.user)), "{said}");
    let found = hooks(&gitea);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0]["config"]["url"].as_str(), &found[0]["active"]),
        (Some(url.as_str()), &json!(true))
    );

    // A push, as a person makes it, is a running container without a poll.
    let second = repo.commit("Second", &[("index.html", "<p>Second.")]);
    gitea.push("shop", &repo);
    let app = wait_for("the push to run", Duration::from_mins(1), || {
        let app = terminal.get("-n shop dapp/shop");
        let active = &app["status"]["release"]["active"];
        (*active == "shop-2" && app["status"]["phase"] == "done").then_some(app)
    });
    assert_eq!(app["status"]["source"]["revision"], second.as_str());
    let release = terminal.get("-n shop rel/shop-2");
    let cause = &release["status"]["cause"];
    assert_eq!(
        (&cause["kind"], cause["actor"].as_str()),
        (&json!("Push"), Some(gitea.user.as_str()))
    );
    let page = fetch_from_network(&terminal.davit, "shop", "shop:8080").unwrap();
    assert!(page.contains("Second."), "{page}");

    // A user of the forge switches the hook off: it is repaired, and is still the only one.
    let path = format!("/repos/{}/shop/hooks/{}", gitea.user, found[0]["id"]);
    gitea
        .api(
            "PATCH",
            &path,
            Some(&gitea.token),
            Some(&json!({"active": false, "events": ["push"]})),
        )
        .expect(200);
    terminal.type_in("kubectl annotate gitprov gitea -n platform davit.dev/requestedAt=now");
    wait_for("the hook to be repaired", Duration::from_secs(20), || {
        let found = hooks(&gitea);
        (found.len() == 1 && found[0]["active"] == true && found[0]["config"]["url"] == url.as_str())
            .then_some(())
    });
    // Its secret is right too.
    let third = repo.commit("Third", &[("index.html", "<p>Third.")]);
    gitea.push("shop", &repo);
    wait_for("the next push to run", Duration::from_mins(1), || {
        let app = terminal.get("-n shop dapp/shop");
        (app["status"]["source"]["revision"] == third.as_str() && app["status"]["phase"] == "done")
            .then_some(())
    });

    // The last use of the repository ends, and begins again; then the provider is deleted.
    terminal.type_in("kubectl delete dapp shop -n shop");
    wait_for("the hook to be removed", Duration::from_secs(20), || {
        hooks(&gitea).is_empty().then_some(())
    });
    terminal.type_in("kubectl apply -f examples/11-webhooks/application.yaml");
    wait_for("the hook to be back", Duration::from_secs(20), || {
        (hooks(&gitea).len() == 1).then_some(())
    });
    let provider = terminal.get("-n platform gitprov/gitea");
    assert_eq!(condition(&provider, "WebhookReady")["reason"], "HooksRegistered");
    terminal
        .type_in("kubectl delete gitprov gitea -n platform --wait=false; kubectl delete dapp shop -n shop");
    wait_for("the provider to go", Duration::from_secs(30), || {
        terminal
            .type_in("kubectl get gitprov -n platform -o name --ignore-not-found; echo")
            .trim()
            .is_empty()
            .then_some(())
    });
    assert!(hooks(&gitea).is_empty());
}
