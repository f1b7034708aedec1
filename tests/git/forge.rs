//! The trait `Forge` on a real Gitea: authentication, repositories, branches, and clones with the credential.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use davit::api::{GitProviderSpec, Reason};
use davit::error::{Class, Explain as _, Problem};
use davit::forge::{
    Account, Forge, ForgeError, ForgeSecrets, HttpOptions, HttpsProxy, RepositoryPath, connect,
};
use davit::model::GitCredential;
use davit::redact::Secret;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::common::git_repo::{GitRepo, git};
use crate::common::gitea::Gitea;
use crate::common::tls::TestCa;
use crate::common::{try_run, unique};

/// More than a page, and more than a Gitea gives at once.
pub const MANY: usize = 53;

/// One Gitea for all tests of this file that run at the same time, with `MANY` repositories, the first of which has
/// `MANY` branches. The last test that holds it takes it away.
pub fn gitea() -> Arc<Gitea> {
    static SHARED: Mutex<Weak<Gitea>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gitea) = shared.upgrade() {
        return gitea;
    }
    let gitea = Arc::new(Gitea::start());
    let repo = GitRepo::with(&[("index.html", "from a private repository")]);
    for number in 1..MANY {
        repo.git(["branch", &format!("branch-{number:02}")]);
    }
    gitea.create_repository("shop", &repo);
    for number in 1..MANY {
        let body = json!({"name": format!("empty-{number:02}"), "private": number % 2 == 0});
        gitea
            .api("POST", "/user/repos", Some(&gitea.token), Some(&body))
            .expect(201);
    }
    *shared = Arc::downgrade(&gitea);
    gitea
}

pub fn spec(url: &str) -> GitProviderSpec {
    serde_json::from_value(json!({"gitea": {"url": url, "tokenSecretRef": {"name": "gitea"}}})).unwrap()
}

/// Options with which the servers of the tests, which speak http on loopback, can be reached.
pub fn loopback_options() -> HttpOptions {
    let mut options = HttpOptions::default();
    options.allow_loopback_http = true;
    options
}

pub fn connect_with(url: &str, token: &str, ca: Option<&str>) -> Result<Arc<dyn Forge>, ForgeError> {
    let secrets = ForgeSecrets {
        credential: Some(Secret::from(token)),
        ca: ca.map(|pem| pem.as_bytes().to_vec()),
        tokens: None,
    };
    connect(&spec(url), &secrets, &loopback_options())
}

/// What a user reads where connecting or the check fails.
pub async fn problem(url: &str, token: &str, ca: Option<&str>) -> Problem {
    let error = match connect_with(url, token, ca) {
        Ok(forge) => forge.check().await.expect_err("the check fails"),
        Err(error) => error,
    };
    assert!(
        !format!("{error:?}").contains(token),
        "the token is not in {error:?}"
    );
    Problem::of(&error)
}

/// Everything that holds for any forge whose account `owner` sees exactly `count` repositories, of which `repository`
/// is private and has `branches`.
async fn obeys(forge: &dyn Forge, owner: &str, repository: &str, count: usize, branches: usize) {
    let account = forge.check().await.unwrap();
    assert_eq!(
        account,
        Account {
            name: owner.to_owned(),
            repositories: count as u64,
            more: false,
            expires_at: None,
        }
    );

    let repositories = forge.all_repositories().await.unwrap();
    let mut names: Vec<_> = repositories.iter().map(|repository| &repository.path).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "each repository once");
    let found = repositories
        .iter()
        .find(|found| found.path == path(owner, repository))
        .unwrap();
    assert_eq!(
        (found.private, found.default_branch.as_deref()),
        (true, Some("main"))
    );
    assert_eq!(
        found.clone_url,
        forge.clone_url(&path(owner, repository)).await.unwrap()
    );
    assert!(!found.clone_url.has_credentials());

    let mut found = forge.all_branches(&path(owner, repository)).await.unwrap();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), branches, "each branch once");
    for (owner, repository) in [(owner, "not-there"), ("nobody-here", repository)] {
        let error = forge.branches(&path(owner, repository), None).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            (Reason::GitRepositoryNotFound, Class::Terminal),
            "{error}"
        );
        assert!(
            error.to_string().contains(&format!("{owner}/{repository}")),
            "{error}"
        );
    }

    clones(forge, owner, repository).await;
}

fn path(owner: &str, repository: &str) -> RepositoryPath {
    RepositoryPath::parse(&format!("{owner}/{repository}")).unwrap()
}

/// Git gets in with the credential, and without it does not.
async fn clones(forge: &dyn Forge, owner: &str, repository: &str) {
    let repository = path(owner, repository);
    let url = forge.clone_url(&repository).await.unwrap();
    let credential = forge.clone_credential(&repository).await.unwrap().value;
    let GitCredential::Basic { username, password } = credential else {
        panic!("a token is a password");
    };
    let mut signed = url.expose().clone();
    signed.set_username(&username).unwrap();
    signed.set_password(password.expose_str()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let clone = |from: &str, to: &str| try_run(git(dir.path()).args(["clone", "--quiet", "--", from, to]));
    let (ok, _, said) = clone(signed.as_str(), "signed");
    assert!(ok, "{said}");
    assert!(
        std::fs::read_to_string(dir.path().join("signed/index.html"))
            .unwrap()
            .contains("private")
    );
    assert!(
        !clone(url.expose().as_str(), "anonymous").0,
        "the repository is private"
    );
}

#[tokio::test]
async fn gitea_fulfils_the_contract() {
    let gitea = gitea();
    let token = gitea.create_token(&gitea.user, &["read:user", "read:repository"]);
    let forge = connect_with(&gitea.url, &format!("{token}\n"), None).unwrap();
    obeys(forge.as_ref(), &gitea.user, "shop", MANY, MANY).await;
}

#[tokio::test]
async fn repositories_of_organizations_are_listed() {
    let gitea = gitea();
    let (user, boss, organization) = (unique("jane"), unique("boss"), unique("acme"));
    gitea.create_user(&user);
    gitea.create_user(&boss);
    let theirs = gitea.create_token(&boss, &["all"]);
    let ask = |method, path: &str, body: Option<&Value>, status| {
        gitea.api(method, path, Some(&theirs), body).expect(status)
    };
    let body = json!({"username": organization, "visibility": "private"});
    ask("POST", "/orgs", Some(&body), 201);
    let body = json!({"name": "theirs", "private": true});
    ask("POST", &format!("/orgs/{organization}/repos"), Some(&body), 201);
    let teams = ask("GET", &format!("/orgs/{organization}/teams"), None, 200).json();
    ask(
        "PUT",
        &format!("/teams/{}/members/{user}", teams[0]["id"]),
        None,
        204,
    );
    let body = json!({"name": "mine", "private": true});
    let own = gitea.create_token(&user, &["all"]);
    gitea
        .api("POST", "/user/repos", Some(&own), Some(&body))
        .expect(201);

    let token = gitea.create_token(&user, &["read:user", "read:repository"]);
    let forge = connect_with(&gitea.url, &token, None).unwrap();
    let found = forge.all_repositories().await.unwrap();
    let mut names: Vec<_> = found.into_iter().map(|found| found.path.to_string()).collect();
    names.sort();
    assert_eq!(names, [format!("{organization}/theirs"), format!("{user}/mine")]);
    let account = Account {
        name: user,
        repositories: 2,
        more: false,
        expires_at: None,
    };
    assert_eq!(forge.check().await.unwrap(), account);
}

#[tokio::test]
async fn wrong_token_and_missing_scope_have_different_reasons() {
    let gitea = gitea();
    let (url, user) = (&gitea.url, &gitea.user);
    let found = problem(url, "0123456789abcdef0123456789abcdef01234567", None).await;
    assert_eq!(
        (found.reason, found.class),
        (Reason::ForgeAuthFailed, Class::Terminal),
        "{found:?}"
    );
    assert!(
        found.message.contains("put a valid credential into the Secret"),
        "{found:?}"
    );
    for (scopes, missing) in [
        (&["read:repository"][..], "read:user"),
        (&["read:user"], "read:repository"),
        (&["read:issue"], "read:user"),
    ] {
        let token = gitea.create_token(user, scopes);
        let found = problem(url, &token, None).await;
        assert_eq!(
            (found.reason, found.class),
            (Reason::ForgeScopeMissing, Class::Terminal),
            "{found:?}"
        );
        assert!(
            found
                .message
                .contains(&format!("the credential lacks the scope {missing}")),
            "{found:?}"
        );
    }
    for token in ["", " \n", "a\nb"] {
        let found = connect_with(url, token, None).map(|_| ()).unwrap_err();
        assert_eq!(
            (found.reason(), found.class()),
            (Reason::SecretInvalid, Class::Terminal),
            "{found}"
        );
    }
}

#[tokio::test]
async fn wrong_address_is_reported_with_its_server() {
    let gitea = gitea();
    let token = gitea.token.as_str();
    // A path behind a real Gitea is not one.
    let found = problem(&format!("{}/{}", gitea.url, gitea.user), token, None).await;
    assert_eq!(
        (found.reason, found.class),
        (Reason::ForgeNotRecognised, Class::Terminal),
        "{found:?}"
    );
    assert!(
        found.message.contains("set url to the forge's base address"),
        "{found:?}"
    );

    // A reserved port has no listener.
    let port = crate::common::process::Port::take();
    let found = problem(&format!("http://127.0.0.1:{}", port.number()), token, None).await;
    assert_eq!(
        (found.reason, found.class),
        (Reason::ForgeUnreachable, Class::Transient),
        "{found:?}"
    );

    // Names below `.invalid` never resolve (RFC 6761).
    let found = problem("https://gitea.invalid", token, None).await;
    assert_eq!(
        (found.reason, found.class),
        (Reason::ForgeUnreachable, Class::Transient),
        "{found:?}"
    );

    let found = problem(&gitea.url.replace("http://", "https://"), token, None).await;
    assert_eq!(
        (found.reason, found.class),
        (Reason::ForgeNotRecognised, Class::Terminal),
        "{found:?}"
    );
    assert!(found.message.contains("does not speak TLS"), "{found:?}");

    let found = problem("http://gitea.example.com", token, None).await;
    assert_eq!(
        (found.reason, found.class),
        (Reason::InvalidSpec, Class::Terminal),
        "{found:?}"
    );
    assert!(found.message.contains("https://"), "{found:?}");
}

#[tokio::test]
async fn certificate_of_a_private_ca_is_trusted_only_with_its_secret() {
    let gitea = gitea();
    let dir = tempfile::tempdir().unwrap();
    let (ca, other) = (
        TestCa::new(dir.path()),
        TestCa::new(tempfile::tempdir().unwrap().path()),
    );
    let address = terminate_tls(&ca, gitea.url.trim_start_matches("http://").to_owned()).await;
    let url = format!("https://{address}");

    let forge = connect_with(&url, &gitea.token, Some(&ca.ca_pem)).unwrap();
    assert_eq!(forge.check().await.unwrap().name, gitea.user);
    // More than one certificate in the Secret, and white space around it.
    let both = format!("\n{}\n{}\n", other.ca_pem, ca.ca_pem);
    assert!(
        connect_with(&url, &gitea.token, Some(&both))
            .unwrap()
            .check()
            .await
            .is_ok()
    );

    for wrong in [None, Some(other.ca_pem.as_str())] {
        let found = problem(&url, &gitea.token, wrong).await;
        assert_eq!(
            (found.reason, found.class),
            (Reason::ForgeTlsFailed, Class::Terminal),
            "{found:?}"
        );
        assert!(found.message.contains("ca.crt"), "the way out: {found:?}");
    }
    for junk in [
        "",
        "junk",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let error = connect_with(&url, &gitea.token, Some(junk))
            .map(|_| ())
            .unwrap_err();
        assert_eq!(
            (error.reason(), error.class()),
            (Reason::SecretInvalid, Class::Terminal),
            "{junk:?}: {error}"
        );
    }
}

#[tokio::test]
async fn https_goes_through_the_proxy_but_to_the_hosts_of_no_proxy() {
    let gitea = gitea();
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new(dir.path());
    let address = terminate_tls(&ca, gitea.url.trim_start_matches("http://").to_owned()).await;
    let (proxy, connected) = connect_proxy().await;
    let check = async |proxy: &str, except: &str| {
        let mut options = loopback_options();
        options.proxy = Some(HttpsProxy {
            url: Secret::from(proxy),
            except: except.to_owned(),
        });
        let secrets = ForgeSecrets {
            credential: Some(Secret::from(gitea.token.as_str())),
            ca: Some(ca.ca_pem.clone().into_bytes()),
            tokens: None,
        };
        let forge = connect(&spec(&format!("https://{address}")), &secrets, &options).unwrap();
        forge.check().await
    };
    let seen = || std::mem::take(&mut *connected.lock().unwrap_or_else(PoisonError::into_inner));
    assert_eq!(check(&proxy, "").await.unwrap().name, gitea.user);
    assert_eq!(seen().first(), Some(&format!("CONNECT {address}")));
    assert_eq!(
        check(&proxy, "example.com,127.0.0.1").await.unwrap().name,
        gitea.user
    );
    assert_eq!(seen(), Vec::<String>::new());
    let error = check("http://127.0.0.1:1", "").await.unwrap_err();
    assert_eq!(error.reason(), Reason::ForgeUnreachable, "{error}");
}

/// A proxy for https, and the requests that it got.
async fn connect_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let request = head.split(" HTTP/").next().unwrap_or_default().to_owned();
                let target = request.trim_start_matches("CONNECT ").to_owned();
                all.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                let mut server = TcpStream::connect(target).await?;
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    (url, requests)
}

/// Speaks TLS on a loopback port of its own and hands the bytes on to `target`, until the test's runtime ends.
async fn terminate_tls(ca: &TestCa, target: String) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_file(&ca.cert_file).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&ca.key_file).unwrap();
    rustls::crypto::ring::default_provider().install_default().ok();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}
