//! The one thread that writes: takes what waits, checks it in order, commits it together, shows it, answers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Backend, Change, Event, Expect, GroupResource, Notice, Object, ObjectKey, Record, Refused, View,
    change::Command,
};

/// How many writes one commit takes at most: bounds both the wait of the first and the size of a transaction.
const BATCH: usize = 512;

type Reply = oneshot::Sender<Result<Arc<Object>, Refused>>;

pub(super) fn run(
    mut commands: mpsc::Receiver<Command>,
    backend: &mut impl Backend,
    view: &View,
    notices: &mpsc::UnboundedSender<Notice>,
    failing: &AtomicBool,
) {
    let mut waiting = Vec::with_capacity(BATCH);
    // The changes of a commit that failed: whether they are durable is known when the backend works again.
    let mut uncertain: Option<UncertainCommit> = None;
    while commands.blocking_recv_many(&mut waiting, BATCH) > 0 {
        if let Some(doubt) = uncertain.take() {
            match backend.recover() {
                Ok(durable) if durable == doubt.revision => publish(view, notices, doubt),
                Ok(_) => {}
                Err(error) => {
                    let text = chain(&error);
                    for command in waiting.drain(..) {
                        let _ = command.reply.send(Err(Refused::Failed(text.clone())));
                    }
                    uncertain = Some(doubt);
                    continue;
                }
            }
        }
        let mut batch = Batch::new(view);
        for command in waiting.drain(..) {
            batch.add(command);
        }
        uncertain = batch.finish(backend, notices);
        failing.store(uncertain.is_some(), Ordering::Relaxed);
    }
}

struct UncertainCommit {
    revision: u64,
    events: Vec<Event>,
}

/// Lets readers, watchers and the lifecycle worker see what is durable.
fn publish(
    view: &View,
    notices: &mpsc::UnboundedSender<Notice>,
    UncertainCommit { revision, events }: UncertainCommit,
) {
    let told: Vec<Notice> = events
        .iter()
        .map(|event| Notice {
            collection: event.collection.clone(),
            object: event.object.clone(),
            removed: event.removed,
        })
        .collect();
    view.publish(revision, events);
    for notice in told {
        // The worker looks at the view: it is notified when the view shows the batch. After its end the
        // notice is not needed.
        let _ = notices.send(notice);
    }
}

struct Batch<'a> {
    view: &'a View,
    revision: u64,
    /// What the batch itself has changed so far: later commands of the batch see it.
    pending: HashMap<(Arc<GroupResource>, ObjectKey), Option<Arc<Object>>>,
    events: Vec<Event>,
    replies: Vec<(Reply, Arc<Object>)>,
}

impl<'a> Batch<'a> {
    fn new(view: &'a View) -> Self {
        Self {
            view,
            revision: view.revision(),
            pending: HashMap::new(),
            events: Vec::new(),
            replies: Vec::new(),
        }
    }

    fn add(&mut self, command: Command) {
        let Command {
            collection,
            key,
            expect,
            change,
            reply,
        } = command;
        let place = (collection, key);
        let current = match self.pending.get(&place) {
            Some(pending) => pending.clone(),
            None => self.view.get(&place.0, &place.1),
        };
        let refused = match (expect, &current) {
            (Expect::Absent, None) => None,
            (Expect::Absent, Some(_)) => Some(Refused::Exists),
            (Expect::Revision(_), None) => Some(Refused::Gone),
            (Expect::Revision(wanted), Some(object)) => {
                (object.revision != wanted).then_some(Refused::Changed)
            }
        };
        if let Some(refused) = refused {
            // The caller may have gone away meanwhile.
            let _ = reply.send(Err(refused));
            return;
        }
        let revision = self.revision + 1;
        let (mut value, removed) = match change {
            Change::Put(value) => (value, false),
            Change::Delete(last) => (
                last.or_else(|| Some(current.as_ref()?.value()))
                    .unwrap_or_default(),
                true,
            ),
        };
        let object = match Object::render(&mut value, revision) {
            Ok(object) if object.key == place.1 => Arc::new(object),
            Ok(_) => {
                let _ = reply.send(Err(Refused::Failed(
                    "the object's name is not that of its key".into(),
                )));
                return;
            }
            Err(error) => {
                let _ = reply.send(Err(Refused::Failed(error.to_string())));
                return;
            }
        };
        self.revision = revision;
        self.events.push(Event {
            revision,
            collection: place.0.clone(),
            object: object.clone(),
            previous: current,
            removed,
        });
        self.pending.insert(place, (!removed).then(|| object.clone()));
        self.replies.push((reply, object));
    }

    /// Makes the batch durable, shows it and answers; gives the changes back where the commit failed.
    fn finish(
        self,
        backend: &mut impl Backend,
        notices: &mpsc::UnboundedSender<Notice>,
    ) -> Option<UncertainCommit> {
        if self.events.is_empty() {
            return None;
        }
        let records: Vec<Record> = self
            .pending
            .into_iter()
            .map(|((collection, key), object)| Record {
                collection,
                key,
                object,
            })
            .collect();
        let made = UncertainCommit {
            revision: self.revision,
            events: self.events,
        };
        if let Err(error) = backend.commit(self.revision, &records) {
            let text = chain(&error);
            tracing::error!(error = %text, "a batch of writes could not be made durable");
            for (reply, _) in self.replies {
                let _ = reply.send(Err(Refused::Failed(text.clone())));
            }
            return Some(made);
        }
        publish(self.view, notices, made);
        for (reply, object) in self.replies {
            let _ = reply.send(Ok(object));
        }
        None
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
