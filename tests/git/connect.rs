//! `davit connect`: an App that is registered in a browser, with a stand-in of GitHub that knows one code; a token at a real
//! Gitea.

#![allow(clippy::disallowed_methods, reason = "a test starts the program")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use crate::common::davit::Davit;
use crate::common::http::get;
use crate::common::{run, try_run, wait_for};
use crate::forge::{MANY, gitea};
use crate::sources::provider_says;

/// A GitHub Enterprise Server that converts the code `c0de` once.
struct Forge {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Forge {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = json!({"id": 4711, "slug": "davit-acme", "name": "davit-acme", "html_url": format!("{url}/github-apps/davit-acme"),
            "client_id": "Iv1.x", "client_secret": "cl13nt", "webhook_secret": null, "pem": "-----BEGIN RSA PRIVATE KEY-----\nk3y\n"});
        let once = Arc::new(Mutex::new(Some(app)));
        let convert = |State(once): State<Arc<Mutex<Option<Value>>>>, Path(code): Path<String>| async move {
            let app = (code == "c0de").then(|| once.lock().unwrap().take()).flatten();
            match app {
                Some(app) => (StatusCode::CREATED, Json(app)),
                None => (StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))),
            }
        };
        let router = Router::new()
            .route("/api/v3/app-manifests/{code}/conversions", post(convert))
            .with_state(once);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            _runtime: runtime,
        }
    }
}

/// A `davit connect` that waits for its user.
struct Waiting {
    child: Child,
    page: String,
    callback: String,
}

impl Waiting {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let page = lines
            .find(|line| line.starts_with("  http://127.0.0.1:"))
            .expect("the address of the page");
        let page = page.trim().to_owned();
        let (_, rest) = page.split_once("//").unwrap();
        let callback = format!("http://{}/callback", rest.split('/').next().unwrap());
        // What follows is read, so that the command can write it.
        std::thread::spawn(move || lines.count());
        Self {
            child,
            page,
            callback,
        }
    }

    /// The state, and the manifest that the page sends.
    fn form(&self) -> (String, Value) {
        let page = get(&self.page).expect(200).body;
        let (_, state) = page.split_once("?state=").unwrap();
        let (_, manifest) = page.split_once("name=\"manifest\" value=\"").unwrap();
        let manifest = manifest.split('"').next().unwrap().replace("&quot;", "\"");
        (
            state.split('"').next().unwrap().to_owned(),
            serde_json::from_str(&manifest).unwrap(),
        )
    }

    fn output(self) -> String {
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn connect(davit: &Davit, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command
        .env("KUBECONFIG", davit.kubeconfig())
        .arg("connect")
        .args(args);
    command.args(["-n", &davit.namespace]);
    command
}

#[test]
fn app_that_is_registered_in_a_browser_becomes_a_secret_and_a_provider() {
    let forge = Forge::start();
    let davit = Davit::up("connect");
    let args = [
        "github",
        "--url",
        &forge.url,
        "--name",
        "acme",
        "--organization",
        "acme",
    ];
    let waiting = Waiting::start(&mut connect(&davit, &args));
    let (state, manifest) = waiting.form();
    assert_eq!(manifest["redirect_url"], waiting.callback.as_str());
    assert_eq!(manifest["default_permissions"]["contents"], "read");
    assert_eq!(manifest["public"], false);
    // A page that another site leads the browser to has another state.
    get(&format!("{}?code=c0de&state=forged", waiting.callback)).expect(400);
    get(&format!("{}?code=c0de&state={state}", waiting.callback)).expect(200);
    assert_eq!(
        waiting.output(),
        "secret/acme created\ngitprovider.davit.dev/acme created\n"
    );
    let kubectl = |what: &[&str]| run(davit.kubectl().args(["get"]).args(what));
    let key = kubectl(&[
        "secret",
        "acme",
        "-o",
        "go-template={{.data.privateKey | base64decode}}",
    ]);
    assert!(key.contains("k3y"), "{key}");
    let spec = kubectl(&["gitprov", "acme", "-o", "jsonpath={.spec.github}"]);
    let spec: Value = serde_json::from_str(&spec).unwrap();
    let expected = json!({"url": forge.url, "appId": 4711, "privateKeySecretRef": {"name": "acme", "key": "privateKey"}});
    assert_eq!(spec, expected);

    // A name that is taken is reported before anything is registered.
    let (success, _, error) = try_run(&mut connect(&davit, &args));
    assert!(
        !success && error.contains("secret/acme exists already"),
        "{error}"
    );
}

#[test]
fn pasted_address_is_accepted_and_the_objects_are_printed() {
    let forge = Forge::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.env("KUBECONFIG", "/nonexistent").args([
        "connect", "github", "-o", "yaml", "--url", &forge.url, "-n", "platform",
    ]);
    let mut waiting = Waiting::start(&mut command);
    let (state, _) = waiting.form();
    let mut stdin = waiting.child.stdin.take().unwrap();
    writeln!(stdin, "not an address").unwrap();
    writeln!(stdin, "{}?code=c0de&state={state}", waiting.callback).unwrap();
    let printed = waiting.output();
    for part in [
        "kind: Secret",
        "privateKey:",
        "kind: GitProvider",
        "namespace: platform",
        "appId: 4711",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn token_on_standard_input_is_checked_at_a_real_gitea() {
    let gitea = gitea();
    let davit = Davit::up("connect-token");
    let feed = |args: &[&str], token: &str| {
        let mut child = connect(&davit, args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.success(), text.concat())
    };
    let args = ["gitea", "--url", &gitea.url, "--all-namespaces"];
    let (success, text) = feed(&args, "0123456789abcdef0123456789abcdef01234567\n");
    assert!(
        !success && text.contains("refused the credential") && !text.contains("0123456789abcdef"),
        "{text}"
    );
    let (success, text) = feed(&args, &format!("{}\n", gitea.token));
    assert!(
        success && text.contains("gitprovider.davit.dev/gitea created"),
        "{text}"
    );
    assert!(
        text.contains(&format!("Signed in as davit; it reaches {MANY} repositories.")),
        "{text}"
    );
    let ready = provider_says(&davit, "gitea", "RepositoriesFound");
    assert_eq!(ready["spec"]["allowedNamespaces"]["from"], "All");
    let (success, text) = feed(&["gitea"], "x");
    assert!(!success && text.contains("gitea needs --url: set it"), "{text}");
}

/// A `davit connect` that waits until the user has authorised the application. Returns the page at the forge.
fn waiting_for_a_code(davit: &Davit, args: &[&str]) -> (Child, String) {
    let mut child = connect(davit, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let page = lines.find(|line| line.contains("/login/oauth/authorize?"));
    let page = page.expect("the page at the forge").trim().to_owned();
    // What follows is read, so that the command can write it.
    std::thread::spawn(move || lines.count());
    (child, page)
}

/// The address to which a real Gitea leads the browser back.
fn led_back(gitea: &crate::common::gitea::Gitea, page: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(crate::forges::authorise(gitea, page))
}

fn output(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn application_that_is_authorised_at_a_real_gitea_becomes_a_provider() {
    let gitea = gitea();
    let davit = Davit::up("connect-oauth");
    let port = crate::common::process::Port::take();
    let callback = format!("http://127.0.0.1:{}/callback", port.number());
    let application = |name: &str, confidential: bool| {
        let body = json!({"name": name, "redirect_uris": [callback], "confidential_client": confidential});
        let app = gitea.api(
            "POST",
            "/user/applications/oauth2",
            Some(&gitea.token),
            Some(&body),
        );
        let app = app.expect(201).json();
        [&app["client_id"], &app["client_secret"]].map(|text| text.as_str().unwrap_or_default().to_owned())
    };
    let number = port.number().to_string();
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("secret");

    // A confidential application, and a browser on this machine.
    let [id, secret] = application("confidential", true);
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let args = [
        "gitea",
        "--url",
        &gitea.url,
        "--client-id",
        &id,
        "--callback-port",
        &number,
    ];
    let with_secret = [&args[..], &["--client-secret-file", file.to_str().unwrap()]].concat();
    let (child, page) = waiting_for_a_code(&davit, &with_secret);
    // A page that another site leads the browser to has another state.
    get(&format!("{callback}?code=c0de&state=forged")).expect(400);
    get(&led_back(&gitea, &page)).expect(200);
    assert_eq!(
        output(child),
        "secret/gitea created\nsecret/gitea-tokens created\ngitprovider.davit.dev/gitea created\n"
    );
    provider_says(&davit, "gitea", "RepositoriesFound");

    // A public one, whose code is protected by the verifier, and a browser on another machine.
    let [id, _] = application("public", false);
    let args = [
        "gitea",
        "--url",
        &gitea.url,
        "--client-id",
        &id,
        "--callback-port",
        &number,
        "--name",
        "public",
    ];
    let (mut child, page) = waiting_for_a_code(&davit, &args);
    assert!(page.contains("code_challenge_method=S256"), "{page}");
    let address = led_back(&gitea, &page);
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{callback}?code=c0de&state=forged").unwrap();
    writeln!(stdin, "{address}").unwrap();
    assert_eq!(
        output(child),
        "secret/public-tokens created\ngitprovider.davit.dev/public created\n"
    );
    provider_says(&davit, "public", "RepositoriesFound");

    // The controller replaces a pair that has expired.
    let kubectl = |args: &[&str]| run(davit.kubectl().args(args));
    let expired = r#"{"stringData": {"expiresAt": "2026-01-01T00:00:00Z"}}"#;
    kubectl(&["patch", "secret", "public-tokens", "-p", expired]);
    wait_for("a new pair", Duration::from_secs(30), || {
        let at = kubectl(&[
            "get",
            "secret",
            "public-tokens",
            "-o",
            "go-template={{.data.expiresAt | base64decode}}",
        ]);
        (!at.starts_with("2026-01-01")).then_some(())
    });
    provider_says(&davit, "public", "RepositoriesFound");
}
