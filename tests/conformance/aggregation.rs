//! The API group of subresources through the aggregation of a real kube-apiserver: RBAC allows and denies, logs stream, only
//! the front proxy may ask, and a controller that has ended keeps no namespace from being deleted.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::docker::{BASE_IMAGE, DockerScope, docker};
use crate::common::git_repo::GitRepo;
use crate::common::gitea::Gitea;
use crate::common::http::request;
use crate::common::kube_apiserver::{KubeApiserver, kubectl};
use crate::common::process::Port;
use crate::common::{run, try_run, unique, wait_for};

const SERVICE: &str = "v1alpha1.subresources.davit.dev";
const LOG: &str = "/apis/subresources.davit.dev/v1alpha1/namespaces/shop/applications/web/log";

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn apply(server: &KubeApiserver, dir: &std::path::Path, text: &str) {
    let file = dir.join("objects.yaml");
    std::fs::write(&file, text).unwrap();
    run(server
        .kubectl()
        .args(["apply", "--server-side", "--filename"])
        .arg(&file));
}

/// Every subresource that is read, with the rights of `davit-view`, without any, and with those to one of them.
fn each_subresource_is_permitted_by_itself(server: &KubeApiserver, dir: &std::path::Path) {
    let gitea = Gitea::start();
    gitea.create_repository("shop", &GitRepo::with(&[("index.html", "x")]));
    apply(
        server,
        dir,
        &format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: gt, namespace: shop}}, stringData: {{token: '{}'}}}}\n---\n\
             {{apiVersion: davit.dev/v1alpha1, kind: GitProvider, metadata: {{name: gt, namespace: shop}}, spec: \
             {{gitea: {{url: '{}', tokenSecretRef: {{name: gt}}}}}}}}\n",
            gitea.token, gitea.url
        ),
    );
    run(server.kubectl().args([
        "wait",
        "--namespace=shop",
        "--timeout=60s",
        "gitprov/gt",
        "--for=condition=Ready",
    ]));
    let branches = format!("gitproviders/gt/branches?repository={}/shop", gitea.user);
    let all = [
        ("applications/log", "applications/web/log", "up"),
        (
            "applications/metrics",
            "applications/web/metrics?window=0s",
            "usageSeconds",
        ),
        ("releases/log", "releases/site-1/log", ""),
        (
            "gitproviders/repositories",
            "gitproviders/gt/repositories",
            "/shop",
        ),
        ("gitproviders/branches", branches.as_str(), "main"),
    ];
    let root = "/apis/subresources.davit.dev/v1alpha1/namespaces/shop";
    let get = |user: &str, path: &str| {
        try_run(
            server
                .kubectl()
                .args(["--as", user, "get", "--raw", &format!("{root}/{path}")]),
        )
    };
    let bind = |kind: &str, role: &str, user: &str| {
        run(server.kubectl().args([
            "create",
            "rolebinding",
            user,
            "--namespace=shop",
            &format!("--{kind}={role}"),
            &format!("--user={user}"),
        ]));
    };
    bind("clusterrole", "davit-view", "viewer");
    for (number, (resource, path, shows)) in all.iter().enumerate() {
        let (allowed, _, refused) = get("outsider", path);
        assert!(
            !allowed && refused.contains(&format!("cannot get resource \"{resource}\"")),
            "{path}: {refused}"
        );
        let found = wait_for("the role davit-view", Duration::from_secs(20), || {
            let (allowed, found, _) = get("viewer", path);
            allowed.then_some(found)
        });
        assert!(!found.is_empty() && found.contains(shows), "{path}: {found}");
        // The right to one is no right to another.
        let user = format!("only-{number}");
        // kubectl create role asks discovery for the resource, which has subresources alone.
        apply(
            server,
            dir,
            &format!(
                "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: {user}, namespace: shop}}, rules: \
                 [{{apiGroups: [subresources.davit.dev], resources: [{resource}], verbs: [get]}}]}}\n"
            ),
        );
        bind("role", &user, &user);
        wait_for("the role of one", Duration::from_secs(20), || {
            get(&user, path).0.then_some(())
        });
        for (other, path, _) in all.iter().filter(|(other, ..)| other != resource) {
            assert!(!get(&user, path).0, "{resource} permits {other}");
        }
    }
    // Its finalizer is the controller's, which ends before the namespace.
    run(server
        .kubectl()
        .args(["delete", "gitprov/gt", "--namespace=shop", "--timeout=60s"]));
}

#[test]
fn kube_apiserver_forwards_permitted_requests_and_survives_the_end_of_the_controller() {
    crate::common::docker::base_image();
    let mut server = KubeApiserver::start();
    server.start_controllers();
    let dir = tempfile::tempdir().unwrap();
    apply(
        &server,
        dir.path(),
        &run(Command::new(env!("CARGO_BIN_EXE_davit")).arg("crds")),
    );
    run(server.kubectl().args([
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd",
        "--all",
    ]));
    let port = Port::take();
    let number = port.number();
    let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base");
    run(server
        .kubectl()
        .args(["apply", "--filename"])
        .arg(base.join("user-roles.yaml")));
    apply(
        &server,
        dir.path(),
        &format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop}}}}\n---\n\
             {{apiVersion: v1, kind: Service, metadata: {{name: davit, namespace: default}}, \
             spec: {{type: ExternalName, externalName: localhost, ports: [{{port: {number}}}]}}}}\n"
        ),
    );
    let instance: String = unique("a").chars().filter(char::is_ascii_alphanumeric).collect();
    let _scope = DockerScope::of_instance(&instance);
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_davit"))
        .args([
            "controller",
            "--instance",
            &instance,
            "--api-listen",
            &format!("127.0.0.1:{number}"),
            "--allow-local-sources",
        ])
        .args(["--api-service", &format!("default/davit:{number}"), "--data-dir"])
        .arg(dir.path().join("data"))
        .env("KUBECONFIG", &server.kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut controller = Ends(child);
    let said = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    let available = [
        "get",
        "apiservice",
        SERVICE,
        "--output",
        "jsonpath={.status.conditions[0]}",
    ];
    wait_for("the APIService", Duration::from_mins(1), || {
        let (_, condition, _) = try_run(server.kubectl().args(available));
        condition.contains("\"status\":\"True\"").then_some(())
    });
    apply(
        &server,
        dir.path(),
        &format!(
            "{{apiVersion: davit.dev/v1alpha1, kind: Application, metadata: {{name: web, namespace: shop}}, spec: {{source: \
             {{docker: {{image: '{BASE_IMAGE}'}}}}, command: [sh, -c, 'echo up; while :; do test -e /say && cat /say && rm /say; usleep 50000; done']}}}}\n"
        ),
    );
    let wait = [
        "wait",
        "--namespace",
        "shop",
        "--timeout=90s",
        "applications.davit.dev/web",
        "--for=condition=Ready",
    ];
    let (ready, _, _) = try_run(server.kubectl().args(wait));
    assert!(ready, "{}", said());
    assert_eq!(
        run(server.kubectl().args(["get", "--raw", LOG])),
        "up",
        "{}",
        said()
    );

    // Discovery as clients see it.
    let listed = run(server
        .kubectl()
        .args(["get", "--raw", "/apis/subresources.davit.dev/v1alpha1"]));
    assert!(listed.contains("\"applications/log\""), "{listed}");
    run(server.kubectl().args(["api-resources"]));
    let (found, _, _) = try_run(
        server
            .kubectl()
            .args(["get", "applications", "--namespace", "shop"]),
    );
    assert!(found, "the group does not make applications ambiguous");
    let absent = try_run(
        server
            .kubectl()
            .args(["get", "--raw", &LOG.replace("web", "wbe")]),
    );
    assert!(
        absent.2.contains("did you mean \"web\"?") || absent.2.contains("\"wbe\" not found"),
        "{}",
        absent.2
    );

    // A user without a role, and with one.
    let stranger = server.kubeconfig_without_rights();
    let (allowed, _, refused) = try_run(kubectl(&stranger).args(["get", "--raw", LOG]));
    assert!(
        !allowed && refused.contains("cannot get resource \"applications/log\""),
        "{refused}"
    );
    run(server.kubectl().args([
        "create",
        "rolebinding",
        "may-view",
        "--namespace=shop",
        "--clusterrole=davit-view",
        "--user=nobody",
    ]));
    wait_for("the role", Duration::from_secs(20), || {
        try_run(kubectl(&stranger).args(["get", "--raw", LOG]))
            .0
            .then_some(())
    });
    let (allowed, _, _) =
        try_run(kubectl(&stranger).args(["get", "--raw", &LOG.replace("/shop/", "/default/")]));
    assert!(!allowed, "the role is for one namespace");

    // A followed log streams through the API server.
    let mut follow = server.kubectl();
    follow.args(["get", "--raw", &format!("{LOG}?follow=true")]);
    let mut follow = Ends(follow.stdout(Stdio::piped()).spawn().unwrap());
    let (sender, lines) = mpsc::channel();
    let output = follow.0.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    assert_eq!(lines.recv_timeout(Duration::from_secs(20)).unwrap(), "up");
    let filter = format!("label=dev.davit.instance={instance}");
    let container = run(docker().args(["ps", "--quiet", "--filter", &filter]));
    run(docker().args([
        "exec",
        container.trim(),
        "sh",
        "-c",
        "echo live > /tmp.say; mv /tmp.say /say",
    ]));
    assert_eq!(lines.recv_timeout(Duration::from_secs(20)).unwrap(), "live");

    // The API server forwards the WebSocket of a user with the verb create, and an upload in parts.
    let davit = |kubeconfig: &std::path::Path, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
        command
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .current_dir(dir.path());
        command.stdin(Stdio::null());
        try_run(&mut command)
    };
    let exec = [
        "exec",
        "web",
        "-n",
        "shop",
        "--",
        "sh",
        "-c",
        "echo from the container; exit 3",
    ];
    let (_, out, error) = davit(&server.kubeconfig, &exec);
    assert_eq!(out.trim(), "from the container", "{error} {}", said());
    let (_, out, refused) = davit(&stranger, &exec);
    assert!(out.is_empty() && refused.contains("davit-edit"), "{refused}");
    std::fs::create_dir(dir.path().join("site")).unwrap();
    std::fs::write(dir.path().join("site/index.html"), "uploaded").unwrap();
    let mut random = vec![0; 20 << 20];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut random).unwrap();
    std::fs::write(dir.path().join("site/random"), random).unwrap();
    apply(
        &server,
        dir.path(),
        "{apiVersion: davit.dev/v1alpha1, kind: Application, metadata: {name: site, namespace: shop}, \
         spec: {build: {static: {publishDirectory: .}}}}\n",
    );
    let drop = ["drop", "site", "site", "-n", "shop", "--wait", "--timeout", "3m"];
    let (dropped, out, error) = davit(&server.kubeconfig, &drop);
    assert!(
        dropped && out.contains("site is done"),
        "{out} {error} {}",
        said()
    );
    let (dropped, _, refused) = davit(&stranger, &drop);
    assert!(!dropped && refused.contains("davit-edit"), "{refused}");
    let (shown, out, error) = davit(&server.kubeconfig, &["top", "-n", "shop"]);
    assert!(
        shown && out.contains("site ") && out.contains("web "),
        "{out} {error}"
    );

    each_subresource_is_permitted_by_itself(&server, dir.path());

    // The controller refuses a client without the certificate of the front proxy, whatever the headers say.
    let direct = request("GET", &format!("https://127.0.0.1:{number}{LOG}"))
        .insecure()
        .header("X-Remote-User: admin")
        .header("X-Remote-Group: system:masters")
        .send();
    assert_eq!(direct.status, 0, "{direct:?}");

    // The end of the controller takes the registration along, so that namespaces can be deleted.
    run(server.kubectl().args([
        "delete",
        "applications.davit.dev",
        "--all",
        "--namespace=shop",
        "--timeout=60s",
    ]));
    run(Command::new("kill").arg(controller.0.id().to_string()));
    assert!(controller.0.wait().unwrap().success(), "{}", said());
    let (found, _, _) = try_run(server.kubectl().args(["get", "apiservice", SERVICE]));
    assert!(!found, "{}", said());
    run(server
        .kubectl()
        .args(["delete", "namespace", "shop", "--timeout=60s"]));
}
