//! The commands about forges and previews against a real `davit up` and a real Gitea: what they print.

use serde_json::json;

use crate::common::git_repo::GitRepo;
use crate::common::gitea::Gitea;
use crate::session::Session;

#[test]
fn connect_repos_branches_and_previews_say_what_they_found() {
    let gitea = Gitea::start();
    let repo = GitRepo::with(&[("index.html", "<p>Main.")]);
    repo.git(["checkout", "--quiet", "-b", "next"]);
    repo.commit("Next", &[("index.html", "<p>Next.")]);
    repo.git(["checkout", "--quiet", "main"]);
    gitea.create_repository("shop", &repo);
    let api = |path: &str, body: &serde_json::Value| {
        let path = format!("/repos/{}/shop{path}", gitea.user);
        crate::common::wait_for(&path, std::time::Duration::from_secs(30), || {
            let answer = gitea.api("POST", &path, Some(&gitea.token), Some(body));
            (answer.status != 404).then(|| answer.expect(201).json())
        })
    };
    let mut session = Session::new("forges");
    let wait = ["--wait", "--timeout", "1m"];
    session.input = Some(format!("{}\n", gitea.token));
    session.types(
        &[
            &["connect", "gitea", "--name", "gt", "--url", &gitea.url],
            &wait[..],
        ]
        .concat(),
        0,
    );
    session.input = Some("wrong".to_owned());
    session.types(&["connect", "gitea", "--name", "other", "--url", &gitea.url], 1);
    session.types(&[&["repos", "gt"], &wait[..]].concat(), 0);
    session.types(&["repos", "gitprovider/gt", "--filter", "SHOP", "-o", "wide"], 0);
    session.types(&["repos", "gt", "--filter", "nothing"], 0);
    session.types(&["repos", "gtt"], 1);
    session.types(&["repos", "gtt", "--wait", "--timeout", "1s"], 1);
    session.types(&["repos", "gt", "--as", "jane"], 1);
    let shop = format!("{}/shop", gitea.user);
    session.types(&["branches", "gt", &shop, "--wait"], 0);
    session.types(&["branches", "gt", &shop, "-o", "json"], 0);
    session.types(&["branches", "gt", &shop.replace("shop", "shpo")], 1);

    session.apply(
        "shop",
        &json!({"command": null, "source": {"gitea": {"provider": {"name": "gt"}, "owner": gitea.user, "repository": "shop", "ref": {"branch": "main"}}},
            "build": {"static": {"publishDirectory": "."}}, "ports": [{"name": "http", "containerPort": 8080}],
            "trigger": {"pollInterval": "1s"}, "stopGracePeriod": "0s", "previews": {"labels": ["preview"]}}),
    );
    session.davit.wait_until_done("shop");
    session.types(&["previews", "shop"], 0);
    let label = api("/labels", &json!({"name": "preview", "color": "#00aa00"}));
    let pull = json!({"head": "next", "base": "main", "title": "Next", "labels": [label["id"]]});
    assert_eq!(api("/pulls", &pull)["number"], 1);
    session.davit.wait_until("shop", 120, "the preview", |app| {
        app["status"]["previews"][0]["state"] == "Ready"
    });
    session.types(&["previews", "shop", "--wait"], 0);
    session.types(&["previews", "shop", "-o", "wide"], 0);
    session.types(&["previews", "shop", "-o", "name"], 0);
    session.types(&["status"], 0);
    let text = session.transcript.replace(&gitea.url, "URL");
    // Gitea lists branches by the second in which it learned of them.
    let text = text.replace("NAME\nnext\nmain\n", "NAME\nmain\nnext\n");
    let names = regex::Regex::new(r#"("name": )"next"(\s+\},\s+\{\s+"name": )"main""#).unwrap();
    let text = names.replace(&text, r#"${1}"main"${2}"next""#);
    let wide = regex::Regex::new(" {3,}").unwrap();
    insta::assert_snapshot!(wide.replace_all(&text, "   "));
}
