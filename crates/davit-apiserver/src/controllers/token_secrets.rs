//! Secrets of type `kubernetes.io/service-account-token`: the controller adds a token that does not expire
//! (`argocd cluster add` needs one). The token ends with the Secret, and the Secret with its ServiceAccount.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    system_delete::delete,
    system_writes::{amend, resource},
};
use crate::{
    fieldmanager::track::CONTROLLERS,
    object_meta::{self, Fields},
    state::Server,
    status::ApiResult,
    store::{GroupResource, Notice, Object, ObjectKey},
};

/// The type of such a Secret.
const TYPE: &str = "kubernetes.io/service-account-token";
/// The annotation with the name of the account.
const NAME: &str = "kubernetes.io/service-account.name";
/// The annotation with its uid.
const UID: &str = "kubernetes.io/service-account.uid";

/// What is asked of every Secret: no more of it is read than that.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Facts {
    r#type: String,
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// Name and uid of the account in the annotations, if the Secret is for a token.
fn account(secret: &Object) -> Option<(String, String)> {
    let facts: Facts = serde_json::from_slice(secret.json()).ok()?;
    if facts.r#type != TYPE {
        return None;
    }
    let mut annotations = facts.metadata.annotations?;
    Some((
        annotations.remove(NAME)?,
        annotations.remove(UID).unwrap_or_default(),
    ))
}

/// What a write means for such Secrets.
pub async fn follow(server: &Server, notice: &Notice) -> ApiResult<()> {
    if !notice.collection.group.is_empty() {
        return Ok(());
    }
    match (&*notice.collection.resource, notice.removed) {
        ("secrets", false) if !notice.object.deleting => sync_secret(server, &notice.object).await,
        ("serviceaccounts", true) => {
            let secrets = GroupResource::new("", "secrets");
            let namespace = Some(&*notice.object.key.namespace);
            for secret in server.store.view().list(&secrets, namespace).objects {
                sync_secret(server, &secret).await?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Fills a Secret that has an account, and removes one that has none any more.
async fn sync_secret(server: &Server, secret: &Object) -> ApiResult<()> {
    let Some((name, uid)) = account(secret) else {
        return Ok(());
    };
    let secrets = resource(server, "secrets")?;
    let key = ObjectKey::new(&secret.key.namespace, &name);
    let accounts = GroupResource::new("", "serviceaccounts");
    let found = server.store.view().get(&accounts, &key);
    let Some(found) = found.filter(|account| uid.is_empty() || *account.uid == *uid) else {
        return delete(server, &secrets, &secret.key, &secret.uid, false).await;
    };
    let token = server.lasting_token(&found, &secret.key.name, &secret.uid)?;
    amend(server, &secrets, &secret.key, (CONTROLLERS, ""), |object| {
        if object_meta::text(object, "uid") == &*secret.uid {
            fill(object, &found, &server.ca_pem, &token);
        }
    })
    .await
}

fn fill(secret: &mut Fields, account: &Object, authority: &str, token: &str) {
    let mut annotations = object_meta::of(secret)
        .get("annotations")
        .cloned()
        .unwrap_or_else(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(UID.into(), Value::from(&*account.uid));
    }
    object_meta::set(secret, "annotations", annotations);
    let data = secret.entry("data").or_insert_with(|| json!({}));
    let Some(data) = data.as_object_mut() else { return };
    data.insert("ca.crt".into(), STANDARD.encode(authority).into());
    // What is there stays: another signature of the same would be another token.
    for (key, text) in [("namespace", &*account.key.namespace), ("token", token)] {
        if data
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
        {
            data.insert(key.into(), STANDARD.encode(text).into());
        }
    }
}
