//! OAuth applications: pairs of tokens that replace each other, with one writer that stores a pair before it is used.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use davit::api::Reason;
use davit::error::{Class, Explain as _, Problem};
use davit::forge::onboarding::{Callback, CodeGrant, ForgeName, OAuthClient, Wish};
use davit::forge::{
    Forge, ForgeSecrets, HttpOptions, StoredTokens, TokenStore, TokenWriter, Tokens, connect,
};
use davit::model::GitCredential;
use davit::redact::Secret;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::gitea::Gitea;
use crate::forge::loopback_options;
use crate::forges::browser::authorise;
use crate::forges::path;
use crate::forges::servers::gitlab::{self, APP, GitLab};
use crate::forges::servers::{Server, bitbucket, gitea};

/// What happens to a write.
enum Write {
    Succeeds,
    Fails,
    /// A user stores other tokens just before.
    ComesAfter(Tokens),
}

/// A Secret in memory.
pub struct Memory {
    stored: Mutex<(Tokens, usize)>,
    replacing_since: Mutex<Option<Timestamp>>,
    /// What happens to the next writes.
    next: Mutex<Vec<Write>>,
}

pub fn tokens(access: &str, refresh: &str, seconds: i64) -> Tokens {
    Tokens {
        access: Secret::from(access),
        refresh: Some(Secret::from(refresh)),
        expires_at: Some(Timestamp::now() + SignedDuration::from_secs(seconds)),
    }
}

impl Memory {
    pub fn with(tokens: Tokens) -> Arc<Self> {
        Arc::new(Self {
            stored: Mutex::new((tokens, 1)),
            replacing_since: Mutex::default(),
            next: Mutex::default(),
        })
    }

    fn set(&self, tokens: Tokens) {
        *self.replacing_since.lock() = None;
        let mut stored = self.stored.lock();
        *stored = (tokens, stored.1 + 1);
    }

    pub fn replacing_since(&self) -> Option<Timestamp> {
        *self.replacing_since.lock()
    }

    pub fn access(&self) -> String {
        self.stored.lock().0.access.expose_str().unwrap().to_owned()
    }

    /// What happens to the next write; returns false if it finds another version.
    fn write(&self, version: &str) -> Result<bool, Problem> {
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
        Ok(self.stored.lock().1.to_string() == version)
    }
}

#[async_trait]
impl TokenStore for Memory {
    async fn load(&self) -> Result<StoredTokens, Problem> {
        let stored = self.stored.lock();
        Ok(StoredTokens {
            tokens: stored.0.clone(),
            version: stored.1.to_string(),
            replacing_since: *self.replacing_since.lock(),
        })
    }

    async fn begin(&self, since: Timestamp, version: &str) -> Result<bool, Problem> {
        let is_written = self.write(version)?;
        if is_written {
            *self.replacing_since.lock() = Some(since);
            self.stored.lock().1 += 1;
        }
        Ok(is_written)
    }

    async fn store(&self, tokens: &Tokens, version: &str) -> Result<bool, Problem> {
        let is_written = self.write(version)?;
        if is_written {
            self.set(tokens.clone());
        }
        Ok(is_written)
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

pub async fn gitlab() -> (Server<GitLab>, Value) {
    gitlab_with(GitLab::default()).await
}

async fn gitlab_with(service: GitLab) -> (Server<GitLab>, Value) {
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
async fn pair_is_used_again_however_long_the_forge_says_that_it_is_valid() {
    for lifetime in [200, 300, i64::MAX, 0, -1] {
        let (server, spec) = gitlab_with(GitLab {
            lifetime,
            ..GitLab::default()
        })
        .await;
        let store = Memory::with(tokens("access-0-4d0f", "refresh-0-4d0f", -1));
        let forge = connected(&spec, APP.1, &TokenWriter::new(store.clone()));
        for _ in 0..5 {
            assert_eq!(password(forge.as_ref()).await, "access-1-4d0f", "{lifetime} s");
        }
        assert_eq!(issued(&server), 1, "{lifetime} s");
    }
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
async fn tokens_without_the_scope_are_explained() {
    let (server, spec) = gitlab().await;
    server.service.pair.lock().unwrap().0 = gitlab::WEAK.to_owned();
    let of_gitea = gitea::start().await;
    let oauth = json!({"clientId": "id", "tokensSecretRef": {"name": "tokens"}});
    let gitea_spec = json!({"gitea": {"url": of_gitea.url, "oauth": oauth}});
    for (spec, access, scope) in [
        (&spec, gitlab::WEAK, "read_api"),
        (&gitea_spec, gitea::WEAK, "read:user"),
    ] {
        let writer = TokenWriter::new(Memory::with(tokens(access, "refresh", 7200)));
        let error = connected(spec, APP.1, &writer).check().await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            (Reason::ForgeScopeMissing, Class::Terminal)
        );
        assert!(error.to_string().contains(scope), "{error}");
    }
    let wrong = TokenWriter::new(Memory::with(tokens("wrong", "refresh", 7200)));
    let error = connected(&gitea_spec, "", &wrong).check().await.unwrap_err();
    assert_eq!(error.reason(), Reason::ForgeAuthFailed, "{error}");
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

/// A crash between the answer of the forge and the write of the new pair: the forge has made the old pair invalid.
#[tokio::test]
async fn pair_that_was_lost_in_a_crash_is_reported_with_its_time() {
    let (server, spec) = gitlab().await;
    let store = Memory::with(tokens("access-0-4d0f", "refresh-0-4d0f", -1));
    // The process ends while it writes the pair.
    *store.next.lock() = vec![Write::Succeeds, Write::Fails];
    let lost = connected(&spec, APP.1, &TokenWriter::new(store.clone()));
    lost.clone_credential(&path("acme/shop")).await.unwrap_err();
    let since = store.replacing_since.lock().unwrap();
    drop(lost);

    let next = connected(&spec, APP.1, &TokenWriter::new(store.clone()));
    for _ in 0..2 {
        let error = next.clone_credential(&path("acme/shop")).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            (Reason::ForgeAuthFailed, Class::Terminal)
        );
        let text = error.to_string();
        assert!(text.contains(&format!("since {since} never arrived")), "{text}");
    }
    // The user signs in anew, and nothing remains of it.
    server.service.pair.lock().unwrap().1 = "refresh-7-4d0f".to_owned();
    store.set(tokens("access-7", "refresh-7-4d0f", -1));
    assert_eq!(password(next.as_ref()).await, "access-2-4d0f");
    assert_eq!(*store.replacing_since.lock(), None);
}

fn grant(forge: ForgeName, wish: &Wish, client: (&str, &str), options: &HttpOptions) -> CodeGrant {
    let client = OAuthClient {
        id: client.0.to_owned(),
        secret: Some(Secret::from(client.1)),
        scopes: None,
    };
    let callback = Callback::new("http://127.0.0.1:8914/callback".to_owned(), Secret::from("s1"));
    CodeGrant::new(
        forge,
        wish,
        client,
        callback,
        Secret::from("v".repeat(64)),
        options,
    )
    .unwrap()
}

#[tokio::test]
async fn code_of_gitlab_becomes_a_connection_once() {
    let (server, _) = gitlab().await;
    let wish = Wish {
        name: "acme".to_owned(),
        url: Some(format!("{}/sub", server.url)),
        group: Some("acme/web".to_owned()),
        ..Wish::default()
    };
    let waiting = grant(ForgeName::Gitlab, &wish, APP, &loopback_options());
    let page = waiting.page();
    assert_eq!(page.path(), "/sub/oauth/authorize");
    let query: std::collections::BTreeMap<_, _> = page.query_pairs().into_owned().collect();
    let authorised = (query["code_challenge"].clone(), query["redirect_uri"].clone());
    *server.service.authorised.lock().unwrap() = Some(authorised);
    // A code that another program has requested.
    let other = grant(ForgeName::Gitlab, &wish, (APP.0, "wrong"), &loopback_options());
    let error = other.redeem("c0de").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("refuses the OAuth application: invalid_client"),
        "{error}"
    );

    let made = waiting.redeem("c0de").await.unwrap();
    assert_eq!(made.check(&loopback_options()).await.unwrap().repositories, 3);
    let spec = serde_json::to_value(&made.spec).unwrap();
    let expected = json!({"url": wish.url, "group": "acme/web", "oauth": {"clientId": APP.0,
        "clientSecretRef": {"name": "acme", "key": "clientSecret"}, "tokensSecretRef": {"name": "acme-tokens"}}});
    assert_eq!(spec["gitlab"], expected);
    assert_eq!(made.secret["clientSecret"].expose(), APP.1.as_bytes());

    let error = waiting.redeem("c0de").await.unwrap_err();
    assert!(
        error.to_string().contains("refuses the code (invalid_grant"),
        "{error}"
    );
    server.assert_legal();
}

#[tokio::test]
async fn code_of_bitbucket_becomes_a_connection_whose_tokens_replace_each_other() {
    let server = bitbucket::start().await;
    let mut options = loopback_options();
    options.bitbucket_api.clone_from(&server.url);
    options.bitbucket_web.clone_from(&server.url);
    let wish = Wish {
        name: "bb".to_owned(),
        workspace: Some("acme".to_owned()),
        ..Wish::default()
    };
    let waiting = grant(ForgeName::Bitbucket, &wish, bitbucket::CLIENT, &options);
    assert_eq!(waiting.page().path(), "/site/oauth2/authorize");
    assert!(!waiting.page().query().unwrap().contains("code_challenge"));
    let error = waiting.redeem("other").await.unwrap_err();
    assert!(
        error.to_string().contains("refuses the code (invalid_grant"),
        "{error}"
    );
    let made = waiting.redeem("c0de").await.unwrap();
    assert_eq!(made.check(&options).await.unwrap().name, "acme");

    let first = made.tokens.clone().unwrap();
    let store = Memory::with(Tokens {
        expires_at: Some(Timestamp::now()),
        ..first
    });
    let secrets = ForgeSecrets {
        credential: made.secret.get("clientSecret").cloned(),
        ca: None,
        tokens: Some(TokenWriter::new(store.clone())),
    };
    let forge = connect(&made.spec, &secrets, &options).unwrap();
    let credential = forge.clone_credential(&path("acme/shop")).await.unwrap();
    let GitCredential::Basic { username, password } = credential.value else {
        panic!("a token is a password");
    };
    assert_eq!(username, "x-token-auth");
    assert_eq!(password.expose_str().unwrap(), store.access());
    assert_eq!(store.access(), "consumer-user-2");
    assert_eq!(
        server.service.signed_in.load(Ordering::SeqCst),
        0,
        "the user signs in, not the consumer"
    );
    server.assert_legal();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_real_gitea_are_refreshed() {
    let (gitea, app) = tokio::task::spawn_blocking(|| {
        let gitea = Gitea::start();
        gitea.create_repository("shop", &crate::common::git_repo::GitRepo::with(&[("a", "1")]));
        let body = json!({"name": "davit", "redirect_uris": ["http://127.0.0.1:8914/callback"], "confidential_client": true});
        let app = gitea.api("POST", "/user/applications/oauth2", Some(&gitea.token), Some(&body));
        let app = app.expect(201).json();
        (gitea, app)
    })
    .await
    .unwrap();
    let text = |key: &str| app[key].as_str().unwrap();
    let (id, secret) = (text("client_id"), text("client_secret"));
    let wish = Wish {
        name: "gt".to_owned(),
        url: Some(gitea.url.clone()),
        ..Wish::default()
    };
    let waiting = grant(ForgeName::Gitea, &wish, (id, secret), &loopback_options());
    let location = authorise(&gitea, waiting.page().as_str()).await;
    let made = waiting
        .redeem(&waiting.callback().pasted(&location).unwrap())
        .await
        .unwrap();
    let store = Memory::with(Tokens {
        expires_at: Some(Timestamp::now()),
        ..made.tokens.unwrap()
    });
    let spec = serde_json::to_value(&made.spec).unwrap();
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
