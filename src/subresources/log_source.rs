//! Where the lines of an Application's containers come from, and how they are written for a client.

use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;

use super::idle_read;
use super::log_query::Wanted;
use super::log_time::Times;
use super::shared_log::{Batch, Followed, Lines, Open, Origin};
use crate::api::Application;
use crate::controller::context::Context;
use crate::controller::kept_output::{self, Kept};
use crate::controller::logs;
use crate::model::AppId;
use crate::runtime::{self, LogLine, LogOptions, RedactionPolicy, Replica, ReplicaState, RuntimeError};

/// Where lines come from.
pub(super) struct Source {
    pub controller: Arc<Context>,
    pub followed: Followed,
    pub id: AppId,
    pub redaction: Arc<RedactionPolicy>,
    pub wanted: Wanted,
}

impl Source {
    /// All replicas of the Application.
    pub async fn all(&self) -> Result<Vec<Replica>, RuntimeError> {
        let running = self.controller.runtime.observe(&self.id, &self.redaction).await?;
        Ok(running.replicas)
    }

    /// The replicas that the query is about. Containers that are kept for a rollback are shown if they are asked for, or if
    /// there are no others.
    pub async fn replicas(&self) -> Result<Vec<Replica>, RuntimeError> {
        let mut all = self.all().await?;
        if let Some(name) = &self.wanted.replica {
            all.retain(|replica| is_named(replica, name));
            return Ok(all);
        }
        let is_kept = |replica: &Replica| replica.state == ReplicaState::Kept;
        if !self.wanted.previous && !all.iter().all(is_kept) {
            all.retain(|replica| !is_kept(replica));
        }
        Ok(all)
    }

    /// The output that was kept of containers that are gone: before the last start of the others, or if there are no others.
    pub fn kept(&self, app: &Application, is_empty: bool) -> Vec<Kept> {
        if !is_empty && !self.wanted.previous {
            return Vec::new();
        }
        let uid = app.metadata.uid.as_deref().unwrap_or_default();
        let dir = logs::dir(&self.controller.log_dir, &self.id.namespace, uid);
        let mut all = kept_output::list(&dir);
        if let Some(name) = &self.wanted.replica {
            all.retain(|kept| kept.label == *name);
        }
        all
    }

    /// What a replica wrote so far.
    pub async fn lines(&self, replica: &Replica, tail: Option<u64>) -> Result<Lines, RuntimeError> {
        let options = LogOptions {
            follow: false,
            whole: self.is_followed(),
            tail,
            since: self.wanted.since,
            // All output of a container that was replaced is from before.
            previous: self.wanted.previous && replica.state != ReplicaState::Kept,
        };
        (self.origin(replica).open)(options).await
    }

    /// Whether what is written from now on is wanted, too.
    pub fn is_followed(&self) -> bool {
        self.wanted.follow && !self.wanted.previous
    }

    /// The log of a replica, for all that follow it.
    pub fn origin(&self, replica: &Replica) -> Origin {
        let runtime = Arc::clone(&self.controller.runtime);
        let (app, id) = (self.id.clone(), replica.id.clone());
        let redaction = Arc::clone(&self.redaction);
        let engine: Open = Arc::new(move |options: LogOptions| {
            let (runtime, app, id) = (Arc::clone(&runtime), app.clone(), id.clone());
            let redaction = Arc::clone(&redaction);
            async move { runtime.log(&app, &id, &options, &redaction).await }.boxed()
        });
        // A read that is followed is shared, and waits for no client.
        let open = move |options: LogOptions| {
            let engine = Arc::clone(&engine);
            async move {
                if options.follow {
                    engine(options).await
                } else {
                    idle_read::read(engine, options).await
                }
            }
            .boxed()
        };
        Origin {
            app: self.id.clone(),
            replica: replica.id.clone(),
            redaction: Arc::clone(&self.redaction),
            open: Arc::new(open),
        }
    }

    /// Writes what stands before a line.
    fn begin(&self, label: &str, at: Timestamp, times: &mut Times, into: &mut Vec<u8>) {
        if self.wanted.prefix {
            for part in ["[", label, "] "] {
                into.extend_from_slice(part.as_bytes());
            }
        }
        if self.wanted.timestamps {
            times.write(at, into);
        }
    }

    /// Writes a line.
    pub fn write(&self, label: &str, line: &LogLine, times: &mut Times, into: &mut Vec<u8>) {
        self.begin(label, line.at, times, into);
        into.extend_from_slice(line.text.as_bytes());
        into.push(b'\n');
    }

    /// Writes lines.
    pub fn write_all(&self, label: &str, lines: &Batch, times: &mut Times, into: &mut Vec<u8>) {
        if self.is_plain() {
            into.extend_from_slice(lines.text());
            return;
        }
        for (at, text) in lines.lines() {
            self.begin(label, at, times, into);
            into.extend_from_slice(text);
        }
    }

    /// Whether nothing stands before the lines.
    pub fn is_plain(&self) -> bool {
        !self.wanted.prefix && !self.wanted.timestamps
    }
}

/// The name of a replica for users.
pub(super) fn label(replica: &Replica) -> String {
    runtime::label(&replica.id, &replica.name, &replica.release)
}

/// Whether a replica has this name, or this name or ID in the runtime.
pub(super) fn is_named(replica: &Replica, name: &str) -> bool {
    label(replica) == name || replica.name == name || (name.len() >= 12 && replica.id.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(name: &str, release: &str) -> Replica {
        Replica {
            id: "0123456789abcdef".to_owned(),
            name: name.to_owned(),
            hash: String::new(),
            release: release.to_owned(),
            image: String::new(),
            state: ReplicaState::Healthy,
            healthy_since: None,
            serving: true,
            draining: false,
            leaving: false,
            restarts: 0,
            address: None,
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn replica_is_named_by_release_and_number_or_by_the_engine() {
        for (name, expected) in [
            ("davit-t-default_shop-a1b2-1", "shop-7.1"),
            ("davit-t-default_shop-a1b2-12-kept", "shop-7.12"),
            ("davit_default_shop.3", "shop-7.3"),
            ("odd", "shop-7."),
        ] {
            let replica = replica(name, "shop-7");
            assert_eq!(label(&replica), expected);
            assert!(is_named(&replica, name) && is_named(&replica, expected));
            assert!(is_named(&replica, "0123456789ab") && !is_named(&replica, "0123"));
        }
        let mut pod = replica("shop-6d9f7c5b4-x2k9z", "shop-7");
        pod.id.clone_from(&pod.name);
        assert_eq!(label(&pod), "shop-6d9f7c5b4-x2k9z");
    }
}
