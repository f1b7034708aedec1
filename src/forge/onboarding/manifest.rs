//! Registers a GitHub App from a manifest: a page sends the manifest to GitHub, the user confirms there, and GitHub leads the
//! browser back with a code, which is exchanged for the App's credentials once.

use std::collections::BTreeMap;

use http::HeaderValue;
use http::header::ACCEPT;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Callback, Connection, ForgeName, Wish, check_wish, spec};
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
    callback: Callback,
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
    /// An App whose registration leads the browser back to `callback`.
    ///
    /// # Errors
    /// What the user asks for is not for this forge, or its URL cannot be used.
    pub fn new(wish: &Wish, callback: Callback, options: &HttpOptions) -> Result<Self, String> {
        check_wish(ForgeName::Github, wish)?;
        let url = wish.url.as_deref().unwrap_or("https://github.com");
        let web = base_url(url, options.allow_loopback_http).map_err(|error| error.to_string())?;
        // The names of Apps are global.
        let suffix = callback.state().get(..6).unwrap_or_default();
        let name: String = format!("davit-{}", wish.name)
            .chars()
            .take(LONGEST_NAME - 7)
            .collect();
        let manifest = json!({
            "name": format!("{name}-{suffix}"),
            "url": web.as_str(),
            "redirect_url": callback.address(),
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
            callback,
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
        action
            .query_pairs_mut()
            .append_pair("state", self.callback.state());
        action
    }

    /// Where the code arrives.
    pub fn callback(&self) -> &Callback {
        &self.callback
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
            connection: Connection {
                secret,
                tokens: None,
                spec,
            },
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

    fn callback() -> Callback {
        let address = "http://127.0.0.1:4321/callback".to_owned();
        Callback::new(address, Secret::from("0123456789abcdef"))
    }

    fn manifest(organization: Option<&str>) -> AppManifest {
        let wish = Wish {
            name: "acme".to_owned(),
            organization: organization.map(str::to_owned),
            ..Wish::default()
        };
        AppManifest::new(&wish, callback(), &HttpOptions::default()).unwrap()
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
        let long = AppManifest::new(&long, callback(), &HttpOptions::default()).unwrap();
        assert_eq!(long.manifest["name"].as_str().unwrap().len(), LONGEST_NAME);
    }
}
