//! The version 2 document as protobuf, in the messages of gnostic's `openapi.v2` package.
//!
//! kubectl up to 1.2x asks for nothing else. Only the messages that our document needs are here; the numbers are
//! those of `OpenAPIv2.proto`.

use prost::{Message, Oneof};
use serde_json::Value;

/// A value that has no message of its own, as YAML text (JSON is YAML).
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "2")]
    yaml: String,
}

#[derive(Clone, PartialEq, Message)]
struct NamedAny {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "2")]
    info: Option<Info>,
    #[prost(message, optional, tag = "8")]
    paths: Option<Paths>,
    #[prost(message, optional, tag = "9")]
    definitions: Option<Schemas>,
}

#[derive(Clone, PartialEq, Message)]
struct Paths {
    #[prost(message, repeated, tag = "2")]
    path: Vec<NamedPathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedPathItem {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<PathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct PathItem {
    #[prost(message, optional, tag = "2")]
    get: Option<Operation>,
    #[prost(message, optional, tag = "3")]
    put: Option<Operation>,
    #[prost(message, optional, tag = "4")]
    post: Option<Operation>,
    #[prost(message, optional, tag = "5")]
    delete: Option<Operation>,
    #[prost(message, optional, tag = "8")]
    patch: Option<Operation>,
    #[prost(message, repeated, tag = "9")]
    parameters: Vec<ParametersItem>,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(string, repeated, tag = "1")]
    tags: Vec<String>,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "5")]
    id: String,
    #[prost(string, repeated, tag = "6")]
    produces: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    consumes: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    parameters: Vec<ParametersItem>,
    #[prost(message, optional, tag = "9")]
    responses: Option<Responses>,
    #[prost(string, repeated, tag = "10")]
    schemes: Vec<String>,
    #[prost(message, repeated, tag = "13")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct ParametersItem {
    #[prost(message, optional, tag = "1")]
    parameter: Option<Parameter>,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(oneof = "ParameterKind", tags = "1, 2")]
    kind: Option<ParameterKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum ParameterKind {
    #[prost(message, tag = "1")]
    Body(Box<BodyParameter>),
    #[prost(message, tag = "2")]
    Other(NonBodyParameter),
}

#[derive(Clone, PartialEq, Message)]
struct BodyParameter {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    location: String,
    #[prost(bool, tag = "4")]
    required: bool,
    #[prost(message, optional, tag = "5")]
    schema: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct NonBodyParameter {
    #[prost(oneof = "NonBodyKind", tags = "3, 4")]
    kind: Option<NonBodyKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum NonBodyKind {
    #[prost(message, tag = "3")]
    Query(QueryParameter),
    #[prost(message, tag = "4")]
    Path(PathParameter),
}

#[derive(Clone, PartialEq, Message)]
struct QueryParameter {
    #[prost(string, tag = "2")]
    location: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "6")]
    kind: String,
    #[prost(bool, tag = "20")]
    unique_items: bool,
}

#[derive(Clone, PartialEq, Message)]
struct PathParameter {
    #[prost(bool, tag = "1")]
    required: bool,
    #[prost(string, tag = "2")]
    location: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "5")]
    kind: String,
    #[prost(bool, tag = "19")]
    unique_items: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Responses {
    #[prost(message, repeated, tag = "1")]
    response_code: Vec<NamedResponseValue>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedResponseValue {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ResponseValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseValue {
    #[prost(message, optional, tag = "1")]
    response: Option<Response>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(message, optional, tag = "2")]
    schema: Option<SchemaItem>,
}

#[derive(Clone, PartialEq, Message)]
struct SchemaItem {
    #[prost(message, optional, tag = "1")]
    schema: Option<Schema>,
}

/// `Definitions` and `Properties` are the same message by two names.
#[derive(Clone, PartialEq, Message)]
struct Schemas {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<NamedSchema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Types {
    #[prost(string, repeated, tag = "1")]
    value: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Items {
    #[prost(message, repeated, tag = "1")]
    schema: Vec<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Additional {
    #[prost(oneof = "AdditionalKind", tags = "1, 2")]
    kind: Option<AdditionalKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum AdditionalKind {
    #[prost(message, tag = "1")]
    Schema(Box<Schema>),
    #[prost(bool, tag = "2")]
    Boolean(bool),
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(double, tag = "7")]
    maximum: f64,
    #[prost(double, tag = "9")]
    minimum: f64,
    #[prost(int64, tag = "11")]
    max_length: i64,
    #[prost(int64, tag = "12")]
    min_length: i64,
    #[prost(string, tag = "13")]
    pattern: String,
    #[prost(int64, tag = "14")]
    max_items: i64,
    #[prost(int64, tag = "15")]
    min_items: i64,
    #[prost(string, repeated, tag = "19")]
    required: Vec<String>,
    #[prost(message, repeated, tag = "20")]
    choices: Vec<Any>,
    #[prost(message, optional, boxed, tag = "21")]
    additional_properties: Option<Box<Additional>>,
    #[prost(message, optional, tag = "22")]
    kind: Option<Types>,
    #[prost(message, optional, tag = "23")]
    items: Option<Items>,
    #[prost(message, optional, tag = "25")]
    properties: Option<Schemas>,
    #[prost(message, repeated, tag = "31")]
    vendor_extension: Vec<NamedAny>,
}

/// Encodes a document that [`super::v2_document`] made.
pub fn encode(document: &Value) -> Vec<u8> {
    let info = &document["info"];
    let paths = entries(&document["paths"]);
    Document {
        swagger: text(&document["swagger"]),
        info: Some(Info {
            title: text(&info["title"]),
            version: text(&info["version"]),
        }),
        paths: Some(Paths {
            path: paths
                .map(|(name, item)| NamedPathItem {
                    name,
                    value: Some(path_item(item)),
                })
                .collect(),
        }),
        definitions: Some(schemas(&document["definitions"])),
    }
    .encode_to_vec()
}

fn entries(map: &Value) -> impl Iterator<Item = (String, &Value)> {
    map.as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).map(text).collect()
}

fn any(value: &Value) -> Any {
    Any {
        yaml: format!("{value}\n"),
    }
}

fn extensions(object: &Value) -> Vec<NamedAny> {
    let named = entries(object).filter(|(name, _)| name.starts_with("x-"));
    named
        .map(|(name, value)| NamedAny {
            name,
            value: Some(any(value)),
        })
        .collect()
}

fn path_item(item: &Value) -> PathItem {
    let at = |method: &str| item.get(method).map(operation);
    PathItem {
        get: at("get"),
        put: at("put"),
        post: at("post"),
        delete: at("delete"),
        patch: at("patch"),
        parameters: list(&item["parameters"]).map(parameter).collect(),
    }
}

fn operation(operation: &Value) -> Operation {
    let response = |(name, response): (String, &Value)| NamedResponseValue {
        name,
        value: Some(ResponseValue {
            response: Some(Response {
                description: text(&response["description"]),
                schema: response.get("schema").map(|sub| SchemaItem {
                    schema: Some(schema(sub)),
                }),
            }),
        }),
    };
    Operation {
        tags: texts(&operation["tags"]),
        description: text(&operation["description"]),
        id: text(&operation["operationId"]),
        produces: texts(&operation["produces"]),
        consumes: texts(&operation["consumes"]),
        parameters: list(&operation["parameters"]).map(parameter).collect(),
        responses: Some(Responses {
            response_code: entries(&operation["responses"]).map(response).collect(),
        }),
        schemes: texts(&operation["schemes"]),
        vendor_extension: extensions(operation),
    }
}

fn parameter(parameter: &Value) -> ParametersItem {
    let (name, location) = (text(&parameter["name"]), text(&parameter["in"]));
    let required = parameter["required"] == true;
    let unique_items = parameter["uniqueItems"] == true;
    let kind = match location.as_str() {
        "body" => {
            let schema = parameter.get("schema").map(schema);
            ParameterKind::Body(Box::new(BodyParameter {
                name,
                location,
                required,
                schema,
            }))
        }
        "path" => {
            let (description, kind) = (text(&parameter["description"]), text(&parameter["type"]));
            let path = PathParameter {
                required,
                location,
                description,
                name,
                kind,
                unique_items,
            };
            ParameterKind::Other(NonBodyParameter {
                kind: Some(NonBodyKind::Path(path)),
            })
        }
        _ => {
            let query = QueryParameter {
                location,
                name,
                kind: text(&parameter["type"]),
                unique_items,
            };
            ParameterKind::Other(NonBodyParameter {
                kind: Some(NonBodyKind::Query(query)),
            })
        }
    };
    ParametersItem {
        parameter: Some(Parameter { kind: Some(kind) }),
    }
}

fn schemas(map: &Value) -> Schemas {
    Schemas {
        entries: entries(map)
            .map(|(name, sub)| NamedSchema {
                name,
                value: Some(schema(sub)),
            })
            .collect(),
    }
}

fn schema(value: &Value) -> Schema {
    let count = |name: &str| value[name].as_i64().unwrap_or_default();
    let number = |name: &str| value[name].as_f64().unwrap_or_default();
    let kind = value["type"].as_str().map(|kind| Types {
        value: vec![kind.to_owned()],
    });
    let additional = match &value["additionalProperties"] {
        Value::Bool(flag) => Some(AdditionalKind::Boolean(*flag)),
        sub @ Value::Object(_) => Some(AdditionalKind::Schema(Box::new(schema(sub)))),
        _ => None,
    };
    Schema {
        reference: text(&value["$ref"]),
        format: text(&value["format"]),
        description: text(&value["description"]),
        maximum: number("maximum"),
        minimum: number("minimum"),
        max_length: count("maxLength"),
        min_length: count("minLength"),
        pattern: text(&value["pattern"]),
        max_items: count("maxItems"),
        min_items: count("minItems"),
        required: texts(&value["required"]),
        choices: list(&value["enum"]).map(any).collect(),
        additional_properties: additional.map(|kind| Box::new(Additional { kind: Some(kind) })),
        kind,
        items: value
            .get("items")
            .filter(|items| items.is_object())
            .map(|items| Items {
                schema: vec![schema(items)],
            }),
        properties: value.get("properties").map(schemas),
        vendor_extension: extensions(value),
    }
}
