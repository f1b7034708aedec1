//! Each mistake gets its own reason and a message that names the field and the way out, costs no retry storm, and does
//! not hold up any other Application.

#![allow(
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end"
)]

use std::time::Duration;

use crate::common::davit::{Davit, condition};
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::wait_for;
use serde_json::{Value, json};

/// A mistake: a name, the spec, the reason, and what the message must say.
type Row = (&'static str, Value, &'static str, &'static [&'static str]);

fn good() -> String {
    format!("FROM {BASE_IMAGE}\nCMD [\"sleep\", \"10000\"]\n")
}

#[test]
fn invalid_application_has_its_reason_and_a_solution() {
    let davit = Davit::up("bad");
    let repo = GitRepo::with(&[("Dockerfile", &good()), ("site/x.txt", "x")]);
    std::os::unix::fs::symlink("/etc", repo.path().join("out")).unwrap();
    repo.commit("A link that leads out", &[]);
    let git = |more: Value| {
        let mut source = json!({"url": repo.url()});
        for (key, value) in more.as_object().unwrap() {
            source[key] = value.clone();
        }
        json!({"git": source})
    };
    let here = git(json!({}));
    let failing = GitRepo::with(&[(
        "Dockerfile",
        &format!("FROM {BASE_IMAGE}\nRUN echo a-clue; exit 7\n"),
    )]);
    let slow = GitRepo::with(&[("Dockerfile", &format!("FROM {BASE_IMAGE}\nRUN sleep 100\n"))]);
    let ends = GitRepo::with(&[(
        "Dockerfile",
        &format!("FROM {BASE_IMAGE}\nCMD [\"sh\", \"-c\", \"exit 3\"]\n"),
    )]);
    let page = GitRepo::with(&[("index.html", "<p>hello</p>")]);
    davit.create_secret("half", &[("username", "jane")]);
    davit.create_secret("some", &[("there", "x")]);
    let long = "x".repeat(200_000);
    davit.create_config_map("long", &[("VALUE", &long)]);
    davit.create_secret("long", &[("VALUE", &long)]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();

    let rows: Vec<Row> = vec![
        (
            "no-secret",
            json!({"source": here, "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "nope", "key": "k"}}}]}),
            "SecretNotFound",
            &["spec.env A", "nope", "create it"],
        ),
        (
            "no-key",
            json!({"source": here, "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "some", "key": "k"}}}]}),
            "SecretKeyMissing",
            &["spec.env A", "\"k\"", "add it"],
        ),
        (
            "no-map",
            json!({"source": here, "envFrom": [{"configMapRef": {"name": "nope"}}]}),
            "ConfigMapNotFound",
            &["spec.envFrom", "create it"],
        ),
        (
            "long-env",
            json!({"source": here, "env": [{"name": "LONG", "value": "x".repeat(131_067)}]}),
            "InvalidSpec",
            &[
                "environment variable LONG in spec.env is 131072 bytes",
                "spec.volumes",
            ],
        ),
        (
            "long-env-from",
            json!({"source": here, "envFrom": [{"configMapRef": {"name": "long"}}]}),
            "InvalidSpec",
            &["environment variable VALUE from ConfigMap long", "spec.volumes"],
        ),
        (
            "long-build-arg",
            json!({"source": here, "build": {"args": [{"name": "ARG", "valueFrom": {"secretKeyRef": {"name": "long", "key": "VALUE"}}}]}}),
            "InvalidSpec",
            &["build argument ARG from Secret long", "spec.volumes"],
        ),
        (
            "half-secret",
            json!({"source": {"git": {"url": "https://localhost:1/x.git", "secretRef": {"name": "half"}}}}),
            "SecretKeyMissing",
            &["half", "password"],
        ),
        (
            "no-repository",
            json!({"source": {"git": {"url": "file:///nonexistent/x.git"}}}),
            "GitRepositoryNotFound",
            &["spec.source.git.url"],
        ),
        (
            "no-branch",
            json!({"source": git(json!({"ref": {"branch": "nope"}}))}),
            "GitRefNotFound",
            &["nope", "spec.source.git.ref"],
        ),
        (
            "no-tag",
            json!({"source": git(json!({"ref": {"tag": "v9"}}))}),
            "GitRefNotFound",
            &["v9"],
        ),
        (
            "no-commit",
            json!({"source": git(json!({"ref": {"commit": "0123456789012345678901234567890123456789"}}))}),
            "GitRefNotFound",
            &["012345"],
        ),
        (
            "no-known-hosts",
            json!({"source": {"git": {"url": "ssh://git@localhost/x.git", "secretRef": {"name": "some"}}}}),
            "SecretKeyMissing",
            &["ssh-privatekey"],
        ),
        (
            "no-path",
            json!({"source": git(json!({"path": "nope"})), "build": {"dockerfile": {}}}),
            "PathNotFound",
            &["spec.source.git.path", "nope"],
        ),
        (
            "path-climbs",
            json!({"source": git(json!({"path": "../.."})), "build": {"dockerfile": {}}}),
            "PathEscapes",
            &["path"],
        ),
        (
            "path-link",
            json!({"source": git(json!({"path": "out"})), "build": {"dockerfile": {}}}),
            "PathEscapes",
            &["out"],
        ),
        (
            "no-dockerfile",
            json!({"source": here, "build": {"dockerfile": {"path": "Nope"}}}),
            "DockerfileNotFound",
            &["spec.build.dockerfile.path", "Nope"],
        ),
        (
            "context-climbs",
            json!({"source": here, "build": {"dockerfile": {"context": "../.."}}}),
            "PathEscapes",
            &["spec.build.dockerfile.context"],
        ),
        (
            "no-publish",
            json!({"source": here, "build": {"static": {"publishDirectory": "nope"}}}),
            "PublishDirectoryNotFound",
            &["spec.build.static.publishDirectory"],
        ),
        (
            "undetected",
            json!({"source": git(json!({"path": "site"}))}),
            "BuildTypeNotDetected",
            &["spec.build.dockerfile"],
        ),
        (
            "args-of-static",
            json!({"source": {"git": {"url": page.url()}}, "build": {"args": [{"name": "A", "value": "1"}]}}),
            "NotSupported",
            &["spec.build.args", "remove"],
        ),
        (
            "secrets-of-static",
            json!({"source": {"git": {"url": page.url()}}, "build": {"secrets": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "some", "key": "there"}}}]}}),
            "NotSupported",
            &["spec.build.secrets", "remove"],
        ),
        (
            "build-fails",
            json!({"source": {"git": {"url": failing.url()}}}),
            "BuildFailed",
            &["exit code 7", "logTail"],
        ),
        (
            "build-slow",
            json!({"source": {"git": {"url": slow.url()}}, "build": {"timeout": "3s"}}),
            "BuildTimeout",
            &["spec.build.timeout"],
        ),
        (
            "no-image",
            json!({"source": {"docker": {"image": "davit-test/nope:1"}}}),
            "",
            &["davit-test/nope"],
        ),
        (
            "port-taken",
            json!({"source": here, "ports": [{"containerPort": 80, "hostPort": port, "hostIp": "127.0.0.1"}]}),
            "PortTaken",
            &["spec.ports", "hostPort"],
        ),
        (
            "ends",
            json!({"source": {"git": {"url": ends.url()}}}),
            "ContainerExited",
            &["code 3"],
        ),
        (
            "unhealthy",
            json!({"source": here, "healthCheck": {"tcp": {"port": 9}, "interval": "200ms", "retries": 2}, "rollout": {"progressDeadline": "4s"}}),
            "Unhealthy",
            &["spec.healthCheck"],
        ),
        (
            "no-command",
            json!({"source": here, "command": ["/no/such/program"]}),
            "ContainerConfigInvalid",
            &["spec.command"],
        ),
        (
            "no-port-name",
            json!({"source": here, "healthCheck": {"http": {"port": "web"}}}),
            "InvalidSpec",
            &["spec.healthCheck.http.port", "web"],
        ),
        (
            "no-provider",
            json!({"source": {"gitea": {"provider": {"name": "nope"}, "owner": "a", "repository": "b"}}}),
            "ProviderNotFound",
            &["nope", "create it"],
        ),
    ];
    for (name, spec, ..) in &rows {
        davit.apply(name, spec.clone());
    }
    // Meanwhile every other Application goes on.
    davit.apply("fine", json!({"source": here}));
    davit.wait_until_done("fine");

    let mut wrong = Vec::new();
    for (name, _, reason, says) in &rows {
        let told = |app: &Value| {
            let ready = condition(app, "Ready");
            ready["status"] == "False"
                && (if reason.is_empty() {
                    !matches!(ready["reason"].as_str(), Some("Progressing" | "Pending"))
                } else {
                    ready["reason"] == *reason
                })
        };
        let end = std::time::Instant::now() + Duration::from_mins(1);
        let app = loop {
            let app = davit.application(name);
            if told(&app) || std::time::Instant::now() > end {
                break app;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let ready = condition(&app, "Ready");
        let message = ready["message"].as_str().unwrap_or_default();
        if !told(&app) {
            wrong.push(format!(
                "{name}: {} instead of {reason}: {message}",
                ready["reason"]
            ));
        }
        for word in *says {
            if !message.contains(word) {
                wrong.push(format!("{name}: {message:?} does not say {word:?}"));
            }
        }
        if message.len() > 1024 {
            wrong.push(format!("{name}: the message has {} bytes", message.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // No retry storm: what only the user can mend is written to no more.
    let quiet: Vec<&str> = rows
        .iter()
        .map(|row| row.0)
        .filter(|name| condition(&davit.application(name), "Stalled")["status"] == "True")
        .collect();
    assert!(quiet.len() >= 22, "only these are stalled: {quiet:?}");
    let versions = || {
        quiet
            .iter()
            .map(|name| davit.application(name)["metadata"]["resourceVersion"].clone())
            .collect::<Vec<_>>()
    };
    let before = versions();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        versions(),
        before,
        "a stalled Application is written to again and again"
    );
    assert!(
        quiet.iter().all(|name| davit.releases_of(name).len() <= 1),
        "a mistake makes one Release at the most"
    );

    // The mistake is mended, and it goes on by itself.
    davit.create_secret("nope", &[("k", "v")]);
    davit.wait_until_done("no-secret");
    drop(taken);
    let name = "unhealthy";
    davit.patch(name, json!({"spec": {"healthCheck": null}}));
    davit.wait_until_done(name);
}

#[test]
fn invalid_field_is_rejected_at_admission() {
    let davit = Davit::up("refused");
    let source = json!({"git": {"url": "https://example.com/a.git"}});
    let rows: &[(&str, Value, &str)] = &[
        (
            "two sources",
            json!({"source": {"git": {"url": "https://example.com/a.git"}, "docker": {"image": "a"}}}),
            "at most one of github, gitlab, bitbucket, gitea, git, docker",
        ),
        (
            "a text that is not a digest",
            json!({"source": {"drop": {"digest": "a"}}}),
            "must be the digest of an upload",
        ),
        (
            "a URL in place of a host",
            json!({"source": source, "routes": [{"host": "https://shop.example.com"}]}),
            "must be a host name",
        ),
        (
            "a password in the URL",
            json!({"source": {"git": {"url": "https://a:b@example.com/a.git"}}}),
            "secretRef",
        ),
        (
            "another transport",
            json!({"source": {"git": {"url": "ext::sh -c id"}}}),
            "spec.source.git.url",
        ),
        (
            "an env name",
            json!({"source": source, "env": [{"name": "1A", "value": "x"}]}),
            "spec.env[0].name",
        ),
        (
            "a quantity",
            json!({"source": source, "resources": {"limits": {"memory": "lots"}}}),
            "spec.resources.limits.memory",
        ),
        (
            "a duration",
            json!({"source": source, "stopGracePeriod": "soon"}),
            "spec.stopGracePeriod",
        ),
        (
            "two build types",
            json!({"source": source, "build": {"dockerfile": {}, "railpack": {}}}),
            "at most one of dockerfile, nixpacks",
        ),
        (
            "replicas on a host port",
            json!({"source": source, "replicas": 2, "ports": [{"containerPort": 80, "hostPort": 80}]}),
            "replicas must be at most 1 with a hostPort",
        ),
        (
            "an unknown field",
            json!({"source": source, "replica": 2}),
            "unknown field",
        ),
    ];
    for (what, spec, says) in rows {
        let file = davit.dir().join("bad.yaml");
        let object = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "x"}, "spec": spec});
        std::fs::write(&file, object.to_string()).unwrap();
        let (ok, out, err) = crate::common::try_run(davit.kubectl().args(["create", "-f"]).arg(&file));
        assert!(!ok, "{what} is taken: {out}");
        assert!(err.contains(says), "{what}: {err:?} does not say {says:?}");
    }
    wait_for("nothing to be there", Duration::from_secs(5), || {
        davit.application("x").is_null().then_some(())
    });
}
