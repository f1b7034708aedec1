//! I/O out: the only writer of status and events. A status is written only when it differs from what is there, and then
//! as the smallest merge patch.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::api::condition::{self, Conditions};
use crate::api::{ConditionType, MANAGER, Reason, ReleasePhase, ReleaseStatus};
use crate::error::cut;
use crate::metrics::Metrics;

/// Writes statuses and events.
#[derive(Clone)]
pub struct Report {
    client: Client,
    recorder: Recorder,
    reporter: Reporter,
    metrics: Metrics,
}

impl Report {
    /// Writes through `client`.
    pub fn new(client: Client, instance: &str, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter.clone()),
            reporter,
            client,
            metrics,
        }
    }

    /// Writes what is different in `new`. True where something was.
    ///
    /// # Errors
    /// The API server refuses or cannot be reached. A 404 is ignored: the object was deleted in the meantime.
    pub async fn status<K, S>(&self, object: &K, old: Option<&S>, new: &S) -> Result<bool, kube::Error>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        S: Serialize,
    {
        let old = old
            .map_or(Ok(Value::Null), serde_json::to_value)
            .map_err(kube::Error::SerdeError)?;
        let new = serde_json::to_value(new).map_err(kube::Error::SerdeError)?;
        let Some(difference) = difference(&old, &new) else {
            return Ok(false);
        };
        let meta = object.meta();
        let (name, namespace) = (
            meta.name.clone().unwrap_or_default(),
            meta.namespace.clone().unwrap_or_default(),
        );
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.metrics.status_write(&K::kind(&()));
        tracing::debug!(kind = %K::kind(&()), namespace, name, "status write");
        let ended = released(&old, &new);
        match api
            .patch_status(&name, &params, &Patch::Merge(json!({"status": difference})))
            .await
        {
            Ok(_) => {
                if let Some((phase, reason, took)) = ended.filter(|_| K::kind(&()) == "Release") {
                    self.metrics.release_ended(phase, reason, took);
                }
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends an event; those of one Release are a series of their own. One that cannot be sent is logged and left out:
    /// it must not hold up what it tells of.
    pub async fn event(
        &self,
        about: &ObjectReference,
        release: Option<&ObjectReference>,
        warning: bool,
        reason: Reason,
        message: &str,
    ) {
        self.publish(&self.recorder, about, release, warning, reason, message)
            .await;
    }

    /// Sends an event of its own. [`Self::event`] only counts one of the same reason again, with the message of the first; here
    /// the message is another one each time.
    pub async fn new_event(&self, about: &ObjectReference, warning: bool, reason: Reason, message: &str) {
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        self.publish(&recorder, about, None, warning, reason, message)
            .await;
    }

    async fn publish(
        &self,
        recorder: &Recorder,
        about: &ObjectReference,
        release: Option<&ObjectReference>,
        warning: bool,
        reason: Reason,
        message: &str,
    ) {
        self.metrics.event(warning, reason);
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.to_string(),
            note: Some(cut(message, 1000)),
            action: "Reconcile".to_owned(),
            secondary: release.cloned(),
        };
        if let Err(error) = recorder.publish(&event, about).await {
            if is_ending(&error) {
                tracing::debug!(%reason, "an event was not sent: its namespace is being deleted");
                return;
            }
            tracing::warn!(error = %crate::error::chain(&error), %reason, "an event could not be sent");
        }
    }

    /// Writes what is different in `new`, and tells as an event when Ready or Healthy went over to something else. The
    /// event is about `object` and of `release`.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn report_status<K, S>(
        &self,
        object: &K,
        release: Option<&ObjectReference>,
        old: Option<&S>,
        new: &S,
    ) -> Result<(), kube::Error>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        S: Serialize + Conditions,
    {
        if self.status(object, old, new).await? {
            let before = old.map(Conditions::conditions).unwrap_or_default();
            self.transitions(&object.object_ref(&()), release, before, new.conditions())
                .await;
        }
        Ok(())
    }

    async fn transitions(
        &self,
        about: &ObjectReference,
        release: Option<&ObjectReference>,
        old: &[Condition],
        new: &[Condition],
    ) {
        for kind in [
            ConditionType::Ready,
            ConditionType::Healthy,
            ConditionType::RoutesReady,
            ConditionType::WebhookReady,
        ] {
            let Some(now) = condition::find(new, kind) else {
                continue;
            };
            let before = condition::find(old, kind);
            if before.is_some_and(|before| before.status == now.status && before.reason == now.reason) {
                continue;
            }
            let Ok(reason) = now.reason.parse::<Reason>() else {
                continue;
            };
            if kind == ConditionType::WebhookReady && before.is_none() && now.status == "True" {
                continue; // The webhook works from the beginning.
            }
            if kind == ConditionType::RoutesReady && now.status == "Unknown" {
                continue; // It becomes known in a moment.
            }
            let calm = is_expected(reason, new);
            let under_way = condition::find(new, ConditionType::Reconciling)
                .is_some_and(|reconciling| reconciling.reason == Reason::Progressing.as_str());
            if kind == ConditionType::Healthy
                && (before.is_none() || now.status != "False" || under_way || calm)
            {
                continue; // Ready tells the rest.
            }
            self.event(
                about,
                release,
                (now.status != "True" && !calm) || reason == Reason::CertificateExpires,
                reason,
                &now.message,
            )
            .await;
        }
    }
}

/// Reports whether a state that is not ready needs no action of the user: it was asked for, or an answer or another object of
/// the same `kubectl apply` is to come.
fn is_expected(reason: Reason, new: &[Condition]) -> bool {
    match reason {
        Reason::Progressing
        | Reason::Stopped
        | Reason::Suspended
        | Reason::NoSource
        | Reason::Deleting
        | Reason::Pending
        | Reason::RouteHasNoReplica
        | Reason::Cancelled
        | Reason::Resolving
        | Reason::ApplicationNotFound => true,
        Reason::ProviderNotReady => !condition::is_true(new, ConditionType::Stalled),
        _ => false,
    }
}

/// Returns phase, reason and duration if this write of a Release's status records its end.
fn released(old: &Value, new: &Value) -> Option<(ReleasePhase, Reason, Option<Duration>)> {
    let new: ReleaseStatus = serde_json::from_value(new.clone()).ok()?;
    let before: ReleaseStatus = serde_json::from_value(old.clone()).unwrap_or_default();
    if !new.phase.has_ended() || before.phase.has_ended() {
        return None;
    }
    let succeeded = condition::find(&new.conditions, ConditionType::Succeeded);
    let reason = succeeded.and_then(|condition| condition.reason.parse().ok())?;
    let time = |text: Option<&String>| text?.parse::<jiff::Timestamp>().ok();
    let took = time(new.started_at.as_ref())
        .zip(time(new.finished_at.as_ref()))
        .and_then(|(start, end)| end.duration_since(start).try_into().ok());
    Some((new.phase, reason, took))
}

/// Whether a namespace that is being deleted takes nothing new any more.
fn is_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Returns the merge patch from `old` to `new`, or `None` if they are equal. Removed fields are patched to null.
fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) => {
                if let Some(inner) = difference(before, value) {
                    patch.insert(key.clone(), inner);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(target: &mut Value, patch: &Value) {
        json_patch::merge(target, patch);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i8>().prop_map(|n| json!(n)),
            "[a-c]{0,2}".prop_map(Value::String),
            Just(json!([1, {"a": 2}]))
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| json!(map))
        })
    }

    proptest! {
        #[test]
        fn the_difference_makes_new_of_old(old in any_value(), new in any_value()) {
            let mut patched = old.clone();
            if let Some(patch) = difference(&old, &new) {
                apply(&mut patched, &patch);
            }
            prop_assert_eq!(patched, new);
        }
    }

    #[test]
    fn what_only_takes_its_time_is_no_warning() {
        let stalled = |stalled: bool| {
            let mut all = Vec::new();
            let (kind, reason) = (ConditionType::Stalled, Reason::ProviderNotReady);
            condition::set(
                &mut all,
                kind,
                Some(stalled),
                reason,
                "",
                1,
                jiff::Timestamp::UNIX_EPOCH,
            );
            all
        };
        for (reason, is_stalled, calm) in [
            (Reason::Resolving, false, true),
            (Reason::ApplicationNotFound, false, true),
            (Reason::ProviderNotReady, false, true),
            (Reason::ProviderNotReady, true, false),
            (Reason::Unhealthy, false, false),
            (Reason::GitUnreachable, false, false),
        ] {
            assert_eq!(is_expected(reason, &stalled(is_stalled)), calm, "{reason}");
        }
    }

    #[test]
    fn an_event_that_comes_too_late_for_its_namespace_is_known() {
        let refused = |cause: &str| {
            let status = json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": "no",
                "details": {"causes": [{"reason": cause, "message": "", "field": "metadata.namespace"}]}});
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        assert!(is_ending(&refused("NamespaceTerminating")));
        assert!(!is_ending(&refused("Other")));
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        assert_eq!(
            difference(&json!({"a": {"b": [1]}}), &json!({"a": {"b": [1]}})),
            None
        );
        assert_eq!(
            difference(&json!({"a": 1, "b": 2}), &json!({"a": 1})),
            Some(json!({"b": null}))
        );
    }
}
