//! The builder of an installation without an engine and without a buildkitd: it runs only images that exist.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::contract::{BuildRequest, Builder, BuiltImage, Export};
use super::error::BuildError;
use crate::image::{Deleted, RegistryAccess};
use crate::job_log::JobLog;
use crate::model::AppId;

/// Refuses to build.
#[derive(Clone, Copy, Debug)]
pub struct NoBuilder;

#[async_trait]
impl Builder for NoBuilder {
    async fn build(
        &self,
        _: &BuildRequest,
        _: &JobLog,
        _: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        Err(BuildError::NoEngine)
    }

    async fn find(&self, _: &str) -> Result<Option<BuiltImage>, BuildError> {
        Ok(None)
    }

    async fn push(
        &self,
        _: &BuiltImage,
        _: Export,
        _: &RegistryAccess,
        _: &JobLog,
        _: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        Err(BuildError::NoEngine)
    }

    async fn find_pushed(
        &self,
        _: &str,
        _: Export,
        _: &RegistryAccess,
        _: &JobLog,
        _: &CancellationToken,
    ) -> Result<Option<BuiltImage>, BuildError> {
        Err(BuildError::NoEngine)
    }

    async fn delete_pushed(&self, _: &str, _: &RegistryAccess) -> Result<Deleted, BuildError> {
        Ok(Deleted::NotAllowed)
    }

    async fn trim_cache(&self, _: Option<u64>) -> Result<u64, BuildError> {
        Ok(0)
    }

    async fn free_cache(&self, _: &AppId) -> Result<(), BuildError> {
        Ok(())
    }

    async fn adopt(&self, _: &str, _: &str, _: bool) -> Result<bool, BuildError> {
        Ok(false)
    }

    async fn images(&self, _: &AppId) -> Result<Vec<BuiltImage>, BuildError> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &str) -> Result<(), BuildError> {
        Ok(())
    }
}
