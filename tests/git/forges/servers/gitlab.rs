//! A self-managed GitLab below `/sub`, with keyset pages and access tokens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::hooks::{Dialect, Hooks};
use super::{Answer, Asked, COMMIT, Reported, Server, Service, branches, not_found, repositories, serve};
use crate::forges::openapi::Description;

pub const TOKEN: &str = "glpat-good4d0f";
pub const EXPIRED: &str = "glpat-expired4d0f";
pub const WEAK: &str = "glpat-weak4d0f";
/// May read the API but nothing about itself, as fine-grained tokens.
pub const GRANULAR: &str = "glpat-granular4d0f";

pub struct GitLab {
    pub hooks: Hooks,
    /// The list is too long to be counted.
    pub uncounted: bool,
    pub reported: Reported,
    /// How many pairs of OAuth tokens were given.
    pub issued: AtomicUsize,
    /// For how many seconds an access token is valid.
    pub lifetime: i64,
    /// The present pair. The one before is invalid.
    pub pair: Mutex<(String, String)>,
    /// The challenge and the redirection of the page on which a user has authorised the application, by the code `c0de`.
    pub authorised: Mutex<Option<(String, String)>>,
}

impl Default for GitLab {
    fn default() -> Self {
        Self {
            hooks: Hooks::new(Dialect::GitLab),
            uncounted: false,
            reported: Reported::default(),
            issued: AtomicUsize::new(0),
            lifetime: 7200,
            pair: Mutex::default(),
            authorised: Mutex::default(),
        }
    }
}

/// The OAuth application.
pub const APP: (&str, &str) = ("app4d0f", "app-secret4d0f");

pub async fn start(service: GitLab) -> Server<GitLab> {
    let undescribed = &[
        "/sub/oauth/token",
        "/sub/api/v4/user",
        "/sub/api/v4/personal_access_tokens/self",
    ];
    serve(service, Description::load("gitlab", "/sub", undescribed)).await
}

fn authorize(asked: &Asked, access: &str) -> Result<(), Answer> {
    if !access.is_empty() && asked.bearer() == Some(access) {
        return Ok(());
    }
    match asked.header("private-token") {
        Some(TOKEN | WEAK | GRANULAR) => Ok(()),
        Some(EXPIRED) => Err(Answer::new(
            401,
            json!({"error": "invalid_token", "error_description": "Token is expired. You can either do re-authorization or token refresh."}),
        )),
        _ => Err(Answer::new(401, json!({"message": "401 Unauthorized"}))),
    }
}

/// The challenge for a verifier.
fn challenge(verifier: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier))
}

fn project(index: usize, path: &str) -> Value {
    json!({"id": index + 1, "path_with_namespace": path, "default_branch": "main",
        "visibility": if path.ends_with("shop") { "private" } else { "public" }})
}

fn insufficient() -> Answer {
    Answer::new(
        403,
        json!({"error": "insufficient_scope", "error_description": "The request requires higher privileges than provided by the access token.", "scope": "api read_api"}),
    )
}

impl Service for GitLab {
    fn answer(&self, asked: &Asked) -> Answer {
        let segments = asked.segments();
        if segments == ["sub", "oauth", "token"] {
            return self.token(asked);
        }
        let ["sub", "api", "v4", path @ ..] = segments.as_slice() else {
            return not_found();
        };
        self.route(asked, path).unwrap_or_else(|refusal| refusal)
    }
}

impl GitLab {
    /// Gives a new pair for the present refresh token, and makes the old pair invalid.
    fn token(&self, asked: &Asked) -> Answer {
        let client = (asked.form("client_id"), asked.form("client_secret"));
        if client != (Some(APP.0), Some(APP.1)) {
            return Answer::new(
                401,
                json!({"error": "invalid_client", "error_description": "Client authentication failed"}),
            );
        }
        let mut pair = self.pair.lock().unwrap();
        let is_granted = match asked.form("grant_type") {
            Some("refresh_token") => asked.form("refresh_token") == Some(&pair.1),
            Some("authorization_code") if asked.form("code") == Some("c0de") => {
                let verifier = asked.form("code_verifier").unwrap_or_default();
                let given = (
                    challenge(verifier),
                    asked.form("redirect_uri").unwrap_or_default().to_owned(),
                );
                // A code is valid once.
                self.authorised.lock().unwrap().take() == Some(given)
            }
            _ => false,
        };
        if !is_granted {
            return Answer::new(
                400,
                json!({"error": "invalid_grant", "error_description": "The provided authorization grant is invalid"}),
            );
        }
        let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
        *pair = (format!("access-{number}-4d0f"), format!("refresh-{number}-4d0f"));
        Answer::ok(
            json!({"access_token": pair.0, "refresh_token": pair.1, "token_type": "Bearer", "expires_in": self.lifetime}),
        )
    }

    fn route(&self, asked: &Asked, path: &[&str]) -> Result<Answer, Answer> {
        authorize(asked, &self.pair.lock().unwrap().0)?;
        let of_user = if asked.bearer() == Some(WEAK) { WEAK } else { TOKEN };
        let token = asked.header("private-token").unwrap_or(of_user);
        Ok(match path {
            ["personal_access_tokens", "self"] => match token {
                GRANULAR => insufficient(),
                WEAK => {
                    Answer::ok(json!({"scopes": ["read_repository"], "expires_at": null, "active": true}))
                }
                _ => Answer::ok(
                    json!({"scopes": ["read_api", "read_repository"], "expires_at": "2027-10-12", "active": true}),
                ),
            },
            _ if token == WEAK => insufficient(),
            ["version"] => Answer::ok(json!({"version": "19.6.0", "revision": "abc"})),
            ["user"] => Answer::ok(json!({"username": "jane"})),
            ["projects"] => {
                assert_eq!(asked.query("membership"), Some("true"));
                self.projects(asked, &repositories())
            }
            ["groups", group, "projects"] => {
                let all: Vec<_> = repositories().into_iter().take(3).collect();
                if *group == "acme/web" {
                    self.projects(asked, &all)
                } else {
                    not_found()
                }
            }
            ["projects", "1" | "acme/shop"] => Answer::ok(project(0, "acme/shop")),
            ["projects", "acme/old-shop"] => {
                let location = "/sub/api/v4/projects/acme%2Fshop";
                Answer::new(301, json!({"message": "Moved"})).with("location", location)
            }
            ["projects", "acme/shop" | "1", "repository", "branches"] => {
                let all = branches();
                let (items, next) = asked.page(&all, "per_page", 100);
                let items: Vec<_> = items.iter().map(|name| json!({"name": name})).collect();
                let link = asked.link(next, all.len(), asked.number("per_page", 20));
                Answer::ok(json!(items)).with("link", link)
            }
            [
                "projects",
                "acme/shop",
                "repository",
                "commits",
                COMMIT,
                "statuses",
            ] => {
                let others = [
                    ("build", "success"),
                    ("test", "running"),
                    ("lint", "failed"),
                    ("docs", "skipped"),
                ];
                let all = self.reported.with(&others);
                let (items, next) = asked.page(&all, "per_page", 100);
                let mut items: Vec<_> = items
                    .iter()
                    .map(|(name, status)| json!({"name": name, "status": status, "allow_failure": false}))
                    .collect();
                items.push(json!({"name": "flaky", "status": "failed", "allow_failure": true}));
                let link = asked.link(next, all.len(), asked.number("per_page", 20));
                Answer::ok(json!(items)).with("link", link)
            }
            ["projects", "acme/shop", "statuses", COMMIT] => {
                let (name, state) = (&asked.body["name"], &asked.body["state"]);
                let known = self.reported.with(&[]);
                if known.iter().any(|(context, was)| name == context && state == was) {
                    let message = "Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition)";
                    return Ok(Answer::new(400, json!({"message": message})));
                }
                self.reported.set(name, state);
                Answer::new(201, json!({}))
            }
            ["projects", "acme/shop", "hooks", id @ ..] => self.hooks.answer(asked, id.first().copied()),
            _ => Answer::new(404, json!({"message": "404 Project Not Found"})),
        })
    }

    fn projects(&self, asked: &Asked, all: &[String]) -> Answer {
        let after = asked.number("id_after", 0);
        let size = asked.number("per_page", 20).min(100);
        if asked.query("pagination") != Some("keyset") {
            let items = all
                .iter()
                .enumerate()
                .take(size)
                .map(|(index, path)| project(index, path));
            let items: Vec<_> = items.collect();
            let answer = Answer::ok(json!(items)).with("link", asked.link(None, all.len(), size));
            return if self.uncounted {
                answer
            } else {
                answer.with("x-total", all.len().to_string())
            };
        }
        let items: Vec<_> = all
            .iter()
            .enumerate()
            .skip(after)
            .take(size)
            .map(|(index, path)| project(index, path))
            .collect();
        let end = after + items.len();
        let mut pairs = asked.query.clone();
        pairs.retain(|(key, _)| key != "id_after");
        pairs.push(("id_after".to_owned(), end.to_string()));
        let query: Vec<_> = pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let link = format!("<http://wrong.invalid/x?{}>; rel=\"next\"", query.join("&"));
        let answer = Answer::ok(json!(items));
        // GitLab leaves the header out of the last page.
        if end < all.len() {
            answer.with("link", link)
        } else {
            answer.with("link", "<x>; rel=\"first\"")
        }
    }
}
