//! Host ports at single addresses of the machine.

use crate::common::docker::docker;
use crate::common::run;
use davit::api::{Protocol, Strategy};
use davit::runtime::{Deployment, Port, RuntimeError};

use crate::contract::runtime_contract::{Does, Harness, free_port, ids};

/// An address that no machine has (RFC 5737).
const NOWHERE: &str = "192.0.2.1";

fn with_port(mut workload: Deployment, port: u16, ip: Option<&str>, protocol: Protocol) -> Deployment {
    workload.policy.strategy = Strategy::StopFirst;
    workload.spec.ports = vec![Port {
        name: None,
        container: 8080,
        host: Some(port),
        host_ip: ip.map(str::to_owned),
        protocol,
    }];
    workload
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_host_ip_is_reported_and_stops_no_container() {
    let mut harness = Harness::docker("rt");
    let port = free_port();
    let told = |refused: RuntimeError| {
        let said = refused.to_string();
        assert!(matches!(refused, RuntimeError::AddressMissing(_)), "{said}");
        assert!(said.contains(&format!("{NOWHERE}:")), "{said}");
    };
    let serves = with_port(
        harness.workload("web", "h1", Does::Serve),
        port,
        None,
        Protocol::Tcp,
    );
    harness.deploy_until_complete(&serves).await;
    let before = harness.replicas(&serves).await;
    let places: Vec<_> = before[0]
        .endpoints
        .iter()
        .map(|at| (at.container, at.host, at.host_ip.as_deref(), at.protocol))
        .collect();
    let everywhere = (8080, Some(port), Some("0.0.0.0"), Protocol::Tcp);
    assert!(places.contains(&everywhere), "{places:?}");
    for (hash, protocol) in [("h2", Protocol::Tcp), ("h3", Protocol::Udp)] {
        let moved = with_port(
            harness.workload("web", hash, Does::Serve),
            port,
            Some(NOWHERE),
            protocol,
        );
        told(harness.runtime.deploy(&moved).await.unwrap_err());
        let after = harness.replicas(&serves).await;
        let still = after.iter().any(|it| it.id == before[0].id && it.serving);
        assert!(still, "the old one was stopped for nothing: {after:?}");
    }
    harness.deploy_until_complete(&serves).await;
    assert_eq!(ids(&harness.replicas(&serves).await), ids(&before));

    // Where nothing is to be stopped it is the engine that says so, and each time in the same words.
    let alone = with_port(
        harness.workload("alone", "h4", Does::Serve),
        port,
        Some(NOWHERE),
        Protocol::Tcp,
    );
    for _ in 0..2 {
        told(harness.runtime.deploy(&alone).await.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn port_of_another_instance_is_reported_as_another_davits() {
    let mut harness = Harness::docker("rt");
    let port = free_port();
    let elsewhere = Harness::docker("rt");
    let mut holder = with_port(
        elsewhere.workload("holder", "h1", Does::Serve),
        port,
        None,
        Protocol::Tcp,
    );
    holder.spec.health = None;
    let mut elsewhere = elsewhere;
    elsewhere.deploy_until_complete(&holder).await;
    let wanted = with_port(
        harness.workload("web", "h2", Does::Serve),
        port,
        None,
        Protocol::Tcp,
    );
    let refused = harness.runtime.deploy(&wanted).await.unwrap_err();
    let RuntimeError::PortTaken { by, .. } = &refused else {
        panic!("{refused}")
    };
    let instance = format!(
        "of Application {} of another Davit (--instance {})",
        holder.identity.app, elsewhere.namespace
    );
    assert!(by.starts_with("container ") && by.ends_with(&instance), "{by}");

    let mut neighbour = with_port(
        harness.workload("other", "h3", Does::Serve),
        free_port(),
        None,
        Protocol::Tcp,
    );
    neighbour.spec.health = None;
    harness.deploy_until_complete(&neighbour).await;
    let port = neighbour.spec.ports[0].host.unwrap();
    let wanted = with_port(
        harness.workload("web", "h4", Does::Serve),
        port,
        None,
        Protocol::Tcp,
    );
    let refused = harness.runtime.deploy(&wanted).await.unwrap_err().to_string();
    assert!(
        refused.contains(&format!(
            "taken by Application {} (container ",
            neighbour.identity.app
        )),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn host_port_is_handed_over_to_a_container_that_starts_with_the_name() {
    let mut harness = Harness::docker("rt");
    let began = jiff::Timestamp::now().as_second().to_string();
    let port = free_port();
    for hash in ["h1", "h2"] {
        let wanted = with_port(
            harness.workload("web", hash, Does::Serve),
            port,
            None,
            Protocol::Tcp,
        );
        harness.deploy_until_complete(&wanted).await;
        let serving = harness.replicas(&wanted).await;
        assert!(serving.len() == 1 && serving[0].serving, "{serving:?}");
        // A running container that left its network and came back would be out of reach in between.
        let until = (jiff::Timestamp::now().as_second() + 1).to_string();
        let mut events = docker();
        events.args(["events", "--since", &began, "--until", &until]);
        events.args(["--filter", "type=network", "--filter", "event=disconnect"]);
        let left = run(events.args(["--format", "{{.Actor.Attributes.container}}"]));
        assert!(!left.contains(&serving[0].id), "{hash}: {left}");
    }
}
