//! A CRD as kube-derive writes it, with rules, through everything that an object goes through.

use kube::{CustomResource, CustomResourceExt as _, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Schema;

#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "test.dev",
    version = "v1",
    kind = "Widget",
    namespaced,
    status = "WidgetStatus"
)]
#[kube(validation = Rule::new("self.metadata.name.size() <= 10").message("the name is too long"))]
#[x_kube(validation = Rule::new("!has(self.min) || self.min <= self.count").message("min is at most count").field_path(".min"))]
#[serde(rename_all = "camelCase")]
struct WidgetSpec {
    #[serde(default = "three")]
    count: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<i32>,
    #[x_kube(validation = Rule::new("self == oldSelf").message("the colour stays"))]
    colour: Colour,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
}

const fn three() -> i32 {
    3
}

#[derive(Serialize, Deserialize, Clone, Debug, JsonSchema)]
enum Colour {
    Red,
    Blue,
}

#[derive(Serialize, Deserialize, Clone, Debug, JsonSchema)]
struct WidgetStatus {
    phase: String,
}

fn schema() -> Schema {
    let crd = serde_json::to_value(Widget::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    Schema::compile(schema).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn widget(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "test.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn a_derived_crd_prunes_defaults_and_validates() {
    let schema = schema();
    let mut object = widget("a", &json!({"colour": "Red", "typo": 1}));
    assert_eq!(schema.prune(&mut object), ["spec.typo"]);
    schema.default(&mut object);
    assert_eq!(object["spec"]["count"], 3);
    assert_eq!(schema.validate(&object, None), []);
    let parsed: Widget = serde_json::from_value(object.clone()).unwrap();
    assert!(matches!(parsed.spec.colour, Colour::Red));

    let texts = |object: &Value, old: Option<&Value>| -> Vec<String> {
        schema
            .validate(object, old)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let rows = [
        (
            widget("a", &json!({"count": 1, "colour": "Green"})),
            "spec.colour: Unsupported value: \"Green\": supported values: \"Red\", \"Blue\"",
        ),
        (
            widget("a", &json!({"count": 1, "colour": "Red", "min": 2})),
            "spec.min: Invalid value: min is at most count",
        ),
        (
            widget("far-too-long", &json!({"count": 1, "colour": "Red"})),
            "<nil>: Invalid value: the name is too long",
        ),
        (widget("a", &json!({"count": 1})), "spec.colour: Required value"),
        (
            widget("a", &json!({"count": 3_000_000_000_i64, "colour": "Red"})),
            "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.count",
        ),
    ];
    for (object, text) in rows {
        assert_eq!(texts(&object, None).first().map(String::as_str), Some(text));
    }
    let blue = widget("a", &json!({"count": 3, "colour": "Blue"}));
    assert_eq!(
        texts(&blue, Some(&object)),
        ["spec.colour: Invalid value: \"Blue\": the colour stays"]
    );
}
