//! OpenID discovery of the issuer of service account tokens.

use axum::body::Body;
use http::{HeaderValue, Response, header, request::Parts};
use serde_json::{Value, json};

use crate::{auth::tokens::ISSUER, http::response::plain, state::Server};

/// The path of the configuration.
pub const CONFIGURATION: &str = "/.well-known/openid-configuration";
/// The path of the keys.
pub const KEYS: &str = "/openid/v1/jwks";

/// Answers both paths; `None` for any other.
pub fn answer(server: &Server, parts: &Parts, host: &str) -> Option<Response<Body>> {
    match parts.uri.path().trim_end_matches('/') {
        CONFIGURATION => {
            let document = json!({"issuer": ISSUER, "jwks_uri": format!("https://{host}{KEYS}"),
                "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"]});
            Some(cacheable(&document, "application/json"))
        }
        KEYS => Some(cacheable(
            &json!({"keys": [server.keys.public()]}),
            "application/jwk-set+json",
        )),
        _ => None,
    }
}

fn cacheable(document: &Value, content_type: &'static str) -> Response<Body> {
    let mut response = plain(200, document.to_string());
    let headers = response.headers_mut();
    headers.remove(header::X_CONTENT_TYPE_OPTIONS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    response
}
