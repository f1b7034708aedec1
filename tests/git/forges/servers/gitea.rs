//! A Gitea that gives at most 50 entries at once.

use serde_json::json;

use super::hooks::{Dialect, Hooks};
use super::{Answer, Asked, COMMIT, Reported, Server, Service, branches, not_found, repositories, serve};
use crate::forges::openapi::Description;

pub const TOKEN: &str = "good4d0f";
pub const WEAK: &str = "weak4d0f";
/// A refresh token of an OAuth application, which gives [`TOKEN`].
pub const REFRESH: &str = "refresh4d0f";

pub struct Gitea {
    pub hooks: Hooks,
    reported: Reported,
}

pub async fn start() -> Server<Gitea> {
    let service = Gitea {
        hooks: Hooks::new(Dialect::Gitea),
        reported: Reported::default(),
    };
    let undescribed = &["/login/oauth/access_token"];
    serve(service, Description::load("gitea", "", undescribed)).await
}

impl Service for Gitea {
    fn answer(&self, asked: &Asked) -> Answer {
        self.route(asked).unwrap_or_else(|refusal| refusal)
    }
}

fn authorize(asked: &Asked) -> Result<(), Answer> {
    match asked
        .header("authorization")
        .and_then(|value| value.strip_prefix("token ").or(value.strip_prefix("Bearer ")))
    {
        Some(TOKEN) => Ok(()),
        Some(WEAK) => {
            let message = "token does not have at least one of required scope(s), required=[read:user], token scope=read:issue";
            Err(Answer::new(403, json!({"message": message})))
        }
        _ => Err(Answer::new(
            401,
            json!({"message": "invalid username, password or token"}),
        )),
    }
}

impl Gitea {
    fn route(&self, asked: &Asked) -> Result<Answer, Answer> {
        let segments = asked.segments();
        if segments == ["api", "v1", "version"] {
            return Ok(Answer::ok(json!({"version": "1.27.3"})));
        }
        if segments == ["login", "oauth", "access_token"] {
            if asked.form("refresh_token") != Some(REFRESH) {
                let refusal = json!({"error": "unauthorized_client", "error_description": "unable to parse refresh token"});
                return Ok(Answer::new(400, refusal));
            }
            return Ok(Answer::ok(
                json!({"access_token": TOKEN, "refresh_token": "refresh-2-4d0f", "token_type": "bearer", "expires_in": 3600}),
            ));
        }
        authorize(asked)?;
        Ok(match segments.as_slice() {
            ["api", "v1", "user"] => Answer::ok(json!({"login": "jane"})),
            ["api", "v1", "user", "repos"] => {
                let all = repositories();
                let (items, next) = asked.page(&all, "limit", 50);
                let items: Vec<_> = items
                    .iter()
                    .map(|path| json!({"full_name": path, "private": path == "acme/shop", "default_branch": "main"}))
                    .collect();
                Answer::ok(json!(items))
                    .with("link", asked.link(next, all.len(), 50))
                    .with("x-total-count", all.len().to_string())
            }
            ["api", "v1", "repos", "acme", "shop"] => {
                Answer::ok(json!({"full_name": "acme/shop", "private": true, "default_branch": "main"}))
            }
            ["api", "v1", "repos", "acme", "old-shop"] => {
                Answer::new(301, json!({"message": "moved"})).with("location", "/api/v1/repos/acme/shop")
            }
            ["api", "v1", "repos", "acme", "shop", "branches"] => {
                let all = branches();
                let (items, next) = asked.page(&all, "limit", 50);
                let items: Vec<_> = items.iter().map(|name| json!({"name": name})).collect();
                Answer::ok(json!(items))
                    .with("link", asked.link(next, all.len(), 50))
                    .with("x-total-count", all.len().to_string())
            }
            ["api", "v1", "repos", "acme", "shop", "hooks", id @ ..] => {
                self.hooks.answer(asked, id.first().copied())
            }
            ["api", "v1", "repos", "acme", "shop", "commits", COMMIT, "status"] => {
                let others = [
                    ("build", "success"),
                    ("test", "pending"),
                    ("lint", "failure"),
                    ("docs", "skipped"),
                ];
                let all = self.reported.with(&others);
                let (items, _) = asked.page(&all, "limit", 50);
                let items: Vec<_> = items
                    .iter()
                    .map(|(context, state)| json!({"context": context, "status": state}))
                    .collect();
                Answer::ok(json!({"state": "pending", "total_count": items.len(), "statuses": items}))
            }
            ["api", "v1", "repos", "acme", "shop", "statuses", COMMIT] => {
                self.reported.set(&asked.body["context"], &asked.body["state"]);
                Answer::new(201, json!({}))
            }
            _ => not_found(),
        })
    }
}
