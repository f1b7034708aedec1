use serde_json::{Value, json};

use super::{allocate, default, keep_allocated, validate};

/// A Service with that spec after its defaults, and what is wrong with it.
fn made(spec: &Value) -> (Value, Vec<String>) {
    let mut service = json!({"metadata": {"name": "a"}, "spec": spec});
    let fields = service.as_object_mut().unwrap();
    default(fields);
    allocate(fields);
    let mut errors = Vec::new();
    validate(fields, None, &mut errors);
    (service, errors.iter().map(ToString::to_string).collect())
}

/// The Service after a merge patch of its spec.
fn changed(service: &Value, patch: &Value) -> Value {
    let mut new = service.clone();
    for (key, value) in patch.as_object().unwrap() {
        new["spec"][key] = value.clone();
    }
    let fields = new.as_object_mut().unwrap();
    default(fields);
    keep_allocated(fields, service.as_object().unwrap());
    let mut errors = Vec::new();
    validate(fields, service.as_object(), &mut errors);
    assert!(errors.is_empty(), "{patch}: {errors:?}");
    new
}

fn keys(service: &Value) -> Vec<&str> {
    service["spec"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

const INTERNAL: [&str; 8] = [
    "clusterIP",
    "clusterIPs",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "ports",
    "sessionAffinity",
    "type",
];

#[test]
fn a_change_of_the_type_drops_what_the_new_type_does_not_have() {
    let (balanced, errors) = made(&json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "loadBalancerClass": "a/b", "ports": [{"name": "a", "port": 80}]}));
    assert_eq!(errors, [""; 0]);
    let mut balanced = balanced;
    balanced["status"]["loadBalancer"] = json!({"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]});
    let [port, health] =
        ["/ports/0/nodePort", "/healthCheckNodePort"].map(|path| balanced["spec"].pointer(path).unwrap());
    assert_ne!(port, health);
    let renumbered = changed(&balanced, &json!({"ports": [{"name": "a", "port": 81}]}));
    assert_eq!(
        renumbered["spec"]["ports"][0]["nodePort"], *port,
        "it stays with the name"
    );
    let internal = changed(&balanced, &json!({"type": "ClusterIP"}));
    assert_eq!(keys(&internal), INTERNAL);
    assert_eq!(internal["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(internal["spec"]["clusterIP"], balanced["spec"]["clusterIP"]);
    assert_eq!(internal["status"]["loadBalancer"], json!({}));
    let external = changed(
        &internal,
        &json!({"type": "ExternalName", "externalName": "example.com"}),
    );
    assert_eq!(
        keys(&external),
        ["externalName", "ports", "sessionAffinity", "type"]
    );
    let again = changed(&external, &json!({"type": "NodePort"}));
    assert!(keys(&again).contains(&"externalTrafficPolicy"));
    assert!(again["spec"]["ports"][0]["nodePort"].is_u64() && again["spec"]["clusterIP"].is_string());
}

#[test]
fn empty_values_are_left_out() {
    let (service, errors) = made(
        &json!({"ports": [{"port": 80, "nodePort": 0, "targetPort": 0}], "externalIPs": [],
        "publishNotReadyAddresses": false, "selector": {}, "externalName": "", "healthCheckNodePort": 0,
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}),
    );
    assert_eq!(errors, [""; 0]);
    assert_eq!(keys(&service), INTERNAL);
    assert_eq!(
        service["spec"]["ports"],
        json!([{"port": 80, "protocol": "TCP", "targetPort": 80}])
    );
    let (exposed, _) = made(&json!({"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}));
    assert_eq!(exposed["spec"]["externalTrafficPolicy"], "Cluster");
    let hidden = changed(&exposed, &json!({"externalIPs": null}));
    assert_eq!(hidden["spec"].get("externalTrafficPolicy"), None);
}

#[test]
fn specs_have_upstreams_messages() {
    const ONLY: &str = "Forbidden: may only be used when `type` is 'LoadBalancer'";
    let rows = [
        (
            json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["x", "192.0.2.0/24"]}),
            "spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or \
             2001:db8::/64)"
                .to_owned(),
        ),
        (
            json!({"loadBalancerSourceRanges": ["192.0.2.0/24"]}),
            format!("spec.LoadBalancerSourceRanges: {ONLY}"),
        ),
        (json!({"loadBalancerClass": "a/b"}), format!("spec.loadBalancerClass: {ONLY}")),
        (
            json!({"allocateLoadBalancerNodePorts": true}),
            format!("spec.allocateLoadBalancerNodePorts: {ONLY}"),
        ),
        (
            json!({"trafficDistribution": "Odd"}),
            "spec.trafficDistribution: Unsupported value: \"Odd\": supported values: \"PreferClose\", \
             \"PreferSameZone\", \"PreferSameNode\""
                .to_owned(),
        ),
        (
            json!({"ipFamilies": ["IPv4", "IPv4"]}),
            "spec.ipFamilies[1]: Duplicate value: \"IPv4\"".to_owned(),
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack \
             services"
                .to_owned(),
        ),
        (
            json!({"clusterIP": "10.96.0.6", "clusterIPs": ["10.96.0.5"]}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.5\"]: first value must match `clusterIP`".to_owned(),
        ),
        (
            json!({"healthCheckNodePort": 30000}),
            "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and \
             `externalTrafficPolicy` is 'Local'"
                .to_owned(),
        ),
        (
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than \
             86400"
                .to_owned(),
        ),
    ];
    for (mut spec, message) in rows {
        spec["ports"] = json!([{"port": 80}]);
        assert_eq!(made(&spec).1, [message], "{spec}");
    }
}
