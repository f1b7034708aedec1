//! The paths of a resource and what can be done at each, in either dialect.

use serde_json::{Map, Value, json};

use super::{Described, dialect::Dialect};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Adds the paths of one resource.
pub(super) fn add(paths: &mut Map<String, Value>, resource: &Described<'_>, dialect: Dialect) {
    let root = format!("/{}", resource.root());
    let plural = resource.plural;
    let within = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{root}/{plural}")
    };
    let place = Place {
        resource,
        dialect,
        subresource: "",
    };
    if resource.namespaced && has(resource, "list") {
        let mut item = Map::new();
        place.put(&mut item, "get", "list", false);
        paths.insert(format!("{root}/{plural}"), Value::Object(item));
    }
    let mut collection = Map::new();
    for (verb, method) in [
        ("list", "get"),
        ("create", "post"),
        ("deletecollection", "delete"),
    ] {
        if has(resource, verb) {
            place.put(&mut collection, method, verb, resource.namespaced);
        }
    }
    insert(paths, within.clone(), collection);
    let mut one = Map::new();
    for (verb, method) in [
        ("get", "get"),
        ("update", "put"),
        ("patch", "patch"),
        ("delete", "delete"),
    ] {
        if has(resource, verb) {
            place.put(&mut one, method, verb, resource.namespaced);
        }
    }
    insert(paths, format!("{within}/{{name}}"), one);
    for subresource in resource.subresources {
        let place = Place { subresource, ..place };
        let mut item = Map::new();
        for (verb, method) in [("get", "get"), ("update", "put"), ("patch", "patch")] {
            place.put(&mut item, method, verb, resource.namespaced);
        }
        insert(paths, format!("{within}/{{name}}/{subresource}"), item);
    }
}

fn has(resource: &Described<'_>, verb: &str) -> bool {
    resource.verbs.contains(&verb)
}

fn insert(paths: &mut Map<String, Value>, path: String, item: Map<String, Value>) {
    if !item.is_empty() {
        paths.insert(path, Value::Object(item));
    }
}

#[derive(Clone, Copy)]
struct Place<'a> {
    resource: &'a Described<'a>,
    dialect: Dialect,
    subresource: &'a str,
}

impl Place<'_> {
    fn put(&self, item: &mut Map<String, Value>, method: &str, verb: &str, namespaced: bool) {
        let name = match self.subresource {
            "scale" => SCALE.to_owned(),
            _ => self.resource.definition(),
        };
        let (action, answer, body) = match verb {
            "list" => ("list", format!("{name}List"), None),
            "create" => ("post", name.clone(), Some(name)),
            "update" => ("put", name.clone(), Some(name)),
            "patch" => ("patch", name, Some(PATCH.to_owned())),
            "delete" => ("delete", STATUS.to_owned(), Some(DELETE_OPTIONS.to_owned())),
            "deletecollection" => (
                "deletecollection",
                STATUS.to_owned(),
                Some(DELETE_OPTIONS.to_owned()),
            ),
            _ => ("get", name, None),
        };
        let mut parameters = vec![self.query("pretty", "string")];
        for (name, kind) in options(verb) {
            parameters.push(self.query(name, kind));
        }
        let mut operation = json!({
            "operationId": self.operation_id(verb, namespaced),
            "description": format!("{verb} {}", self.resource.kind),
            "tags": [tag(self.resource)],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self.resource.group_version_kind(),
        });
        let content: &[&str] = if verb == "patch" {
            self.patches()
        } else {
            &["application/json", "application/yaml"]
        };
        match self.dialect {
            Dialect::V2 => {
                operation["responses"] =
                    json!({"200": {"description": "OK", "schema": self.reference(&answer)}});
                operation["produces"] = json!(["application/json", "application/yaml"]);
                operation["consumes"] = json!(content);
                operation["schemes"] = json!(["https"]);
                if let Some(body) = body {
                    let required = !verb.starts_with("delete");
                    parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": self.reference(&body)}));
                }
            }
            Dialect::V3 => {
                let media = |reference: Value| {
                    let each = content
                        .iter()
                        .map(|kind| ((*kind).to_owned(), json!({"schema": reference})));
                    Value::Object(each.collect())
                };
                let answer = json!({"application/json": {"schema": self.reference(&answer)}});
                operation["responses"] = json!({"200": {"description": "OK", "content": answer}});
                if let Some(body) = body {
                    operation["requestBody"] = json!({"content": media(self.reference(&body))});
                }
            }
        }
        operation["parameters"] = Value::Array(parameters);
        item.insert(method.to_owned(), operation);
        let mut shared = Vec::new();
        if verb != "list" && verb != "create" && verb != "deletecollection" {
            shared.push(self.in_path("name", &format!("name of the {}", self.resource.kind)));
        }
        if namespaced {
            shared.push(self.in_path(
                "namespace",
                "object name and auth scope, such as for teams and projects",
            ));
        }
        if !shared.is_empty() {
            item.insert("parameters".into(), Value::Array(shared));
        }
    }

    fn patches(&self) -> &'static [&'static str] {
        const ALL: &[&str] = &[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
            "application/strategic-merge-patch+json",
        ];
        if self.resource.custom {
            ALL.get(..3).unwrap_or(ALL)
        } else {
            ALL
        }
    }

    fn reference(&self, name: &str) -> Value {
        json!({"$ref": format!("{}{name}", self.dialect.prefix())})
    }

    fn query(&self, name: &str, kind: &str) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"name": name, "in": "query", "type": kind, "uniqueItems": true}),
            Dialect::V3 => {
                json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
            }
        }
    }

    fn in_path(&self, name: &str, description: &str) -> Value {
        let mut parameter = match self.dialect {
            Dialect::V2 => json!({"type": "string", "uniqueItems": true}),
            Dialect::V3 => json!({"schema": {"type": "string", "uniqueItems": true}}),
        };
        parameter["name"] = name.into();
        parameter["in"] = "path".into();
        parameter["required"] = true.into();
        parameter["description"] = description.into();
        parameter
    }

    fn operation_id(&self, verb: &str, namespaced: bool) -> String {
        let verb = match verb {
            "get" => "read",
            "update" => "replace",
            other => other,
        };
        let Described { kind, .. } = self.resource;
        let scope = if namespaced { "Namespaced" } else { "" };
        let all = if self.resource.namespaced && !namespaced {
            "ForAllNamespaces"
        } else {
            ""
        };
        let subresource = match self.subresource {
            "status" => "Status",
            "scale" => "Scale",
            _ => "",
        };
        let tag = tag(self.resource);
        let (group, version) = tag.split_once('_').unwrap_or((&tag, ""));
        let version = capital(version);
        format!("{verb}{}{version}{scope}{kind}{subresource}{all}", capital(group))
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// `core_v1`, `exampleCom_v1alpha1`: the group without dots, then the version.
fn tag(resource: &Described<'_>) -> String {
    let group = if resource.group.is_empty() {
        "core"
    } else {
        resource.group.trim_end_matches(".k8s.io")
    };
    let mut parts = group.split(['.', '-']);
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        name.push_str(&capital(part));
    }
    format!("{name}_{}", resource.version)
}

/// The query parameters that the operation takes.
fn options(verb: &str) -> &'static [(&'static str, &'static str)] {
    const LIST: &[(&str, &str)] = &[
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    const DELETE: &[(&str, &str)] = &[
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ];
    const WRITE: &[(&str, &str)] = &[
        ("dryRun", "string"),
        ("fieldManager", "string"),
        ("fieldValidation", "string"),
    ];
    const PATCH: &[(&str, &str)] = &[
        ("dryRun", "string"),
        ("fieldManager", "string"),
        ("fieldValidation", "string"),
        ("force", "boolean"),
    ];
    match verb {
        "list" => LIST,
        "delete" | "deletecollection" => DELETE,
        "create" | "update" => WRITE,
        "patch" => PATCH,
        _ => &[],
    }
}
