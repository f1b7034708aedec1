//! The group in a cluster: the API server's aggregation forwards requests to a TLS listener of the controller.
//!
//! The listener trusts the API server by its front-proxy certificate and asks it, with a SubjectAccessReview, whether the
//! user may do what the request asks for. The APIService exists while the listener is open: one without a server behind it
//! would keep every namespace of the cluster from being deleted.

mod access;
mod certificate;
mod front_proxy;
mod listener;
mod registration;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::certificate::Certificate;
use self::front_proxy::FrontProxy;
use self::registration::Registration;
pub use self::registration::ServiceName;

/// The ConfigMap in which every API server publishes how it signs in at extension servers.
const CONFIG_MAP: &str = "extension-apiserver-authentication";
/// The pause after the API server or the registration failed.
const AGAIN: Duration = Duration::from_secs(5);
/// How often the registration is compared with what it should be.
const CHECK: Duration = Duration::from_mins(1);

/// Serves the group until `stop`, and removes the APIService then.
pub async fn serve(
    listener: TcpListener,
    service: ServiceName,
    client: Client,
    group: Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let certificate = Certificate::new(&service.dns_name())?;
    let (sender, proxy) = watch::channel(None);
    tokio::spawn(
        stop.clone()
            .run_until_cancelled_owned(follow(client.clone(), sender)),
    );
    let access = Access::new(client.clone(), proxy.clone());
    let router = group.layer(middleware::from_fn_with_state(Arc::new(access), access::check));
    let served = tokio::spawn(listener::serve(
        listener,
        router,
        certificate.identity.clone(),
        proxy.clone(),
        stop.clone(),
    ));
    let registration = Registration::new(client, service, certificate.authority);
    stop.run_until_cancelled(keep(&registration, proxy)).await;
    registration.remove().await;
    let _ = served.await;
    Ok(())
}

/// Registers once the API server's way to sign in is known, and again if the registration was changed.
async fn keep(registration: &Registration, mut proxy: watch::Receiver<Option<Arc<FrontProxy>>>) {
    if proxy.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let mut was_registered = false;
    loop {
        match registration.ensure().await {
            Ok(()) => {
                if !was_registered {
                    tracing::info!("the API server forwards {} to this controller", super::GROUP);
                }
                was_registered = true;
                tokio::time::sleep(CHECK).await;
            }
            Err(error) => {
                tracing::warn!(
                    error = %crate::error::chain(&error),
                    "could not register the API group {}: give the controller the permissions of manifests/base/controller-role.yaml",
                    super::GROUP
                );
                was_registered = false;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Follows the ConfigMap with the API server's way to sign in.
async fn follow(client: Client, sender: watch::Sender<Option<Arc<FrontProxy>>>) {
    let api: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let mut seen = watcher::watch_object(api, CONFIG_MAP).boxed();
    while let Some(next) = seen.next().await {
        match next {
            Ok(Some(map)) => match FrontProxy::read(&map.data.unwrap_or_default()) {
                Ok(proxy) => {
                    sender.send_replace(Some(Arc::new(proxy)));
                }
                Err(message) => {
                    sender.send_replace(None);
                    tracing::warn!("the API group {} is not served: {message}", super::GROUP);
                }
            },
            Ok(None) => {
                sender.send_replace(None);
                tracing::warn!(
                    "the API group {} is not served: the API server has no ConfigMap kube-system/{CONFIG_MAP}, so it has no \
                     aggregation: set its --requestheader flags, or leave out --api-listen",
                    super::GROUP
                );
            }
            // The watch begins again by itself.
            Err(error) => {
                tracing::warn!(error = %crate::error::chain(&error), "could not read kube-system/{CONFIG_MAP}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
