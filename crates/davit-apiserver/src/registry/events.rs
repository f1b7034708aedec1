//! Events under their two names: core/v1, as they are stored, and events.k8s.io/v1.

use crate::object_meta::Fields;

/// events.k8s.io name, core name.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// A stored Event as events.k8s.io/v1 shows it.
pub fn from_core(event: &mut Fields) {
    for (new, core) in NAMES {
        if let Some(value) = event.remove(*core) {
            event.insert((*new).to_owned(), value);
        }
    }
    for name in ["reportingController", "reportingInstance"] {
        if event.get(name).is_some_and(|value| value == "") {
            event.remove(name);
        }
    }
    event.insert("apiVersion".into(), "events.k8s.io/v1".into());
}

/// An events.k8s.io/v1 Event as it is stored.
pub fn to_core(event: &mut Fields) {
    for (new, core) in NAMES {
        if let Some(value) = event.remove(*new) {
            event.insert((*core).to_owned(), value);
        }
    }
    event.insert("apiVersion".into(), "v1".into());
}

/// The stored path of a field that events.k8s.io selects by.
pub fn core_path(path: &str) -> String {
    match path.split_once('.') {
        Some(("regarding", rest)) => format!("involvedObject.{rest}"),
        _ if path == "reportingController" => "reportingComponent".into(),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn there_and_back() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "a"}, "message": "m",
            "source": {"component": "c"}, "count": 2, "eventTime": null});
        let mut event = core.as_object().unwrap().clone();
        from_core(&mut event);
        assert_eq!(event["regarding"]["name"], "a");
        assert_eq!(event["deprecatedCount"], 2);
        to_core(&mut event);
        assert_eq!(event, *core.as_object().unwrap());
    }
}
