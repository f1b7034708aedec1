//! Service account tokens: JSON web tokens (ES256) with a key of the server's own.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Response;
use jiff::{SignedDuration, Timestamp};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    field::FieldError,
    handlers::Call,
    identity::Identity,
    respond::{document, parse_body},
    server::Server,
    status::{ApiError, ApiResult},
    store::{GroupResource, Object, ObjectKey, StoreError},
};

/// Who issues the tokens and for whom they are, unless another audience is asked for.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// How long a token lasts when nothing is asked for, in seconds.
const DEFAULT_SECONDS: i64 = 3600;
/// The shortest that may be asked for.
const LEAST_SECONDS: i64 = 600;
/// The longest that may be asked for.
const MOST_SECONDS: i64 = 1 << 32;

/// The key that signs tokens.
pub struct Keys {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Keys {
    /// Reads `sa.key` in the directory, or makes it (mode 0600); without a directory the key is forgotten.
    pub fn open(directory: Option<&Path>) -> Result<Self, StoreError> {
        let random = SystemRandom::new();
        let path = directory.map(|directory| directory.join("sa.key"));
        let stored = match &path {
            Some(path) => match fs::read(path) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(source) => {
                    return Err(StoreError::KeyFile {
                        path: path.clone(),
                        source,
                    });
                }
            },
            None => None,
        };
        let document = if let Some(stored) = stored {
            stored
        } else {
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(|_| StoreError::Random)?;
            if let Some(path) = &path {
                let failed = |source| StoreError::KeyFile {
                    path: path.clone(),
                    source,
                };
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(failed)?;
                file.write_all(made.as_ref())
                    .and_then(|()| file.sync_all())
                    .map_err(failed)?;
            }
            made.as_ref().to_vec()
        };
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &random).map_err(|_| {
                StoreError::KeyShape {
                    path: path.unwrap_or_default(),
                }
            })?;
        Ok(Self { pair, random })
    }

    fn sign(&self, claims: &Value) -> ApiResult<String> {
        let header = json!({"alg": "ES256", "typ": "JWT"});
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self
            .pair
            .sign(&self.random, text.as_bytes())
            .map_err(|_| ApiError::internal("the token could not be signed"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn verify(&self, token: &str) -> Option<Claims> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        public.verify(text.as_bytes(), &signature).ok()?;
        let (_, claims) = text.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[derive(Deserialize)]
struct Claims {
    aud: Vec<String>,
    /// None for one that lasts as long as its Secret.
    exp: Option<i64>,
    #[serde(default)]
    jti: String,
    #[serde(rename = "kubernetes.io")]
    subject: Subject,
}

#[derive(Deserialize)]
struct Subject {
    namespace: String,
    serviceaccount: Named,
    /// The Secret with which the token goes.
    secret: Option<Named>,
}

#[derive(Deserialize, serde::Serialize)]
struct Named {
    name: String,
    uid: String,
}

impl Server {
    /// Whose token that is: a token of ours, in its time, of an account that is still the same.
    pub fn authenticate_token(&self, token: &str) -> Option<Identity> {
        self.review_token(token, &[]).ok().map(|(identity, _)| identity)
    }

    /// Whose token that is, and for which of these audiences (our own if there are none); else why it is nobody's.
    pub fn review_token(&self, token: &str, wanted: &[String]) -> Result<(Identity, Vec<String>), String> {
        let own = [ISSUER.to_owned()];
        let wanted = if wanted.is_empty() { &own[..] } else { wanted };
        let unknown = || "invalid bearer token".to_owned();
        let claims = self.keys.verify(token).ok_or_else(unknown)?;
        let shared: Vec<String> = wanted
            .iter()
            .filter(|one| claims.aud.contains(one))
            .cloned()
            .collect();
        if shared.is_empty() {
            return Err(format!(
                "[invalid bearer token, token audiences {:?} is invalid for the target audiences {wanted:?}]",
                claims.aud
            ));
        }
        self.claimed(claims)
            .map(|identity| (identity, shared))
            .map_err(|why| match why {
                None => unknown(),
                Some(why) => format!("[invalid bearer token, {why}]"),
            })
    }

    /// Whose the claims are; else why they are nobody's, where upstream tells that.
    fn claimed(&self, claims: Claims) -> Result<Identity, Option<String>> {
        const INVALIDATED: &str = "service account token has been invalidated";
        if claims.exp.is_some_and(|end| end <= Timestamp::now().as_second()) {
            return Err(Some("service account token has expired".into()));
        }
        let Subject {
            namespace,
            serviceaccount,
            secret,
        } = claims.subject;
        let key = ObjectKey::new(&namespace, &serviceaccount.name);
        let account = self
            .store
            .view()
            .get(&GroupResource::new("", "serviceaccounts"), &key)
            .ok_or(None)?;
        if *account.uid != *serviceaccount.uid || account.deleting {
            return Err(None);
        }
        if let Some(bound) = secret {
            let key = ObjectKey::new(&namespace, &bound.name);
            let secret = self.store.view().get(&GroupResource::new("", "secrets"), &key);
            let secret = secret.filter(|secret| !secret.deleting);
            let found = secret.ok_or_else(|| Some(INVALIDATED.to_owned()))?;
            if *found.uid != *bound.uid {
                return Err(Some(format!(
                    "secret UID ({}) does not match service account secret ref claim ({})",
                    found.uid, bound.uid
                )));
            }
        }
        let user = format!("system:serviceaccount:{namespace}:{}", serviceaccount.name);
        let groups = [
            "system:serviceaccounts",
            &format!("system:serviceaccounts:{namespace}"),
        ];
        let mut identity = Identity::new(&user, &groups);
        identity.uid = serviceaccount.uid;
        if !claims.jti.is_empty() {
            identity.extra.insert(
                "authentication.kubernetes.io/credential-id".into(),
                vec![format!("JTI={}", claims.jti)],
            );
        }
        Ok(identity)
    }

    /// A token of `account` that lasts as long as the Secret of that name and uid.
    pub fn lasting_token(&self, account: &Object, secret: &str, uid: &str) -> ApiResult<String> {
        let (namespace, name) = (&account.key.namespace, &account.key.name);
        self.keys.sign(
            &json!({"iss": ISSUER, "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "aud": [ISSUER], "kubernetes.io": {"namespace": namespace, "secret": {"name": secret, "uid": uid},
            "serviceaccount": {"name": name, "uid": account.uid}}}),
        )
    }
}

/// What a token is bound to must be there; here that can only be a Secret.
fn bound(call: &Call, account: &Object, bound: Option<&Value>) -> ApiResult<Option<Named>> {
    let Some(bound) = bound.filter(|bound| !bound.is_null()) else {
        return Ok(None);
    };
    let text = |key: &str| bound.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    // What else a token can be bound to, there is none of.
    if let ("v1", "Pod" | "Node") = (version, kind) {
        let resource = GroupResource::new("", if kind == "Pod" { "pods" } else { "nodes" });
        return Err(ApiError::not_found(&resource, name));
    }
    if (version, kind) != ("v1", "Secret") {
        let version = super::apply::qualified(version);
        return Err(ApiError::bad_request(format!(
            "cannot bind token to object of type {version}, Kind={kind}"
        )));
    }
    let secrets = GroupResource::new("", "secrets");
    let key = ObjectKey::new(&account.key.namespace, name);
    let found = call.server.store.view().get(&secrets, &key);
    let found = found.ok_or_else(|| ApiError::not_found(&secrets, name))?;
    let uid = text("uid");
    if uid.is_empty() || *uid == *found.uid {
        return Ok(Some(Named {
            name: name.to_owned(),
            uid: found.uid.to_string(),
        }));
    }
    let why = format!(
        "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
    );
    Err(ApiError::conflict(&GroupResource::new("", kind), name, &why))
}

/// 422 for one field of a TokenRequest.
fn refused(name: &str, field: &str, value: &Value, why: &str) -> ApiError {
    let errors = [FieldError::invalid(field, value, why)];
    ApiError::invalid("authentication.k8s.io", "TokenRequest", name, &errors)
}

/// Answers a TokenRequest for `account`.
pub fn create(call: &Call, account: &Object) -> ApiResult<Response<Body>> {
    let mut request = parse_body(&call.content_type, &call.body)?;
    let text = |pointer: &str| {
        request
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (given, within) = (text("/metadata/name"), text("/metadata/namespace"));
    if !given.is_empty() && *given != *account.key.name {
        let why = "must match the service account name if specified";
        return Err(refused(&account.key.name, "metadata.name", &given.into(), why));
    }
    if !within.is_empty() && *within != *account.key.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    let wanted = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    let seconds = wanted.unwrap_or(DEFAULT_SECONDS);
    let why = match seconds {
        _ if seconds < LEAST_SECONDS => Some("may not specify a duration less than 10 minutes"),
        _ if seconds > MOST_SECONDS => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(why) = why {
        return Err(refused("", "spec.expirationSeconds", &seconds.into(), why));
    }
    let audiences: Vec<Value> = request
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut written = json!({"f:spec": {"f:expirationSeconds": {}}});
    if !audiences.is_empty() {
        written["f:spec"]["f:audiences"] = json!({});
    }
    let parts = request.pointer("/spec/boundObjectRef").and_then(Value::as_object);
    for (key, _) in parts.into_iter().flatten() {
        written["f:spec"]["f:boundObjectRef"][format!("f:{key}")] = json!({});
    }
    let audiences = if audiences.is_empty() {
        vec![ISSUER.into()]
    } else {
        audiences
    };
    let secret = bound(call, account, request.pointer("/spec/boundObjectRef"))?;
    let now = Timestamp::now();
    let until = now
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(|_| ApiError::bad_request("expirationSeconds is too large"))?;
    let (namespace, name) = (&account.key.namespace, &account.key.name);
    let mut claims = json!({"iss": ISSUER, "sub": format!("system:serviceaccount:{namespace}:{name}"), "aud": audiences,
        "iat": now.as_second(), "nbf": now.as_second(), "exp": until.as_second(),
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": account.uid}}});
    if let Some(secret) = secret {
        claims["kubernetes.io"]["secret"] = json!(secret);
    }
    let token = call.server.keys.sign(&claims)?;
    if let Some(request) = request.as_object_mut() {
        request.insert("kind".into(), "TokenRequest".into());
        request.insert("apiVersion".into(), "authentication.k8s.io/v1".into());
        request.insert(
            "metadata".into(),
            json!({"name": name, "namespace": namespace, "uid": account.uid, "creationTimestamp": super::meta::now(),
                "managedFields": [call.entry(&written)]}),
        );
        let bound = request
            .get("spec")
            .and_then(|spec| spec.get("boundObjectRef"))
            .cloned();
        request.insert(
            "spec".into(),
            json!({"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound}),
        );
        let expires = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        request.insert(
            "status".into(),
            json!({"token": token, "expirationTimestamp": expires}),
        );
    }
    Ok(document(
        call.accept.plain(),
        201,
        request.to_string().into(),
        &call.warnings,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::store::{Memory, Store};

    #[tokio::test]
    async fn a_token_ends_with_what_it_is_of() {
        let (sender, _notices) = tokio::sync::mpsc::unbounded_channel();
        let store = Store::open(Memory, sender).unwrap();
        let server = Server::new(store, String::new(), Keys::open(None).unwrap());
        crate::apiserver::namespaces::bootstrap(&server).await.unwrap();
        let accounts = GroupResource::new("", "serviceaccounts");
        let key = ObjectKey::new("default", "default");
        let uid = server.store.view().get(&accounts, &key).unwrap().uid.to_string();
        let now = Timestamp::now().as_second();
        let review = |exp: i64, uid: &str, secret: Option<Value>| {
            let claims = json!({"aud": [ISSUER], "exp": exp, "jti": "j", "kubernetes.io": {"namespace": "default",
                "serviceaccount": {"name": "default", "uid": uid}, "secret": secret}});
            server.review_token(&server.keys.sign(&claims).unwrap(), &[])
        };
        let (identity, _) = review(now + 60, &uid, None).unwrap();
        assert_eq!(identity.user, "system:serviceaccount:default:default");
        let rows = [
            (now, uid.as_str(), None, "service account token has expired"),
            (now + 60, "another", None, "invalid bearer token"),
            (
                now + 60,
                &uid,
                Some(json!({"name": "none", "uid": "u"})),
                "has been invalidated",
            ),
        ];
        for (exp, uid, secret, why) in rows {
            let refused = review(exp, uid, secret).err().unwrap();
            assert!(refused.contains(why), "{refused} / {why}");
        }
    }

    #[test]
    fn tokens_are_only_ours() {
        let (ours, others) = (Keys::open(None).unwrap(), Keys::open(None).unwrap());
        let claims = json!({"aud": [ISSUER], "exp": 1, "jti": "j",
            "kubernetes.io": {"namespace": "n", "serviceaccount": {"name": "a", "uid": "u"}}});
        let token = ours.sign(&claims).unwrap();
        assert_eq!(ours.verify(&token).unwrap().subject.namespace, "n");
        assert!(others.verify(&token).is_none());
        let tampered = token.replacen('.', ".e30", 1);
        assert!(ours.verify(&tampered).is_none());
        assert!(ours.verify("a.b").is_none());
    }
}
