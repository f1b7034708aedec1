//! Bitbucket Cloud: the API and the OAuth server on one address.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::hooks::{Dialect, Hooks};
use super::{Answer, Asked, COMMIT, Reported, Server, Service, branches, repositories, serve};
use crate::forges::openapi::Description;

pub const EMAIL: &str = "jane@example.com";
pub const API_TOKEN: &str = "ATATT3xgood4d0f";
pub const ACCESS_TOKEN: &str = "ATCTT3xgood4d0f";
pub const EXPIRED: &str = "ATATT3xexpired4d0f";
pub const WEAK: &str = "ATATT3xweak4d0f";
pub const CLIENT: (&str, &str) = ("key4d0f", "secret4d0f");
/// A consumer without the scope.
pub const WEAK_CLIENT: (&str, &str) = ("weak-key4d0f", "weak-secret4d0f");

pub struct Bitbucket {
    pub hooks: Hooks,
    /// How many tokens the consumer got.
    pub signed_in: AtomicUsize,
    /// How many pairs a user who authorised the consumer got. The refresh token of the last one is valid.
    pub pairs: AtomicUsize,
    reported: Reported,
}

pub async fn start() -> Server<Bitbucket> {
    let undescribed = &["/site/oauth2/access_token"];
    serve(
        Bitbucket {
            hooks: Hooks::new(Dialect::Bitbucket),
            signed_in: AtomicUsize::new(0),
            pairs: AtomicUsize::new(0),
            reported: Reported::default(),
        },
        Description::load("bitbucket", "", undescribed),
    )
    .await
}

fn error(status: u16, message: &str, detail: &Value) -> Answer {
    Answer::new(
        status,
        json!({"type": "error", "error": {"message": message, "detail": detail}}),
    )
}

/// Checks the credential. An API token goes with the e-mail address and never with a user name.
fn authorize(asked: &Asked) -> Result<(), Answer> {
    let refused = || {
        error(
            401,
            "Token is invalid, expired, or not supported for this endpoint.",
            &Value::Null,
        )
    };
    match (asked.basic(), asked.bearer()) {
        (Some((user, token)), _) if user == EMAIL && token == API_TOKEN => Ok(()),
        (Some((user, token)), _) if user == EMAIL && token == WEAK => Err(error(
            403,
            "Your credentials lack one or more required privilege scopes.",
            &json!({"required": ["read:repository:bitbucket"], "granted": ["read:user:bitbucket"]}),
        )),
        (_, Some(ACCESS_TOKEN)) => Ok(()),
        (_, Some(WEAK | "consumer-weak4d0f")) => Err(error(
            403,
            "Your credentials lack one or more required privilege scopes.",
            &json!({"required": ["repository"], "granted": ["account"]}),
        )),
        (_, Some(token)) if token.starts_with("consumer-") => Ok(()),
        _ => Err(refused()),
    }
}

fn page(asked: &Asked, all: &[Value], size_matters: bool) -> Answer {
    let (items, next) = asked.page(all, "pagelen", 100);
    let mut body = json!({"values": items, "pagelen": asked.number("pagelen", 10)});
    if size_matters {
        body["size"] = json!(all.len());
    }
    if let Some(next) = next {
        let mut pairs = asked.query.clone();
        pairs.retain(|(key, _)| key != "page");
        pairs.push(("page".to_owned(), next.to_string()));
        let query: Vec<_> = pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        body["next"] = json!(format!("https://wrong.invalid/2.0/x?{}", query.join("&")));
    }
    Answer::ok(body)
}

impl Service for Bitbucket {
    fn answer(&self, asked: &Asked) -> Answer {
        if asked.segments() == ["site", "oauth2", "access_token"] {
            let (id, secret) = asked.basic().unwrap_or_default();
            if (id.as_str(), secret.as_str()) == WEAK_CLIENT {
                return Answer::ok(
                    json!({"access_token": "consumer-weak4d0f", "expires_in": 7200, "token_type": "bearer"}),
                );
            }
            if (id.as_str(), secret.as_str()) != CLIENT {
                let body = json!({"error": "unauthorized_client", "error_description": "Invalid OAuth client credentials"});
                return Answer::new(400, body);
            }
            assert_eq!(
                asked.form("client_id"),
                None,
                "the consumer signs in with Basic only"
            );
            let number = self.pairs.load(Ordering::SeqCst);
            let is_granted = match asked.form("grant_type") {
                Some("authorization_code") => asked.form("code") == Some("c0de"),
                Some("refresh_token") => asked.form("refresh_token") == Some(&format!("refresh-{number}")),
                _ => return self.consumer(),
            };
            if !is_granted {
                return Answer::new(
                    400,
                    json!({"error": "invalid_grant", "error_description": "Invalid code"}),
                );
            }
            self.pairs.store(number + 1, Ordering::SeqCst);
            let (access, refresh) = (
                format!("consumer-user-{}", number + 1),
                format!("refresh-{}", number + 1),
            );
            return Answer::ok(
                json!({"access_token": access, "refresh_token": refresh, "expires_in": 7200,
                "scope": "repository", "token_type": "bearer"}),
            );
        }
        self.route(asked).unwrap_or_else(|refusal| refusal)
    }
}

impl Bitbucket {
    fn consumer(&self) -> Answer {
        let number = self.signed_in.fetch_add(1, Ordering::SeqCst);
        let token = format!("consumer-{number}-{}", "x".repeat(2600));
        Answer::ok(json!({"access_token": token, "expires_in": 7200, "token_type": "bearer"}))
    }

    fn route(&self, asked: &Asked) -> Result<Answer, Answer> {
        authorize(asked)?;
        Ok(match asked.segments().as_slice() {
            ["2.0", "user"] => {
                Answer::ok(json!({"type": "user", "username": "jane", "display_name": "Jane"}))
            }
            ["2.0", "repositories", "acme"] => {
                let all: Vec<_> = repositories()
                    .iter()
                    .map(|path| {
                        json!({"type": "repository", "full_name": path, "is_private": path == "acme/shop",
                            "mainbranch": {"name": "main"}})
                    })
                    .collect();
                page(asked, &all, true)
            }
            ["2.0", "repositories", "acme", "shop"] => Answer::ok(
                json!({"type": "repository", "full_name": "acme/shop", "is_private": true, "mainbranch": {"name": "main"}}),
            ),
            ["2.0", "repositories", "acme", "old-shop"] => {
                let location = "/2.0/repositories/acme/shop";
                Answer::new(301, json!({"type": "error"})).with("location", location)
            }
            ["2.0", "repositories", "acme", "shop", "refs", "branches"] => {
                let all: Vec<_> = branches().iter().map(|name| json!({"name": name})).collect();
                page(asked, &all, false)
            }
            ["2.0", "repositories", "acme", "shop", "hooks", id @ ..] => {
                self.hooks.answer(asked, id.first().copied())
            }
            [
                "2.0",
                "repositories",
                "acme",
                "shop",
                "commit",
                COMMIT,
                "statuses",
            ] => {
                let others = [
                    ("build", "SUCCESSFUL"),
                    ("test", "INPROGRESS"),
                    ("lint", "FAILED"),
                    ("docs", "STOPPED"),
                ];
                let all = self.reported.with(&others);
                let status = |(name, state): &(String, String)| json!({"type": "build", "key": name, "name": name, "state": state});
                let all: Vec<_> = all.iter().map(status).collect();
                page(asked, &all, false)
            }
            [
                "2.0",
                "repositories",
                "acme",
                "shop",
                "commit",
                COMMIT,
                "statuses",
                "build",
            ] => {
                assert!(asked.body["url"].as_str().unwrap().starts_with("http"));
                assert!(asked.body["key"].as_str().unwrap().len() <= 40);
                self.reported.set(&asked.body["name"], &asked.body["state"]);
                Answer::new(201, json!({"type": "build"}))
            }
            _ => error(404, "There is no such repository", &Value::Null),
        })
    }
}
