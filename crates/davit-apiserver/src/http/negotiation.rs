//! What form an answer takes: JSON or YAML, the object itself, its metadata only, or a table.

use http::HeaderMap;

use crate::status::{ApiError, ApiResult};

/// The media types that bodies may have.
pub const SPOKEN: &[&str] = &["application/json", "application/yaml"];

/// Those of the built-in resources.
pub const SPOKEN_BUILTIN: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// The encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What is made of the objects of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Whole,
    /// `PartialObjectMetadata` or its list.
    Metadata(&'static str),
    /// `Table`
    Table(&'static str),
    /// `APIGroupDiscoveryList` of that version: only at `/api` and `/apis`.
    Discovery(&'static str),
}

/// One media type of an `Accept` header that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    pub format: Format,
    pub shape: Shape,
    /// Whether gzip is understood.
    pub gzip: bool,
    /// Whether the metadata of one object was asked for, and of no list.
    pub single: bool,
    /// Whether the metadata of a list was asked for, and of no single object.
    pub many: bool,
    /// Whether JSON is indented, for people.
    pub pretty: bool,
    /// What is taken where there is no protobuf of the answer.
    pub instead: Option<Format>,
}

/// The beginnings of `User-Agent` behind which upstream suspects a person.
const PEOPLE: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

/// The default media type.
pub const JSON: Accept = Accept {
    format: Format::Json,
    shape: Shape::Whole,
    gzip: false,
    single: false,
    many: false,
    pretty: false,
    instead: None,
};

impl Accept {
    /// The first acceptable one of the header's media types; JSON where nothing is asked for.
    pub fn parse(headers: &HeaderMap) -> ApiResult<Self> {
        let gzip = headers
            .get_all(http::header::ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "gzip"));
        let mut wanted: Vec<(u32, &str)> = headers
            .get_all(http::header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|clause| !clause.is_empty())
            .map(|clause| (quality(clause), clause))
            .collect();
        if wanted.is_empty() {
            return Ok(Self {
                format: Format::Json,
                shape: Shape::Whole,
                gzip,
                single: false,
                many: false,
                pretty: false,
                instead: None,
            });
        }
        wanted.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
        if let Some((clause, (format, shape))) =
            wanted.iter().find_map(|(_, clause)| Some((clause, one(clause)?)))
        {
            let single = clause
                .split(';')
                .any(|part| part.trim() == "as=PartialObjectMetadata");
            let many = clause
                .split(';')
                .any(|part| part.trim() == "as=PartialObjectMetadataList");
            let instead = wanted
                .iter()
                .filter_map(|(_, clause)| one(clause))
                .find(|(format, shape)| *format != Format::Protobuf && *shape == Shape::Whole)
                .map(|(format, _)| format);
            return Ok(Self {
                format,
                shape,
                gzip,
                single,
                many,
                pretty: false,
                instead,
            });
        }
        // A media type that is spoken, but not with these parameters, is refused in other words.
        Err(if wanted.iter().any(|(_, clause)| format(clause).is_some()) {
            ApiError::not_acceptable(SPOKEN)
        } else {
            ApiError::not_available(SPOKEN)
        })
    }

    /// The same, indented where the query asks for that with `pretty`, or, without a word there, a person seems to ask.
    pub fn for_whom(self, query: Option<&str>, headers: &HeaderMap) -> Self {
        let asked = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(name, value)| name == "pretty" && !value.is_empty())
            .map(|(_, value)| matches!(&*value, "1" | "t" | "T" | "true" | "TRUE" | "True"));
        let agent = headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        Self {
            pretty: asked.unwrap_or_else(|| PEOPLE.iter().any(|person| agent.starts_with(person))),
            ..self
        }
    }

    /// The same encoding for a document that has only one form.
    pub fn plain(self) -> Self {
        Self {
            shape: Shape::Whole,
            ..self
        }
    }

    /// The form of an answer that has no protobuf; none where nothing else is taken.
    pub fn without_protobuf(self) -> Option<Self> {
        if self.format != Format::Protobuf {
            return Some(self);
        }
        Some(Self {
            format: self.instead?,
            shape: Shape::Whole,
            ..self
        })
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> String {
        let base = match self.format {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        };
        match self.shape {
            Shape::Discovery(version) => {
                format!("{base};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
            }
            _ => base.to_owned(),
        }
    }
}

fn quality(clause: &str) -> u32 {
    let q = clause.split(';').find_map(|part| part.trim().strip_prefix("q="));
    match q.map(str::parse::<f32>) {
        // A quality has at most three decimals: thousandths lose nothing.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=1000"
        )]
        Some(Ok(q)) => (q.clamp(0.0, 1.0) * 1000.0) as u32,
        _ => 1000,
    }
}

fn format(clause: &str) -> Option<Format> {
    match clause.split(';').next()?.trim() {
        "application/json" | "*/*" => Some(Format::Json),
        "application/yaml" => Some(Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Format::Protobuf),
        _ => None,
    }
}

fn one(clause: &str) -> Option<(Format, Shape)> {
    let format = format(clause)?;
    let parts = clause.split(';').map(str::trim).skip(1);
    let (mut group, mut version, mut kind) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            Some(("as", value)) => kind = value,
            Some(("stream", value)) if value != "watch" => return None,
            _ => {}
        }
    }
    let version = match version {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        "v2" => "v2",
        _ => "",
    };
    let plain = format != Format::Protobuf;
    let shape = match (group, kind, version) {
        (_, "", _) => Shape::Whole,
        ("meta.k8s.io", "Table", "v1" | "v1beta1") if plain => Shape::Table(version),
        ("meta.k8s.io", "PartialObjectMetadata" | "PartialObjectMetadataList", "v1" | "v1beta1") => {
            Shape::Metadata(version)
        }
        ("apidiscovery.k8s.io", "APIGroupDiscoveryList", "v2") if plain => Shape::Discovery(version),
        _ => return None,
    };
    Some((format, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Option<(Format, Shape)> {
        let mut headers = HeaderMap::new();
        headers.insert("accept", text.parse().unwrap());
        Accept::parse(&headers)
            .ok()
            .map(|accept| (accept.format, accept.shape))
    }

    #[test]
    fn rows() {
        let rows = [
            ("*/*", Some((Format::Json, Shape::Whole))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some((Format::Json, Shape::Table("v1"))),
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some((Format::Protobuf, Shape::Whole)),
            ),
            (
                "application/vnd.kubernetes.protobuf",
                Some((Format::Protobuf, Shape::Whole)),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/yaml",
                Some((Format::Yaml, Shape::Whole)),
            ),
            ("application/yaml", Some((Format::Yaml, Shape::Whole))),
            (
                "application/json;q=0.5, application/yaml",
                Some((Format::Yaml, Shape::Whole)),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some((Format::Json, Shape::Metadata("v1"))),
            ),
            ("text/html", None),
        ];
        for (text, expected) in rows {
            assert_eq!(accept(text), expected, "{text}");
        }
    }
}
