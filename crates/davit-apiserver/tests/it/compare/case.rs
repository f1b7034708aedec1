//! The form of `cases/*.yaml`: a list of cases, each a sequence of requests in a namespace of its own.
//!
//! ```yaml
//! - case: what-it-shows              # unique in the file; the namespace `$ns` is named after both
//!   steps:
//!     - POST: /api/v1/namespaces/$ns/configmaps?dryRun=All
//!       body: {metadata: {name: a}}  # sent as JSON; `raw` is sent as it stands, `base64` as the bytes that it means
//!       repeat: {many: [3, "a,"]}     # `$many` in `body` or `raw` stands for `a,a,a,`
//!       type: merge                  # Content-Type, in short or in full; JSON (for PATCH: merge or JSON patch) if left out
//!       accept: table                # Accept, in short or in full
//!       headers: {Impersonate-User: jane}
//!       save: {rv: /metadata/resourceVersion}   # `$rv` in later steps; `header:etag` means a header
//!       keep: {/resources: [name, a, b]}         # compare only those elements of the list
//!       until: 404                   # ask again until this code, or until the body has these values at these pointers
//!       brief: true                  # compare only the status code
//!       events: 3                    # read so many events of a watch, then hang up
//!     - crd: {…}                     # create a CRD and wait until it is served
//! ```

use std::{collections::BTreeMap, path::PathBuf};

use base64::Engine as _;
use serde_json::Value;

/// A sequence of requests.
pub struct Case {
    /// `file/name`.
    pub name: String,
    /// What is sent, in order.
    pub steps: Vec<Step>,
}

/// What ends a step that is repeated.
#[derive(Clone)]
pub enum Until {
    /// This status code.
    Code(u16),
    /// These values at these pointers.
    Body(BTreeMap<String, Value>),
}

/// One request.
#[derive(Clone, Default)]
pub struct Step {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// A body that is no text, in the place of `body`.
    pub bytes: Option<Vec<u8>>,
    pub save: BTreeMap<String, String>,
    pub keep: BTreeMap<String, Vec<String>>,
    pub until: Option<Until>,
    pub events: Option<usize>,
    /// Whether only the status code is kept, as of what merely prepares a case.
    pub brief: bool,
}

impl Case {
    /// Its name and its steps, as messages show them.
    pub fn shown(&self) -> (String, Vec<String>) {
        let steps = self.steps.iter();
        let steps = steps.map(|step| format!("{} {}", step.method, step.path));
        (self.name.clone(), steps.collect())
    }
}

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Where the cases and their recorded answers live.
pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it")
}

/// All cases, by file name without its ending, in order.
pub fn all() -> Vec<(String, Vec<Case>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory().join("compare/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    let only = std::env::var("COMPARE").unwrap_or_default();
    files
        .into_iter()
        .map(|path| {
            let file = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let listed: Vec<Value> =
                serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let cases = listed.iter().map(|case| parse(&file, case)).collect();
            (file, cases)
        })
        .filter(|(file, _)| only.is_empty() || only.split(',').any(|wanted| wanted == file))
        .collect()
}

fn parse(file: &str, case: &Value) -> Case {
    let name = format!("{file}/{}", case["case"].as_str().expect("a case has a name"));
    let mut steps = Vec::new();
    for step in case["steps"]
        .as_array()
        .unwrap_or_else(|| panic!("{name}: steps"))
    {
        match step.get("crd") {
            Some(definition) => steps.extend(define(definition)),
            None => steps.push(request(&name, step)),
        }
    }
    Case { name, steps }
}

/// A CRD, and the wait until each of its served versions answers.
pub fn define(definition: &Value) -> Vec<Step> {
    let mut crd = definition.clone();
    crd["apiVersion"] = "apiextensions.k8s.io/v1".into();
    crd["kind"] = "CustomResourceDefinition".into();
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let mut steps = vec![
        Step {
            method: "POST".into(),
            path: crds.into(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: Some(crd.to_string()),
            brief: true,
            ..Step::default()
        },
        Step {
            method: "GET".into(),
            path: format!("{crds}/{}", text("/metadata/name")),
            until: Some(Until::Body(BTreeMap::from([(
                "/status/conditions/1/status".into(),
                "True".into(),
            )]))),
            brief: true,
            ..Step::default()
        },
    ];
    for version in crd["spec"]["versions"].as_array().unwrap() {
        if version["served"] == true {
            let version = version["name"].as_str().unwrap();
            steps.push(Step {
                method: "GET".into(),
                path: format!(
                    "/apis/{}/{version}/{}",
                    text("/spec/group"),
                    text("/spec/names/plural")
                ),
                until: Some(Until::Code(200)),
                ..Step::default()
            });
        }
    }
    steps
}

fn request(case: &str, step: &Value) -> Step {
    let (method, path) = METHODS
        .iter()
        .find_map(|method| Some((*method, step.get(*method)?.as_str()?)))
        .unwrap_or_else(|| panic!("{case}: no method in {step}"));
    let strings = |key: &str| -> BTreeMap<String, String> {
        let map = step.get(key).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect()
    };
    let mut headers: Vec<(String, String)> = strings("headers").into_iter().collect();
    if let Some(accept) = step.get("accept").and_then(Value::as_str) {
        headers.push(("accept".into(), media(accept).into()));
    }
    let body = match (step.get("body"), step.get("raw").and_then(Value::as_str)) {
        (Some(body), _) => Some(body.to_string()),
        (None, raw) => raw.map(ToOwned::to_owned),
    };
    let repeated = step.get("repeat").and_then(Value::as_object);
    let body = repeated.into_iter().flatten().fold(body, |body, (name, many)| {
        let count = usize::try_from(many[0].as_u64().unwrap()).unwrap();
        Some(body?.replace(&format!("${name}"), &many[1].as_str().unwrap().repeat(count)))
    });
    let kind = match step.get("type").and_then(Value::as_str) {
        Some(kind) => media(kind),
        None if method == "PATCH" && step.get("body").is_some_and(Value::is_array) => media("json-patch"),
        None if method == "PATCH" => media("merge"),
        None => "application/json",
    };
    let bytes = step.get("base64").and_then(Value::as_str).map(|text| {
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap_or_else(|error| panic!("{case}: {error}"))
    });
    if (body.is_some() || bytes.is_some()) && kind != "none" {
        headers.push(("content-type".into(), kind.into()));
    }
    let keep = step.get("keep").and_then(Value::as_object);
    let known = [
        "type", "accept", "headers", "body", "raw", "base64", "save", "keep", "until", "events", "why",
        "brief", "repeat",
    ];
    for key in step.as_object().unwrap().keys() {
        let fine = METHODS.contains(&key.as_str()) || known.contains(&key.as_str());
        assert!(fine, "{case}: what is {key}?");
    }
    Step {
        method: method.into(),
        path: path.into(),
        headers,
        body,
        bytes,
        save: strings("save"),
        keep: keep
            .into_iter()
            .flatten()
            .map(|(pointer, words)| {
                let words = words.as_array().unwrap().iter();
                (
                    pointer.clone(),
                    words.map(|word| word.as_str().unwrap().to_owned()).collect(),
                )
            })
            .collect(),
        until: step.get("until").map(|until| match until {
            Value::Object(wanted) => Until::Body(
                wanted
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            ),
            code => Until::Code(u16::try_from(code.as_u64().unwrap()).unwrap()),
        }),
        brief: step.get("brief") == Some(&Value::Bool(true)),
        events: step
            .get("events")
            .and_then(Value::as_u64)
            .map(|count| usize::try_from(count).unwrap()),
    }
}

/// The media types by which cases call them in short.
fn media(short: &str) -> &str {
    match short {
        "json" => "application/json",
        "yaml" => "application/yaml",
        "protobuf" => "application/vnd.kubernetes.protobuf",
        "json-patch" => "application/json-patch+json",
        "merge" => "application/merge-patch+json",
        "strategic" => "application/strategic-merge-patch+json",
        "apply" => "application/apply-patch+yaml",
        "table" => "application/json;as=Table;v=v1;g=meta.k8s.io",
        "partial" => "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "partial-list" => "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        "discovery" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        full => full,
    }
}
