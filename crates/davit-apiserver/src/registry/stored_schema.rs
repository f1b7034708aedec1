//! The schema of a custom resource, in the one form that is always held: the stored definition.
//!
//! A parsed schema takes ten times the memory of its text, so other forms exist only while requests use them.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use crate::{schema::Schema, store::Object};

/// How long a compiled schema that no request uses is kept.
const IDLE: Duration = Duration::from_secs(30);

/// The schema of one version of a stored CustomResourceDefinition.
pub struct StoredSchema {
    definition: Arc<Object>,
    /// The position of the version in the definition.
    index: usize,
    compiled: Mutex<Option<Arc<Schema>>>,
    /// Whether a request used the compiled form since the last look.
    used: AtomicBool,
}

impl StoredSchema {
    pub(super) fn new(definition: Arc<Object>, index: usize) -> Arc<Self> {
        Arc::new(Self {
            definition,
            index,
            compiled: Mutex::default(),
            used: AtomicBool::new(false),
        })
    }

    /// The schema as it was written.
    pub fn raw(&self) -> Value {
        #[derive(Deserialize)]
        struct Definition {
            spec: Spec,
        }
        #[derive(Deserialize)]
        struct Spec {
            versions: Vec<Version>,
        }
        #[derive(Deserialize)]
        struct Version {
            schema: Option<Written>,
        }
        #[derive(Deserialize)]
        struct Written {
            #[serde(rename = "openAPIV3Schema", default)]
            schema: Value,
        }
        let read: Option<Definition> = serde_json::from_slice(self.definition.json()).ok();
        let version = read.and_then(|mut read| {
            (self.index < read.spec.versions.len()).then(|| read.spec.versions.swap_remove(self.index))
        });
        version
            .and_then(|version| version.schema)
            .map(|written| written.schema)
            .unwrap_or_default()
    }

    /// The schema in the form that prunes, defaults and validates: compiled by the first request, and dropped when no
    /// request used it for a while.
    pub fn compiled(self: &Arc<Self>) -> Arc<Schema> {
        self.used.store(true, Ordering::Relaxed);
        let mut compiled = self.compiled.lock();
        if let Some(schema) = &*compiled {
            return schema.clone();
        }
        let schema = Arc::new(Schema::trusted(&self.raw()));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            *compiled = Some(schema.clone());
            runtime.spawn(drop_when_idle(Arc::downgrade(self)));
        }
        schema
    }
}

async fn drop_when_idle(schema: Weak<StoredSchema>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(schema) = schema.upgrade() else { return };
        let mut compiled = schema.compiled.lock();
        if !schema.used.swap(false, Ordering::Relaxed) {
            *compiled = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored() -> Arc<StoredSchema> {
        let mut definition = json!({"kind": "CustomResourceDefinition", "metadata": {"name": "a"}, "spec": {"versions": [
            {"name": "v1"},
            {"name": "v2", "schema": {"openAPIV3Schema": {"type": "object", "description": "second"}}}]}});
        let object = Object::render(definition.as_object_mut().unwrap(), 1).unwrap();
        StoredSchema::new(Arc::new(object), 1)
    }

    #[test]
    fn raw_schema_is_that_of_the_version() {
        assert_eq!(stored().raw(), json!({"type": "object", "description": "second"}));
    }

    #[tokio::test(start_paused = true)]
    async fn compiled_schema_is_shared_while_used_and_dropped_when_idle() {
        let stored = stored();
        let first = stored.compiled();
        for _ in 0..4 {
            tokio::time::sleep(IDLE * 9 / 10).await;
            assert!(Arc::ptr_eq(&first, &stored.compiled()));
        }
        drop(first);
        tokio::time::sleep(3 * IDLE).await;
        assert!(stored.compiled.lock().is_none());
        let again = stored.compiled();
        assert!(Arc::ptr_eq(&again, &stored.compiled()), "it is compiled anew");
    }
}
