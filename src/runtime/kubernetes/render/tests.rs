//! Deployments and the objects that they become.

use super::*;
use crate::runtime::fake::deployment;
use crate::runtime::{EnvVar, Mount};

fn rendered(wanted: &Deployment) -> (Value, Objects) {
    let objects = objects(wanted, &wanted.identity.release).unwrap();
    let workload = match &objects.workload {
        Workload::Deployment(workload) | Workload::Job(workload) => workload.clone(),
    };
    (workload, objects)
}

fn container(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]["containers"][0]
}

fn port(container: u16, protocol: Protocol) -> Port {
    Port {
        name: None,
        container,
        host: None,
        host_ip: None,
        protocol,
    }
}

#[test]
fn application_becomes_a_deployment_that_its_deletion_removes() {
    let mut wanted = deployment("production", "shop", "h1");
    wanted.policy.replicas = 2;
    wanted.spec.ports = vec![
        port(80, Protocol::Tcp),
        port(53, Protocol::Udp),
        port(80, Protocol::Tcp),
    ];
    let (workload, objects) = rendered(&wanted);
    assert_eq!(workload["kind"], "Deployment");
    assert_eq!(
        workload["metadata"]["ownerReferences"],
        json!([{"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "name": "shop", "uid": "uid-shop", "controller": true}])
    );
    assert_eq!(workload["spec"]["replicas"], 2);
    assert_eq!(
        workload["spec"]["selector"]["matchLabels"],
        json!({"davit.dev/application": "shop"})
    );
    assert_eq!(
        workload["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}})
    );
    assert_eq!(
        (
            &workload["spec"]["minReadySeconds"],
            &workload["spec"]["progressDeadlineSeconds"]
        ),
        (&json!(1), &json!(300))
    );
    let pod = &workload["spec"]["template"];
    assert_eq!(
        pod["metadata"]["annotations"],
        json!({"davit.dev/release": "shop-1"})
    );
    assert_eq!(pod["metadata"]["labels"]["davit.dev/config"], "h1");
    assert_eq!(
        container(&workload)["ports"],
        json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}])
    );
    assert_eq!(
        objects.service.as_ref().unwrap()["spec"]["ports"],
        json!([
            {"name": "tcp-80", "port": 80, "targetPort": 80, "protocol": "TCP"},
            {"name": "udp-53", "port": 53, "targetPort": 53, "protocol": "UDP"}])
    );
    assert_eq!((objects.config, objects.pull), (None, None));
}

#[test]
fn pods_pass_the_baseline_pod_security_standard() {
    let (workload, _) = rendered(&deployment("ns", "shop", "h1"));
    let pod = &workload["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(
        pod["securityContext"],
        json!({"seccompProfile": {"type": "RuntimeDefault"}})
    );
    assert_eq!(
        container(&workload)["securityContext"],
        json!({"allowPrivilegeEscalation": false})
    );
}

#[test]
fn rollout_policy_becomes_strategy_and_seconds() {
    let mut wanted = deployment("ns", "shop", "h1");
    wanted.policy.strategy = Strategy::StopFirst;
    wanted.policy.min_ready = Some(Duration::from_millis(1500));
    wanted.policy.progress_deadline = Duration::from_secs(2);
    let (workload, _) = rendered(&wanted);
    assert_eq!(workload["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(workload["spec"]["minReadySeconds"], 2);
    // The API server refuses a deadline that is not longer.
    assert_eq!(workload["spec"]["progressDeadlineSeconds"], 3);
}

#[test]
fn container_leaves_the_service_before_it_stops() {
    let mut wanted = deployment("ns", "shop", "h1");
    let (workload, _) = rendered(&wanted);
    assert_eq!(
        workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
        10
    );
    assert_eq!(container(&workload)["lifecycle"], Value::Null);
    wanted.spec.ports = vec![port(80, Protocol::Tcp)];
    let (workload, _) = rendered(&wanted);
    assert_eq!(
        workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
        15
    );
    assert_eq!(
        container(&workload)["lifecycle"],
        json!({"preStop": {"sleep": {"seconds": 5}}})
    );
}

#[test]
fn name_of_an_application_without_ports_resolves_to_its_pods() {
    let (_, objects) = rendered(&deployment("ns", "shop", "h1"));
    assert_eq!(objects.service.as_ref().unwrap()["spec"]["clusterIP"], "None");
    assert_eq!(objects.service.as_ref().unwrap()["spec"]["ports"], Value::Null);
}

#[test]
fn restart_policy_decides_the_kind_and_the_retries() {
    for (restart, kind, retries) in [
        (Restart::Always, "Deployment", Value::Null),
        (Restart::Never, "Job", json!(0)),
        (Restart::OnFailure(3), "Job", json!(3)),
        (Restart::OnFailure(0), "Job", json!(i32::MAX)),
    ] {
        let mut wanted = deployment("ns", "shop", "h1");
        wanted.spec.restart = restart;
        let (workload, _) = rendered(&wanted);
        assert_eq!(
            (&workload["kind"], &workload["spec"]["backoffLimit"]),
            (&json!(kind), &retries)
        );
        let again = workload["spec"]["template"]["spec"]["restartPolicy"].clone();
        assert_eq!(
            again,
            if restart == Restart::Always {
                "Always"
            } else {
                "Never"
            }
        );
    }
}

#[test]
fn health_check_becomes_probes() {
    let mut wanted = deployment("ns", "shop", "h1");
    wanted.spec.health = Some(Health {
        probe: Probe::Http {
            path: "/healthz".to_owned(),
            port: 8080,
        },
        interval: Duration::from_millis(1500),
        timeout: Duration::from_millis(500),
        retries: 3,
        start_period: Duration::ZERO,
    });
    let (workload, _) = rendered(&wanted);
    let check = json!({"path": "/healthz", "port": 8080, "scheme": "HTTP"});
    assert_eq!(
        container(&workload)["readinessProbe"],
        json!({"httpGet": check, "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 3})
    );
    assert_eq!(container(&workload)["startupProbe"], Value::Null);
    assert_eq!(workload["spec"]["minReadySeconds"], 0);
    for (probe, kind, check) in [
        (Probe::Tcp { port: 80 }, "tcpSocket", json!({"port": 80})),
        (
            Probe::Exec(vec!["true".to_owned()]),
            "exec",
            json!({"command": ["true"]}),
        ),
    ] {
        let mut health = wanted.spec.health.clone().unwrap();
        health.probe = probe;
        health.start_period = Duration::from_secs(9);
        wanted.spec.health = Some(health);
        let (workload, _) = rendered(&wanted);
        let probes = container(&workload);
        assert_eq!(probes["readinessProbe"][kind], check);
        // Failures within the first 9 s do not count: 5 checks, and then the retries.
        assert_eq!(
            (
                &probes["startupProbe"][kind],
                &probes["startupProbe"]["failureThreshold"]
            ),
            (&check, &json!(8))
        );
    }
}

#[test]
fn hook_is_a_job_of_its_application_without_a_service() {
    let mut wanted = deployment("ns", "shop", "h1");
    wanted.identity.app = wanted.identity.app.hook();
    wanted.spec.restart = Restart::Never;
    wanted.spec.mounts = vec![Mount {
        name: "data".to_owned(),
        path: "/data".to_owned(),
        source: MountSource::Volume,
        read_only: false,
    }];
    let (job, objects) = rendered(&wanted);
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "shop");
    // Its Pods do not serve, and its volumes are those of the Application.
    let pod = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!(pod["davit.dev/application"], "shop.predeploy");
    assert_eq!(objects.service, None);
    let claim = &objects.claims[0].object["metadata"];
    assert_eq!(
        (&claim["name"], &claim["labels"]["davit.dev/application"]),
        (&json!("shop.data"), &json!("shop"))
    );
    wanted.identity.app = crate::model::AppId::new("ns", "x".repeat(52)).hook();
    let name = rendered(&wanted).0["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(name.len() <= 63 && !name.contains('.'), "{name}");
}

#[test]
fn volumes_are_claims_without_an_owner() {
    let mut wanted = deployment("ns", "shop", "h1");
    wanted.spec.mounts = vec![Mount {
        name: "data".to_owned(),
        path: "/data".to_owned(),
        source: MountSource::Volume,
        read_only: true,
    }];
    wanted.spec.env = vec![EnvVar::plain("A", "b")];
    let (workload, objects) = rendered(&wanted);
    let (name, claim) = (&objects.claims[0].name, &objects.claims[0].object);
    assert_eq!(
        (name.as_str(), &claim["metadata"]["ownerReferences"]),
        ("shop.data", &Value::Null)
    );
    assert_eq!(
        workload["spec"]["template"]["spec"]["volumes"],
        json!([{"name": "volume-data", "persistentVolumeClaim": {"claimName": "shop.data"}}])
    );
    assert_eq!(
        container(&workload)["volumeMounts"],
        json!([{"name": "volume-data", "mountPath": "/data", "readOnly": true}])
    );
    assert_eq!(objects.config.unwrap()["metadata"]["name"], "shop-h1");
}

#[test]
fn claim_has_the_size_and_class_that_are_stated() {
    let mut wanted = deployment("ns", "shop", "h1");
    wanted.spec.mounts = ["small", "large"]
        .map(|name| Mount {
            name: name.to_owned(),
            path: format!("/{name}"),
            source: MountSource::Volume,
            read_only: false,
        })
        .into();
    let storage = crate::runtime::Storage {
        size: Some(10 << 30),
        class: Some("fast".to_owned()),
    };
    wanted.spec.storage = [("large".to_owned(), storage)].into();
    let (_, objects) = rendered(&wanted);
    let spec = |index: usize| objects.claims[index].object["spec"].clone();
    let request = |bytes: u64| json!({"requests": {"storage": bytes.to_string()}});
    assert_eq!(
        spec(0),
        json!({"accessModes": ["ReadWriteOnce"], "resources": request(1 << 30)})
    );
    assert_eq!(
        spec(1),
        json!({"accessModes": ["ReadWriteOnce"], "resources": request(10 << 30), "storageClassName": "fast"})
    );
}

#[test]
fn resources_are_in_the_form_of_the_api_server() {
    let mut wanted = deployment("ns", "shop", "h1");
    wanted.spec.resources = Resources {
        cpu: Some(1_500_000_000),
        memory: Some(512 << 20),
        memory_request: Some(128 << 20),
        cpu_request: None,
    };
    let (workload, _) = rendered(&wanted);
    assert_eq!(
        container(&workload)["resources"],
        json!({"limits": {"cpu": "1500m", "memory": "536870912"}, "requests": {"memory": "134217728"}})
    );
}

#[test]
fn credential_of_the_registry_is_a_pull_secret_of_the_application() {
    for (image, login, key, entry) in [
        (
            "registry.example.com:5000/acme/shop@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            RegistryLogin::basic("jane", "hunter2"),
            "registry.example.com:5000",
            json!({"auth": STANDARD.encode("jane:hunter2")}),
        ),
        (
            "docker.io/acme/shop@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            RegistryLogin::Identity("token".into()),
            "https://index.docker.io/v1/",
            json!({"identitytoken": "token"}),
        ),
    ] {
        let mut wanted = deployment("ns", "shop", "h1");
        image.clone_into(&mut wanted.spec.image);
        wanted.registry = Some(login);
        let (workload, objects) = rendered(&wanted);
        let pull = objects.pull.unwrap();
        assert_eq!(pull["type"], "kubernetes.io/dockerconfigjson");
        assert_eq!(pull["metadata"]["ownerReferences"][0]["name"], "shop");
        let config = STANDARD
            .decode(pull["data"][".dockerconfigjson"].as_str().unwrap())
            .unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config, json!({"auths": {key: entry}}));
        assert_eq!(
            workload["spec"]["template"]["spec"]["imagePullSecrets"],
            json!([{"name": "shop-davit-pull"}])
        );
    }
}
