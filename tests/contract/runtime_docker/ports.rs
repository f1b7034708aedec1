//! Host ports at single addresses of the machine.

use davit::api::{Protocol, Strategy};
use davit::runtime::{PortBinding, RuntimeError, Workload};

use super::super::runtime::{Does, Rig, free_port, ids};

/// An address that no machine has (RFC 5737).
const NOWHERE: &str = "192.0.2.1";

fn with_port(mut workload: Workload, port: u16, ip: Option<&str>, protocol: Protocol) -> Workload {
    workload.strategy = Strategy::StopFirst;
    workload.ports = vec![PortBinding {
        container: 8080,
        host: Some(port),
        host_ip: ip.map(str::to_owned),
        protocol,
    }];
    workload
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_machine_does_not_have_stops_nothing_and_is_told_by_its_field() {
    let mut rig = Rig::docker("rt");
    let port = free_port();
    let told = |refused: RuntimeError| {
        let said = refused.to_string();
        assert!(matches!(refused, RuntimeError::AddressMissing(_)), "{said}");
        assert!(
            said.contains(&format!("spec.ports.hostIp {NOWHERE} is not an address")),
            "{said}"
        );
    };
    let serves = with_port(rig.workload("web", "h1", Does::Serve), port, None, Protocol::Tcp);
    rig.settle(&serves).await;
    let before = rig.replicas(&serves).await;
    let places: Vec<_> = before[0]
        .host_ports
        .iter()
        .map(|at| (at.container, at.host, at.host_ip.as_deref(), at.protocol))
        .collect();
    let everywhere = (8080, Some(port), Some("0.0.0.0"), Protocol::Tcp);
    assert!(places.contains(&everywhere), "{places:?}");
    for (hash, protocol) in [("h2", Protocol::Tcp), ("h3", Protocol::Udp)] {
        let moved = with_port(
            rig.workload("web", hash, Does::Serve),
            port,
            Some(NOWHERE),
            protocol,
        );
        told(rig.runtime.deploy(&moved).await.unwrap_err());
        let after = rig.replicas(&serves).await;
        let still = after.iter().any(|it| it.id == before[0].id && it.serving);
        assert!(still, "the old one was stopped for nothing: {after:?}");
    }
    rig.settle(&serves).await;
    assert_eq!(ids(&rig.replicas(&serves).await), ids(&before));

    // Where nothing is to be stopped it is the engine that says so, and each time in the same words.
    let alone = with_port(
        rig.workload("alone", "h4", Does::Serve),
        port,
        Some(NOWHERE),
        Protocol::Tcp,
    );
    for _ in 0..2 {
        told(rig.runtime.deploy(&alone).await.unwrap_err());
    }
}
