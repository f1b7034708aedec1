//! RFC 6902, with the limits and words of upstream.

use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::PatchError;

/// As many operations as upstream takes.
const MAX_OPERATIONS: usize = 10_000;
/// As much as all `copy` of a patch may add to an object, in bytes of JSON: upstream's limit. Without one, a few of them
/// fill the memory.
const MAX_COPIED: usize = 3 << 20;

/// Applies the operations of `patch`; on an error `target` is as it was.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let operations = patch.as_array().ok_or_else(|| {
        let kind = super::go_kind(patch);
        PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
        ))
    })?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    // What is no patch is refused before anything of it is done.
    let _: Patch = serde_json::from_value(patch.clone()).map_err(malformed)?;
    let mut done = target.clone();
    let mut copied = 0_usize;
    for operation in operations {
        let Some(plain) = plain(&done, operation) else {
            continue;
        };
        let one: PatchOperation = serde_json::from_value(plain).map_err(malformed)?;
        if let PatchOperation::Copy(copy) = &one
            && let Ok(value) = copy.from.resolve(&done)
        {
            copied = copied.saturating_add(size(value));
            if copied > MAX_COPIED {
                return Err(PatchError::Unprocessable(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the \
                     limit {MAX_COPIED}"
                )));
            }
        }
        json_patch::patch(&mut done, &[one]).map_err(|error| {
            let path = error.path.as_str();
            PatchError::Unprocessable(match error.kind {
                PatchErrorKind::TestFailed => format!("testing value {path} failed: test failed"),
                other => format!("doc is missing path: {path}: {other}"),
            })
        })?;
    }
    *target = done;
    Ok(())
}

/// The bytes of a value as JSON.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err gives")]
fn malformed(error: serde_json::Error) -> PatchError {
    PatchError::Malformed(format!("error decoding patch: {error}"))
}

/// The operation in the words of the RFC: upstream's library counts in lists from their end, too, takes any number for
/// an index that Go reads as one, and sets what `replace` does not find in a map. None where there is nothing to do.
fn plain(object: &Value, operation: &Value) -> Option<Value> {
    let mut plain = operation.clone();
    let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
    let adds = matches!(text("op"), "add" | "copy" | "move");
    for (key, adds) in [("from", false), ("path", adds)] {
        if operation.get(key).is_some() {
            plain[key] = place(object, text(key), adds).into();
        }
    }
    let path = plain.get("path").and_then(Value::as_str).unwrap_or_default();
    let parent = path
        .rsplit_once('/')
        .and_then(|(parent, _)| object.pointer(parent));
    if parent.is_some_and(Value::is_object) && object.pointer(path).is_none() {
        match text("op") {
            "replace" => plain["op"] = "add".into(),
            // Nothing is nothing.
            "test" if operation.get("value") == Some(&Value::Null) => return None,
            _ => {}
        }
    }
    Some(plain)
}

/// A pointer whose indices are plain numbers; `adds` where its last index may be that of a new element.
fn place(object: &Value, pointer: &str, adds: bool) -> String {
    let mut at = Some(object);
    let mut made = String::new();
    let mut tokens = pointer.split('/').skip(1).peekable();
    while let Some(token) = tokens.next() {
        let room = usize::from(adds && tokens.peek().is_none());
        let list = at.and_then(Value::as_array);
        let index = list.and_then(|list| index(token, list.len() + room));
        made.push('/');
        if let Some(index) = index {
            made.push_str(&index.to_string());
            at = list.and_then(|list| list.get(index));
        } else {
            made.push_str(token);
            let name = token.replace("~1", "/").replace("~0", "~");
            at = at.and_then(|at| at.get(&name));
        }
    }
    // What is no pointer stays none.
    if pointer.starts_with('/') {
        made
    } else {
        pointer.to_owned()
    }
}

/// An index as Go reads it, of a list of that many elements.
fn index(token: &str, elements: usize) -> Option<usize> {
    let given: isize = token.parse().ok()?;
    match usize::try_from(given) {
        Ok(index) => Some(index),
        Err(_) => elements.checked_sub(given.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn copies_are_bounded() {
        let doubling = |times: usize| -> Value {
            (0..times)
                .map(|at| json!({"op": "copy", "from": "", "path": format!("/x{at}")}))
                .collect()
        };
        let before = json!({"data": "x".repeat(1000)});
        let mut object = before.clone();
        json_patch(&mut object, &doubling(10)).unwrap();
        let mut object = before.clone();
        let refused = json_patch(&mut object, &doubling(40)).unwrap_err();
        assert!(
            refused.to_string().contains("exceeding the limit 3145728"),
            "{refused}"
        );
        assert_eq!(object, before);
    }

    #[test]
    fn errors_leave_the_object_alone() {
        let mut object = json!({"a": 1});
        let patch = json!([{"op": "replace", "path": "/a", "value": 2}, {"op": "remove", "path": "/b"}]);
        assert!(matches!(
            json_patch(&mut object, &patch),
            Err(PatchError::Unprocessable(_))
        ));
        assert_eq!(object, json!({"a": 1}));
        // What is taken away comes back where it cannot be put.
        let patch = json!([{"op": "move", "from": "/a", "path": "/none/b"}]);
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
    fn lists_are_counted_as_upstream_counts_them() {
        let rows = [
            (json!({"op": "remove", "path": "/l/-1"}), json!([1, 2])),
            (
                json!({"op": "add", "path": "/l/-1", "value": 4}),
                json!([1, 2, 3, 4]),
            ),
            (
                json!({"op": "add", "path": "/l/01", "value": 4}),
                json!([1, 4, 2, 3]),
            ),
            (
                json!({"op": "replace", "path": "/l/-3", "value": 4}),
                json!([4, 2, 3]),
            ),
            (
                json!({"op": "copy", "from": "/l/-1", "path": "/l/0"}),
                json!([3, 1, 2, 3]),
            ),
            (
                json!({"op": "test", "path": "/none", "value": null}),
                json!([1, 2, 3]),
            ),
        ];
        for (operation, after) in rows {
            let mut object = json!({"l": [1, 2, 3]});
            assert_eq!(
                json_patch(&mut object, &json!([operation])),
                Ok(()),
                "{operation}"
            );
            assert_eq!(object["l"], after, "{operation}");
        }
        for path in ["/l/-4", "/l/3", "/l/x", "/none/0"] {
            let mut object = json!({"l": [1, 2, 3]});
            let operation = json!([{"op": "remove", "path": path}]);
            assert!(json_patch(&mut object, &operation).is_err(), "{path}");
        }
    }

    /// What upstream takes although the RFC does not: it reads an index as Go reads a number.
    const TAKEN_BY_UPSTREAM: [&str; 3] = [
        r#"[{"op":"add","path":"/bar/-1","value":"5"}]"#,
        r#"[{"op":"test","path":"/00","value":"foo"}]"#,
        r#"[{"op":"test","path":"/01","value":"bar"}]"#,
    ];

    #[test]
    fn the_community_suite_passes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracles/json-patch");
        let (mut ran, mut wrong) = (0, Vec::new());
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
                let as_upstream = TAKEN_BY_UPSTREAM.contains(&case["patch"].to_string().as_str());
                let right = match case.get("expected") {
                    Some(expected) => result == Ok(()) && &object == expected,
                    None => case.get("error").is_none() || result.is_err() != as_upstream,
                };
                if !right {
                    wrong.push(format!("{case}: {result:?}, {object}"));
                }
                ran += 1;
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        eprintln!("{ran} cases ran");
    }
}
