//! OAuth applications: pairs of tokens that replace each other, with one writer that stores a pair before it is used.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use davit::api::Reason;
use davit::error::{Class, Explain as _, Problem};
use davit::forge::{Forge, ForgeSecrets, StoredTokens, TokenStore, TokenWriter, Tokens, connect};
use davit::model::GitCredential;
use davit::redact::Secret;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::gitea::Gitea;
use crate::forge::loopback_options;
use crate::forges::path;
use crate::forges::servers::Server;
use crate::forges::servers::gitlab::{self, APP, GitLab};

/// What happens to a write.
enum Write {
    Succeeds,
    Fails,
    /// A user stores other tokens just before.
    ComesAfter(Tokens),
}

/// A Secret in memory.
struct Memory {
    stored: Mutex<(Tokens, usize)>,
    /// What happens to the next writes.
    next: Mutex<Vec<Write>>,
}

fn tokens(access: &str, refresh: &str, seconds: i64) -> Tokens {
    Tokens {
        access: Secret::from(access),
        refresh: Some(Secret::from(refresh)),
        expires_at: Some(Timestamp::now() + SignedDuration::from_secs(seconds)),
    }
}

impl Memory {
    fn with(tokens: Tokens) -> Arc<Self> {
        Arc::new(Self {
            stored: Mutex::new((tokens, 1)),
            next: Mutex::default(),
        })
    }

    fn set(&self, tokens: Tokens) {
        let mut stored = self.stored.lock();
        *stored = (tokens, stored.1 + 1);
    }

    fn access(&self) -> String {
        self.stored.lock().0.access.expose_str().unwrap().to_owned()
    }
}

#[async_trait]
impl TokenStore for Memory {
    async fn load(&self) -> Result<StoredTokens, Problem> {
        let stored = self.stored.lock();
        Ok(StoredTokens {
            tokens: stored.0.clone(),
            version: stored.1.to_string(),
        })
    }

    async fn store(&self, tokens: &Tokens, version: &str) -> Result<bool, Problem> {
        let mut next = self.next.lock();
        let write = if next.is_empty() {
            Write::Succeeds
        } else {
            next.remove(0)
        };
        match write {
            Write::Succeeds => {}
            Write::Fails => {
                let message = "the API server is away";
                return Err(Problem::new(
                    Class::Transient,
                    Reason::ClusterUnavailable,
                    message,
                ));
            }
            Write::ComesAfter(tokens) => self.set(tokens),
        }
        if self.stored.lock().1.to_string() != version {
            return Ok(false);
        }
        self.set(tokens.clone());
        Ok(true)
    }
}

fn connected(spec: &Value, secret: &str, writer: &TokenWriter) -> Arc<dyn Forge> {
    let secrets = ForgeSecrets {
        credential: Some(Secret::from(secret)),
        ca: None,
        tokens: Some(writer.clone()),
    };
    let spec = serde_json::from_value(spec.clone()).unwrap();
    connect(&spec, &secrets, &loopback_options()).unwrap()
}

async fn gitlab() -> (Server<GitLab>, Value) {
    let service = GitLab::default();
    *service.pair.lock().unwrap() = ("access-0-4d0f".to_owned(), "refresh-0-4d0f".to_owned());
    let server = gitlab::start(service).await;
    let oauth =
        json!({"clientId": APP.0, "clientSecretRef": {"name": "app"}, "tokensSecretRef": {"name": "tokens"}});
    let spec = json!({"gitlab": {"url": format!("{}/sub", server.url), "oauth": oauth}});
    (server, spec)
}

fn issued(server: &Server<GitLab>) -> usize {
    server.service.issued.load(Ordering::SeqCst)
}

async fn password(forge: &dyn Forge) -> String {
    let credential = forge.clone_credential(&path("acme/shop")).await.unwrap();
    let GitCredential::Basic { username, password } = credential.value else {
        panic!("a token is a password");
    };
    assert_eq!(username, "oauth2");
    assert!(credential.expires_at.is_some());
    password.expose_str().unwrap().to_owned()
}

#[tokio::test]
async fn expired_pair_is_replaced_once_for_all_who_wait_and_stored() {
    let (server, spec) = gitlab().await;
    let store = Memory::with(tokens("access-0-4d0f", "refresh-0-4d0f", 60));
    let writer = TokenWriter::new(store.clone());
    let forge = connected(&spec, APP.1, &writer);
    let all = futures::future::join_all((0..8).map(|_| password(forge.as_ref()))).await;
    assert!(all.iter().all(|token| token == "access-1-4d0f"), "{all:?}");
    assert_eq!((issued(&server), store.access().as_str()), (1, "access-1-4d0f"));
    assert_eq!(forge.check().await.unwrap().name, "jane");

    // After a restart, or in another connection, the stored pair is used.
    let restarted = connected(&spec, APP.1, &TokenWriter::new(store.clone()));
    assert_eq!(password(restarted.as_ref()).await, "access-1-4d0f");
    assert_eq!(issued(&server), 1);
    server.assert_legal();
}

#[tokio::test]
async fn pair_that_cannot_be_stored_is_kept_and_not_used() {
    let (server, spec) = gitlab().await;
    let store = Memory::with(tokens("access-0-4d0f", "refresh-0-4d0f", -1));
    let writer = TokenWriter::new(store.clone());
    let forge = connected(&spec, APP.1, &writer);
    // If the Secret cannot be written, no pair is requested at all.
    *store.next.lock() = vec![Write::Fails];
    let error = forge.clone_credential(&path("acme/shop")).await.unwrap_err();
    assert_eq!((error.reason(), issued(&server)), (Reason::ClusterUnavailable, 0));
    *store.next.lock() = vec![Write::Succeeds, Write::Fails, Write::Fails];
    for _ in 0..2 {
        let error = forge.clone_credential(&path("acme/shop")).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            (Reason::ClusterUnavailable, Class::Transient)
        );
        assert_eq!((issued(&server), store.access().as_str()), (1, "access-0-4d0f"));
    }
    // Another connection of the same GitProvider, as after a change of its spec, is the same writer.
    let other = connected(&spec, APP.1, &writer);
    assert_eq!(password(other.as_ref()).await, "access-1-4d0f");
    assert_eq!((issued(&server), store.access().as_str()), (1, "access-1-4d0f"));
}

#[tokio::test]
async fn refused_refresh_token_is_not_sent_again_until_the_user_signs_in() {
    let (server, spec) = gitlab().await;
    let store = Memory::with(tokens("access-9", "refresh-9", -1));
    let forge = connected(&spec, APP.1, &TokenWriter::new(store.clone()));
    let requests = || {
        let is_refresh = |line: &&String| line.ends_with("/oauth/token");
        server.requests().iter().filter(is_refresh).count()
    };
    for _ in 0..3 {
        let error = forge.clone_credential(&path("acme/shop")).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            (Reason::ForgeAuthFailed, Class::Terminal)
        );
        assert!(
            error
                .to_string()
                .contains("authorise the OAuth application again"),
            "{error}"
        );
    }
    assert_eq!(requests(), 1, "GitLab.com blocks addresses that go on");
    store.set(tokens("access-0-4d0f", "refresh-0-4d0f", -1));
    assert_eq!(password(forge.as_ref()).await, "access-1-4d0f");

    let wrong = connected(
        &spec,
        "wrong",
        &TokenWriter::new(Memory::with(tokens("a", "b", -1))),
    );
    let error = wrong.check().await.unwrap_err();
    assert_eq!(error.reason(), Reason::ForgeAuthFailed);
    assert!(error.to_string().contains("invalid_client"), "{error}");
}

#[tokio::test]
async fn pair_of_a_user_who_signed_in_meanwhile_is_kept() {
    let (server, spec) = gitlab().await;
    let store = Memory::with(tokens("access-0-4d0f", "refresh-0-4d0f", -1));
    let forge = connected(&spec, APP.1, &TokenWriter::new(store.clone()));
    let of_user = tokens("of-the-user", "refresh-of-the-user", 7200);
    *store.next.lock() = vec![Write::Succeeds, Write::ComesAfter(of_user)];
    password(forge.as_ref()).await;
    assert_eq!(store.access(), "of-the-user");
    assert_eq!(password(forge.as_ref()).await, "of-the-user");
    assert_eq!(issued(&server), 1);
}

const FORM: &str = "application/x-www-form-urlencoded";

fn form(pairs: &[(&str, String)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// The pair that a user of Gitea gets by authorising an application in the browser.
async fn authorise(gitea: &Gitea, client_id: &str, client_secret: &str, redirect: &str) -> Value {
    // reqwest is built without a provider of its own.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let mut cookies = std::collections::BTreeMap::new();
    let mut send = async |request: reqwest::RequestBuilder| {
        let jar: Vec<String> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answer = request.header("cookie", jar.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = answer
            .headers()
            .get("location")
            .map(|value| value.to_str().unwrap().to_owned());
        (location, answer.text().await.unwrap())
    };
    let field = |page: &str, name: &str| {
        let (_, rest) = page
            .split_once(&format!("name=\"{name}\" value=\""))
            .unwrap_or(("", ""));
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let (_, page) = send(client.get(format!("{}/user/login", gitea.url))).await;
    let login = [
        ("_csrf", field(&page, "_csrf")),
        ("user_name", gitea.user.clone()),
        ("password", gitea.password.clone()),
    ];
    send(
        client
            .post(format!("{}/user/login", gitea.url))
            .header("content-type", FORM)
            .body(form(&login)),
    )
    .await;
    let query = [
        ("client_id", client_id),
        ("redirect_uri", redirect),
        ("response_type", "code"),
        ("state", "s1"),
    ];
    let (_, page) = send(
        client
            .get(format!("{}/login/oauth/authorize", gitea.url))
            .query(&query),
    )
    .await;
    let grant = [
        ("_csrf", field(&page, "_csrf")),
        ("client_id", client_id.to_owned()),
        ("state", "s1".to_owned()),
        ("scope", String::new()),
        ("nonce", String::new()),
        ("redirect_uri", redirect.to_owned()),
        ("granted", "true".to_owned()),
    ];
    let (location, page) = send(
        client
            .post(format!("{}/login/oauth/grant", gitea.url))
            .header("content-type", FORM)
            .body(form(&grant)),
    )
    .await;
    let location = location.unwrap_or_else(|| panic!("no redirection, but {page}"));
    let url = url::Url::parse(&location).unwrap();
    let (_, code) = url.query_pairs().find(|(name, _)| name == "code").unwrap();
    let exchange = json!({"grant_type": "authorization_code", "client_id": client_id, "client_secret": client_secret,
        "code": code, "redirect_uri": redirect});
    let answer = client
        .post(format!("{}/login/oauth/access_token", gitea.url))
        .json(&exchange);
    answer.send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_real_gitea_are_refreshed() {
    let (gitea, app) = tokio::task::spawn_blocking(|| {
        let gitea = Gitea::start();
        gitea.create_repository("shop", &crate::common::git_repo::GitRepo::with(&[("a", "1")]));
        let body = json!({"name": "davit", "redirect_uris": ["http://127.0.0.1/callback"], "confidential_client": true});
        let app = gitea.api("POST", "/user/applications/oauth2", Some(&gitea.token), Some(&body));
        let app = app.expect(201).json();
        (gitea, app)
    })
    .await
    .unwrap();
    let (id, secret) = (
        app["client_id"].as_str().unwrap(),
        app["client_secret"].as_str().unwrap(),
    );
    let pair = authorise(&gitea, id, secret, "http://127.0.0.1/callback").await;
    let text = |key: &str| pair[key].as_str().unwrap_or_else(|| panic!("{pair}"));
    let store = Memory::with(tokens(text("access_token"), text("refresh_token"), -1));
    let oauth =
        json!({"clientId": id, "clientSecretRef": {"name": "app"}, "tokensSecretRef": {"name": "tokens"}});
    let spec = json!({"gitea": {"url": gitea.url, "oauth": oauth}});
    let forge = connected(&spec, secret, &TokenWriter::new(store.clone()));
    let account = forge.check().await.unwrap();
    assert_eq!(
        (account.name.as_str(), account.repositories),
        (gitea.user.as_str(), 1)
    );
    // Within one second Gitea gives the same token again, with another expiry in the answer.
    let expires_at = store.stored.lock().0.expires_at.unwrap();
    assert!(expires_at > Timestamp::now(), "the expired pair was replaced");
    assert_eq!(password(forge.as_ref()).await, store.access());
    tokio::task::spawn_blocking(move || drop(gitea)).await.unwrap();
}
