//! The suggested priority levels and flow schemas, and what the status of a flow schema says of its level.

use std::sync::Arc;

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::system_writes::{amend, ensure};
use crate::{
    fieldmanager::track::applied,
    flow_schemas::suggested::{self, GROUP, LEVELS, SCHEMAS},
    json_pointer::text,
    object_meta::{self, Fields},
    registry::Resource,
    state::{Mutation, Server},
    status::ApiResult,
    store::{GroupResource, Notice, ObjectKey},
};

/// The field manager of the suggested objects.
const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
/// The field manager of the status.
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";
/// The annotation of objects whose spec follows the suggestion.
const UPDATES: &str = "apf.kubernetes.io/autoupdate-spec";
const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

fn resource(server: &Server, plural: &str) -> Option<Arc<Resource>> {
    server.registry().get(GROUP, plural).cloned()
}

/// Name and spec of each suggested object of a resource.
fn suggestions(plural: &str) -> Vec<(&'static str, Value)> {
    match plural {
        LEVELS => suggested::levels(),
        _ => suggested::schemas(),
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Fields {
    let object = json!({"apiVersion": API_VERSION, "kind": kind,
        "metadata": {"name": name, "generation": 1, "annotations": {UPDATES: "true"}}, "spec": spec, "status": {}});
    match object {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// Creates the suggested objects unless they exist.
pub async fn bootstrap(server: &Server) -> ApiResult<()> {
    let resources: Vec<_> = [LEVELS, SCHEMAS]
        .into_iter()
        .filter_map(|plural| resource(server, plural))
        .collect();
    // Together, so that they share an fsync.
    let created = resources.iter().flat_map(|resource| {
        let suggestions = suggestions(&resource.names.plural).into_iter();
        suggestions.map(move |(name, spec)| {
            let object = object(&resource.names.kind, name, &spec);
            ensure(server, resource, object, PRODUCER)
        })
    });
    try_join_all(created).await?;
    Ok(())
}

/// What a write means for flow schemas.
pub async fn follow(server: &Server, notice: &Notice) -> ApiResult<()> {
    if *notice.collection.group != *GROUP {
        return Ok(());
    }
    let plural = &*notice.collection.resource;
    let Some(resource) = resource(server, plural) else {
        return Ok(());
    };
    restore(server, &resource, notice).await?;
    if plural == SCHEMAS {
        return check(server, &resource, &notice.object.key).await;
    }
    let Some(schemas) = self::resource(server, SCHEMAS) else {
        return Ok(());
    };
    for schema in server.store.view().list(&schemas.collection, None).objects {
        if level_of(&schema.value()) == &*notice.object.key.name {
            check(server, &schemas, &schema.key).await?;
        }
    }
    Ok(())
}

/// Gives a suggested object back that was removed, and its spec to one that follows the suggestion.
async fn restore(server: &Server, resource: &Resource, notice: &Notice) -> ApiResult<()> {
    let key = &notice.object.key;
    let mut suggestions = suggestions(&resource.names.plural).into_iter();
    let Some((name, spec)) = suggestions.find(|(name, _)| *name == &*key.name) else {
        return Ok(());
    };
    if notice.removed {
        let object = object(&resource.names.kind, name, &spec);
        return ensure(server, resource, object, PRODUCER).await;
    }
    amend(server, resource, key, (PRODUCER, ""), |object| {
        let annotation = object_meta::of(object)
            .get("annotations")
            .and_then(|annotations| annotations.get(UPDATES));
        let follows = annotation.is_some_and(|value| value == "true");
        // Administrators may give `exempt` a part of the seats.
        let own = suggested::is_mandatory(name) && resource.names.plural == LEVELS;
        if follows && !own && object.get("spec") != Some(&spec) {
            object.insert("spec".into(), spec.clone());
            let generation = object_meta::of(object).get("generation").and_then(Value::as_i64);
            object_meta::set(object, "generation", generation.unwrap_or_default() + 1);
        }
    })
    .await
}

fn level_of(schema: &Fields) -> &str {
    let spec = schema.get("spec");
    spec.map_or("", |spec| text(spec, "/priorityLevelConfiguration/name"))
}

/// Writes down whether the level of a flow schema exists.
async fn check(server: &Server, schemas: &Resource, key: &ObjectKey) -> ApiResult<()> {
    server
        .mutate(schemas, key, |schema| {
            let level = level_of(schema);
            let level_key = ObjectKey::new("", level);
            let levels = GroupResource::new(GROUP, LEVELS);
            let (status, reason, what) = if server.store.view().get(&levels, &level_key).is_some() {
                ("False", "Found", "and it exists")
            } else {
                ("True", "NotFound", "but there is no such object")
            };
            let message =
                format!("This FlowSchema references the PriorityLevelConfiguration object named \"{level}\" {what}");
            let wanted = [("status", status), ("reason", reason), ("message", message.as_str())];
            if is_said(schema, &wanted) {
                return None;
            }
            let config = json!({"apiVersion": API_VERSION, "kind": schemas.names.kind, "metadata": {"name": &*key.name},
                "status": {"conditions": [{"type": "Dangling", "status": status, "reason": reason, "message": message,
                    "lastTransitionTime": object_meta::now()}]}});
            *schema = applied(schemas, schema, &config, CONSUMER, "status")?;
            Some(Mutation::Put)
        })
        .await
}

/// Whether the condition of a flow schema has these values.
fn is_said(schema: &Fields, wanted: &[(&str, &str)]) -> bool {
    let conditions = schema
        .get("status")
        .and_then(|status| status.get("conditions")?.as_array());
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type").is_some_and(|kind| kind == "Dangling")
            && wanted
                .iter()
                .all(|(key, value)| condition.get(*key).is_some_and(|found| found == value))
    })
}
