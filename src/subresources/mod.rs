//! The API group `subresources.davit.dev`: what flows through the controller, or is asked of a forge, and therefore is no
//! object. An API server has authenticated and authorized every request that arrives here: the embedded one, which mounts
//! the router, or that of a cluster.

mod access_log;
pub mod aggregation;
mod container_log;
pub mod discovery;
mod exec;
mod failure;
mod followed_log;
mod group;
mod idle_read;
mod listing;
mod log_query;
mod log_source;
mod log_time;
mod lookup;
mod metrics;
pub mod nearest;
mod page_token;
mod parameters;
mod release_log;
pub mod roles;
mod shared_log;
mod source;
mod target;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{Method, Request};
use parking_lot::RwLock;

use self::discovery::Subresource;
use self::failure::Failure;
pub use self::group::{GROUP, VERSION};
use self::parameters::Parameters;
use self::shared_log::Followed;
pub use self::source::PART as UPLOAD_PART;
use self::target::Target;
use crate::controller::context::Context;
pub use crate::runtime::channel;

/// The group, served while a controller runs. Clones share it.
#[derive(Clone, Default)]
pub struct Subresources(Arc<RwLock<Option<Running>>>);

#[derive(Clone)]
struct Running {
    controller: Arc<Context>,
    followed: Followed,
}

impl fmt::Debug for Subresources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subresources")
            .field(&self.0.read().is_some())
            .finish()
    }
}

impl Subresources {
    /// Answers with this controller from now on.
    pub fn start(&self, controller: Arc<Context>) {
        *self.0.write() = Some(Running {
            controller,
            followed: Followed::default(),
        });
    }

    /// The controller, if it runs.
    pub fn controller(&self) -> Option<Arc<Context>> {
        let running = self.0.read();
        running.as_ref().map(|running| Arc::clone(&running.controller))
    }

    /// The whole group. Its description is answered before the controller runs, too.
    pub fn router(&self) -> Router {
        let root = format!("/apis/{GROUP}/{VERSION}");
        Router::new()
            .route(&root, get(|| std::future::ready(discovery::list())))
            .route(
                &format!("{root}/namespaces/{{namespace}}/{{resource}}/{{name}}/{{subresource}}"),
                any(answer),
            )
            .fallback(|| std::future::ready(Failure::no_such_path()))
            .with_state(self.clone())
    }
}

async fn answer(
    State(group): State<Subresources>,
    method: Method,
    Path(target): Path<Target>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Response {
    let answered = async {
        let entry = discovery::entry(&target)?;
        if !entry.accepts(&method) {
            return Err(Failure::method_not_allowed());
        }
        if !target::may_exist(&target.namespace) {
            let message = format!("namespace {:?} not found", target.namespace);
            return Err(Failure::not_found(&message, &target));
        }
        let running = group.0.read().clone().ok_or_else(Failure::starting)?;
        let Running { controller, followed } = running;
        let parameters = Parameters::parse(query.as_deref().unwrap_or_default());
        match entry.subresource {
            Subresource::ContainerLog => {
                container_log::log((&controller, &followed), &target, &parameters).await
            }
            Subresource::Exec => exec::exec(&controller, &target, &parameters, request).await,
            Subresource::Metrics => metrics::metrics(&controller, &target, &parameters).await,
            Subresource::Repositories => listing::repositories(&controller, &target, &parameters).await,
            Subresource::Branches => listing::branches(&controller, &target, &parameters).await,
            Subresource::ReleaseLog => release_log::log(&controller, &target, &parameters).await,
            Subresource::Source => {
                source::source(&controller, &target, &parameters, request.into_body()).await
            }
        }
    };
    answered.await.unwrap_or_else(IntoResponse::into_response)
}
