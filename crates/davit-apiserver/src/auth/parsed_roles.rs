//! Roles and bindings, parsed once: each request that is not an administrator's looks at all bindings.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use serde_json::Value;

use crate::store::Object;

/// How many parsed objects are kept; when there are more, all of them are parsed anew.
const MOST: usize = 4096;

/// Parsed objects by their revision, which one version of one object has, so that none is ever stale.
#[derive(Default)]
pub struct ParsedRoles {
    parsed: RwLock<HashMap<u64, Arc<Value>>>,
}

impl ParsedRoles {
    /// The object, parsed.
    pub(super) fn get(&self, object: &Object) -> Arc<Value> {
        if let Some(known) = self.parsed.read().get(&object.revision) {
            return known.clone();
        }
        let value = Arc::new(Value::Object(object.value()));
        let mut parsed = self.parsed.write();
        if parsed.len() >= MOST {
            parsed.clear();
        }
        parsed.insert(object.revision, value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(revision: u64) -> Object {
        let mut value = json!({"kind": "Role", "metadata": {"name": "r"}, "rules": [revision]});
        Object::render(value.as_object_mut().unwrap(), revision).unwrap()
    }

    #[test]
    fn each_version_is_parsed_once_and_the_number_is_bounded() {
        let roles = ParsedRoles::default();
        let (first, second) = (role(1), role(2));
        assert!(Arc::ptr_eq(&roles.get(&first), &roles.get(&first)));
        assert_eq!(roles.get(&second)["rules"], json!([2]));
        assert_eq!(roles.get(&first)["rules"], json!([1]));
        for revision in 3..3 * MOST as u64 {
            roles.get(&role(revision));
        }
        assert!(roles.parsed.read().len() <= MOST);
    }
}
