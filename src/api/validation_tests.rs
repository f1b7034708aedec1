//! Rows of `ApplicationSpec::check`.

use serde_json::json;

use super::{ApplicationSpec, InvalidField};

fn check(spec: serde_json::Value) -> String {
    let spec: ApplicationSpec = serde_json::from_value(spec).unwrap();
    spec.check()
        .map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn field_that_cannot_work_is_reported_with_its_path_and_the_solution() {
    let long = "b".repeat(256);
    let in_path = "contains a name of 256 bytes, and Linux allows 255: shorten it";
    let check_of = |port: serde_json::Value| {
        json!({"healthCheck": {"tcp": {"port": port}},
            "ports": [{"name": "web", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]})
    };
    for (spec, message) in [
        (
            json!({"resources": {"limits": {"cpu": "0"}}}),
            "spec.resources.limits.cpu 0 is not an amount of cpu: write cores from 1m to 1000, as 250m, 1 or 1.5",
        ),
        (
            json!({"build": {"resources": {"requests": {"memory": "2Pi"}}}}),
            "spec.build.resources.requests.memory 2Pi is not an amount of memory: write bytes, as 128Mi or 1G",
        ),
        (
            json!({"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}),
            "spec.resources.requests has more cpu than limits.cpu: lower it, or raise the limit",
        ),
        (
            json!({"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}),
            "spec.resources.requests has more memory than limits.memory: lower it, or raise the limit",
        ),
        (
            json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 81, "hostIp": "localhost"}]}),
            "spec.ports[1].hostIp \"localhost\" is not an IP address: write it as 127.0.0.1 or ::1",
        ),
        (
            json!({"ports": [{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 81}]}),
            "spec.ports has the name \"http\" twice: give each port a name of its own",
        ),
        (
            check_of(json!("dns")),
            "spec.healthCheck.tcp.port \"dns\" is a UDP port: use the name of a TCP port",
        ),
        (
            check_of(json!("nope")),
            "spec.healthCheck.tcp.port \"nope\" is not a name in spec.ports: add it there, or use the number",
        ),
        (
            check_of(json!(0)),
            "spec.healthCheck.tcp.port 0 is not a port: use a number from 1 to 65535",
        ),
        (
            json!({"healthCheck": {"http": {"port": 65536}}}),
            "spec.healthCheck.http.port 65536 is not a port: use a number from 1 to 65535",
        ),
        (
            json!({"volumes": [{"name": "a", "mountPath": "/data", "volume": {}}, {"name": "b", "mountPath": "/data/", "volume": {}}]}),
            "spec.volumes has the mountPath \"/data\" twice: give each volume a path of its own",
        ),
        (
            json!({"volumes": [{"name": "a", "mountPath": "/a/../b", "volume": {}}]}),
            "spec.volumes[0].mountPath \"/a/../b\" cannot be mounted: use an absolute path other than /, without ..",
        ),
        (
            json!({"volumes": [{"name": "a", "mountPath": "//", "volume": {}}]}),
            "spec.volumes[0].mountPath \"//\" cannot be mounted: use an absolute path other than /, without ..",
        ),
        (
            json!({"volumes": [{"name": "a", "mountPath": format!("/a/{long}"), "volume": {}}]}),
            &format!("spec.volumes[0].mountPath {in_path}"),
        ),
        (
            json!({"source": {"git": {"url": "https://h/a", "path": long}}}),
            &format!("spec.source.git.path {in_path}"),
        ),
        (
            json!({"source": {"gitlab": {"provider": {"name": "p"}, "project": "a/b", "path": long}}}),
            &format!("spec.source.gitlab.path {in_path}"),
        ),
        (
            json!({"build": {"dockerfile": {"context": "a\0"}}}),
            "spec.build.dockerfile.context contains a NUL character, which no path can: remove it",
        ),
        (
            json!({"build": {"static": {"publishDirectory": long}}}),
            &format!("spec.build.static.publishDirectory {in_path}"),
        ),
        (
            json!({"build": {"static": {"image": "a", "imagePath": format!("/{long}")}}}),
            &format!("spec.build.static.imagePath {in_path}"),
        ),
    ] {
        assert_eq!(check(spec), message);
    }
}

#[test]
fn spec_with_usual_values_is_valid() {
    let spec = json!({
        "source": {"git": {"url": "https://h/a", "path": "/apps/web"}},
        "build": {"dockerfile": {"path": "docker/Dockerfile", "context": "."}},
        "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
        "ports": [
            {"name": "http", "containerPort": 80, "hostPort": 80, "hostIp": "::1"},
            {"name": "dns", "containerPort": 53, "protocol": "UDP"}],
        "healthCheck": {"http": {"port": "http"}},
        "volumes": [
            {"name": "a", "mountPath": "/data", "volume": {}}, {"name": "b", "mountPath": "/data/b", "volume": {}},
            {"name": "c", "mountPath": format!("/{}", "c".repeat(255)), "volume": {}}],
    });
    assert_eq!(check(spec), "");
}

#[test]
fn amount_of_cpu_or_memory_is_told_from_other_fields() {
    for (path, expected) in [
        ("spec.resources.limits.cpu", true),
        ("spec.resources.limits.memory", true),
        ("spec.resources.requests", true),
        ("spec.ports[0].hostIp", false),
    ] {
        let field = InvalidField {
            path: path.to_owned(),
            message: String::new(),
        };
        assert_eq!(field.is_quantity(), expected, "{path}");
    }
}
