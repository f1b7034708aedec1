//! `tls.certResolver` on an Ingress: Davit reports what the Certificate of cert-manager shows. The CRD is cert-manager's own; the
//! test writes what its controllers write.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{PATIENCE, Traefik, application, condition};
use crate::common::registry::Registry;
use crate::common::{peers, run, wait_for};
use crate::kubernetes_loop::Admin;

const HOST: &str = "issued.example.com";
const DAY: Duration = Duration::from_hours(24);

fn wait(admin: &Admin, reason: &str, part: &str) {
    wait_for(&format!("{reason}: {part}"), PATIENCE, || {
        let found = condition(admin);
        let message = found["message"].as_str().unwrap_or_default();
        (found["reason"] == reason && message.contains(part)).then_some(())
    });
}

fn patch_status(admin: &Admin, status: &Value) {
    let patch = json!({"status": status}).to_string();
    let of = [
        "patch",
        "certificates.cert-manager.io/shop-0-tls",
        "--subresource=status",
        "--type=merge",
    ];
    run(admin.cluster.kubectl().args(of).args(["--patch", &patch]));
}

/// A new certificate in the Secret, and the status that cert-manager gives it.
fn issue(admin: &Admin, from: SystemTime, to: SystemTime) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut made = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap();
    made.not_before = from.into();
    made.not_after = to.into();
    let chain = made.self_signed(&key).unwrap().pem();
    admin.apply(&[
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop-0-tls"}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": chain, "tls.key": key.serialize_pem()}}),
    ]);
    let text = |time: SystemTime| {
        jiff::Timestamp::try_from(time)
            .unwrap()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string()
    };
    let ready = json!({"type": "Ready", "status": "True", "reason": "Ready", "observedGeneration": 1,
        "message": "Certificate is up to date and has not expired"});
    patch_status(
        admin,
        &json!({"conditions": [ready], "notBefore": text(from), "notAfter": text(to)}),
    );
}

pub fn check(admin: &Admin, registry: &Registry, traefik: &Traefik) {
    let routes = json!([{"host": HOST, "tls": {"certResolver": "letsencrypt", "redirect": false}}]);
    admin.apply(&[application(registry, &routes)]);
    wait(admin, "CertificatePending", "the cluster has no cert-manager");
    assert_eq!(admin.get("dapp/shop")["status"]["urls"], Value::Null);

    let crd = peers::file("cert-manager-1.19.1/cert-manager.io_certificates.yaml");
    let apply = ["apply", "--server-side", "--filename"];
    run(admin.cluster.kubectl().args(apply).arg(crd));
    wait(
        admin,
        "CertificatePending",
        "has not made the Certificate shop-0-tls",
    );

    let ingress = admin.get("ingress/shop-0");
    assert_eq!(
        ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"],
        "letsencrypt"
    );
    admin.apply(
        &[json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "shop-0-tls", "labels": ingress["metadata"]["labels"]},
        "spec": {"secretName": "shop-0-tls", "dnsNames": [HOST],
            "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "letsencrypt"}}})],
    );
    let not_ready = json!({"type": "Ready", "status": "False", "reason": "DoesNotExist", "observedGeneration": 1,
        "message": "Issuing certificate as Secret does not exist"});
    patch_status(admin, &json!({"conditions": [not_ready]}));
    wait(
        admin,
        "CertificatePending",
        "DoesNotExist: Issuing certificate as Secret does not exist",
    );
    let failed = json!({"type": "Issuing", "status": "False", "reason": "Failed", "observedGeneration": 1,
        "message": "The certificate request has failed: the order is invalid"});
    patch_status(admin, &json!({"conditions": [not_ready, failed]}));
    wait(admin, "CertificateRefused", "the order is invalid");

    let now = SystemTime::now();
    issue(admin, now - DAY, now + DAY * 89);
    wait(admin, "RoutesReady", "");
    admin.wait("dapp/shop", "/status/urls", &json!([format!("https://{HOST}")]));
    traefik.wait("https", HOST, "/", |answer| answer.body.contains("hello"));
    // One that should have been renewed by now, and one that has expired.
    issue(admin, now - DAY * 87, now + DAY * 3);
    wait(admin, "CertificateExpires", "cert-manager renews it");
    issue(admin, now - DAY * 87, now - DAY);
    wait(admin, "CertificateExpired", "cert-manager renews it");
    issue(admin, now - DAY, now + DAY * 89);
    wait(admin, "RoutesReady", "");
}
