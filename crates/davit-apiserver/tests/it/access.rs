//! Who is let in over TLS: by a certificate of the server's authority, by a token, and nobody else.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use davit_apiserver::{ApiServer, Identity};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use crate::support::{api, get, send, served, server, until};

/// A server and what asks it.
struct Door {
    server: ApiServer,
    directory: tempfile::TempDir,
    url: String,
}

impl Door {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (server, kubeconfig) = served(directory.path()).await;
        let config: Value = serde_saphyr::from_str(&std::fs::read_to_string(kubeconfig).unwrap()).unwrap();
        let url = config["clusters"][0]["cluster"]["server"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            server,
            directory,
            url,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A certificate with its key: of that authority, for jane of the staff.
    fn certificate(&self, name: &str, authority: &(String, String), expired: bool) -> Vec<String> {
        let issuer =
            Issuer::from_ca_cert_pem(&authority.0, KeyPair::from_pem(&authority.1).unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, "staff");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(if expired { 2002 } else { 2100 }, 1, 1);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &issuer).unwrap();
        let (certificate, secret) = (
            self.file(&format!("{name}.crt")),
            self.file(&format!("{name}.key")),
        );
        std::fs::write(&certificate, made.pem()).unwrap();
        std::fs::write(&secret, key.serialize_pem()).unwrap();
        ["--cert", path(&certificate), "--key", path(&secret)]
            .map(ToOwned::to_owned)
            .to_vec()
    }

    /// The code (0 where there was no answer) and the body.
    async fn ask(&self, method: &str, target: &str, more: &[String]) -> (u16, Value) {
        let ca = self.file("data/pki/ca.crt");
        #[allow(clippy::disallowed_methods, reason = "a client of another project")]
        let mut command = tokio::process::Command::new("curl");
        command
            .args([
                "-q",
                "--silent",
                "--noproxy",
                "*",
                "--max-time",
                "20",
                "--write-out",
                "\n%{http_code}",
            ])
            .args(["--request", method, "--cacert", path(&ca)])
            .args(more)
            .arg(format!("{}{target}", self.url));
        if method == "POST" {
            command.args(["--header", "Content-Type: application/json", "--data", "{}"]);
        }
        let said = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
        let (body, code) = said.rsplit_once('\n').unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| body.into());
        (code.parse().unwrap(), body)
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn bearer(token: &str) -> Vec<String> {
    vec!["--header".into(), format!("Authorization: Bearer {token}")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_open_only_if_the_authority_signed_them_and_in_their_time() {
    let door = Door::open().await;
    let read = |name: &str| std::fs::read_to_string(door.file(&format!("data/pki/{name}"))).unwrap();
    let ours = (read("ca.crt"), read("ca.key"));
    let jane = door.certificate("jane", &ours, false);
    let (code, who) = door.ask("POST", WHO, &jane).await;
    assert_eq!(code, 201, "{who}");
    assert_eq!(
        (
            &who["status"]["userInfo"]["username"],
            &who["status"]["userInfo"]["groups"]
        ),
        (&json!("jane"), &json!(["staff", "system:authenticated"]))
    );
    let (code, refused) = door.ask("GET", MAPS, &jane).await;
    assert_eq!((code, &refused["reason"]), (403, &json!("Forbidden")));

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // It calls itself what ours is called.
    params.distinguished_name.push(DnType::CommonName, "ca");
    let foreign = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    for (name, authority, expired) in [("foreign", &foreign, false), ("expired", &ours, true)] {
        let stranger = door.certificate(name, authority, expired);
        let (code, said) = door.ask("GET", MAPS, &stranger).await;
        assert!(matches!(code, 0 | 401), "{name}: {code} {said}");
    }
    door.server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_neither_certificate_nor_token_learns_only_the_health() {
    let door = Door::open().await;
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(door.ask("GET", path, &[]).await, (200, json!("ok")), "{path}");
    }
    let wrong = [
        vec![],
        bearer("nonsense"),
        bearer("eyJhbGciOiJub25lIn0.e30."),
        vec!["--user".into(), "admin:admin".into()],
    ];
    for more in wrong {
        for path in [
            "/api",
            "/apis",
            "/version",
            "/openapi/v2",
            "/metrics",
            "/backup",
            MAPS,
            "/nonsense",
        ] {
            let (code, said) = door.ask("GET", path, &more).await;
            assert_eq!(
                (code, &said["reason"]),
                (401, &json!("Unauthorized")),
                "{path} {more:?}"
            );
            assert_eq!(said["kind"], "Status");
        }
    }
    door.server.close().await;
}

/// What `argocd cluster add` does: a Secret for a token that lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_a_secret_lasts_as_long_as_the_secret() {
    let door = Door::open().await;
    let router = api(&door.server);
    let (accounts, secrets) = (
        "/api/v1/namespaces/default/serviceaccounts",
        "/api/v1/namespaces/default/secrets",
    );
    let account = json!({"metadata": {"name": "robot"}});
    assert_eq!(send(&router, "POST", accounts, account).await.code, 201);
    let wanted = json!({"metadata": {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token"});
    assert_eq!(send(&router, "POST", secrets, wanted).await.code, 201);
    let secret = format!("{secrets}/robot");
    let filled = until(&router, &secret, |answer| !answer.text("/data/token").is_empty()).await;
    let decoded = |key: &str| {
        let bytes = STANDARD.decode(filled.text(&format!("/data/{key}"))).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(decoded("namespace"), "default");
    let authority = std::fs::read_to_string(door.file("data/pki/ca.crt")).unwrap();
    assert_eq!(decoded("ca.crt"), authority);
    let token = bearer(&decoded("token"));
    let (code, who) = door.ask("POST", WHO, &token).await;
    assert_eq!(
        (code, &who["status"]["userInfo"]["username"]),
        (201, &json!("system:serviceaccount:default:robot"))
    );
    assert_eq!(send(&router, "DELETE", &secret, Value::Null).await.code, 200);
    assert_eq!(door.ask("POST", WHO, &token).await.0, 401);
    door.server.close().await;
}

/// A refusal that is given before the body was read must not be lost with the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_refused_while_he_still_writes_hears_it() {
    let door = Door::open().await;
    let body = door.file("body");
    std::fs::write(
        &body,
        format!("{{\"data\": {{\"k\": \"{}\"}}}}", "x".repeat(200_000)),
    )
    .unwrap();
    for version in ["--http1.1", "--http2"] {
        for round in 0..15 {
            let mut more = bearer("none-of-ours");
            let data = format!("@{}", path(&body));
            more.extend(["--header", "Expect:", version, "--data-binary", &data].map(Into::into));
            let (code, answer) = door.ask("PUT", MAPS, &more).await;
            assert_eq!(
                (code, &answer["reason"]),
                (401, &json!("Unauthorized")),
                "{version}, {round}: {answer}"
            );
        }
    }
    door.server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuer_of_tokens_can_be_discovered_by_service_accounts_only() {
    let server = server().await;
    let group = ["system:serviceaccounts", "system:authenticated"];
    let account = server.router_as(Identity::new("system:serviceaccount:default:default", &group));
    let configuration = get(&account, "/.well-known/openid-configuration").await;
    assert_eq!(configuration.code, 200);
    assert_eq!(
        configuration.text("/issuer"),
        "https://kubernetes.default.svc.cluster.local"
    );
    assert!(configuration.text("/jwks_uri").ends_with("/openid/v1/jwks"));
    let keys = get(&account, "/openid/v1/jwks").await;
    let key = &keys.body["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"]),
        (&json!("EC"), &json!("P-256"), &json!("ES256"))
    );
    // A token names the key that signed it, and the key verifies it.
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let made = send(&api(&server), "POST", path, request).await;
    let token = made.text("/status/token").to_owned();
    let decode =
        |text: &str| base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(signed.split('.').next().unwrap())).unwrap();
    assert_eq!(header["kid"], key["kid"]);
    let part = |name: &str| decode(key[name].as_str().unwrap());
    let point = [vec![4], part("x"), part("y")].concat();
    ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &decode(signature))
        .unwrap();
    let jane = server.router_as(Identity::new("jane", &["system:authenticated"]));
    assert_eq!(get(&jane, "/openid/v1/jwks").await.code, 403);
}
