//! Addresses and node ports of many Services.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{api, send, server};

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[tokio::test]
async fn no_two_services_share_an_address_or_a_node_port() {
    // So many that some of the drawn ports would be the same.
    const COUNT: usize = 300;
    let server = server().await;
    let router = api(&server);
    let (mut addresses, mut ports) = (HashSet::new(), HashSet::new());
    let mut last = Value::Null;
    for number in 0..COUNT {
        let service = json!({"metadata": {"name": format!("a{number}")}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        let made = send(&router, "POST", SERVICES, service).await;
        assert_eq!(made.code, 201, "{}", made.body);
        assert!(
            addresses.insert(made.text("/spec/clusterIP").to_owned()),
            "{}",
            made.body
        );
        assert!(
            ports.insert(made.body["spec"]["ports"][0]["nodePort"].as_u64()),
            "{}",
            made.body
        );
        last = made.body;
    }
    let path = format!("{SERVICES}/a0");
    // What it has it keeps, and what another one has it does not get.
    let same = send(
        &router,
        "PATCH",
        &path,
        json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .await;
    assert_eq!(same.code, 200, "{}", same.body);
    let port = json!([{"port": 80, "nodePort": last["spec"]["ports"][0]["nodePort"]}]);
    let taken = send(&router, "PATCH", &path, json!({"spec": {"ports": port}})).await;
    assert_eq!(taken.code, 422, "{}", taken.body);
    assert!(
        taken
            .text("/message")
            .contains("provided port is already allocated")
    );
    let address = json!({"metadata": {"name": "b"}, "spec": {"clusterIP": last["spec"]["clusterIP"], "ports": [{"port": 80}]}});
    let taken = send(&router, "POST", SERVICES, address).await;
    assert_eq!(taken.code, 422, "{}", taken.body);
    assert!(
        taken
            .text("/message")
            .contains("provided IP is already allocated")
    );
}
