//! The test servers themselves: what each serves and what each refuses. If one of these tests fails, start here and not at a
//! test that uses the server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests panic as tests do"
)]

use std::time::Duration;

use davit_test_support::docker::{DockerScope, docker};
use davit_test_support::git_repo::{GitRepo, git};
use davit_test_support::git_server::{Access, GitHttps, GitSsh};
use davit_test_support::gitea::Gitea;
use davit_test_support::process::{Daemon, Port, User, command};
use davit_test_support::registry::Registry;
use davit_test_support::{http, is_root, run, try_run, wait_for};

/// Runs `git ls-remote` of `url` with these options; returns whether it succeeded, and its output.
fn ls_remote(options: &[&str], environment: &[(&str, &str)], url: &str) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = git(dir.path());
    let (ok, out, err) = try_run(
        command
            .args(options)
            .args(["ls-remote", url])
            .envs(environment.iter().copied()),
    );
    (ok, out + &err)
}

#[test]
fn daemon_that_is_dropped_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Port::take(), Port::take());
    assert_ne!(one.number(), two.number());
    let mut sleep = command("sleep", User::Unprivileged);
    sleep.arg("1000");
    let mut daemon = Daemon::start("sleep", sleep, &dir.path().join("log"));
    let status = format!("/proc/{}/status", daemon.id());
    // It is `setpriv` for a moment, and then the program itself, under the same id.
    let user = wait_for("the program to run", Duration::from_secs(5), || {
        let text = std::fs::read_to_string(&status).ok()?;
        text.contains("Name:\tsleep").then_some(text)
    });
    assert!(
        !is_root() || user.contains("Uid:\t65534\t65534"),
        "runs as nobody: {user}"
    );
    daemon.stop();
    assert!(!std::path::Path::new(&status).exists());
}

#[test]
#[should_panic(expected = "ended (exit status: 3) before it was ready:\nno, thanks")]
fn daemon_that_exits_at_start_is_reported_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut fails = command("awk", User::Own);
    fails.arg("BEGIN { print \"no, thanks\"; exit 3 }");
    Daemon::start("awk", fails, &dir.path().join("log")).wait_ready(Duration::from_secs(5), || false);
}

#[test]
fn git_over_https_without_credential_refuses_a_fetch() {
    let mut server = GitHttps::start();
    let repo = GitRepo::with(&[("index.html", "one")]);
    repo.git(["tag", "v1"]);
    server.publish("shop.git", &repo);
    let ca = format!("http.sslCAInfo={}", server.ca.ca_file.display());
    let read = |access, options: &[&str]| {
        ls_remote(
            &[&["-c", ca.as_str()], options].concat(),
            &[],
            &server.url(access, "shop.git"),
        )
    };

    let (ok, said) = read(Access::Anonymous, &[]);
    assert!(
        ok && said.contains(&repo.head()) && said.contains("refs/tags/v1"),
        "{said}"
    );
    let (ok, said) = ls_remote(&[], &[], &server.url(Access::Anonymous, "shop.git"));
    assert!(
        !ok && said.contains("certificate"),
        "an unknown authority is refused: {said}"
    );

    let header = |user: &str, password: &str| {
        use base64::Engine as _;
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
        format!("http.extraHeader=Authorization: Basic {pair}")
    };
    assert!(read(Access::Basic, &["-c", &header(&server.user, &server.password)]).0);
    let (ok, said) = read(Access::Basic, &["-c", &header(&server.user, "wrong")]);
    assert!(!ok, "{said}");
    let url = format!(
        "{}/info/refs?service=git-upload-pack",
        server.url(Access::Basic, "shop.git")
    );
    let wrong = http::request("GET", &url)
        .ca(&server.ca.ca_file)
        .basic(&server.user, "wrong")
        .send();
    assert_eq!(wrong.status, 401, "{wrong:?}");

    let bearer = format!("http.extraHeader=Authorization: Bearer {}", server.bearer);
    assert!(read(Access::Bearer, &["-c", &bearer]).0);
    let (ok, said) = read(
        Access::Bearer,
        &["-c", "http.extraHeader=Authorization: Bearer wrong"],
    );
    assert!(!ok, "{said}");
    let (ok, said) = ls_remote(&["-c", &ca], &[], &server.url(Access::Anonymous, "nothing.git"));
    assert!(!ok && said.contains("not found"), "{said}");

    // Fetching a commit by its id is what Davit does; a newer push is seen at once.
    let clone = tempfile::tempdir().unwrap();
    run(git(clone.path()).args(["init", "--quiet"]));
    let (first, url) = (repo.head(), server.url(Access::Anonymous, "shop.git"));
    run(git(clone.path()).args(["-c", &ca, "fetch", "--quiet", "--depth", "1", &url, &first]));
    let second = repo.commit("second", &[("index.html", "two")]);
    server.publish("shop.git", &repo);
    assert!(ls_remote(&["-c", &ca], &[], &url).1.contains(&second));
    assert!(
        server
            .requests()
            .iter()
            .any(|line| line.starts_with("POST") && line.ends_with("200"))
    );

    server.stop();
    assert!(!ls_remote(&["-c", &ca], &[], &url).0);
}

#[test]
fn git_over_ssh_with_another_key_refuses_a_fetch() {
    let mut server = GitSsh::start();
    let repo = GitRepo::with(&[("index.html", "one")]);
    server.publish("shop.git", &repo);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let url = server.url("shop.git");
    let read = |key: &str, known_hosts: &str| {
        let ssh = format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes \
             -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -o GlobalKnownHostsFile=/dev/null",
            file("key", key),
            file("known_hosts", known_hosts)
        );
        ls_remote(&[], &[("GIT_SSH_COMMAND", &ssh)], &url)
    };
    let known = server.known_hosts();
    let (ok, said) = read(&server.client_key, &known);
    assert!(ok && said.contains(&repo.head()), "{said}\n{}", server.log());
    let (ok, said) = read(&server.stranger_key, &known);
    assert!(!ok && said.contains("Permission denied"), "{said}");
    let (ok, said) = read(&server.client_key, "");
    assert!(!ok && said.contains("Host key verification failed"), "{said}");
    server.change_host_key();
    let (ok, said) = read(&server.client_key, &known);
    assert!(!ok && said.contains("IDENTIFICATION HAS CHANGED"), "{said}");
    assert!(read(&server.client_key, &server.known_hosts()).0);
}

#[test]
fn gitea_without_token_hides_a_private_repository() {
    let mut gitea = Gitea::start();
    let repo = GitRepo::with(&[("index.html", "one")]);
    let url = gitea.create_repository("shop", &repo);

    let found = gitea
        .api("GET", "/user/repos", Some(&gitea.token), None)
        .expect(200)
        .json();
    assert_eq!(
        (&found[0]["full_name"], &found[0]["private"]),
        (&"davit/shop".into(), &true.into())
    );
    gitea
        .api(
            "GET",
            "/user/repos",
            Some("0123456789012345678901234567890123456789"),
            None,
        )
        .expect(401);
    gitea.api("GET", "/user/repos", None, None).expect(401);

    let with = |token: &str| url.replace("http://", &format!("http://davit:{token}@"));
    let (ok, said) = ls_remote(&[], &[], &with(&gitea.token));
    assert!(ok && said.contains(&repo.head()), "{said}");
    assert!(!ls_remote(&[], &[], &with("wrong")).0, "a wrong token");
    assert!(!ls_remote(&[], &[], &url).0, "no token");

    gitea.create_user("jane");
    let token = gitea.create_token("jane", &["read:user"]);
    gitea.api("GET", "/user", Some(&token), None).expect(200);
    gitea.api("GET", "/user/repos", Some(&token), None).expect(403);
    gitea
        .api(
            "GET",
            "/repos/davit/shop",
            Some(&gitea.create_token("jane", &["all"])),
            None,
        )
        .expect(404);

    let second = repo.commit("second", &[("index.html", "two")]);
    gitea.push("shop", &repo);
    let branch = gitea
        .api("GET", "/repos/davit/shop/branches/main", Some(&gitea.token), None)
        .expect(200)
        .json();
    assert_eq!(branch["commit"]["id"], second);
    gitea.stop();
    assert_eq!(gitea.api("GET", "/version", None, None).status, 0);
}

#[test]
fn registry_without_password_refuses_a_pull() {
    let scope = DockerScope::new("registry");
    let registry = Registry::start();
    let digest = registry.push(davit_test_support::docker::base_image(), "base:1");
    assert!(digest.starts_with("sha256:"), "{digest}");
    registry.request("GET", "base/tags/list").send().expect(200);
    let url = format!("http://{}/v2/base/tags/list", registry.address);
    assert_eq!(http::get(&url).status, 401);
    assert_eq!(
        http::request("GET", &url).basic("puller", "wrong").send().status,
        401
    );
    let (ok, _, said) = try_run(docker().args(["pull", "--quiet", &registry.image("base:1")]));
    assert!(!ok && said.contains("no basic auth credentials"), "{said}");

    let open = Registry::start_open();
    open.push(davit_test_support::docker::base_image(), "base:1");
    run(docker().args(["pull", "--quiet", &open.image("base:1")]));
    run(docker().args(["rmi", &open.image("base:1")]));
    drop(scope);
}

#[test]
fn docker_scope_that_is_dropped_leaves_nothing_on_the_engine() {
    let scope = DockerScope::new("scope");
    let other = DockerScope::new("scope");
    let label = scope.label();
    let name = scope.namespace.clone();
    run(docker().args(["network", "create", "--label", &label, &name]));
    run(docker().args(["volume", "create", "--label", &label, &name]));
    run(docker()
        .args(["run", "--detach", "--init", "--label", &label, "--network", &name])
        .args([
            "--volume",
            &format!("{name}:/data"),
            davit_test_support::docker::BASE_IMAGE,
            "sleep",
            "1000",
        ]));
    davit_test_support::docker::import(&name, &[&label]);
    run(docker().args(["volume", "create", "--label", &other.label(), &other.namespace]));
    assert_eq!(scope.leftovers().len(), 4, "{:?}", scope.leftovers());
    let found = |filter: &str| {
        run(docker().args(["volume", "ls", "--quiet", "--filter", &format!("label={filter}")]))
    };
    assert_eq!(found(&label), name);
    drop(scope);
    assert_eq!(found(&label), "");
    for list in [
        ["ps", "--all"].as_slice(),
        &["network", "ls"],
        &["image", "ls", "--all"],
    ] {
        let left = run(docker()
            .args(list)
            .args(["--quiet", "--filter", &format!("label={label}")]));
        assert_eq!(left, "", "{list:?}");
    }
    assert_eq!(other.leftovers().len(), 1, "another test's are untouched");
}
