//! RFC 6902, with the limits and words of upstream.

use json_patch::{Patch, PatchErrorKind};
use serde_json::Value;

use super::PatchError;

/// As many operations as upstream takes.
const MAX_OPERATIONS: usize = 10_000;

/// Applies the operations of `patch`; on an error `target` is as it was.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let operations = patch.as_array().ok_or_else(|| {
        PatchError::Malformed(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
                .into(),
        )
    })?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::Malformed(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let patch: Patch = serde_json::from_value(lenient(patch.clone()))
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    json_patch::patch(target, &patch).map_err(|error| {
        let path = error.path.as_str();
        PatchError::Unprocessable(match error.kind {
            PatchErrorKind::TestFailed => format!("testing value {path} failed: test failed"),
            other => format!("doc is missing path: {path}: {other}"),
        })
    })
}

/// Upstream's library sets what `replace` does not find in a map: `add` is what it means by it.
fn lenient(mut patch: Value) -> Value {
    for operation in patch.as_array_mut().into_iter().flatten() {
        let named = |operation: &Value, key: &str| {
            operation
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let last = named(operation, "path")
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        // Of a list, `add` would insert.
        let index = last == "-" || last.chars().all(|c| c.is_ascii_digit());
        if named(operation, "op") == "replace" && !index {
            operation["op"] = "add".into();
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn errors_leave_the_object_alone() {
        let mut object = json!({"a": 1});
        let patch = json!([{"op": "replace", "path": "/a", "value": 2}, {"op": "remove", "path": "/b"}]);
        assert!(matches!(
            json_patch(&mut object, &patch),
            Err(PatchError::Unprocessable(_))
        ));
        assert_eq!(object, json!({"a": 1}));
        assert!(matches!(
            json_patch(&mut object, &json!({})),
            Err(PatchError::Malformed(_))
        ));
        assert!(matches!(
            json_patch(&mut object, &json!([{"op": "x"}])),
            Err(PatchError::Malformed(_))
        ));
    }

    #[test]
    fn the_community_suite_passes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracles/json-patch");
        let mut ran = 0;
        for name in ["json-patch-tests.json", "json-patch-spec_tests.json"] {
            let Ok(text) = std::fs::read_to_string(folder.join(name)) else {
                eprintln!("skipped: {} is not here", folder.join(name).display());
                continue;
            };
            let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
            for case in cases
                .iter()
                .filter(|case| case["disabled"] != true && case.get("patch").is_some())
            {
                let mut object = case["doc"].clone();
                let result = json_patch(&mut object, &case["patch"]);
                match case.get("expected") {
                    Some(expected) => {
                        assert_eq!(result, Ok(()), "{case}");
                        assert_eq!(&object, expected, "{case}");
                    }
                    None if case.get("error").is_some() => assert!(result.is_err(), "{case}"),
                    None => {}
                }
                ran += 1;
            }
        }
        eprintln!("{ran} cases ran");
    }
}
