//! Networks of namespaces are removed with their last container.

use super::{Inner, network};
use crate::runtime::RuntimeError;

impl Inner {
    /// Removes the namespace's network, if no container of the namespace is left. A network that is still in use
    /// causes no wait: it is removed with the namespace's next Application, or in [`Self::resume`].
    pub(super) async fn remove_unused_network(&self, namespace: &str) -> Result<(), RuntimeError> {
        let _nobody_makes_containers = self.using_networks.write().await;
        if self
            .list(&self.names.namespace_labels(namespace))
            .await?
            .is_empty()
        {
            let removed = network::remove(&self.docker, &self.names, namespace).await?;
            if !removed {
                tracing::info!(namespace, "the network stays for now: something is still in it");
            }
        }
        Ok(())
    }

    pub(super) async fn remove_unused_networks(&self) -> Result<(), RuntimeError> {
        for namespace in network::namespaces(&self.docker, &self.names).await? {
            self.remove_unused_network(&namespace).await?;
        }
        Ok(())
    }
}
