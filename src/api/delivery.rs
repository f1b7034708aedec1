//! The annotation with which the webhook receiver records a delivery on an Application.

use serde::{Deserialize, Serialize};

/// The annotation with the newest [`Delivery`], as JSON. It is written together with `davit.dev/requestedAt`.
pub const DELIVERY: &str = "davit.dev/delivery";

/// A verified delivery of a forge. If it does not continue what was deployed last, it is a hint where to look, and the repository
/// decides what is deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The branch or tag that was moved, such as `refs/heads/main`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The commit that it names now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The commit that it named before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The ID that the forge gave to the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// The account that pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl Delivery {
    /// Reads the annotation. An annotation that a user wrote may be invalid, and then counts as absent.
    pub fn parse(annotation: &str) -> Option<Self> {
        serde_json::from_str(annotation).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_is_read_with_any_of_its_fields_and_not_from_other_text() {
        let whole = Delivery {
            reference: Some("refs/heads/main".to_owned()),
            revision: Some("a1".repeat(20)),
            before: Some("b2".repeat(20)),
            delivery: Some("72d3162e".to_owned()),
            actor: Some("jane".to_owned()),
        };
        let text = serde_json::to_string(&whole).unwrap();
        assert!(
            text.starts_with(r#"{"ref":"refs/heads/main","revision":"a1"#),
            "{text}"
        );
        assert_eq!(Delivery::parse(&text), Some(whole));
        assert_eq!(Delivery::parse("{}"), Some(Delivery::default()));
        for invalid in ["", "main", "[1]", r#"{"ref": 1}"#] {
            assert_eq!(Delivery::parse(invalid), None, "{invalid}");
        }
    }
}
