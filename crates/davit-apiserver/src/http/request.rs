//! What a path and a query ask for.

use std::borrow::Cow;

use crate::{
    percent,
    schema::duration::go_duration,
    status::{ApiError, ApiResult},
    table::IncludeObject,
};

/// A path below `/api/v1` or `/apis/GROUP/VERSION`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// API group; empty for core.
    pub group: String,
    /// Version in the group.
    pub version: String,
    pub resource: String,
    /// The namespace in the path.
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// `status`, `scale`, …
    pub subresource: Option<String>,
    /// Whether the path is one of the old form, `/api/v1/watch/…`.
    pub watch: bool,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// A resource, an object, or a subresource.
    Resource(Target),
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1` or `/apis/GROUP/VERSION`
    Resources(String, String),
    Other,
}

/// Takes a path apart as upstream's RequestInfo does.
pub fn parse_path(path: &str) -> Path {
    if path.starts_with("//") {
        return Path::Other;
    }
    let decoded: Option<Vec<String>> = path.trim_matches('/').split('/').map(percent::decode).collect();
    let Some(parts) = decoded else { return Path::Other };
    // No name has a slash.
    if parts.iter().any(|part| part.contains('/')) {
        return Path::Other;
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api"] => return Path::CoreVersions,
        ["apis"] => return Path::Groups,
        ["apis", group] => return Path::Group((*group).to_owned()),
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Path::Other,
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        [] => return Path::Resources(group.to_owned(), version.to_owned()),
        // `namespaces/x` and its subresources are the object itself.
        ["namespaces", _name] | ["namespaces", _name, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
        rest => (None, rest),
    };
    let (resource, name, subresource) = match rest {
        [resource] => (*resource, None, None),
        [resource, name] => (*resource, Some((*name).to_owned()), None),
        [resource, name, sub] => (*resource, Some((*name).to_owned()), Some((*sub).to_owned())),
        _ => return Path::Other,
    };
    Path::Resource(Target {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        namespace,
        name,
        subresource,
        watch,
    })
}

/// Whether a raw query asks for a watch, as [`Query::parse`] reads it.
pub fn asks_to_watch(query: Option<&str>) -> bool {
    let watch = query
        .into_iter()
        .flat_map(pairs)
        .filter(|(key, _)| key == "watch")
        .last();
    watch.is_some_and(|(_, value)| flag(&value))
}

/// Whether each `%` is followed by two hexadecimal digits.
pub fn has_valid_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// The parameters of a query. One with an invalid escape or a semicolon is left out, as by Go's parser.
fn pairs(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw.split('&')
        .filter(|pair| has_valid_escapes(pair) && !pair.contains(';'))
        .flat_map(|pair| url::form_urlencoded::parse(pair.as_bytes()))
}

/// How long the name of a field manager may be, in bytes.
pub const MANAGER: usize = 128;

/// How unknown and duplicate fields are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Ignore,
    /// Dropped with a `Warning` header: the default.
    #[default]
    Warn,
    Strict,
}

/// How the resourceVersion of a list is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Exact,
    /// That state or a newer one.
    NotOlderThan,
}

/// The query parameters of all verbs.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// `watch`
    pub watch: bool,
    /// `labelSelector`
    pub label_selector: String,
    /// `fieldSelector`
    pub field_selector: String,
    /// `resourceVersion`
    pub resource_version: Option<String>,
    /// `resourceVersionMatch`
    pub version_match: Option<Match>,
    /// `limit`
    pub limit: usize,
    /// `continue`
    pub continue_token: Option<String>,
    /// `timeoutSeconds`
    pub timeout_seconds: Option<i64>,
    /// `allowWatchBookmarks`
    pub bookmarks: bool,
    /// `sendInitialEvents`
    pub initial_events: Option<bool>,
    /// `dryRun=All`
    pub dry_run: bool,
    /// `fieldValidation`
    pub field_validation: FieldValidation,
    /// `fieldManager`
    pub field_manager: Option<String>,
    /// `force`, of server-side apply
    pub force: Option<bool>,
    /// `propagationPolicy`
    pub propagation_policy: Option<String>,
    /// `orphanDependents`
    pub orphan_dependents: Option<bool>,
    /// `uid`, of a deletion without a body
    pub uid: Option<String>,
    /// `gracePeriodSeconds`
    pub grace_period_seconds: Option<i64>,
    /// `timeout`
    pub timeout: Option<String>,
    /// `includeObject`, of tables
    pub include_object: IncludeObject,
    /// An `includeObject` with an unknown value: only a request for a table is refused for it.
    pub wrong_include_object: Option<String>,
}

impl Query {
    /// Reads a raw query (`options` is what a refusal calls it); unknown parameters are passed over, as upstream does.
    pub fn parse(raw: &str, options: &str) -> ApiResult<Self> {
        let mut query = Self::default();
        for (key, value) in pairs(raw) {
            let value = value.into_owned();
            match &*key {
                "watch" => query.watch = flag(&value),
                "labelSelector" => query.label_selector = value,
                "fieldSelector" => query.field_selector = value,
                "resourceVersion" => query.resource_version = (!value.is_empty()).then_some(value),
                "resourceVersionMatch" => {
                    query.version_match = match value.as_str() {
                        "" => None,
                        "Exact" => Some(Match::Exact),
                        "NotOlderThan" => Some(Match::NotOlderThan),
                        _ => return Err(list_option("resourceVersionMatch", &value)),
                    };
                }
                // Less than nothing is no limit.
                "limit" => query.limit = usize::try_from(number::<i64>(&value)?).unwrap_or_default(),
                "continue" => query.continue_token = (!value.is_empty()).then_some(value),
                "timeoutSeconds" => query.timeout_seconds = Some(number(&value)?),
                "timeout" => query.timeout = (!value.is_empty()).then_some(value),
                "allowWatchBookmarks" => query.bookmarks = flag(&value),
                "sendInitialEvents" => query.initial_events = Some(flag(&value)),
                "dryRun" => {
                    query.dry_run = match value.as_str() {
                        "All" => true,
                        _ => {
                            return Err(unsupported(
                                options,
                                "dryRun",
                                &vec![value.clone()].into(),
                                &["All"],
                            ));
                        }
                    };
                }
                "fieldValidation" => {
                    query.field_validation = match value.as_str() {
                        "Ignore" => FieldValidation::Ignore,
                        "" | "Warn" => FieldValidation::Warn,
                        "Strict" => FieldValidation::Strict,
                        _ => {
                            return Err(unsupported(
                                options,
                                "fieldValidation",
                                &value.as_str().into(),
                                &["", "Ignore", "Strict", "Warn"],
                            ));
                        }
                    };
                }
                "fieldManager" => {
                    if value.len() > MANAGER {
                        let error = crate::field::FieldError::too_long("fieldManager", MANAGER as u64);
                        return Err(ApiError::invalid("meta.k8s.io", options, "", &[error]));
                    }
                    let mut characters = value.char_indices();
                    if let Some((at, character)) = characters.find(|(_, character)| !is_printable(*character))
                    {
                        let why = format!(
                            "invalid character U+{:04X} (at position {at})",
                            u32::from(character)
                        );
                        let shown = value.as_str().into();
                        let error = crate::field::FieldError::invalid("fieldManager", &shown, &why);
                        return Err(ApiError::invalid("meta.k8s.io", options, "", &[error]));
                    }
                    query.field_manager = (!value.is_empty()).then_some(value);
                }
                "force" => query.force = Some(flag(&value)),
                "propagationPolicy" => query.propagation_policy = Some(value),
                "orphanDependents" => query.orphan_dependents = Some(flag(&value)),
                "uid" => query.uid = (!value.is_empty()).then_some(value),
                "gracePeriodSeconds" => query.grace_period_seconds = Some(number(&value)?),
                "includeObject" => match IncludeObject::parse(&value) {
                    Ok(include) => query.include_object = include,
                    Err(_) => query.wrong_include_object = Some(value),
                },
                _ => {}
            }
        }
        Ok(query)
    }

    /// Refuses a `timeout` that is no duration. The server's own limit holds whatever it says.
    pub fn check_timeout(&self) -> ApiResult<()> {
        let Some(timeout) = &self.timeout else {
            return Ok(());
        };
        match go_duration(timeout) {
            Ok(_) => Ok(()),
            Err(why) => Err(ApiError::bad_request(format!(
                "invalid timeout specified in the request URL - {why}"
            ))),
        }
    }

    /// Refuses an unknown `includeObject`, as a request for a table does.
    pub fn check_include_object(&self) -> ApiResult<()> {
        match &self.wrong_include_object {
            None => Ok(()),
            Some(wrong) => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: \"{wrong}\": must be \
                 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// Refuses an invalid `timeout` in the query of a path that takes no other parameters.
pub fn check_timeout(raw: &str) -> ApiResult<()> {
    let timeout = pairs(raw).find(|(key, value)| key == "timeout" && !value.is_empty());
    let query = Query {
        timeout: timeout.map(|(_, value)| value.into_owned()),
        ..Query::default()
    };
    query.check_timeout()
}

/// Upstream: anything but `0`, `false` and nothing at all is true (`watch` with no value is true).
fn flag(value: &str) -> bool {
    !matches!(value, "0" | "false" | "False" | "FALSE")
}

fn number<T: std::str::FromStr + Default>(value: &str) -> ApiResult<T> {
    if value.is_empty() {
        return Ok(T::default());
    }
    value.parse().map_err(|_| {
        let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number {
            "value out of range"
        } else {
            "invalid syntax"
        };
        ApiError::bad_request(format!("strconv.ParseInt: parsing \"{value}\": {why}"))
    })
}

/// Whether Go prints the character as it is.
fn is_printable(character: char) -> bool {
    character == ' ' || !(character.is_control() || character.is_whitespace())
}

fn unsupported(options: &str, field: &str, value: &serde_json::Value, supported: &[&str]) -> ApiError {
    let supported = supported.iter().copied();
    let error = crate::field::FieldError::not_supported(field, value, supported);
    ApiError::invalid("meta.k8s.io", options, "", &[error])
}

fn list_option(field: &str, value: &str) -> ApiError {
    let value = serde_json::Value::from(value);
    let error = crate::field::FieldError::not_supported(field, &value, ["Exact", "NotOlderThan", ""]);
    ApiError::invalid("meta.k8s.io", "ListOptions", "", &[error])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<Target> {
        match parse_path(path) {
            Path::Resource(target) => Some(target),
            _ => None,
        }
    }

    #[test]
    fn paths() {
        assert_eq!(parse_path("/api"), Path::CoreVersions);
        assert_eq!(parse_path("/apis/"), Path::Groups);
        assert_eq!(parse_path("/apis/apps"), Path::Group("apps".into()));
        assert_eq!(parse_path("/api/v1"), Path::Resources(String::new(), "v1".into()));
        assert_eq!(parse_path("/version"), Path::Other);
        assert_eq!(parse_path("//api/v1"), Path::Other);
        #[allow(clippy::type_complexity, reason = "a table, read once")]
        let rows: [(&str, &str, Option<&str>, Option<&str>, Option<&str>); 6] = [
            ("/api/v1/namespaces", "namespaces", None, None, None),
            ("/api/v1/namespaces/a", "namespaces", None, Some("a"), None),
            (
                "/api/v1/namespaces/a/status",
                "namespaces",
                None,
                Some("a"),
                Some("status"),
            ),
            ("/api/v1/namespaces/a/secrets", "secrets", Some("a"), None, None),
            (
                "/apis/g.io/v1/namespaces/a/widgets/b/status",
                "widgets",
                Some("a"),
                Some("b"),
                Some("status"),
            ),
            (
                "/api/v1/namespaces/a/secrets/b%3Ac",
                "secrets",
                Some("a"),
                Some("b:c"),
                None,
            ),
        ];
        for (path, resource, namespace, name, sub) in rows {
            let found = target(path).unwrap();
            assert_eq!(found.resource, resource, "{path}");
            assert_eq!(found.namespace.as_deref(), namespace, "{path}");
            assert_eq!(found.name.as_deref(), name, "{path}");
            assert_eq!(found.subresource.as_deref(), sub, "{path}");
        }
    }

    #[test]
    fn the_raw_query_asks_for_a_watch_as_the_parsed_one_does() {
        let rows = [
            ("watch", true),
            ("watch=", true),
            ("watch=1", true),
            ("limit=5&watch=true", true),
            ("watch=True", true),
            ("watch=T%52UE", true),
            ("w%61tch=1", true),
            ("watch=yes", true),
            ("watch=false&watch=1", true),
            ("watch=1&watch=false", false),
            ("watch=0", false),
            ("watch=False", false),
            ("watcher=1", false),
            ("watch=%zz", false),
            ("", false),
        ];
        for (query, expected) in rows {
            assert_eq!(asks_to_watch(Some(query)), expected, "{query}");
            assert_eq!(
                Query::parse(query, "ListOptions").unwrap().watch,
                expected,
                "{query}"
            );
        }
        assert!(!asks_to_watch(None));
    }

    #[test]
    fn queries() {
        let query = Query::parse(
            "watch=1&labelSelector=a%3Db&limit=5&resourceVersion=",
            "PatchOptions",
        )
        .unwrap();
        assert!(query.watch);
        assert_eq!(query.label_selector, "a=b");
        assert_eq!(query.limit, 5);
        assert_eq!(query.resource_version, None);
        assert_eq!(Query::parse("dryRun=Some", "PatchOptions").unwrap_err().code, 422);
        assert!(Query::parse("limit=x", "PatchOptions").is_err());
    }
}
