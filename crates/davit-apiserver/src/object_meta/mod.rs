//! `metadata`: access, decoding, validation.

pub mod decode;
mod fields;
mod names;
mod validation;

pub use fields::*;
pub use names::{dns_1035_label, dns_label, dns_subdomain, label_value, qualified_name};
pub use validation::{finalizer_warnings, plain_finalizer, validate, validate_embedded, validate_update};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::builtin::Builtin;

    #[test]
    fn names() {
        let rows = [
            (Builtin::Secret, "a.b-c", true),
            (Builtin::Secret, "A", false),
            (Builtin::Namespace, "a.b", false),
            (Builtin::Service, "1A", false),
            (Builtin::ClusterRole, "system:node", true),
            (Builtin::ClusterRole, "a/b", false),
        ];
        for (builtin, name, fine) in rows {
            let metadata = json!({"name": name});
            let errors = validate(metadata.as_object().unwrap(), builtin);
            assert_eq!(errors.is_empty(), fine, "{name}: {errors:?}");
        }
    }

    #[test]
    fn labels_and_finalizers() {
        let metadata = json!({"name": "a", "labels": {"a b": "x", "ok": "-"}, "finalizers": ["a/b/c"]});
        let errors = validate(metadata.as_object().unwrap(), Builtin::Custom);
        assert_eq!(errors.len(), 3, "{errors:?}");
    }

    #[test]
    fn generated_names_keep_their_base() {
        assert!(generate_name("shop-").starts_with("shop-"));
        assert_eq!(generate_name("shop-").len(), 10);
        assert_eq!(generate_name(&"a".repeat(80)).len(), 63);
    }
}
