//! A Kubernetes-compatible API server to embed: what it serves, kubectl, kube and client-go take for a cluster.
//!
//! It knows nothing of the rest of this crate. [`ApiServer::open`] loads the store, [`ApiServer::router`] is the whole
//! API as a tower service for clients in the same process, [`ApiServer::serve`] is the same over TLS.
//!
//! In a test of any other controller it takes the place of a cluster:
//!
//! ```
//! use davit_apiserver::{ApiServer, Identity, Options};
//! use kube::{Api, Client, api::{DynamicObject, GroupVersionKind, ApiResource, PostParams}};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In memory; with a data directory it keeps what it is given.
//! let server = ApiServer::open(Options::default()).await?;
//! server
//!     .install_crds(&[json!({
//!         "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
//!         "metadata": {"name": "lamps.example.com"},
//!         "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "lamps", "kind": "Lamp"},
//!             "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
//!                 {"type": "object", "properties": {"spec": {"type": "object", "properties":
//!                     {"watts": {"type": "integer", "maximum": 100}}}}}}}]}
//!     })])
//!     .await?;
//! // A client without a network; over one: `server.serve(listener)` and `server.kubeconfig(address)`.
//! let client = Client::new(server.router_as(Identity::trusted("test")), "default");
//! let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("example.com", "v1", "Lamp"), "lamps");
//! let lamps: Api<DynamicObject> = Api::default_namespaced_with(client, &kind);
//! let lamp = |name: &str, watts: u32| DynamicObject::new(name, &kind).data(json!({"spec": {"watts": watts}}));
//! let made = lamps.create(&PostParams::default(), &lamp("desk", 40)).await?;
//! assert_eq!(made.metadata.generation, Some(1));
//! let refused = lamps.create(&PostParams::default(), &lamp("sun", 1000)).await.unwrap_err();
//! assert!(refused.to_string().contains("should be less than or equal to 100"));
//! server.close().await;
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod api_server;
mod auth;
mod backup;
mod cel;
mod controllers;
mod data_dir;
mod field;
mod fieldmanager;
mod flow_schemas;
mod handlers;
mod http;
#[doc(hidden)]
pub mod internals;
mod json_pointer;
mod merge_strategy;
mod metrics;
mod mounts;
mod object_meta;
mod openapi;
mod patch;
mod percent;
mod protobuf;
mod registry;
mod schema;
mod state;
mod status;
mod store;
mod table;

pub use crate::{
    api_server::{ApiServer, OpenError, Options, ServeError},
    auth::{
        identity::{Identity, MASTERS},
        pki::PkiError,
    },
    backup::{restore_backup, verify_backup},
    http::flow_control::Limits,
    mounts::MountError,
    status::ApiError,
    store::StoreError,
};
