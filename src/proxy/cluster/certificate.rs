//! What cert-manager shows of the certificate of a route.

use jiff::Timestamp;
use serde_json::Value;

use super::ingress::ISSUER;

/// Group, version, kind and plural of cert-manager's Certificates.
pub const CERTIFICATES: [&str; 4] = ["cert-manager.io", "v1", "Certificate", "certificates"];

/// The state of a Certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateState {
    /// There is no certificate that can be used.
    Pending {
        /// Why, in the words of cert-manager.
        words: String,
        /// Whether the issuer has refused it.
        is_refused: bool,
    },
    /// The certificate is in its Secret.
    Issued {
        /// From when on it is valid, in seconds since 1970.
        not_before: i64,
        /// When it expires.
        not_after: i64,
    },
}

/// Returns the name of the Certificate that cert-manager makes for an Ingress, if it makes one.
pub fn certificate_name(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"].get(ISSUER)?;
    object.pointer("/spec/tls/0/secretName")?.as_str()
}

/// Returns what a Certificate shows. The verdict on an earlier generation does not count.
pub fn certificate_state(name: &str, object: Option<&Value>) -> CertificateState {
    let pending = |words: String, is_refused| CertificateState::Pending { words, is_refused };
    let Some(object) = object else {
        let words = format!(
            "it has not made the Certificate {name}: the ClusterIssuer may be missing, or the log of cert-manager names the reason"
        );
        return pending(words, false);
    };
    let condition = |kind: &str| {
        let all = object.pointer("/status/conditions")?.as_array()?;
        let generation = object.pointer("/metadata/generation");
        all.iter().find(|condition| {
            let seen = condition.get("observedGeneration");
            condition["type"] == kind && (seen.is_none() || seen == generation)
        })
    };
    let text = |condition: Option<&Value>| {
        let message = condition.and_then(|condition| condition["message"].as_str());
        message.unwrap_or_default().trim_end_matches('.').to_owned()
    };
    let ready = condition("Ready");
    let reason = ready
        .and_then(|ready| ready["reason"].as_str())
        .unwrap_or_default();
    let is_ready = ready.is_some_and(|ready| ready["status"] == "True");
    if (is_ready || reason == "Expired")
        && let (Some(not_before), Some(not_after)) = (time(object, "notBefore"), time(object, "notAfter"))
    {
        return CertificateState::Issued {
            not_before,
            not_after,
        };
    }
    let issuing = condition("Issuing").filter(|issuing| issuing["status"] == "False");
    let more = format!("kubectl describe certificate {name} shows more");
    match (issuing, ready) {
        (Some(_), _) => pending(format!("{}: {more}", text(issuing)), true),
        (None, Some(_)) => pending(format!("{reason}: {}: {more}", text(ready)), false),
        (None, None) => pending(format!("it has not looked at the Certificate {name} yet"), false),
    }
}

fn time(object: &Value, field: &str) -> Option<i64> {
    let text = object.pointer("/status")?.get(field)?.as_str()?;
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}
