//! What the status of an object shows of its route.

use serde_json::Value;

use super::Frontend;

/// The state of the object of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// It is not applied, or its controller has not judged it yet.
    Pending,
    /// The API server or the object's controller refuses it, with these words.
    Refused(String),
    /// It is accepted.
    Accepted {
        /// The addresses at which it is served, if the object has them: IP addresses or host names.
        addresses: Vec<String>,
    },
}

/// Returns what the status of an object shows. The verdict of an earlier generation does not count.
pub fn observed(frontend: &Frontend, object: &Value) -> ObjectState {
    match frontend {
        // An Ingress has no conditions, and not every controller writes an address.
        Frontend::Ingress { .. } => ObjectState::Accepted {
            addresses: texts(
                object.pointer("/status/loadBalancer/ingress"),
                &["ip", "hostname"],
            ),
        },
        Frontend::Gateway(_) => route(object),
    }
}

/// Returns the addresses of a Gateway.
pub fn addresses(gateway: &Value) -> Vec<String> {
    texts(gateway.pointer("/status/addresses"), &["value"])
}

/// Returns the port of a listener of a Gateway.
pub fn listener_port(gateway: &Value, listener: &str) -> Option<u16> {
    let listeners = gateway.pointer("/spec/listeners").and_then(Value::as_array)?;
    let found = listeners.iter().find(|one| one["name"] == listener)?;
    u16::try_from(found["port"].as_u64()?).ok()
}

fn texts(list: Option<&Value>, keys: &[&str]) -> Vec<String> {
    let list = list.and_then(Value::as_array);
    let text = |entry: &Value| {
        keys.iter()
            .find_map(|key| entry.get(*key)?.as_str().map(str::to_owned))
    };
    list.into_iter().flatten().filter_map(text).collect()
}

fn route(object: &Value) -> ObjectState {
    let generation = object.pointer("/metadata/generation");
    let wanted = object
        .pointer("/spec/parentRefs")
        .and_then(Value::as_array)
        .map_or(1, Vec::len);
    let parents = object.pointer("/status/parents").and_then(Value::as_array);
    let mut accepted = 0;
    for parent in parents.into_iter().flatten() {
        let conditions = parent["conditions"].as_array();
        let current = conditions
            .into_iter()
            .flatten()
            .filter(|condition| condition.get("observedGeneration") == generation);
        for condition in current {
            let judged = condition["type"] == "Accepted" || condition["type"] == "ResolvedRefs";
            if judged && condition["status"] == "False" {
                let word = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
                // The Service comes with the first Release.
                if condition["reason"] == "BackendNotFound" {
                    return ObjectState::Pending;
                }
                return ObjectState::Refused(format!("{}: {}", word("reason"), word("message")));
            }
            accepted += usize::from(condition["type"] == "Accepted" && condition["status"] == "True");
        }
    }
    if accepted < wanted {
        return ObjectState::Pending;
    }
    ObjectState::Accepted {
        addresses: Vec::new(),
    }
}
