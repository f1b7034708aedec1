//! Whatever `--log` asks for, no value of a Secret is in the log, in the build log, in an object or in an event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::*;

/// Parts of the values, so that they are found in whatever escapes surround them.
const PARTS: [&str; 4] = ["Zq7pX2kUniq", "Wm4vT9sUniq", "Rb6nY3dUniq", "Jc8hK5fUniq"];

/// Every form in which a part could be in a log.
fn forms(part: &str) -> Vec<String> {
    let decimal: Vec<String> = part.bytes().map(|byte| byte.to_string()).collect();
    let mut forms = vec![part.to_owned(), decimal.join(", "), decimal.join(",\n")];
    for before in ["", "-", "--"] {
        let encoded = STANDARD_NO_PAD.encode(format!("{before}{part}"));
        forms.push(encoded[2..encoded.len() - 2].trim_start_matches('t').to_owned());
    }
    forms
}

/// The parts of one Davit's own values. Tests run beside each other on one engine, and a Davit whose user asks for the
/// entries of the engine's client also sees what the engine answers about the containers of another.
fn parts(test: &str) -> [String; 4] {
    PARTS.map(|part| format!("{part}{}", test.replace('-', "")))
}

fn assert_no_secret(parts: &[String], place: &str, text: &str) {
    for form in parts.iter().flat_map(|part| forms(part)) {
        let found: Vec<&str> = text.lines().filter(|line| line.contains(&form)).take(3).collect();
        assert!(found.is_empty(), "{form} is in {place}: {found:#?}");
    }
}

/// Deploys an Application that uses Secrets in every way, and searches everything that Davit wrote.
fn deploy_and_search(test: &str, flags: &[&str]) -> String {
    let davit = Davit::with_flags(test, flags);
    let parts = parts(test);
    let [env, file, arg, build] = &parts;
    davit.create_secret(
        "values",
        &[
            (
                "env",
                &format!("a \"quoted\" {env}\\ and\nanother %41 line {env}\n"),
            ),
            ("arg", arg),
            ("build", build),
        ],
    );
    davit.create_secret("files", &[("file.txt", &format!("{file}\n"))]);
    let repo = GitRepo::with(&[(
        "Dockerfile",
        &dockerfile(
            "ARG TOKEN\nRUN --mount=type=secret,id=BUILD cat /run/secrets/BUILD; echo \"$TOKEN\"\nCMD [\"sh\", \"-c\", \"env; cat /files/file.txt; sleep 10000\"]",
        ),
    )]);
    let from = |key: &str| json!({"secretKeyRef": {"name": "values", "key": key}});
    davit.apply(
        "shop",
        json!({"source": git(&repo),
            "build": {"args": [{"name": "TOKEN", "valueFrom": from("arg")}], "secrets": [{"name": "BUILD", "valueFrom": from("build")}]},
            "env": [{"name": "ENV", "valueFrom": from("env")}, {"name": "URL", "value": "x://$(ENV)@host"}],
            "volumes": [{"name": "files", "mountPath": "/files", "secret": {"name": "files"}}]}),
    );
    davit.wait_until_done("shop");
    // A container that ends shows its output in the status.
    davit.apply(
        "ends",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", "env; echo $0; exit 3", "$(ENV)"],
            "env": [{"name": "ENV", "valueFrom": from("env")}], "rollout": {"progressDeadline": "2s"}}),
    );
    davit.wait_until("ends", 60, "failed", |app| app["status"]["phase"] == "error");
    assert!(davit.wait_until_log_idle());
    let log = davit.log();
    assert_no_secret(&parts, "the log", &log);
    for name in ["shop", "ends"] {
        assert_no_secret(
            &parts,
            "an Application",
            &davit.application(name)["status"].to_string(),
        );
        for release in davit.releases_of(name) {
            assert_no_secret(&parts, "a Release", &release.to_string());
        }
    }
    let events: kube::Api<k8s_openapi::api::core::v1::Event> = kube::Api::all(davit.client());
    let events = davit
        .block_on(events.list(&kube::api::ListParams::default()))
        .unwrap();
    assert_no_secret(&parts, "an Event", &serde_json::to_string(&events.items).unwrap());
    let mut pending = vec![davit.data_dir().join("logs")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            assert_no_secret(&parts, path.to_str().unwrap(), &text);
        }
    }
    log
}

#[test]
fn log_of_every_level_contains_no_secret() {
    for level in ["warn", "info", "debug", "trace"] {
        let log = deploy_and_search(&format!("log-{level}"), &["--log", level]);
        for dependency in ["GET /v1.", "h2::", "request: "] {
            assert!(
                !log.contains(dependency),
                "{level} logs {dependency} of a dependency"
            );
        }
    }
}

#[test]
fn log_of_named_dependencies_is_masked() {
    let filter = "trace,bollard=trace,hyper=trace,hyper_util=trace,h2=trace,tonic=trace,tower=trace,reqwest=trace,kube=trace,kube_client=trace,rustls=trace";
    for format in ["text", "json"] {
        let log = deploy_and_search(
            &format!("named-{format}"),
            &["--log", filter, "--log-format", format],
        );
        // The dependencies logged the requests, without the values.
        assert!(log.contains("request: ") && log.contains("***"), "{}", log.len());
    }
}
