//! Registers a GitHub App from a manifest: a page sends the manifest to GitHub, the user confirms there, and GitHub leads the
//! browser back with a code, which is exchanged for the App's credentials once.

use std::collections::BTreeMap;

use http::HeaderValue;
use http::header::ACCEPT;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Connection, ForgeName, Wish, check_wish, spec};
use crate::forge::ForgeError;
use crate::forge::api::{Api, Reply};
use crate::forge::call::Call;
use crate::forge::github::api_address;
use crate::forge::http::{HttpOptions, base_url, beneath};
use crate::redact::Secret;

/// The longest name of an App.
const LONGEST_NAME: usize = 34;

/// An App that is being registered.
#[derive(Clone, Debug)]
pub struct AppManifest {
    wish: Wish,
    web: Url,
    callback: String,
    state: Secret,
    manifest: Value,
}

/// The registered App.
#[derive(Debug)]
pub struct Converted {
    /// What connects it.
    pub connection: Connection,
    /// The App's name at GitHub.
    pub name: String,
    /// Where the user installs the App.
    pub install_url: String,
}

impl AppManifest {
    /// An App whose registration leads the browser back to `callback`. `state` is a random value that comes back, too.
    ///
    /// # Errors
    /// What the user asks for is not for this forge, or its URL cannot be used.
    pub fn new(wish: &Wish, callback: &str, state: Secret, options: &HttpOptions) -> Result<Self, String> {
        check_wish(ForgeName::Github, wish)?;
        let url = wish.url.as_deref().unwrap_or("https://github.com");
        let web = base_url(url, options.allow_loopback_http).map_err(|error| error.to_string())?;
        // The names of Apps are global.
        let suffix = state
            .expose_str()
            .and_then(|state| state.get(..6))
            .unwrap_or_default();
        let name: String = format!("davit-{}", wish.name)
            .chars()
            .take(LONGEST_NAME - 7)
            .collect();
        let manifest = json!({
            "name": format!("{name}-{suffix}"),
            "url": web.as_str(),
            "redirect_url": callback,
            "public": false,
            "default_permissions": {
                "checks": "read",
                "contents": "read",
                "metadata": "read",
                "pull_requests": "write",
                "repository_hooks": "write",
                "statuses": "write",
            },
            "default_events": [],
        });
        Ok(Self {
            wish: wish.clone(),
            web,
            callback: callback.to_owned(),
            state,
            manifest,
        })
    }

    /// The page that sends the manifest to GitHub, by itself or with a button.
    pub fn page(&self) -> String {
        let action = self.action();
        format!(
            "<!DOCTYPE html><meta charset=\"utf-8\"><title>Davit</title>\
             <form action=\"{}\" method=\"post\"><input type=\"hidden\" name=\"manifest\" value=\"{}\">\
             <button>Register the App at {}</button></form><script>document.forms[0].submit()</script>",
            escaped(action.as_str()),
            escaped(&self.manifest.to_string()),
            escaped(self.web.host_str().unwrap_or_default())
        )
    }

    fn action(&self) -> Url {
        let mut action = match &self.wish.organization {
            Some(organization) => beneath(
                &self.web,
                &["organizations", organization, "settings", "apps", "new"],
            ),
            None => beneath(&self.web, &["settings", "apps", "new"]),
        };
        let state = self.state.expose_str().unwrap_or_default();
        action.query_pairs_mut().append_pair("state", state);
        action
    }

    /// The code in the query with which GitHub leads the browser back.
    ///
    /// # Errors
    /// GitHub reports an error, or the query does not belong to this registration.
    pub fn code(&self, query: &str) -> Result<String, String> {
        let pairs: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let state = Secret::from(pairs.get("state").map_or("", String::as_str));
        if state != self.state {
            return Err(
                "the state in the address is not that of this registration: begin anew at the address above"
                    .to_owned(),
            );
        }
        match pairs.get("code").filter(|code| is_code(code)) {
            Some(code) => Ok(code.clone()),
            None => Err("the address has no code: begin anew at the address above".to_owned()),
        }
    }

    /// The code in what a user pasted: the whole address, or the code alone.
    ///
    /// # Errors
    /// It is neither, or does not belong to this registration.
    pub fn pasted(&self, text: &str) -> Result<String, String> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(self.callback.as_str()) {
            return self.code(rest.strip_prefix('?').unwrap_or_default());
        }
        if is_code(text) {
            return Ok(text.to_owned());
        }
        Err(format!(
            "this is neither an address that begins with {} nor a code: paste it again",
            self.callback
        ))
    }

    /// Exchanges the code for the App's credentials. GitHub accepts a code once, within an hour.
    ///
    /// # Errors
    /// GitHub does not answer, or does not know the code.
    pub async fn convert(&self, code: &str, options: &HttpOptions) -> Result<Converted, ForgeError> {
        let (address, _) = api_address(&self.web);
        let api = Api::new("github", &address, &self.web, None, options)?
            .header(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        let call = Call::post("exchange the code", ["app-manifests", code, "conversions"])
            .what("the code, which is valid once and for an hour");
        let reply: Reply<App> = api.send(&call, None).await?;
        let app = reply.body;
        let fields = json!({"url": self.wish.url.as_deref().unwrap_or("https://github.com"), "appId": app.id,
            "privateKeySecretRef": {"name": self.wish.name}});
        let spec = spec(ForgeName::Github, fields).map_err(|message| ForgeError::Spec { message })?;
        let mut secret = BTreeMap::from([("privateKey", Secret::from(app.pem))]);
        let more = [
            ("clientSecret", app.client_secret),
            ("webhookSecret", app.webhook_secret),
        ];
        secret.extend(
            more.into_iter()
                .filter_map(|(key, value)| Some((key, Secret::from(value?)))),
        );
        Ok(Converted {
            connection: Connection { secret, spec },
            install_url: format!("{}/installations/new", app.html_url.trim_end_matches('/')),
            name: app.name,
        })
    }
}

#[derive(Deserialize)]
struct App {
    id: i64,
    name: String,
    html_url: String,
    pem: String,
    client_secret: Option<String>,
    webhook_secret: Option<String>,
}

/// Whether a text can be a code: it becomes a segment of a path.
fn is_code(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLBACK: &str = "http://127.0.0.1:4321/callback";

    fn manifest(organization: Option<&str>) -> AppManifest {
        let wish = Wish {
            name: "acme".to_owned(),
            organization: organization.map(str::to_owned),
            ..Wish::default()
        };
        AppManifest::new(
            &wish,
            CALLBACK,
            Secret::from("0123456789abcdef"),
            &HttpOptions::default(),
        )
        .unwrap()
    }

    #[test]
    fn page_sends_the_manifest_to_the_user_or_the_organization() {
        let page = manifest(None).page();
        assert!(
            page.contains("action=\"https://github.com/settings/apps/new?state=0123456789abcdef\""),
            "{page}"
        );
        assert!(
            page.contains("&quot;redirect_url&quot;:&quot;http://127.0.0.1:4321/callback&quot;"),
            "{page}"
        );
        let page = manifest(Some("a\"b")).page();
        assert!(
            page.contains("https://github.com/organizations/a%22b/settings/apps/new?state="),
            "{page}"
        );
        let long = Wish {
            name: "x".repeat(60),
            ..Wish::default()
        };
        let long = AppManifest::new(
            &long,
            CALLBACK,
            Secret::from("0123456789abcdef"),
            &HttpOptions::default(),
        )
        .unwrap();
        assert_eq!(long.manifest["name"].as_str().unwrap().len(), LONGEST_NAME);
    }

    #[test]
    fn code_is_taken_with_the_state_of_this_registration_only() {
        let manifest = manifest(None);
        let state = "state=0123456789abcdef";
        assert_eq!(
            manifest.code(&format!("code=abc-1_2&{state}")).unwrap(),
            "abc-1_2"
        );
        for query in [
            "code=abc",
            "code=abc&state=",
            "code=abc&state=0123456789abcdeF",
            state,
            &format!("code=../x&{state}"),
        ] {
            assert!(manifest.code(query).is_err(), "{query}");
        }
        assert_eq!(
            manifest
                .pasted(&format!(" {CALLBACK}?code=abc&{state}\n"))
                .unwrap(),
            "abc"
        );
        assert_eq!(manifest.pasted("abc").unwrap(), "abc");
        for text in [
            "",
            "a b",
            "https://evil.example/callback?code=abc",
            &format!("{CALLBACK}?code=abc&state=x"),
        ] {
            assert!(manifest.pasted(text).is_err(), "{text}");
        }
    }
}
