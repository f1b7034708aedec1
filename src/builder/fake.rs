//! A builder in memory for the loop's tests. It reads the same Dockerfile as the real one but does only what a test
//! needs of it: `RUN false` fails, `RUN sleep …` lasts until it is stopped, everything else is done at once, unless a test
//! holds it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::contract::{BuildRequest, BuildType, Builder, BuilderDetails, BuiltImage, Export};
use super::error::BuildError;
use crate::api::Reason;
use crate::image::{Deleted, RegistryAccess, RegistryLogins};
use crate::job_log::JobLog;
use crate::model::AppId;

#[derive(Default)]
struct State {
    images: BTreeMap<String, (AppId, BuiltImage)>,
    /// Pushed images by tag, with `tag@digest`.
    registry: BTreeMap<String, BuiltImage>,
    push_failures: VecDeque<BuildError>,
    failures: VecDeque<BuildError>,
    built: Vec<String>,
    trimmed: Vec<Option<u64>>,
    freed: Vec<AppId>,
    free_failures: VecDeque<BuildError>,
    frees: usize,
    most_frees: usize,
    registries: RegistryLogins,
    active: usize,
    most: usize,
    held: bool,
}

/// The builder in memory. A clone is the same builder.
#[derive(Clone, Default)]
pub struct FakeBuilder {
    state: Arc<Mutex<State>>,
}

/// Counts a build as long as it runs, however it ends.
struct Active<'a>(&'a Mutex<State>);

impl<'a> Active<'a> {
    fn begin(state: &'a Mutex<State>, release: &str) -> Self {
        let mut inner = state.lock();
        inner.built.push(release.to_owned());
        inner.active += 1;
        inner.most = inner.most.max(inner.active);
        drop(inner);
        Self(state)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.lock().active -= 1;
    }
}

impl FakeBuilder {
    /// The id of the image that comes of a Dockerfile.
    pub fn id(dockerfile: &str) -> String {
        use std::fmt::Write as _;
        Sha256::digest(dockerfile.as_bytes())
            .iter()
            .fold("sha256:".to_owned(), |mut id, byte| {
                let _ = write!(id, "{byte:02x}");
                id
            })
    }

    /// The next build fails with this; several are taken in order.
    pub fn fail_next(&self, error: BuildError) {
        self.state.lock().failures.push_back(error);
    }

    /// The next push fails with this.
    pub fn fail_next_push(&self, error: BuildError) {
        self.state.lock().push_failures.push_back(error);
    }

    /// The next call that frees a cache fails with this.
    pub fn fail_next_free(&self, error: BuildError) {
        self.state.lock().free_failures.push_back(error);
    }

    /// How many caches were freed at once at most.
    pub fn most_frees(&self) -> usize {
        self.state.lock().most_frees
    }

    /// The tags in the registry.
    pub fn pushed(&self) -> Vec<String> {
        self.state.lock().registry.keys().cloned().collect()
    }

    /// From now on no build ends before [`FakeBuilder::go_on`].
    pub fn hold(&self) {
        self.state.lock().held = true;
    }

    /// Builds end again.
    pub fn go_on(&self) {
        self.state.lock().held = false;
    }

    /// The image of this id is there no more.
    pub fn lose(&self, id: &str) {
        self.state.lock().images.retain(|_, (_, image)| image.id != id);
    }

    /// The Releases that something was built for, in this order, those that failed too.
    pub fn built(&self) -> Vec<String> {
        self.state.lock().built.clone()
    }

    /// The bounds with which the cache was trimmed.
    pub fn trimmed(&self) -> Vec<Option<u64>> {
        self.state.lock().trimmed.clone()
    }

    /// The Applications whose caches were freed.
    pub fn freed(&self) -> Vec<AppId> {
        self.state.lock().freed.clone()
    }

    /// The credentials for base images that the last build got.
    pub fn registries(&self) -> RegistryLogins {
        self.state.lock().registries.clone()
    }

    /// How many builds run now.
    pub fn active(&self) -> usize {
        self.state.lock().active
    }

    /// How many ran at once at most.
    pub fn most(&self) -> usize {
        self.state.lock().most
    }

    /// Every tag that is there.
    pub fn tags(&self) -> Vec<String> {
        self.state.lock().images.keys().cloned().collect()
    }

    async fn run(line: &str) -> Result<(), BuildError> {
        match line {
            "RUN false" => Err(BuildError::Failed(format!("{line} ended with exit code 1"))),
            line if line.starts_with("RUN sleep ") => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Builder for FakeBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let _active = Active::begin(&self.state, &request.release);
        self.state.lock().registries.clone_from(&request.registries);
        let name = match &request.build_type {
            Some(BuildType::Dockerfile(settings)) => settings.path.as_str(),
            Some(other) => {
                return Err(BuildError::NotSupported {
                    field: "spec.build",
                    why: format!("the builder in memory does no {} builds", other.name()),
                });
            }
            None => "Dockerfile",
        };
        let file = request.root.join(request.path.trim_start_matches('/')).join(name);
        let text = std::fs::read_to_string(&file).map_err(|_| BuildError::PathNotFound {
            field: "spec.build.dockerfile.path",
            path: name.to_owned(),
            reason: Reason::DockerfileNotFound,
        })?;
        request.found.tell("dockerfile", &BuilderDetails::default());
        let steps = async {
            for line in text.lines() {
                log.write(line);
                Self::run(line).await?;
            }
            while self.state.lock().held {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let failure = self.state.lock().failures.pop_front();
            failure.map_or(Ok(()), Err)
        };
        tokio::select! {
            done = tokio::time::timeout(request.timeout, steps) => {
                done.map_err(|_| BuildError::Timeout(request.timeout))??;
            }
            () = cancel.cancelled() => return Err(BuildError::Cancelled),
        }
        let image = BuiltImage {
            id: Self::id(&text),
            tag: request.tag.clone(),
            builder: "dockerfile".to_owned(),
            details: BuilderDetails::default(),
        };
        let mut state = self.state.lock();
        state
            .images
            .insert(request.tag.clone(), (request.app.clone(), image.clone()));
        Ok(image)
    }

    async fn trim_cache(&self, keep: Option<u64>) -> Result<u64, BuildError> {
        let mut state = self.state.lock();
        let size = u64::try_from(state.built.len()).unwrap_or_default() * 1000;
        state.trimmed.push(keep);
        Ok(keep.map_or(size, |keep| keep.min(size)))
    }

    async fn free_cache(&self, app: &AppId) -> Result<(), BuildError> {
        {
            let mut state = self.state.lock();
            state.frees += 1;
            state.most_frees = state.most_frees.max(state.frees);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut state = self.state.lock();
        state.frees -= 1;
        if let Some(error) = state.free_failures.pop_front() {
            return Err(error);
        }
        state.freed.push(app.clone());
        Ok(())
    }

    async fn find(&self, tag: &str) -> Result<Option<BuiltImage>, BuildError> {
        let state = self.state.lock();
        Ok(state.images.get(tag).map(|(_, image)| image.clone()))
    }

    async fn push(
        &self,
        built: &BuiltImage,
        export: Export,
        _access: &RegistryAccess,
        log: &JobLog,
        _cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        log.write(&format!("Pushing {}", built.tag));
        let mut state = self.state.lock();
        if let Some(failure) = state.push_failures.pop_front() {
            return Err(failure);
        }
        let pushed = BuiltImage {
            id: format!("{}@{}", built.tag, built.id),
            ..built.clone()
        };
        state.registry.insert(built.tag.clone(), pushed.clone());
        if export == Export::Registry {
            state.images.remove(&built.tag);
        }
        Ok(pushed)
    }

    async fn find_pushed(
        &self,
        tag: &str,
        _export: Export,
        _access: &RegistryAccess,
        _log: &JobLog,
        _cancel: &CancellationToken,
    ) -> Result<Option<BuiltImage>, BuildError> {
        Ok(self.state.lock().registry.get(tag).cloned())
    }

    async fn delete_pushed(&self, image: &str, _access: &RegistryAccess) -> Result<Deleted, BuildError> {
        self.state.lock().registry.retain(|_, pushed| pushed.id != image);
        Ok(Deleted::Done)
    }

    async fn images(&self, app: &AppId) -> Result<Vec<BuiltImage>, BuildError> {
        let state = self.state.lock();
        let own = state.images.values().filter(|(owner, _)| owner == app);
        Ok(own.map(|(_, image)| image.clone()).collect())
    }

    async fn adopt(&self, _image: &str, _tag: &str, pulled: bool) -> Result<bool, BuildError> {
        Ok(pulled)
    }

    async fn remove(&self, tag: &str) -> Result<(), BuildError> {
        self.state.lock().images.remove(tag);
        Ok(())
    }
}
