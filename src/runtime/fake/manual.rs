//! What a user does to containers without Davit, and health checks that fail.

use jiff::Timestamp;

use super::FakeRuntime;
use crate::model::AppId;
use crate::runtime::rolling::{Health, Phase};

/// A change that a user makes to a container without Davit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManualAction {
    /// `docker stop`.
    Stop,
    /// `docker rm --force`.
    Remove,
    /// `docker pause`.
    Pause,
    /// `docker rename`.
    Rename,
    /// `docker update`.
    Update,
    /// `docker network disconnect`.
    Disconnect,
    /// `docker network connect`.
    Connect,
}

impl FakeRuntime {
    /// Changes one of the Application's containers manually, preferably a serving one. Returns false if the Application has no
    /// container.
    pub fn manually(&self, app: &AppId, action: ManualAction) -> bool {
        let mut state = self.state.lock();
        let mut own: Vec<_> = state
            .containers
            .iter_mut()
            .filter(|one| one.deployment.identity.app == *app)
            .collect();
        own.sort_by_key(|one| !one.seen.named);
        let Some(one) = own.into_iter().next() else {
            return false;
        };
        let id = one.seen.id.clone();
        match action {
            ManualAction::Stop => one.seen.phase = Phase::Exited(137),
            ManualAction::Pause => one.seen.phase = Phase::Paused,
            ManualAction::Rename => {
                one.seen.index = None;
                one.seen.drift.name = true;
            }
            ManualAction::Update => one.seen.drift.limits = true,
            ManualAction::Connect => one.seen.drift.networks = true,
            ManualAction::Disconnect => (one.seen.attached, one.seen.named) = (false, false),
            ManualAction::Remove => state.containers.retain(|one| one.seen.id != id),
        }
        drop(state);
        self.hub.changed(app.clone());
        true
    }

    /// Makes the health check of the Application's first container fail from now on, or pass again. False if it has none.
    pub fn set_healthy(&self, app: &AppId, healthy: bool) -> bool {
        let mut state = self.state.lock();
        let mut own = state.containers.iter_mut();
        let Some(one) = own.find(|one| one.deployment.identity.app == *app) else {
            return false;
        };
        one.seen.health = if healthy {
            Health::Healthy(Timestamp::now())
        } else {
            Health::Unhealthy {
                why: "its health check fails".to_owned(),
                until: None,
            }
        };
        drop(state);
        self.hub.changed(app.clone());
        true
    }
}
