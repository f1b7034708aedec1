//! What is stored, as readers and watchers see it: one consistent state, and the last changes that led to it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::{Backend, GroupResource, Object, ObjectKey, StoreError};

/// How many changes of one collection are kept for watchers that lag behind.
const LOG_EVENTS: usize = 4096;
/// How many bytes of former versions the kept changes of one collection may hold.
const LOG_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub struct Event {
    /// The revision the change made.
    pub revision: u64,
    pub collection: Arc<GroupResource>,
    /// The new version; for a removal the last one, with the revision of the removal.
    pub object: Arc<Object>,
    /// The version before; none for a creation.
    pub previous: Option<Arc<Object>>,
    /// Whether the object was removed.
    pub removed: bool,
}

impl Event {
    fn weight(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |object| object.json().len());
        previous + if self.removed { self.object.json().len() } else { 0 } + size_of::<Self>()
    }
}

struct Collection {
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    log: VecDeque<Arc<Event>>,
    weight: usize,
    /// The newest revision whose change is no longer in the log.
    forgotten: u64,
    changed: watch::Sender<u64>,
}

impl Collection {
    fn new(forgotten: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            weight: 0,
            forgotten,
            changed: watch::Sender::new(forgotten),
        }
    }
}

#[derive(Default)]
struct State {
    revision: u64,
    collections: HashMap<Arc<GroupResource>, Collection>,
}

/// A part of a collection at one revision.
pub struct Page {
    /// The revision of the state that the objects are of.
    pub revision: u64,
    /// The objects, by namespace and name.
    pub objects: Vec<Arc<Object>>,
}

/// All objects with their collections, at one revision.
pub(super) struct Everything {
    pub(super) revision: u64,
    pub(super) objects: Vec<(Arc<GroupResource>, Arc<Object>)>,
}

/// The present state and the last changes.
#[derive(Default)]
pub struct View {
    state: RwLock<State>,
    /// The revision at which this process began: what happened before is not in the logs.
    start: u64,
}

/// The revision asked for is older than what is kept.
#[derive(Debug, Clone, Copy)]
pub struct TooOld {
    /// The oldest revision from which changes are known.
    pub oldest: u64,
}

impl View {
    pub(super) fn load(backend: &mut impl Backend) -> Result<Self, StoreError> {
        let mut collections: HashMap<Arc<GroupResource>, BTreeMap<ObjectKey, Arc<Object>>> = HashMap::new();
        let start = backend.load(&mut |collection, object| {
            let objects = collections.entry(Arc::new(collection)).or_default();
            objects.insert(object.key.clone(), Arc::new(object));
        })?;
        let collections = collections
            .into_iter()
            .map(|(name, objects)| {
                (
                    name,
                    Collection {
                        objects,
                        ..Collection::new(start)
                    },
                )
            })
            .collect();
        Ok(Self {
            state: RwLock::new(State {
                revision: start,
                collections,
            }),
            start,
        })
    }

    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    pub fn get(&self, collection: &GroupResource, key: &ObjectKey) -> Option<Arc<Object>> {
        self.state
            .read()
            .collections
            .get(collection)?
            .objects
            .get(key)
            .cloned()
    }

    /// How many objects a collection has.
    pub fn count(&self, collection: &GroupResource) -> usize {
        let state = self.state.read();
        let collection = state.collections.get(collection);
        collection.map_or(0, |collection| collection.objects.len())
    }

    /// The names of all collections that have, or had, an object.
    pub fn collections(&self) -> Vec<Arc<GroupResource>> {
        self.state.read().collections.keys().cloned().collect()
    }

    /// The objects of a collection (of one namespace, if one is given) at the present revision.
    pub fn list(&self, collection: &GroupResource, namespace: Option<&str>) -> Page {
        let state = self.state.read();
        let objects = state
            .collections
            .get(collection)
            .map(|collection| range(collection, namespace).cloned().collect())
            .unwrap_or_default();
        Page {
            revision: state.revision,
            objects,
        }
    }

    /// The same as it was at `revision`, undone from the log.
    pub fn list_at(
        &self,
        collection: &GroupResource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Page, TooOld> {
        let state = self.state.read();
        let Some(collection) = state.collections.get(collection) else {
            return if revision < self.start {
                Err(TooOld { oldest: self.start })
            } else {
                Ok(Page {
                    revision,
                    objects: Vec::new(),
                })
            };
        };
        if revision < collection.forgotten {
            return Err(TooOld {
                oldest: collection.forgotten,
            });
        }
        let from = collection.log.partition_point(|event| event.revision <= revision);
        let mut then: BTreeMap<&ObjectKey, Option<&Arc<Object>>> = BTreeMap::new();
        for event in collection.log.range(from..).rev() {
            then.insert(&event.object.key, event.previous.as_ref());
        }
        let mut objects: BTreeMap<&ObjectKey, &Arc<Object>> = range(collection, namespace)
            .map(|object| (&object.key, object))
            .collect();
        for (key, object) in then {
            if namespace.is_none_or(|namespace| *key.namespace == *namespace) {
                match object {
                    Some(object) => objects.insert(key, object),
                    None => objects.remove(key),
                };
            }
        }
        Ok(Page {
            revision,
            objects: objects.into_values().cloned().collect(),
        })
    }

    /// Every object of every collection, all of one moment, with its revision.
    pub(super) fn everything(&self) -> Everything {
        let state = self.state.read();
        let mut all = Vec::new();
        for (name, collection) in &state.collections {
            all.extend(
                collection
                    .objects
                    .values()
                    .map(|object| (name.clone(), object.clone())),
            );
        }
        Everything {
            revision: state.revision,
            objects: all,
        }
    }

    /// A receiver that is told the revision of each change of the collection.
    pub fn subscribe(&self, collection: &Arc<GroupResource>) -> watch::Receiver<u64> {
        if let Some(known) = self.state.read().collections.get(collection) {
            return known.changed.subscribe();
        }
        let mut state = self.state.write();
        let entry = state.collections.entry(collection.clone());
        entry
            .or_insert_with(|| Collection::new(self.start))
            .changed
            .subscribe()
    }

    /// At most `limit` changes of a collection after `revision`, and the revision up to which that is everything.
    pub fn since(
        &self,
        collection: &GroupResource,
        revision: u64,
        limit: usize,
    ) -> Result<(Vec<Arc<Event>>, u64), TooOld> {
        let state = self.state.read();
        let Some(collection) = state.collections.get(collection) else {
            return if revision < self.start {
                Err(TooOld { oldest: self.start })
            } else {
                Ok((Vec::new(), state.revision))
            };
        };
        if revision < collection.forgotten {
            return Err(TooOld {
                oldest: collection.forgotten,
            });
        }
        let from = collection.log.partition_point(|event| event.revision <= revision);
        let events: Vec<_> = collection.log.range(from..).take(limit).cloned().collect();
        let upto = match events.last() {
            Some(last) if events.len() == limit => last.revision,
            _ => state.revision,
        };
        Ok((events, upto))
    }

    pub(super) fn publish(&self, revision: u64, events: Vec<Event>) {
        let mut state = self.state.write();
        let mut touched: Vec<Arc<GroupResource>> = Vec::new();
        for event in events {
            let name = event.collection.clone();
            let start = self.start;
            let collection = state
                .collections
                .entry(name.clone())
                .or_insert_with(|| Collection::new(start));
            if event.removed {
                collection.objects.remove(&event.object.key);
            } else {
                collection
                    .objects
                    .insert(event.object.key.clone(), event.object.clone());
            }
            collection.weight += event.weight();
            collection.log.push_back(Arc::new(event));
            while collection.log.len() > LOG_EVENTS
                || (collection.weight > LOG_BYTES && collection.log.len() > 1)
            {
                if let Some(old) = collection.log.pop_front() {
                    collection.weight = collection.weight.saturating_sub(old.weight());
                    collection.forgotten = old.revision;
                }
            }
            if !touched.contains(&name) {
                touched.push(name);
            }
        }
        state.revision = revision;
        // Told under the lock, so that a watcher that wakes up finds the state that it was told of.
        for name in touched {
            if let Some(collection) = state.collections.get(&name) {
                collection.changed.send_replace(revision);
            }
        }
    }
}

fn range<'a>(
    collection: &'a Collection,
    namespace: Option<&str>,
) -> Box<dyn Iterator<Item = &'a Arc<Object>> + 'a> {
    match namespace {
        None => Box::new(collection.objects.values()),
        Some(namespace) => {
            let from = ObjectKey::new(namespace, "");
            let namespace: Box<str> = namespace.into();
            Box::new(
                collection
                    .objects
                    .range((Bound::Included(from), Bound::Unbounded))
                    .take_while(move |(key, _)| key.namespace == namespace)
                    .map(|(_, object)| object),
            )
        }
    }
}
