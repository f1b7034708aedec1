//! A GitHub Enterprise Server: personal tokens, and an App whose signature, clock and installations are checked.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

use super::hooks::{Dialect, Hooks};
use super::{Answer, Asked, COMMIT, Reported, Server, Service, branches, not_found, repositories, serve};
use crate::forges::openapi::Description;

pub const TOKEN: &str = "ghp_good4d0f";
pub const FINE_GRAINED: &str = "github_pat_good4d0f";
pub const EXPIRED: &str = "ghp_expired4d0f";
pub const WEAK: &str = "ghp_weak4d0f";
pub const APP: &str = "1234";

/// A server with the repositories.
pub struct Backend {
    /// What stands before `NAME.git`.
    pub url: String,
    pub user: String,
    pub token: String,
}

pub struct GitHub {
    pub hooks: Hooks,
    /// Whether the installations may manage hooks.
    pub manages_hooks: bool,
    /// Where Git is served from.
    pub backend: Option<Backend>,
    /// The App's public key.
    pub key: Vec<u8>,
    /// How far this server's clock is ahead of the machine's.
    pub clock_ahead: i64,
    /// How long installation tokens are valid, in seconds.
    pub lifetime: i64,
    /// The accounts with an installation; their IDs count from 1.
    pub accounts: Vec<&'static str>,
    /// What the installations may do.
    pub contents: Option<&'static str>,
    pub suspended: bool,
    /// Repositories by installation token; `None` for all of the installation.
    tokens: Mutex<HashMap<String, (usize, Option<String>)>>,
    /// What the App may do with statuses and checks.
    pub statuses: Option<&'static str>,
    reported: Reported,
}

impl Default for GitHub {
    fn default() -> Self {
        Self {
            hooks: Hooks::new(Dialect::GitHub),
            manages_hooks: true,
            backend: None,
            key: Vec::new(),
            clock_ahead: 0,
            lifetime: 0,
            accounts: Vec::new(),
            contents: None,
            suspended: false,
            tokens: Mutex::default(),
            statuses: None,
            reported: Reported::default(),
        }
    }
}

pub async fn start(service: GitHub) -> Server<GitHub> {
    let undescribed = &["/api/v3/repos/acme/shop/actions/runs"][..];
    serve(service, Description::load("github", "/api/v3", undescribed)).await
}

impl GitHub {
    pub fn with_app(key: Vec<u8>) -> Self {
        Self {
            key,
            lifetime: 3600,
            accounts: vec!["acme"],
            contents: Some("read"),
            statuses: Some("write"),
            ..Self::default()
        }
    }

    /// Makes every installation token invalid.
    pub fn revoke_tokens(&self) {
        let mut tokens = self.tokens.lock().unwrap();
        // Their names stay taken.
        for reach in tokens.values_mut() {
            *reach = (0, Some("revoked".to_owned()));
        }
    }

    fn now(&self) -> i64 {
        jiff::Timestamp::now().as_second() + self.clock_ahead
    }

    /// Checks a JWT as GitHub does.
    fn app(&self, asked: &Asked) -> Result<(), Answer> {
        let refuse = |message: &str| {
            let date = jiff::Timestamp::from_second(self.now()).unwrap();
            let date = date.to_zoned(jiff::tz::TimeZone::UTC);
            let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            Err(Answer::new(401, json!({"message": message})).with("date", date))
        };
        let Some((signed, signature)) = asked.bearer().and_then(|jwt| jwt.rsplit_once('.')) else {
            return refuse("A JSON web token could not be decoded");
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.key);
        if key.verify(signed.as_bytes(), &signature).is_err() {
            return refuse("A JSON web token could not be decoded");
        }
        let claims = signed.split_once('.').unwrap().1;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let time = |name: &str| claims[name].as_i64().unwrap();
        if claims["iss"] != APP {
            return refuse("Integration not found");
        }
        if time("exp") > self.now() + 600 {
            return refuse("'Expiration time' claim ('exp') is too far in the future");
        }
        if time("exp") < self.now() {
            return refuse(
                "'Expiration time' claim ('exp') must be a numeric value representing the future time",
            );
        }
        if time("iat") > self.now() {
            return refuse("'Issued at' claim ('iat') must be an Integer representing the time");
        }
        Ok(())
    }

    fn installation(&self, id: usize) -> Value {
        let permissions = match self.contents {
            Some(level) => json!({"metadata": "read", "contents": level}),
            None => json!({"metadata": "read"}),
        };
        json!({"id": id, "account": {"login": self.accounts[id - 1]}, "permissions": permissions,
            "suspended_at": self.suspended.then_some("2026-01-01T00:00:00Z")})
    }

    fn create_token(&self, id: usize, body: &Value) -> Answer {
        if self.suspended {
            return Answer::new(403, json!({"message": "This installation has been suspended"}));
        }
        let repository = body["repositories"].as_array().map(|all| {
            assert_eq!(all.len(), 1, "one repository is asked for");
            format!("{}/{}", self.accounts[id - 1], all[0].as_str().unwrap())
        });
        if repository
            .as_ref()
            .is_some_and(|name| !owned(self.accounts[id - 1]).contains(name))
        {
            return Answer::new(
                422,
                json!({"message": "There is at least one repository that does not exist"}),
            );
        }
        let asks_for_hooks = body["permissions"].get("repository_hooks").is_some();
        let asks_for_statuses = body["permissions"].get("statuses").is_some();
        if asks_for_hooks && !self.manages_hooks || asks_for_statuses && self.statuses.is_none() {
            let message = "The permissions requested are not granted to this installation.";
            return Answer::new(422, json!({"message": message}));
        }
        let mut tokens = self.tokens.lock().unwrap();
        let token = format!("ghs_{id}.{}_4d0f", tokens.len());
        tokens.insert(token.clone(), (id, repository));
        let expires_at = jiff::Timestamp::from_second(self.now() + self.lifetime).unwrap();
        Answer::new(
            201,
            json!({"token": token, "expires_at": expires_at.to_string(), "permissions": {}}),
        )
    }

    /// The repositories that a token reaches, or how it is refused.
    fn reach(&self, asked: &Asked) -> Result<Vec<String>, Answer> {
        match asked.bearer() {
            Some(TOKEN | FINE_GRAINED) => Ok(repositories()),
            Some(WEAK) => Ok(Vec::new()),
            token => {
                let tokens = self.tokens.lock().unwrap();
                match token.and_then(|token| tokens.get(token)) {
                    Some((_, Some(repository))) => Ok(vec![repository.clone()]),
                    Some((id, None)) => Ok(owned(self.accounts[*id - 1])),
                    None => Err(Answer::new(401, json!({"message": "Bad credentials"}))),
                }
            }
        }
    }
}

/// The repositories of an account.
fn owned(account: &str) -> Vec<String> {
    if account == "acme" {
        repositories()
    } else {
        vec![format!("{account}/only")]
    }
}

fn repository(path: &str) -> Value {
    let (owner, name) = path.split_once('/').unwrap();
    json!({"full_name": path, "name": name, "owner": {"login": owner}, "default_branch": "main",
        "private": name == "shop", "archived": false})
}

impl Service for GitHub {
    fn forward(&self, asked: &Asked) -> Option<(String, String, String)> {
        let backend = self.backend.as_ref()?;
        let [owner, name, rest @ ..] = asked.segments.as_slice() else {
            return None;
        };
        let repository = format!("{owner}/{}", name.strip_suffix(".git")?);
        let (user, token) = asked.basic()?;
        let reach = self.tokens.lock().unwrap().get(&token)?.1.clone();
        let allowed = user == "x-access-token" && reach == Some(repository);
        let url = format!("{}/{name}/{}", backend.url, rest.join("/"));
        allowed.then(|| (url, backend.user.clone(), backend.token.clone()))
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let segments = asked.segments();
        if segments
            .get(1)
            .is_some_and(|name| name.strip_suffix(".git").is_some())
        {
            return Answer::new(401, json!({})).with("www-authenticate", "Basic realm=\"GitHub\"");
        }
        assert_eq!(asked.header("x-github-api-version"), Some("2022-11-28"));
        assert!(asked.header("user-agent").unwrap().starts_with("davit/"));
        let answer = match segments.as_slice() {
            ["api", "v3", path @ ..] => self.route(asked, path),
            _ => Ok(not_found()),
        };
        let answer = answer.unwrap_or_else(|refusal| refusal);
        answer.with("x-github-request-id", "1")
    }
}

impl GitHub {
    /// What is known of the checks of a commit; `None` for another path.
    fn checks(&self, asked: &Asked, path: &[&str]) -> Result<Option<Answer>, Answer> {
        Ok(Some(match path {
            ["repos", "acme", "shop", "commits", COMMIT, "status"] => {
                self.reach(asked)?;
                let all = self.reported.with(&[("build", "success"), ("lint", "error")]);
                let (items, _) = asked.page(&all, "per_page", 100);
                let items: Vec<_> = items
                    .iter()
                    .map(|(context, state)| json!({"context": context, "state": state}))
                    .collect();
                Answer::ok(json!({"state": "pending", "total_count": all.len(), "statuses": items}))
            }
            ["repos", "acme", "shop", "commits", COMMIT, "check-runs"] => {
                self.reach(asked)?;
                if asked.bearer() == Some(FINE_GRAINED) {
                    let message = "Resource not accessible by personal access token";
                    return Err(Answer::new(403, json!({"message": message})));
                }
                let runs = json!([{"name": "test", "status": "queued", "conclusion": null},
                    {"name": "docs", "status": "completed", "conclusion": "skipped"}]);
                Answer::ok(json!({"total_count": 2, "check_runs": runs}))
            }
            ["repos", "acme", "shop", "actions", "runs"] => {
                self.reach(asked)?;
                assert_eq!(asked.query("head_sha"), Some(COMMIT));
                let runs = json!([{"name": "test", "status": "in_progress", "conclusion": null},
                    {"name": "docs", "status": "completed", "conclusion": "neutral"}]);
                Answer::ok(json!({"total_count": 2, "workflow_runs": runs}))
            }
            ["repos", "acme", "shop", "statuses", COMMIT] => {
                self.reach(asked)?;
                self.reported.set(&asked.body["context"], &asked.body["state"]);
                Answer::new(201, json!({}))
            }
            _ => return Ok(None),
        }))
    }

    fn route(&self, asked: &Asked, path: &[&str]) -> Result<Answer, Answer> {
        if let Some(answer) = self.checks(asked, path)? {
            return Ok(answer);
        }
        Ok(match path {
            ["meta"] => Answer::ok(json!({"verifiable_password_authentication": false})),
            ["user"] => {
                self.reach(asked)?;
                let answer = Answer::ok(json!({"login": "jane"})).with(
                    "github-authentication-token-expiration",
                    "2027-10-12 09:00:00 UTC",
                );
                match asked.bearer() {
                    Some(WEAK) => answer.with("x-oauth-scopes", "gist, read:user"),
                    Some(TOKEN) => answer.with("x-oauth-scopes", "gist, repo"),
                    _ => answer,
                }
            }
            ["user", "repos"] => {
                let all = self.reach(asked)?;
                let (items, next) = asked.page(&all, "per_page", 100);
                let items: Vec<_> = items.iter().map(|path| repository(path)).collect();
                let link = asked.link(next, all.len(), asked.number("per_page", 30));
                Answer::ok(json!(items)).with("link", link)
            }
            ["installation", "repositories"] => {
                let all = self.reach(asked)?;
                let (items, next) = asked.page(&all, "per_page", 100);
                let items: Vec<_> = items.iter().map(|path| repository(path)).collect();
                let link = asked.link(next, all.len(), asked.number("per_page", 30));
                Answer::ok(json!({"total_count": all.len(), "repositories": items})).with("link", link)
            }
            ["app"] => {
                self.app(asked)?;
                Answer::ok(
                    json!({"name": "Davit", "slug": "davit", "html_url": format!("{}/apps/davit", asked.base)}),
                )
            }
            ["app", "installations"] => {
                self.app(asked)?;
                let all: Vec<_> = (1..=self.accounts.len())
                    .map(|id| self.installation(id))
                    .collect();
                Answer::ok(json!(all))
            }
            ["app", "installations", id] => {
                self.app(asked)?;
                match id
                    .parse()
                    .ok()
                    .filter(|id| (1..=self.accounts.len()).contains(id))
                {
                    Some(id) => Answer::ok(self.installation(id)),
                    None => not_found(),
                }
            }
            ["app", "installations", id, "access_tokens"] => {
                self.app(asked)?;
                self.create_token(id.parse().unwrap(), &asked.body)
            }
            ["repos", owner, name, "installation"] => {
                self.app(asked)?;
                let path = format!("{owner}/{name}");
                let id = self.accounts.iter().position(|account| account == owner);
                match id.filter(|_| owned(owner).contains(&path)) {
                    Some(index) => Answer::ok(self.installation(index + 1)),
                    None => not_found(),
                }
            }
            ["repos", "acme", "old-shop"] => Answer::new(301, json!({"message": "Moved Permanently"}))
                .with("location", "/api/v3/repos/acme/shop"),
            ["repos", owner, name] => {
                let path = format!("{owner}/{name}");
                if !self.reach(asked)?.contains(&path) {
                    return Ok(not_found());
                }
                Answer::ok(repository(&path))
            }
            ["repos", owner, name, "branches"] => {
                let path = format!("{owner}/{name}");
                if !self.reach(asked)?.contains(&path) {
                    return Ok(not_found());
                }
                let all = branches();
                let (items, next) = asked.page(&all, "per_page", 100);
                let items: Vec<_> = items.iter().map(|name| json!({"name": name})).collect();
                let link = asked.link(next, all.len(), asked.number("per_page", 30));
                Answer::ok(json!(items)).with("link", link)
            }
            ["repos", "acme", "shop", "hooks", id @ ..] => {
                if !self.reach(asked)?.contains(&"acme/shop".to_owned()) {
                    return Ok(not_found());
                }
                self.hooks.answer(asked, id.first().copied())
            }
            _ => not_found(),
        })
    }
}
