//! Objects and errors as HTTP answers.

use std::{io::Write as _, sync::Arc};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use super::{
    indent::indented,
    lenient_json,
    negotiation::{Accept, Format, Shape},
};
use crate::{
    protobuf,
    registry::{Resource, Version, builtin::Builtin, events},
    status::{ApiError, ApiResult},
    store::Object,
    table::{IncludeObject, table},
};

/// Answers of at least this many bytes are compressed for clients that accept gzip, as upstream does.
const GZIP_FROM: usize = 128 << 10;

/// How objects of one resource version are shown to one client.
#[derive(Clone)]
pub struct Presenter {
    pub resource: Arc<Resource>,
    /// The version asked for.
    pub version: Arc<Version>,
    /// The form asked for.
    pub accept: Accept,
    /// `includeObject` of tables.
    pub include_object: IncludeObject,
    head: Bytes,
}

impl Presenter {
    /// For that version, in that form.
    pub fn new(
        resource: Arc<Resource>,
        version: Arc<Version>,
        accept: Accept,
        include_object: IncludeObject,
    ) -> Self {
        let api_version = resource.api_version(&version.name);
        let head = format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{api_version}\",",
            resource.names.kind
        );
        Self {
            resource,
            version,
            accept,
            include_object,
            head: head.into(),
        }
    }

    /// The object as JSON in the version asked for.
    pub fn whole(&self, object: &Object) -> Bytes {
        if self.resource.builtin == Builtin::EventsEvent {
            let mut value = object.value();
            events::from_core(&mut value);
            return Value::Object(value).to_string().into();
        }
        if object.revision < self.resource.since || self.version.converts {
            let mut value = self.resource.in_version(object, &self.version);
            let api_version = self.resource.api_version(&self.version.name);
            value.insert("apiVersion".into(), api_version.into());
            return Value::Object(value).to_string().into();
        }
        if object.head() == self.head {
            return object.json().clone();
        }
        let tail = object.tail();
        let mut out = BytesMut::with_capacity(self.head.len() + tail.len());
        out.put_slice(&self.head);
        out.put_slice(&tail);
        out.freeze()
    }

    fn item(&self, object: &Object, out: &mut BytesMut) {
        match self.resource.builtin {
            Builtin::Custom => out.put_slice(&self.whole(object)),
            Builtin::EventsEvent => {
                let mut value = object.value();
                events::from_core(&mut value);
                value.remove("kind");
                value.remove("apiVersion");
                out.put_slice(Value::Object(value).to_string().as_bytes());
            }
            // The items of a typed list do not repeat their type.
            _ => {
                out.put_u8(b'{');
                out.put_slice(&object.tail());
            }
        }
    }

    /// The object in the form asked for, as one JSON document.
    pub fn one(&self, object: &Object) -> Bytes {
        match self.accept.shape {
            Shape::Whole | Shape::Discovery(_) => self.whole(object),
            Shape::Metadata(version) => partial(object, version),
            Shape::Table(version) => self.rows(
                std::iter::once(object),
                version,
                &json!({
                    "resourceVersion": object.revision.to_string()
                }),
            ),
        }
    }

    /// The object as a table of one row; the columns are left out where they were said before.
    pub fn row(&self, object: &Object, headless: bool) -> Bytes {
        let whole = self.one(object);
        match serde_json::from_slice::<Value>(&whole) {
            Ok(mut table) if headless => {
                table["columnDefinitions"] = Value::Null;
                table.to_string().into()
            }
            _ => whole,
        }
    }

    fn rows<'a>(&self, objects: impl Iterator<Item = &'a Object>, version: &str, metadata: &Value) -> Bytes {
        let values: Vec<Value> = objects
            .map(|object| serde_json::from_slice(&self.whole(object)).unwrap_or_default())
            .collect();
        let mut made = table(
            &self.version.columns,
            &values,
            jiff::Timestamp::now(),
            self.include_object,
            version,
        );
        made["metadata"] = metadata.clone();
        made.to_string().into()
    }

    /// The kind and version of a list of objects or of their metadata.
    fn list_type(&self) -> (String, String) {
        match self.accept.shape {
            Shape::Metadata(version) => (
                "PartialObjectMetadataList".to_owned(),
                format!("meta.k8s.io/{version}"),
            ),
            _ => (
                self.resource.names.list_kind.clone(),
                self.resource.api_version(&self.version.name),
            ),
        }
    }

    /// A list in JSON up to its first item; `]}` ends it.
    pub fn list_head(&self, metadata: &Value) -> Vec<u8> {
        let (kind, api_version) = self.list_type();
        let head = json!({"kind": kind}).to_string();
        let head = head.strip_suffix('}').unwrap_or_default();
        format!("{head},\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[").into()
    }

    /// An item of a list in JSON.
    pub fn list_item(&self, object: &Object, out: &mut BytesMut) {
        match self.accept.shape {
            Shape::Metadata(version) => out.put_slice(&partial(object, version)),
            _ => self.item(object, out),
        }
    }

    /// A list of objects.
    pub fn list(&self, objects: &[Arc<Object>], metadata: &Value) -> Bytes {
        if let Shape::Table(version) = self.accept.shape {
            return self.rows(objects.iter().map(Arc::as_ref), version, metadata);
        }
        if self.accept.format == Format::Protobuf
            && let Some(bytes) = self.protobuf_list(objects, metadata)
        {
            return bytes;
        }
        let size: usize = objects.iter().map(|object| object.json().len() + 1).sum();
        let mut out = BytesMut::with_capacity(size + 256);
        out.put_slice(&self.list_head(metadata));
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            self.list_item(object, &mut out);
        }
        out.put_slice(b"]}");
        out.freeze()
    }
}

impl Presenter {
    fn protobuf_list(&self, objects: &[Arc<Object>], metadata: &Value) -> Option<Bytes> {
        let mut items = Vec::new();
        for object in objects {
            self.protobuf_item(object, &mut items)?;
        }
        let mut list = self.protobuf_head(metadata, items.len())?;
        list.append(&mut items);
        list.extend_from_slice(protobuf::END);
        Some(list.into())
    }

    /// A list in protobuf up to its items, which take so many bytes; [`protobuf::END`] ends it.
    pub fn protobuf_head(&self, metadata: &Value, items: usize) -> Option<Vec<u8>> {
        let (kind, api_version) = self.list_type();
        let mut head = protobuf::list_head(Some(metadata))?;
        let mut out = protobuf::envelope_head(&api_version, &kind, head.len() + items);
        out.append(&mut head);
        Some(out)
    }

    /// An item of a list in protobuf; `None` if the kind has no such form.
    pub fn protobuf_item(&self, object: &Object, out: &mut Vec<u8>) -> Option<()> {
        let (kind, api_version) = self.list_type();
        let item = protobuf::item_name(&api_version, &kind)?;
        protobuf::list_item(out, &item, &serde_json::from_slice(&self.one(object)).ok()?)
    }
}

fn partial(object: &Object, version: &str) -> Bytes {
    let metadata = object.metadata_json();
    let mut out = BytesMut::with_capacity(metadata.len() + 96);
    out.put_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
    out.put_slice(version.as_bytes());
    out.put_slice(b"\",\"metadata\":");
    out.put_slice(&metadata);
    out.put_u8(b'}');
    out.freeze()
}

/// An answer with a JSON document, in the encoding asked for.
pub fn document(accept: Accept, code: u16, json: Bytes, warnings: &[String]) -> Response<Body> {
    let body = match accept.format {
        Format::Json if accept.pretty => indented(&json).into(),
        Format::Json => json,
        Format::Yaml => match to_yaml(&json) {
            Ok(yaml) => yaml.into(),
            Err(error) => return error_response(&ApiError::internal(error), accept, warnings),
        },
        Format::Protobuf if json.starts_with(b"k8s\0") => json,
        Format::Protobuf => {
            let value: Value = serde_json::from_slice(&json).unwrap_or_default();
            match (protobuf::encode(&value), accept.without_protobuf()) {
                (Some(bytes), _) => bytes.into(),
                (None, Some(other)) => return document(other.plain(), code, json, warnings),
                (None, None) => {
                    let refused = if value.get("metadata").is_some() {
                        ApiError::not_acceptable(super::negotiation::SPOKEN_BUILTIN)
                    } else {
                        ApiError::not_available(&["application/json"])
                    };
                    return error_response(&refused, accept, warnings);
                }
            }
        }
    };
    let zipped = (accept.gzip && body.len() >= GZIP_FROM)
        .then(|| gzip(&body))
        .flatten();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(value) = accept.content_type().parse() {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    if zipped.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    for warning in warnings {
        headers.append(header::WARNING, warning_header(warning));
    }
    *response.body_mut() = Body::from(zipped.unwrap_or(body));
    response
}

/// `299 - "text"`, with what a quoted string may not hold escaped.
pub fn warning_header(text: &str) -> HeaderValue {
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c.is_control() => vec![' '],
            c => vec![c],
        })
        .collect();
    HeaderValue::from_bytes(format!("299 - \"{escaped}\"").as_bytes())
        .unwrap_or(HeaderValue::from_static("299 - \"a warning that is no text\""))
}

fn gzip(body: &Bytes) -> Option<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn to_yaml(json: &[u8]) -> Result<String, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    serde_saphyr::to_string(&value).map_err(|error| error.to_string())
}

/// A refusal as an answer.
pub fn error_response(error: &ApiError, accept: Accept, warnings: &[String]) -> Response<Body> {
    let shape = Accept {
        shape: Shape::Whole,
        ..accept
    };
    let body = error.to_value().to_string().into();
    let mut response = document(shape, error.code, body, warnings);
    let retry = error
        .details
        .as_ref()
        .and_then(|details| details.get("retryAfterSeconds")?.as_u64());
    if let Some(seconds) = retry {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The entity tag of a document with this digest.
pub fn etag(digest: &[u8]) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest))
}

/// The answer that `make` gives with `tag` as its `ETag`, or 304 if the request's `If-None-Match` is the same tag.
pub fn with_etag(tag: &str, parts: &Parts, make: impl FnOnce() -> Response<Body>) -> Response<Body> {
    let known = parts.headers.get(header::IF_NONE_MATCH);
    let mut response = if known.is_some_and(|known| known == tag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        make()
    };
    if let Ok(value) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// Plain text, as the health endpoints and unknown paths answer.
pub fn plain(code: u16, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// A JSON or YAML body as a value.
pub fn parse_body(content_type: &str, body: &[u8]) -> ApiResult<Value> {
    match content_type {
        "" | "application/json" => lenient_json::parse(body).map_err(|error| {
            let why = if error.is_eof() {
                "unexpected end of JSON input".to_owned()
            } else {
                error.to_string()
            };
            ApiError::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
        }),
        "application/yaml" => {
            // What clients send as YAML is JSON more often than not, which is read in a tenth of the time.
            if super::duplicate_fields::begins_as_json(body)
                && let Ok(value) = serde_json::from_slice(body)
            {
                return Ok(value);
            }
            let text = std::str::from_utf8(body)
                .map_err(|_| ApiError::bad_request("error converting YAML to JSON: yaml: invalid UTF-8"))?;
            super::duplicate_fields::read_yaml(text).map_err(|error| {
                use serde_saphyr::Error;
                let mut within = &error;
                while let Error::WithSnippet { error, .. } | Error::AliasError { error, .. } = within {
                    within = error;
                }
                let why = match within {
                    Error::AliasReplayLimitExceeded { .. } => {
                        "document contains excessive aliasing".to_owned()
                    }
                    _ => error.to_string(),
                };
                ApiError::bad_request(format!("error converting YAML to JSON: yaml: {why}"))
            })
        }
        protobuf::MEDIA_TYPE => protobuf::decode(body).map_err(ApiError::bad_request),
        _ => Err(ApiError::unsupported_media_type(
            super::negotiation::SPOKEN_BUILTIN,
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_may_be_json_or_begin_as_it() {
        for (body, value) in [
            (
                r#" {"a": "1", "b": [null, true, 1.5, "\u00e9\n"]}"#,
                json!({"a": "1", "b": [null, true, 1.5, "é\n"]}),
            ),
            (r#"{"a": 1, "a": 2}"#, json!({"a": 2})),
            (
                "{a: 1, 'b': yes, # no JSON\n c: [x]}",
                json!({"a": 1, "b": true, "c": ["x"]}),
            ),
            ("a: {b: c}\n", json!({"a": {"b": "c"}})),
            ("- 1\n", json!([1])),
        ] {
            assert_eq!(
                parse_body("application/yaml", body.as_bytes()).unwrap(),
                value,
                "{body}"
            );
        }
        assert!(parse_body("application/yaml", b"{\"a\": ").is_err());
    }

    #[test]
    fn aliases_are_bounded_by_what_is_said() {
        let doubling = |levels: usize| {
            let first = "x0: &x0 [a,a,a,a,a,a,a,a,a,a]\n".to_owned();
            (1..levels).fold(first, |text, level| {
                let below = vec![format!("*x{}", level - 1); 10].join(",");
                text + &format!("x{level}: &x{level} [{below}]\n")
            })
        };
        let read = |levels| parse_body("application/yaml", doubling(levels).as_bytes());
        assert_eq!(read(3).unwrap()["x2"][9][9][9], "a");
        let refused = read(9).unwrap_err();
        assert_eq!(
            refused.message,
            "error converting YAML to JSON: yaml: document contains excessive aliasing"
        );
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for media_type in ["application/json", "application/yaml"] {
            let read = |depth| parse_body(media_type, nested(depth).as_bytes());
            assert!(read(127).is_ok(), "{media_type}");
            let long = format!("[{}1]", "1, ".repeat(500_000));
            assert!(parse_body(media_type, long.as_bytes()).is_ok(), "{media_type}");
            assert_eq!(read(128).unwrap_err().code, 400, "{media_type}");
            assert_eq!(read(100_000).unwrap_err().code, 400, "{media_type}");
        }
    }

    #[test]
    fn indented_as_usual() {
        let rows = [
            json!({}),
            json!([]),
            json!({"a": [], "b": {}, "c": [[], {}], "d": [1, "x", null, {"e": true}]}),
            json!({"q": "a\"b\\", "r": "{[:,]}", "s": "\\\"", "t\n": "é"}),
        ];
        for row in rows {
            let expected = serde_json::to_string_pretty(&row).unwrap();
            for text in [row.to_string(), expected.clone()] {
                assert_eq!(String::from_utf8(indented(text.as_bytes())).unwrap(), expected);
            }
        }
    }
}
