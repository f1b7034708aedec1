//! The bound of the build cache, its size for `/metrics`, and the caches of deleted Applications.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::builder::Builder;
use crate::metrics::Metrics;
use crate::model::AppId;

/// How long BuildKit may take to free the cache of one Application. The time begins with the call, not while others are freed.
const PATIENCE: Duration = Duration::from_mins(2);

/// The pauses before each try to free the cache of a deleted Application.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
];

/// Keeps the cache of builds within a bound, and frees the caches of deleted Applications. Nothing else runs between builds.
#[derive(Clone, Debug)]
pub struct BuildCache {
    keep: Option<u64>,
    metrics: Metrics,
    busy: Arc<Mutex<()>>,
    /// Held while BuildKit frees something or sums up its cache. The BuildKit of an engine 20.10 answers many of these calls at once
    /// too slowly, and when it frees something while it sums up its cache, it may block for good, with all builds.
    turn: Arc<Mutex<()>>,
}

impl BuildCache {
    /// At most `keep` bytes; without a bound the garbage collection of BuildKit decides alone.
    pub fn new(keep: Option<u64>, metrics: Metrics) -> Self {
        Self {
            keep,
            metrics,
            busy: Arc::default(),
            turn: Arc::default(),
        }
    }

    /// Trims the cache after a build, beside the deployment of its image. A second build that ends meanwhile needs no second one.
    pub fn build_ended(&self, builder: &Arc<dyn Builder>) {
        let Ok(busy) = Arc::clone(&self.busy).try_lock_owned() else {
            return;
        };
        let (cache, builder) = (self.clone(), Arc::clone(builder));
        tokio::spawn(async move {
            let _busy = busy;
            let _turn = cache.turn.lock().await;
            match builder.trim_cache(cache.keep).await {
                Ok(size) => {
                    cache.metrics.build_cache(size);
                    tracing::info!(size, bound = cache.keep, "size of the build cache, in bytes");
                }
                Err(error) => tracing::warn!(%error, "the build cache could not be trimmed"),
            }
        });
    }

    /// Frees the cache of a deleted Application, after those of the Applications that were deleted before. The deletion does not wait
    /// for it. After the last try, or a restart of Davit, what is left goes with `--build-cache`.
    pub fn application_deleted(&self, app: AppId, builder: &Arc<dyn Builder>) {
        let (turns, builder) = (Arc::clone(&self.turn), Arc::clone(builder));
        tokio::spawn(async move {
            for pause in PAUSES {
                tokio::time::sleep(pause).await;
                let turn = turns.lock().await;
                let freed = tokio::time::timeout(PATIENCE, builder.free_cache(&app)).await;
                drop(turn);
                match freed {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        tracing::info!(%app, %error, "the build cache of a deleted Application is not freed yet");
                    }
                    Err(_) => {
                        tracing::info!(%app, "BuildKit takes too long to free the build cache of a deleted Application");
                    }
                }
            }
            tracing::warn!(%app, "the build cache of a deleted Application was not freed: --build-cache bounds what is left");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::BuildError;
    use crate::builder::fake::FakeBuilder;

    #[tokio::test(start_paused = true)]
    async fn the_caches_of_deleted_applications_are_freed_one_after_another_and_tried_again() {
        let fake = FakeBuilder::default();
        let builder: Arc<dyn Builder> = Arc::new(fake.clone());
        let cache = BuildCache::new(None, Metrics::default());
        fake.fail_next_free(BuildError::Cancelled);
        for number in 0..50 {
            cache.application_deleted(AppId::new("ns", format!("app{number}")), &builder);
        }
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(fake.freed().len(), 49);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((fake.freed().len(), fake.most_frees()), (50, 1));
    }
}
