//! Service account tokens: whose one is, and how long.

use jiff::Timestamp;
use serde_json::json;

use super::{
    claims::{Claims, Subject},
    identity::{Identity, account_groups, account_user},
};
use crate::{
    state::Server,
    status::ApiResult,
    store::{GroupResource, Object, ObjectKey},
};

/// The issuer of tokens, and their audience unless the request names another.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

impl Server {
    /// Whose token that is: a token of ours, in its time, of an account that is still the same.
    pub fn authenticate_token(&self, token: &str) -> Option<Identity> {
        self.review_token(token, &[]).ok().map(|(identity, _)| identity)
    }

    /// The user of a token and those of the `wanted` audiences that it is for (by default the issuer), or why it is
    /// invalid.
    pub fn review_token(&self, token: &str, wanted: &[String]) -> Result<(Identity, Vec<String>), String> {
        let own = [ISSUER.to_owned()];
        let wanted = if wanted.is_empty() { &own[..] } else { wanted };
        let unknown = || "invalid bearer token".to_owned();
        let verify = || self.keys.verify::<Claims>(token);
        let claims = self.tokens.get(token, verify).ok_or_else(unknown)?;
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
        self.claimed(&claims)
            .map(|identity| (identity, shared))
            .map_err(|why| match why {
                None => unknown(),
                Some(why) => format!("[invalid bearer token, {why}]"),
            })
    }

    /// The user of the claims, or why they are invalid if upstream gives the reason.
    fn claimed(&self, claims: &Claims) -> Result<Identity, Option<String>> {
        const INVALIDATED: &str = "service account token has been invalidated";
        if claims.exp.is_some_and(|end| end <= Timestamp::now().as_second()) {
            return Err(Some("service account token has expired".into()));
        }
        let Subject {
            namespace,
            serviceaccount,
            secret,
        } = &claims.subject;
        let key = ObjectKey::new(namespace, &serviceaccount.name);
        let account = self
            .store
            .view()
            .get(&GroupResource::new("", "serviceaccounts"), &key)
            .ok_or(None)?;
        if *account.uid != *serviceaccount.uid || account.deleting {
            return Err(None);
        }
        if let Some(bound) = secret {
            let key = ObjectKey::new(namespace, &bound.name);
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
        let user = account_user(namespace, &serviceaccount.name);
        let groups = account_groups(namespace);
        let mut identity = Identity::new(&user, &groups.each_ref().map(String::as_str));
        identity.uid.clone_from(&serviceaccount.uid);
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
        self.keys
            .sign(&json!({"iss": ISSUER, "sub": account_user(namespace, name),
            "aud": [ISSUER], "kubernetes.io": {"namespace": namespace, "secret": {"name": secret, "uid": uid},
            "serviceaccount": {"name": name, "uid": account.uid}}}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::token_signer::Keys,
        store::{Memory, Store},
    };
    use serde_json::Value;

    #[tokio::test]
    async fn a_token_ends_with_what_it_is_of() {
        let (sender, _notices) = tokio::sync::mpsc::unbounded_channel();
        let store = Store::open(Memory, sender).unwrap();
        let server = Server::new(store, String::new(), Keys::open(None).unwrap());
        crate::controllers::namespaces::bootstrap(&server).await.unwrap();
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
        assert_eq!(ours.verify::<Claims>(&token).unwrap().subject.namespace, "n");
        assert!(others.verify::<Claims>(&token).is_none());
        let tampered = token.replacen('.', ".e30", 1);
        assert!(ours.verify::<Claims>(&tampered).is_none());
        assert!(ours.verify::<Claims>("a.b").is_none());
    }
}
