//! Requests to the API of a forge.

use http::Method;
use serde_json::Value;

use super::pagination::Cursor;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What it is for, as the beginning of an error message.
    pub doing: &'static str,
    /// The method.
    pub method: Method,
    /// The path behind the base URL.
    pub path: Vec<String>,
    /// The query.
    pub query: Vec<(String, String)>,
    /// The body.
    pub body: Option<Body>,
    /// The scope that the credential needs for it, unless the forge names one.
    pub scope: &'static str,
    /// What does not exist if the answer is 404.
    pub what: String,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// JSON.
    Json(Value),
    /// A form.
    Form(Vec<(&'static str, String)>),
}

impl Call {
    /// A request for the path behind the base URL.
    pub fn new<S: Into<String>>(
        method: Method,
        doing: &'static str,
        path: impl IntoIterator<Item = S>,
    ) -> Self {
        let path: Vec<String> = path.into_iter().map(Into::into).collect();
        Self {
            doing,
            method,
            what: format!("/{}", path.join("/")),
            path,
            query: Vec::new(),
            body: None,
            scope: "",
        }
    }

    /// A GET request.
    pub fn get<S: Into<String>>(doing: &'static str, path: impl IntoIterator<Item = S>) -> Self {
        Self::new(Method::GET, doing, path)
    }

    /// A POST request.
    pub fn post<S: Into<String>>(doing: &'static str, path: impl IntoIterator<Item = S>) -> Self {
        Self::new(Method::POST, doing, path)
    }

    /// Adds a pair to the query.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        self.query.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Names what is missing if the answer is 404.
    pub fn what(mut self, what: impl Into<String>) -> Self {
        self.what = what.into();
        self
    }

    /// Names the scope that the credential needs.
    pub fn scope(mut self, scope: &'static str) -> Self {
        self.scope = scope;
        self
    }

    /// Sends JSON.
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(Body::Json(body));
        self
    }

    /// Sends a form.
    pub fn form(mut self, pairs: Vec<(&'static str, String)>) -> Self {
        self.body = Some(Body::Form(pairs));
        self
    }
}

/// The request for the page at a cursor. What a link to a next page repeats of the call's own query is sent once.
pub(super) fn at(call: &Call, cursor: &Cursor) -> Call {
    let mut call = call.clone();
    call.query
        .retain(|(key, _)| cursor.query.iter().all(|(other, _)| other != key));
    call.query.extend(cursor.query.iter().cloned());
    call
}
