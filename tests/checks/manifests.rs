//! `manifests/`: what kustomize makes of it agrees with the types, the command line, the image and the calls of the code.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts programs, and panics if an expectation fails"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use davit::api::crds;
use davit::cli::Cli;
use davit_test_support::{peers, run};
use serde::Deserialize as _;
use serde_json::Value;

/// Everything that the controller asks of the API server: API group, resource, verb, and the file in src/ that does so.
/// The test of `make test-peers` shows that a controller with exactly these rights works, and needs each of them.
#[rustfmt::skip]
const CALLS: [(&str, &str, &[&str], &str); 13] = [
    ("davit.dev", "applications", &["get", "list", "watch", "create", "update", "patch", "delete"], "controller/watch.rs, finalizer.rs, preview/pass.rs"),
    ("davit.dev", "applications/status", &["patch"], "controller/report.rs"),
    ("davit.dev", "gitproviders", &["get", "list", "watch", "patch"], "controller/git_provider.rs, finalizer.rs"),
    ("davit.dev", "gitproviders/status", &["patch"], "controller/report.rs"),
    ("davit.dev", "releases", &["get", "list", "watch", "create", "patch", "delete"], "controller/execute/"),
    ("davit.dev", "releases/status", &["patch"], "controller/report.rs"),
    ("", "secrets", &["get", "list", "watch"], "controller/watch.rs, values.rs"),
    ("", "configmaps", &["get", "list", "watch"], "controller/watch.rs, values.rs"),
    ("", "namespaces", &["get", "list", "watch"], "controller/watch.rs, app.rs"),
    ("events.k8s.io", "events", &["create", "patch"], "controller/report.rs"),
    ("apiregistration.k8s.io", "apiservices", &["get", "create", "patch", "delete"], "subresources/aggregation/registration.rs"),
    ("apiextensions.k8s.io", "customresourcedefinitions", &["get"], "subresources/aggregation/registration.rs"),
    ("authorization.k8s.io", "subjectaccessreviews", &["create"], "subresources/aggregation/access.rs"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The objects of a kustomization.
fn render(folder: &str) -> Vec<Value> {
    let text = run(Command::new(peers::file("kubectl-1.36.3/kubectl"))
        .arg("kustomize")
        .arg(root().join("manifests").join(folder)));
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The one object of this kind and name.
fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found
        .next()
        .unwrap_or_else(|| panic!("there is no {kind} {name}"));
    assert!(found.next().is_none(), "there are two {kind} {name}");
    object
}

/// The value with `1.0` for `1`, as kustomize writes numbers.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64()),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| (name.clone(), normal(field)))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

/// A role's rules, one for each group, resource and verb.
fn rights(role: &Value) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let right = (group.to_owned(), resource.to_owned(), verb.to_owned());
                    assert!(all.insert(right.clone()), "{right:?} is granted twice");
                }
            }
        }
    }
    all
}

#[test]
fn manifests_hold_the_crds_of_the_types() {
    let objects = render("base");
    for crd in crds() {
        let expected = serde_json::to_value(&crd).unwrap();
        let name = expected["metadata"]["name"].as_str().unwrap();
        let rendered = find(&objects, "CustomResourceDefinition", name);
        assert_eq!(normal(&rendered["spec"]), normal(&expected["spec"]), "{name}");
    }
    let count = objects
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .count();
    assert_eq!(count, crds().len());
}

#[test]
fn controller_role_grants_what_the_code_calls() {
    let objects = render("base");
    let expected: BTreeSet<_> = CALLS
        .iter()
        .flat_map(|(group, resource, verbs, _)| {
            verbs
                .iter()
                .map(|verb| ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned()))
        })
        .collect();
    assert_eq!(
        rights(find(&objects, "ClusterRole", "davit-controller")),
        expected
    );
    let binding = find(&objects, "ClusterRoleBinding", "davit-controller");
    assert_eq!(binding["roleRef"]["name"], "davit-controller");
    let account = find(&objects, "ServiceAccount", "davit");
    let subject = &binding["subjects"][0];
    assert_eq!(subject["name"], account["metadata"]["name"]);
    assert_eq!(subject["namespace"], account["metadata"]["namespace"]);
    assert_eq!(binding["subjects"].as_array().unwrap().len(), 1);
}

#[test]
fn user_roles_cover_every_kind_and_subresource() {
    let objects = render("base");
    let (view, edit) = (
        find(&objects, "ClusterRole", "davit-view"),
        find(&objects, "ClusterRole", "davit-edit"),
    );
    for (role, aggregated) in [(view, &["view", "edit", "admin"][..]), (edit, &["edit", "admin"])] {
        for name in ["view", "edit", "admin"] {
            let label = &role["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{name}")];
            assert_eq!(*label == "true", aggregated.contains(&name), "{name}: {label}");
        }
    }
    let (view, edit) = (rights(view), rights(edit));
    let has = |rights: &BTreeSet<_>, resource: &str, verb: &str| {
        rights.contains(&("davit.dev".to_owned(), resource.to_owned(), verb.to_owned()))
    };
    let mut resources = 0;
    for crd in crds() {
        let plural = &crd.spec.names.plural;
        resources += 1;
        for verb in ["get", "list", "watch"] {
            assert!(has(&view, plural, verb), "view {verb} {plural}");
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            assert!(has(&edit, plural, verb), "edit {verb} {plural}");
        }
        let subresources = crd.spec.versions[0].subresources.clone().unwrap_or_default();
        if subresources.status.is_some() {
            resources += 1;
            assert!(has(&view, &format!("{plural}/status"), "get"));
            // The status is the controller's.
            assert!(!has(&edit, &format!("{plural}/status"), "patch"));
        }
        if subresources.scale.is_some() {
            resources += 1;
            assert!(has(&view, &format!("{plural}/scale"), "get"));
            assert!(has(&edit, &format!("{plural}/scale"), "patch"));
        }
    }
    let mut subresources = BTreeSet::new();
    for (resource, verb) in davit::subresources::discovery::permissions() {
        resources += usize::from(subresources.insert(resource.clone()));
        let right = (davit::subresources::GROUP.to_owned(), resource, verb.to_owned());
        // A WebSocket begins as get, and does what create permits.
        let reads = verb == "get" && !right.1.ends_with("/exec");
        let role = if reads { &view } else { &edit };
        assert!(role.contains(&right), "{right:?}");
    }
    let named: BTreeSet<_> = view.union(&edit).map(|(_, resource, _)| resource).collect();
    assert_eq!(named.len(), resources, "{named:?}");
}

#[test]
fn deployment_agrees_with_command_line_and_image() {
    let objects = render("base");
    let deployment = find(&objects, "Deployment", "davit");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "davit");

    // Arguments and variables are those of davit.
    let arguments = texts(&container["args"]);
    Cli::try_parse_from(["davit"].iter().chain(&arguments)).unwrap();
    let listen = arguments
        .iter()
        .find_map(|word| word.strip_prefix("--health-listen="))
        .unwrap();
    let port = &container["ports"][0];
    assert_eq!(
        listen.rsplit(':').next().unwrap(),
        port["containerPort"].to_string()
    );
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(container[probe]["httpGet"]["path"], path, "{probe}");
        assert_eq!(container[probe]["httpGet"]["port"], port["name"], "{probe}");
    }
    assert_eq!(container["env"][0]["name"], "DAVIT_DATA_DIR");
    let engine = find(&objects, "ConfigMap", "davit-engine");
    assert_eq!(
        container["envFrom"][0]["configMapRef"]["name"],
        engine["metadata"]["name"]
    );
    assert!(
        engine["data"]["DOCKER_HOST"]
            .as_str()
            .unwrap()
            .starts_with("tcp://")
    );

    // What Pod Security calls restricted, with the user of the image, and a file system that cannot be written.
    assert_eq!(
        find(&objects, "Namespace", "davit-system")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let user = &pod["securityContext"]["runAsUser"];
    assert!(dockerfile.contains(&format!("\nUSER {user}:{user}\n")), "{user}");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        serde_json::json!(["ALL"])
    );
    assert!(
        container["resources"]["requests"].is_object()
            && container["resources"]["limits"]["memory"].is_string()
    );

    // Everything that is written is on a volume, and what must survive a restart on a claim.
    let mounts: BTreeSet<_> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(mounts, BTreeSet::from(["/tmp", "/var/lib/davit"]));
    let data = container["env"][0]["value"].as_str().unwrap();
    assert!(data.starts_with("/var/lib/davit/"), "{data}");
    let claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
        .as_str()
        .unwrap();
    find(&objects, "PersistentVolumeClaim", claim);
}

#[test]
fn overlay_runs_containers_in_the_cluster() {
    let objects = render("kubernetes");
    let engine = find(&objects, "ConfigMap", "davit-engine");
    assert_eq!(engine["data"], serde_json::json!({"DAVIT_RUNTIME": "kubernetes"}));
    Cli::try_parse_from(["davit", "controller", "--runtime=kubernetes"]).unwrap();
    let binding = find(&objects, "ClusterRoleBinding", "davit-runtime");
    assert_eq!(binding["roleRef"]["name"], "davit-runtime");
    assert_eq!(binding["subjects"][0]["name"], "davit");
    // Admission and the controller refuse a field with the same words.
    let policy = &find(&objects, "ValidatingAdmissionPolicy", "davit-runtime")["spec"];
    assert!(
        policy["validations"][0]["message"].as_str().unwrap().starts_with(
            "spec.ports.hostPort cannot be used with --runtime kubernetes: remove it, and reach the Application by its Service"
        ),
        "{policy}"
    );
    // Nothing is granted twice, and nothing beyond what makes an Application's Pods.
    let (base, runtime) = (
        rights(find(&objects, "ClusterRole", "davit-controller")),
        rights(find(&objects, "ClusterRole", "davit-runtime")),
    );
    assert!(base.is_disjoint(&runtime), "{:?}", base.intersection(&runtime));
    for resource in ["pods/exec", "serviceaccounts", "roles", "clusterroles"] {
        assert!(
            !runtime.iter().any(|(_, granted, _)| granted == resource),
            "{resource}"
        );
    }
}

#[test]
fn overlay_with_two_controllers_elects_one_that_answers() {
    let objects = render("high-availability");
    let deployment = find(&objects, "Deployment", "davit");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let pod = &deployment["spec"]["template"]["spec"];
    let arguments = texts(&pod["containers"][0]["args"]);
    let cli = Cli::try_parse_from(["davit"].iter().chain(&arguments)).unwrap();
    let davit::cli::Command::Controller(args) = cli.command else {
        panic!("not a controller")
    };
    assert_eq!(args.lease.unwrap().to_string(), "davit-system/davit");
    // Each controller has a data directory of its own.
    assert!(pod["volumes"][0]["emptyDir"].is_object(), "{}", pod["volumes"][0]);
    assert!(
        objects
            .iter()
            .all(|object| object["kind"] != "PersistentVolumeClaim")
    );
    for service in ["davit", "davit-webhooks"] {
        let selector = &find(&objects, "Service", service)["spec"]["selector"];
        assert_eq!(selector["davit.dev/leader"], "true", "{service}");
    }
    let role = find(&objects, "Role", "davit-leader");
    assert_eq!(role["metadata"]["namespace"], "davit-system");
}

/// The objects of an overlay with all components but those of routes.
fn overlay_with_components() -> Vec<Value> {
    let dir = tempfile::tempdir_in(root()).unwrap();
    let kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
                         resources: [../manifests/kubernetes]\n\
                         components: [../manifests/components/registry, ../manifests/components/webhooks-ingress, \
                         ../manifests/components/prometheus, ../manifests/components/buildkitd, \
                         ../manifests/components/exec]\n";
    std::fs::write(dir.path().join("kustomization.yaml"), kustomization).unwrap();
    render(dir.path().to_str().unwrap())
}

#[test]
fn components_extend_an_overlay() {
    let objects = overlay_with_components();
    let ingress = find(&objects, "Ingress", "davit-webhooks");
    let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    let service = find(&objects, "Service", backend["name"].as_str().unwrap());
    assert_eq!(service["spec"]["ports"][0]["name"], backend["port"]["name"]);
    let monitor = &find(&objects, "PodMonitor", "davit")["spec"];
    let davit = &find(&objects, "Deployment", "davit")["spec"]["template"];
    assert_eq!(monitor["selector"]["matchLabels"], davit["metadata"]["labels"]);
    assert_eq!(
        monitor["podMetricsEndpoints"][0]["port"],
        davit["spec"]["containers"][0]["ports"][0]["name"]
    );
    // Every alert is about a metric of the documentation.
    let table = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let rules = find(&objects, "PrometheusRule", "davit")["spec"]["groups"][0]["rules"].clone();
    for rule in rules.as_array().unwrap() {
        let expression = rule["expr"].as_str().unwrap();
        let at = expression.find("davit_").expect(expression);
        let metric: String = expression[at..]
            .chars()
            .take_while(|char| char.is_ascii_lowercase() || *char == '_')
            .collect();
        assert!(table.contains(&format!("`{metric}")), "{metric}");
    }
}

#[test]
fn components_connect_davit_to_a_buildkitd_and_a_registry() {
    let objects = overlay_with_components();
    // The variables are flags of the controller, and name files of the Secret.
    let variables = &find(&objects, "ConfigMap", "davit-engine")["data"];
    let mut arguments = vec!["davit".to_owned(), "controller".to_owned()];
    for (name, flag) in [("HOST", "host"), ("CA", "ca"), ("CERT", "cert"), ("KEY", "key")] {
        let value = variables[format!("DAVIT_BUILDKIT_{name}")].as_str().unwrap();
        arguments.extend([format!("--buildkit-{flag}"), value.to_owned()]);
    }
    Cli::try_parse_from(&arguments).unwrap();
    // What is named is there: buildkitd in a namespace of its own, and the registry, by the names of their Services.
    let service_of = |name: &str| {
        let service = find(&objects, "Service", name);
        format!(
            "{name}.{}.svc",
            service["metadata"]["namespace"].as_str().unwrap()
        )
    };
    assert_eq!(arguments[3], format!("tcp://{}:1234", service_of("buildkitd")));
    let registry = service_of("registry");
    assert_eq!(variables["DAVIT_REGISTRY"], registry.as_str());
    let configured = find(&objects, "ConfigMap", "buildkitd")["data"]["buildkitd.toml"]
        .as_str()
        .unwrap();
    assert!(
        configured.contains(&format!("[registry.\"{registry}\"]")),
        "{configured}"
    );
    let builds = find(&objects, "Namespace", "davit-build");
    assert_eq!(
        builds["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "privileged"
    );
    let buildkitd = &find(&objects, "Deployment", "buildkitd")["spec"]["template"]["spec"];
    assert_eq!(buildkitd["securityContext"]["runAsNonRoot"], true);
    assert!(
        buildkitd["containers"][0]["securityContext"].is_null(),
        "not privileged"
    );
    // kustomize takes a policy for an object of a namespace.
    let global = ["Cluster", "Validating", "Namespace", "CustomResourceDefinition"];
    for object in &objects {
        let kind = object["kind"].as_str().unwrap();
        let inside = !global.iter().any(|prefix| kind.starts_with(prefix));
        assert!(!inside || object["metadata"]["namespace"].is_string(), "{kind}");
    }
    let pod = &find(&objects, "Deployment", "davit")["spec"]["template"]["spec"];
    let volume = pod["volumes"].as_array().unwrap().last().unwrap();
    let mount = pod["containers"][0]["volumeMounts"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert_eq!(volume["secret"]["secretName"], "davit-buildkit");
    assert_eq!(volume["name"], mount["name"]);
    let directory = format!("{}/", mount["mountPath"].as_str().unwrap());
    assert!(
        arguments[5..]
            .iter()
            .step_by(2)
            .all(|file| file.starts_with(&directory)),
        "{arguments:?}"
    );
    // The namespace enforces the level restricted.
    let pod = &find(&objects, "Deployment", "registry")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"],
        false
    );
    find(
        &objects,
        "PersistentVolumeClaim",
        pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
            .as_str()
            .unwrap(),
    );
}

#[test]
fn overlay_mounts_the_socket_of_a_node() {
    let objects = render("docker-socket");
    let socket = "/var/run/docker.sock";
    assert_eq!(
        find(&objects, "ConfigMap", "davit-engine")["data"]["DOCKER_HOST"],
        format!("unix://{socket}")
    );
    let pod = &find(&objects, "Deployment", "davit")["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["volumes"][2]["hostPath"]["path"], socket);
    assert_eq!(pod["containers"][0]["volumeMounts"][2]["mountPath"], socket);
    assert_eq!(
        pod["volumes"][2]["name"],
        pod["containers"][0]["volumeMounts"][2]["name"]
    );
}
