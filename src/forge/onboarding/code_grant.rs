//! Signs in with the code of an OAuth application: the user authorises it in a browser, the forge leads the browser back with
//! a code, and the code is exchanged for the first pair of tokens.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Callback, Connection, ForgeName, Wish, check_wish, spec};
use crate::forge::api::Api;
use crate::forge::http::{HttpOptions, base_url, beneath};
use crate::forge::token_endpoint::{OAuthServer, TokenEndpoint, Tokens};
use crate::forge::{ForgeError, bitbucket, gitea, gitlab};
use crate::redact::Secret;

/// An OAuth application of the user.
#[derive(Clone, Debug)]
pub struct OAuthClient {
    /// Its ID, at Bitbucket the key of the consumer.
    pub id: String,
    /// Its secret; a public application has none.
    pub secret: Option<Secret>,
    /// The scopes to ask for, separated by spaces. Default: those that reading needs.
    pub scopes: Option<String>,
}

/// A sign-in that waits for its code.
pub struct CodeGrant {
    forge: ForgeName,
    wish: Wish,
    client: OAuthClient,
    callback: Callback,
    /// The forge checks that the same program asks for the code and exchanges it.
    verifier: Option<Secret>,
    server: &'static OAuthServer,
    web: Url,
    endpoint: TokenEndpoint,
}

impl CodeGrant {
    /// A sign-in whose code arrives at `callback`. `verifier` is random, and has 43 to 128 letters and digits.
    ///
    /// # Errors
    /// The message names what is missing or is not for this forge.
    pub fn new(
        forge: ForgeName,
        wish: &Wish,
        client: OAuthClient,
        callback: Callback,
        verifier: Secret,
        options: &HttpOptions,
    ) -> Result<Self, String> {
        check_wish(forge, wish)?;
        let (server, default) = server(forge, options)?;
        let url = wish.url.clone().unwrap_or(default);
        let say = |error: ForgeError| error.to_string();
        let web = base_url(&url, options.allow_loopback_http).map_err(say)?;
        let api = Api::new(forge.as_str(), web.as_str(), &web, None, options).map_err(say)?;
        let endpoint = TokenEndpoint::new(api, server, &client.id, client.secret.as_ref()).map_err(say)?;
        if forge == ForgeName::Bitbucket && client.secret.is_none() {
            return Err("bitbucket needs the secret of the consumer: set --client-secret-file".to_owned());
        }
        Ok(Self {
            forge,
            wish: wish.clone(),
            client,
            callback,
            verifier: server.has_pkce.then_some(verifier),
            server,
            web,
            endpoint,
        })
    }

    /// Where the code arrives.
    pub fn callback(&self) -> &Callback {
        &self.callback
    }

    /// The page on which the user authorises the application.
    pub fn page(&self) -> Url {
        let mut page = beneath(&self.web, self.server.authorize);
        {
            let mut query = page.query_pairs_mut();
            query
                .append_pair("client_id", &self.client.id)
                .append_pair("redirect_uri", self.callback.address())
                .append_pair("response_type", "code")
                .append_pair("state", self.callback.state());
            let scopes = self.client.scopes.as_deref().unwrap_or(self.server.scopes);
            if !scopes.is_empty() {
                query.append_pair("scope", scopes);
            }
            if let Some(verifier) = &self.verifier {
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()));
                query
                    .append_pair("code_challenge", &challenge)
                    .append_pair("code_challenge_method", "S256");
            }
        }
        page
    }

    /// Exchanges the code for tokens. A forge accepts a code once.
    ///
    /// # Errors
    /// The forge does not answer, or refuses the code or the application.
    pub async fn redeem(&self, code: &str) -> Result<Connection, ForgeError> {
        let tokens = self
            .endpoint
            .redeem(code, self.callback.address(), self.verifier.as_ref())
            .await?;
        let name = &self.wish.name;
        let stored = tokens_name(name);
        let mut app = json!({"clientId": self.client.id, "tokensSecretRef": {"name": stored}});
        let mut secret = BTreeMap::new();
        if let Some(client_secret) = &self.client.secret {
            app["clientSecretRef"] = json!({"name": name});
            secret.insert("clientSecret", client_secret.trimmed());
        }
        let mut fields = match self.forge {
            ForgeName::Bitbucket => json!({"workspace": self.wish.workspace}),
            ForgeName::Github | ForgeName::Gitlab | ForgeName::Gitea => {
                json!({"url": self.wish.url.as_deref().unwrap_or(self.web.as_str().trim_end_matches('/')),
                    "group": self.wish.group})
            }
        };
        fields["oauth"] = app;
        Ok(Connection {
            secret,
            tokens: Some(tokens),
            spec: spec(self.forge, fields).map_err(|message| ForgeError::Spec { message })?,
        })
    }
}

/// The name of the Secret with the tokens of a GitProvider.
pub fn tokens_name(provider: &str) -> String {
    format!("{provider}-tokens")
}

/// The content of that Secret.
pub fn tokens_content(tokens: &Tokens) -> BTreeMap<&'static str, Secret> {
    let mut content = BTreeMap::from([("accessToken", tokens.access.clone())]);
    content.extend(tokens.refresh.clone().map(|refresh| ("refreshToken", refresh)));
    content.extend(
        tokens
            .expires_at
            .map(|at| ("expiresAt", Secret::from(at.to_string()))),
    );
    content
}

/// The OAuth server of a forge, and the address of the hosted one.
fn server(forge: ForgeName, options: &HttpOptions) -> Result<(&'static OAuthServer, String), String> {
    match forge {
        ForgeName::Github => {
            Err("github has Apps in place of an OAuth application: leave --client-id out".to_owned())
        }
        ForgeName::Gitlab => Ok((&gitlab::OAUTH, "https://gitlab.com".to_owned())),
        ForgeName::Bitbucket => Ok((&bitbucket::OAUTH, options.bitbucket_web.clone())),
        // Its address is required.
        ForgeName::Gitea => Ok((&gitea::OAUTH, String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(forge: ForgeName, secret: Option<&str>) -> Result<CodeGrant, String> {
        let wish = Wish {
            name: "acme".to_owned(),
            url: (forge == ForgeName::Gitea).then(|| "https://g.example/git".to_owned()),
            workspace: (forge == ForgeName::Bitbucket).then(|| "acme".to_owned()),
            ..Wish::default()
        };
        let client = OAuthClient {
            id: "the id".to_owned(),
            secret: secret.map(Secret::from),
            scopes: None,
        };
        let callback = Callback::new("http://127.0.0.1:8914/callback".to_owned(), Secret::from("s7ate"));
        // The example of RFC 7636.
        let verifier = Secret::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        CodeGrant::new(forge, &wish, client, callback, verifier, &HttpOptions::default())
    }

    #[test]
    fn page_is_that_of_the_forge_with_a_challenge_where_it_is_checked() {
        const BACK: &str = "client_id=the+id&redirect_uri=http%3A%2F%2F127.0.0.1%3A8914%2Fcallback&response_type=code&state=s7ate";
        const CHALLENGE: &str =
            "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
        for (forge, secret, expected) in [
            (
                ForgeName::Gitlab,
                None,
                format!(
                    "https://gitlab.com/oauth/authorize?{BACK}&scope=read_api+read_repository&{CHALLENGE}"
                ),
            ),
            (
                ForgeName::Gitea,
                None,
                format!(
                    "https://g.example/git/login/oauth/authorize?{BACK}&scope=read%3Arepository+read%3Auser&{CHALLENGE}"
                ),
            ),
            (
                ForgeName::Bitbucket,
                Some("s3cret"),
                format!("https://bitbucket.org/site/oauth2/authorize?{BACK}"),
            ),
        ] {
            assert_eq!(grant(forge, secret).unwrap().page().as_str(), expected);
        }
        let refused = |forge| grant(forge, None).map(|_| ()).unwrap_err();
        assert!(refused(ForgeName::Bitbucket).contains("--client-secret-file"));
        assert!(refused(ForgeName::Github).contains("leave --client-id out"));
    }
}
