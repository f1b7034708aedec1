//! Sends the steps of a case to one server and keeps the answers in a form that two servers can share.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::{
    case::{Case, Step, Until},
    normal::Normal,
};

/// How long a condition may take to become true, and a watch to give what it should.
const PATIENCE: Duration = Duration::from_secs(15);

/// The headers that a client may act upon.
const HEADERS: [&str; 10] = [
    "content-type",
    "content-encoding",
    "warning",
    "retry-after",
    "www-authenticate",
    "allow",
    "location",
    "cache-control",
    "x-content-type-options",
    "vary",
];

/// The answers to a case, one a step; after a step that could not be done there are none.
pub async fn run(client: &Client, case: &Case) -> Vec<Value> {
    let mut answers = Vec::new();
    if let Err(why) = follow(client, case, &mut answers).await {
        answers.push(json!({"failed": why}));
    }
    answers
}

async fn follow(client: &Client, case: &Case, answers: &mut Vec<Value>) -> Result<(), String> {
    let name = case.name.replace('/', "-");
    namespace(client, &name).await?;
    let mut saved = BTreeMap::from([("ns".to_owned(), name)]);
    let mut normal = Normal::default();
    for step in &case.steps {
        let step = filled(step, &saved);
        let answer = ask(client, &step).await?;
        let body = answer.value();
        if step.brief && step.until.is_none() && answer.code >= 400 {
            return Err(answer.text());
        }
        for (name, pointer) in &step.save {
            let text = if let Some(name) = pointer.strip_prefix("header:") {
                let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
                value.ok_or_else(|| format!("no {name}"))?.to_owned()
            } else {
                let found = body.pointer(pointer);
                let found = found.ok_or_else(|| format!("nothing at {pointer} in {body}"))?;
                found
                    .as_str()
                    .map_or_else(|| found.to_string(), ToOwned::to_owned)
            };
            saved.insert(name.clone(), text);
        }
        answers.push(answer.recorded(&step, &mut normal));
    }
    Ok(())
}

/// Makes a namespace, and waits for what every namespace has a moment after it was made.
pub async fn namespace(client: &Client, name: &str) -> Result<(), String> {
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let setup = Step {
        method: "POST".into(),
        path: "/api/v1/namespaces".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: Some(made.to_string()),
        ..Step::default()
    };
    let answer = once(client, &setup).await?;
    if answer.code != 201 {
        return Err(answer.text());
    }
    for there in ["configmaps/kube-root-ca.crt", "serviceaccounts/default"] {
        let wait = Step {
            method: "GET".into(),
            path: format!("/api/v1/namespaces/{name}/{there}"),
            until: Some(Until::Code(200)),
            ..Step::default()
        };
        ask(client, &wait).await?;
    }
    Ok(())
}

/// The step with the saved values in the place of their names.
fn filled(step: &Step, saved: &BTreeMap<String, String>) -> Step {
    let mut names: Vec<&String> = saved.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let fill = |text: &str| {
        names.iter().fold(text.to_owned(), |text, name| {
            text.replace(&format!("${name}"), &saved[*name])
        })
    };
    let mut step = step.clone();
    step.path = fill(&step.path);
    if let Some(Until::Body(wanted)) = &mut step.until {
        for value in wanted.values_mut() {
            if let Value::String(text) = value {
                *text = fill(text);
            }
        }
    }
    step.body = step.body.map(|body| fill(&body));
    for (_, value) in &mut step.headers {
        *value = fill(value);
    }
    step
}

/// What came back.
pub struct Answer {
    code: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a value, whatever it was written in.
    fn value(&self) -> Value {
        let header = |name: &str| {
            let value = self.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let body = if header("content-encoding") == "gzip" {
            use std::io::Read as _;
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(self.body.as_slice())
                .read_to_end(&mut plain)
                .unwrap();
            plain
        } else {
            self.body.clone()
        };
        let text = String::from_utf8_lossy(&body).into_owned();
        match header("content-type").as_str() {
            kind if kind.starts_with("application/yaml") => {
                serde_yaml::from_str(&text).unwrap_or(Value::String(text))
            }
            kind if kind.starts_with("application/vnd.kubernetes.protobuf") => super::wire::document(&body),
            _ => serde_json::from_str(&text).unwrap_or_else(|_| {
                let events: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
                events
                    .ok()
                    .filter(|events| !events.is_empty())
                    .map_or(Value::String(text), Value::Array)
            }),
        }
    }

    fn recorded(&self, step: &Step, normal: &mut Normal) -> Value {
        if step.brief {
            return json!({"code": self.code});
        }
        let mut body = self.value();
        for (pointer, words) in &step.keep {
            if let (Some(list), [key, names @ ..]) = (
                body.pointer_mut(pointer).and_then(Value::as_array_mut),
                words.as_slice(),
            ) {
                list.retain(|item| {
                    let found = item.pointer(&format!("/{}", key.replace('.', "/")));
                    let found = found.and_then(Value::as_str).unwrap_or_default();
                    names.iter().any(|name| name == found)
                });
                list.sort_by_key(|item| item[key.split('.').next().unwrap_or_default()].to_string());
            }
        }
        let headers: serde_json::Map<String, Value> = HEADERS
            .iter()
            .filter_map(|name| {
                let values: Vec<String> = self
                    .headers
                    .get_all(*name)
                    .iter()
                    .map(|value| normal.text(&String::from_utf8_lossy(value.as_bytes())))
                    .collect();
                (!values.is_empty()).then(|| ((*name).to_owned(), values.join("\n").into()))
            })
            .collect();
        normal.value(&mut body);
        json!({"code": self.code, "headers": headers, "body": body})
    }
}

/// Sends a request, and sends it again until the answer is what the step waits for.
pub async fn ask(client: &Client, step: &Step) -> Result<Answer, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = once(client, step).await?;
        let fits = match &step.until {
            None => true,
            Some(Until::Code(code)) => answer.code == *code,
            Some(Until::Body(wanted)) => {
                let body = answer.value();
                wanted
                    .iter()
                    .all(|(pointer, value)| body.pointer(pointer).unwrap_or(&Value::Null) == value)
            }
        };
        if fits {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(format!("waited in vain: {} {}", answer.code, answer.text()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn once(client: &Client, step: &Step) -> Result<Answer, String> {
    let mut request = Request::builder().method(step.method.as_str()).uri(&step.path);
    request = request.header("user-agent", "compare/1.0");
    for (name, value) in &step.headers {
        request = request.header(name, value);
    }
    let bytes = step
        .bytes
        .clone()
        .or_else(|| step.body.clone().map(String::into_bytes));
    let body = bytes.map_or_else(Body::empty, Body::from);
    let sent = client.send(request.body(body).unwrap());
    let response = tokio::time::timeout(PATIENCE, sent)
        .await
        .map_err(|_| "no answer in time")?;
    let response = response.map_err(|error| format!("{error:?}"))?;
    let (parts, body) = response.into_parts();
    let body = match step.events {
        None => {
            let whole = tokio::time::timeout(PATIENCE, body.collect()).await;
            let whole = whole.map_err(|_| "no whole answer in time")?;
            whole.map_err(|error| error.to_string())?.to_bytes().to_vec()
        }
        Some(events) => {
            let mut stream = body.into_data_stream();
            let mut read = Vec::new();
            let lines = |read: &[u8]| read.split_inclusive(|byte| *byte == b'\n').count();
            while lines(&read) < events || read.last() != Some(&b'\n') {
                match tokio::time::timeout(PATIENCE, stream.next()).await {
                    Ok(Some(Ok(chunk))) => read.extend_from_slice(&chunk),
                    _ => break,
                }
            }
            read
        }
    };
    Ok(Answer {
        code: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}
