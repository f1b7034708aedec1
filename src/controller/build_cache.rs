//! The bound of the build cache, and its size for `/metrics`.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::builder::Builder;
use crate::metrics::Metrics;

/// Keeps the cache of builds within a bound. Nothing runs between builds.
#[derive(Clone, Debug)]
pub struct BuildCache {
    keep: Option<u64>,
    metrics: Metrics,
    busy: Arc<Mutex<()>>,
}

impl BuildCache {
    /// At most `keep` bytes; without a bound the garbage collection of BuildKit decides alone.
    pub fn new(keep: Option<u64>, metrics: Metrics) -> Self {
        Self {
            keep,
            metrics,
            busy: Arc::default(),
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
            match builder.trim_cache(cache.keep).await {
                Ok(size) => {
                    cache.metrics.build_cache(size);
                    tracing::info!(size, bound = cache.keep, "size of the build cache, in bytes");
                }
                Err(error) => tracing::warn!(%error, "the build cache could not be trimmed"),
            }
        });
    }
}
