//! A forge's published API description: whether a request is legal by it, and responses with everything that it requires.
//! It reads OpenAPI 3.0 and Swagger 2.0, whose schemas are no JSON Schema, and takes `null` wherever real servers send it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

/// A description from `../shared/oracles/openapi`, where that is present.
pub struct Description {
    document: Arc<Value>,
    /// What stands before the described paths in the address of the server.
    prefix: &'static str,
    /// Paths that the forge has and that the trimmed description leaves out.
    undescribed: &'static [&'static str],
}

/// The file with a description, where `../shared` is present.
pub fn file(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let file = format!("oracles/openapi/{name}.json");
    ["../shared", "../../shared"]
        .iter()
        .map(|shared| root.join(shared).join(&file))
        .find(|file| file.exists())
}

/// The parsed file: it is large, and many servers share it.
fn document(name: &str) -> Option<Arc<Value>> {
    static PARSED: Mutex<BTreeMap<String, Arc<Value>>> = Mutex::new(BTreeMap::new());
    let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(document) = parsed.get(name) {
        return Some(Arc::clone(document));
    }
    let found = file(name).and_then(|file| std::fs::read_to_string(file).ok());
    if found.is_none() {
        eprintln!(
            "SKIPPED: requests are not checked, because there is no oracles/openapi/{name}.json in ../shared"
        );
    }
    let document: Arc<Value> = Arc::new(serde_json::from_str(&found?).unwrap());
    parsed.insert(name.to_owned(), Arc::clone(&document));
    Some(document)
}

impl Description {
    pub fn load(name: &str, prefix: &'static str, undescribed: &'static [&'static str]) -> Option<Self> {
        Some(Self {
            document: document(name)?,
            prefix,
            undescribed,
        })
    }

    /// What is illegal about a request.
    pub fn violations(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        body: &Value,
    ) -> Vec<String> {
        if self.undescribed.contains(&path) {
            return Vec::new();
        }
        let Some((item, operation)) = self.operation(method, path) else {
            return vec![format!("{method} {path} is not described")];
        };
        let mut found = Vec::new();
        let parameters: Vec<&Value> = [item, operation]
            .iter()
            .flat_map(|holder| holder["parameters"].as_array().into_iter().flatten())
            .map(|parameter| self.resolve(parameter))
            .collect();
        for (key, value) in query {
            let parameter = parameters
                .iter()
                .find(|parameter| parameter["in"] == "query" && parameter["name"] == key.as_str());
            match parameter {
                // Paging is described in one place for all lists.
                None if matches!(key.as_str(), "page" | "pagelen" | "pagination") => {}
                None => found.push(format!("{method} {path}: the query {key} is not described")),
                Some(parameter) => {
                    let schema = parameter
                        .get("schema")
                        .map_or(*parameter, |schema| self.resolve(schema));
                    let value = match schema["type"].as_str() {
                        Some("integer") => value.parse::<i64>().map_or(json!(value), |number| json!(number)),
                        Some("boolean") => value.parse::<bool>().map_or(json!(value), |bool| json!(bool)),
                        _ => json!(value),
                    };
                    self.validate(schema, &value, &format!("{path}?{key}"), &mut found);
                }
            }
        }
        for parameter in &parameters {
            let name = parameter["name"].as_str().unwrap_or_default();
            if parameter["in"] == "query" && parameter["required"] == true {
                let given = query.iter().any(|(key, _)| key == name);
                if !given {
                    found.push(format!("{path}: the query {name} is missing"));
                }
            }
        }
        let body_schema = operation
            .pointer("/requestBody/content/application~1json/schema")
            .or_else(|| {
                let body = parameters.iter().find(|parameter| parameter["in"] == "body")?;
                body.get("schema")
            });
        match body_schema {
            Some(schema) if !body.is_null() => self.validate(schema, body, path, &mut found),
            // Bitbucket's description leaves the bodies of updates out.
            None if !body.is_null() && method != "PUT" => {
                found.push(format!("{method} {path} takes no body"));
            }
            _ => {}
        }
        found
    }

    /// The body with everything that the description requires of a response with this status.
    pub fn complete(&self, method: &str, path: &str, status: u16, body: Value) -> Value {
        let Some((_, operation)) = self.operation(method, path) else {
            return body;
        };
        let response = self.resolve(&operation["responses"][status.to_string()]);
        let schema = response
            .pointer("/content/application~1json/schema")
            .or_else(|| response.get("schema"));
        schema.map_or(body.clone(), |schema| self.filled(schema, body, 0))
    }

    fn operation(&self, method: &str, path: &str) -> Option<(&Value, &Value)> {
        let path = path.strip_prefix(self.prefix)?;
        let wanted: Vec<&str> = path.split('/').collect();
        let paths = self.document["paths"].as_object().unwrap();
        let mut fitting: Vec<(&String, &Value)> = paths
            .iter()
            .filter(|(template, _)| {
                let segments: Vec<&str> = template.split('/').collect();
                segments.len() == wanted.len()
                    && segments
                        .iter()
                        .zip(&wanted)
                        .all(|(template, segment)| template == segment || template.starts_with('{'))
            })
            .collect();
        fitting.sort_by_key(|(template, _)| template.matches('{').count());
        let item = fitting.first()?.1;
        Some((item, item.get(method.to_ascii_lowercase())?))
    }

    fn resolve<'d>(&'d self, value: &'d Value) -> &'d Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.trim_start_matches('#');
                self.resolve(self.document.pointer(pointer).unwrap_or(&Value::Null))
            }
            None => value,
        }
    }

    fn validate(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let schema = self.resolve(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.validate(part, value, at, found);
        }
        for alternatives in [&schema["anyOf"], &schema["oneOf"]] {
            if let Some(all) = alternatives.as_array() {
                let fits = |alternative: &Value| {
                    let mut inner = Vec::new();
                    self.validate(alternative, value, at, &mut inner);
                    inner.is_empty()
                };
                if !all.iter().any(fits) {
                    found.push(format!("{at}: {value} fits no alternative"));
                }
            }
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            found.push(format!("{at}: {value} is none of {allowed:?}"));
        }
        let fits = match schema["type"].as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => true,
        };
        if !fits {
            found.push(format!("{at}: {value} is not of type {}", schema["type"]));
        }
        for (key, inner) in value.as_object().into_iter().flatten() {
            match schema["properties"].get(key) {
                Some(property) => self.validate(property, inner, &format!("{at}.{key}"), found),
                None if schema["additionalProperties"] == false => {
                    found.push(format!("{at}: {key} is not described"));
                }
                None => {}
            }
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            if value.is_object() && value.get(required.as_str().unwrap_or_default()).is_none() {
                found.push(format!("{at}: {required} is missing"));
            }
        }
        for item in value.as_array().into_iter().flatten() {
            self.validate(&schema["items"], item, at, found);
        }
    }

    fn filled(&self, schema: &Value, value: Value, depth: usize) -> Value {
        let schema = self.resolve(schema);
        match value {
            Value::Object(mut object) => {
                self.fill_object(schema, &mut object, depth);
                Value::Object(object)
            }
            Value::Array(items) => {
                let filled = items
                    .into_iter()
                    .map(|item| self.filled(&schema["items"], item, depth + 1));
                Value::Array(filled.collect())
            }
            other => other,
        }
    }

    fn fill_object(&self, schema: &Value, object: &mut Map<String, Value>, depth: usize) {
        let schema = self.resolve(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.fill_object(part, object, depth);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let required = schema["required"]
                .as_array()
                .is_some_and(|all| all.contains(&json!(name)));
            if let Some(value) = object.remove(name) {
                object.insert(name.clone(), self.filled(property, value, depth + 1));
            } else if required && depth < 6 {
                object.insert(name.clone(), self.generated(property, depth + 1));
            }
        }
    }

    /// The least that a schema allows; `null` where it may be.
    fn generated(&self, schema: &Value, depth: usize) -> Value {
        let schema = self.resolve(schema);
        if schema["nullable"] == true {
            return Value::Null;
        }
        if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
            return first.clone();
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("string"), Some("date-time")) => json!("2026-01-01T00:00:00Z"),
            (Some("string"), _) => json!("https://generated.invalid/"),
            (Some("integer" | "number"), _) => json!(7),
            (Some("boolean"), _) => json!(false),
            (Some("array"), _) => json!([]),
            _ => {
                let mut object = Map::new();
                if depth < 6 {
                    self.fill_object(schema, &mut object, depth);
                }
                Value::Object(object)
            }
        }
    }
}
