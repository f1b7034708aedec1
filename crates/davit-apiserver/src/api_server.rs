//! The server as a library: opening, serving, closing.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Extension, Router, body::Body, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, header};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tower::ServiceExt as _;

use crate::{
    auth::{
        identity::Identity,
        pki::{Pki, PkiError},
        token_signer::Keys,
    },
    controllers::{garbage_collector, namespaces},
    data_dir::{KEY_FILE, STORE_FILE, make_directory, sealed},
    http::{
        dispatch,
        flow_control::{Flow, Limits},
        listener,
    },
    json_pointer::text,
    mounts::{Mount, MountError},
    object_meta::Fields,
    registry::crd,
    state::{Server, crd_collection},
    status::ApiError,
    store::{Disk, Memory, ObjectKey, Store, StoreError},
};

/// How a server is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of store, key and certificates. If `None`, all state is in memory and ends with the process.
    pub data_dir: Option<PathBuf>,
    /// The file with the key that encrypts Secrets; by default `encryption.key` in the data directory.
    pub key_file: Option<PathBuf>,
    /// The name of the cluster and of the context in a kubeconfig; its user is `NAME-admin`.
    pub cluster_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: None,
            key_file: None,
            cluster_name: "kubernetes".to_owned(),
        }
    }
}

/// Why the server did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory could not be made.
    #[error("could not make the data directory {path:?}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store did not open.
    #[error("the store did not open")]
    Store(#[from] StoreError),
    /// The certificates could not be made.
    #[error("the certificates could not be made")]
    Pki(#[from] PkiError),
    /// The first objects could not be written.
    #[error("the first objects could not be written")]
    Bootstrap(#[source] ApiError),
}

/// A running API server. Dropping it ends its watches; [`ApiServer::close`] also waits for its store.
pub struct ApiServer {
    server: Arc<Server>,
    pki: Pki,
    cluster_name: String,
    worker: JoinHandle<()>,
}

impl ApiServer {
    /// Loads what is stored, or begins anew. Must be called within a tokio runtime.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let (sender, notices) = mpsc::unbounded_channel();
        let (store, pki) = match &options.data_dir {
            None => (Store::open(Memory, sender)?, Pki::open(None)?),
            Some(directory) => {
                make_directory(directory).map_err(|source| OpenError::Directory {
                    path: directory.clone(),
                    source,
                })?;
                let key = options
                    .key_file
                    .clone()
                    .unwrap_or_else(|| directory.join(KEY_FILE));
                let disk = Disk::open(&directory.join(STORE_FILE), &key, sealed)?;
                (
                    Store::open(disk, sender)?,
                    Pki::open(Some(&directory.join("pki")))?,
                )
            }
        };
        let keys = Keys::open(options.data_dir.as_deref())?;
        let server = Arc::new(Server::new(store, pki.authority().to_owned(), keys));
        namespaces::bootstrap(&server)
            .await
            .map_err(OpenError::Bootstrap)?;
        let worker = tokio::spawn(garbage_collector::run(server.clone(), notices));
        Ok(Self {
            server,
            pki,
            cluster_name: options.cluster_name,
            worker,
        })
    }

    /// The whole API. The user of a request is its [`Identity`] extension; a request without one is anonymous and may
    /// only read the health.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.server.clone())
    }

    /// Serves one version of an API group with a router of the embedding program. The router describes the group itself:
    /// `GET /apis/GROUP/VERSION` answers an APIResourceList. A request reaches it with its whole path, authenticated and
    /// authorized: RBAC permitted the verb on the resource and subresource in the namespace of the path. Its [`Identity`]
    /// extension is the caller.
    pub async fn mount(&self, group: &str, version: &str, router: Router) -> Result<(), MountError> {
        let path = Mount::path(group, version);
        let registry = self.server.registry();
        let is_mounted = self.server.mounts.read().iter().any(|mount| mount.group == group);
        if is_mounted || registry.groups().iter().any(|(known, _)| known == group) {
            return Err(MountError::Taken(group.to_owned()));
        }
        let (code, list) = call(&router, "GET", &path, None)
            .await
            .map_err(MountError::Unreadable)?;
        if code != 200 || list.get("kind").and_then(Value::as_str) != Some("APIResourceList") {
            return Err(MountError::NotDescribed { path, code });
        }
        let (group, version) = (group.to_owned(), version.to_owned());
        self.server.mounts.write().add(Mount {
            group,
            version,
            list,
            router,
        })
    }

    /// The whole API, with every request made as `identity`: for `kube::Client::new` in the same process.
    pub fn router_as(&self, identity: Identity) -> Router {
        self.router().layer(Extension(identity))
    }

    /// Answers on `listener` with TLS until the server closes; the task ends a moment after [`ApiServer::close`].
    pub fn serve(&self, listener: TcpListener) -> Result<JoinHandle<()>, ServeError> {
        self.serve_with(listener, Limits::default())
    }

    /// The same with other limits.
    pub fn serve_with(&self, listener: TcpListener, limits: Limits) -> Result<JoinHandle<()>, ServeError> {
        let address = listener.local_addr().map_err(ServeError::Address)?;
        let tls = self.pki.server(address.ip()).map_err(ServeError::Pki)?;
        Ok(tokio::spawn(listener::serve(
            self.server.clone(),
            self.router(),
            Flow::new(limits, self.server.clone()),
            listener,
            tls,
        )))
    }

    /// A kubeconfig (YAML) with which the administrator reaches a server on `address`, for 30 days at least: its
    /// certificate lasts a year, and is another one in the last month of it.
    pub fn kubeconfig(&self, address: SocketAddr) -> String {
        let host = match address {
            _ if !address.ip().is_unspecified() => address.to_string(),
            _ => format!("127.0.0.1:{}", address.port()),
        };
        let admin = self.pki.admin();
        let encoded = |pem: &str| STANDARD.encode(pem);
        let cluster = &self.cluster_name;
        let user = format!("{cluster}-admin");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": cluster, "preferences": {},
            "clusters": [{"name": cluster, "cluster": {"server": format!("https://{host}"),
                "certificate-authority-data": encoded(self.pki.authority())}}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
            "users": [{"name": user, "user": {"client-certificate-data": encoded(&admin.certificate),
                "client-key-data": encoded(&admin.key)}}]});
        // JSON is YAML; a serialiser's line breaks make it one that people can read.
        serde_saphyr::to_string(&config).unwrap_or_else(|_| config.to_string())
    }

    /// Creates these CustomResourceDefinitions, or brings those that are there to the same spec.
    pub async fn install_crds(&self, definitions: &[Value]) -> Result<(), ApiError> {
        let router = self.router_as(Identity::trusted("system:apiserver"));
        for definition in definitions {
            install(&self.server, &router, definition).await?;
        }
        Ok(())
    }

    /// The same for definitions that the program brings along, and that its tests install with
    /// [`ApiServer::install_crds`]: their schemas are not checked at each start once more. Each is taken when the one
    /// before it is installed, since in these forms a large one takes several MiB.
    pub async fn install_known_crds(
        &self,
        definitions: impl IntoIterator<Item: Serialize>,
    ) -> Result<(), ApiError> {
        let router = self.router_as(Identity::trusted("system:apiserver"));
        let router = router.layer(Extension(crd::Known));
        for definition in definitions {
            let definition = serde_json::to_value(definition).map_err(ApiError::internal)?;
            install(&self.server, &router, &definition).await?;
        }
        Ok(())
    }

    /// Ends watches and connections, and closes the store: what was acknowledged is on disk, later writes are refused.
    pub async fn close(self) {
        self.server.closing.cancel();
        self.worker.abort();
        self.server.store.close().await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.server.closing.cancel();
        self.worker.abort();
    }
}

/// Why a listener could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener has no address.
    #[error("the listener has no address")]
    Address(#[source] std::io::Error),
    /// No certificate could be made for it.
    #[error("no certificate could be made for the address")]
    Pki(#[source] PkiError),
}

async fn install(server: &Server, router: &Router, definition: &Value) -> Result<(), ApiError> {
    let name = text(definition, "/metadata/name");
    let collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let present = server
        .store
        .view()
        .get(&crd_collection(), &ObjectKey::new("", name));
    let (code, answer) = match present.map(|present| present.value()) {
        None => call(router, "POST", collection, Some(definition)).await?,
        Some(present) => match changed(present, definition) {
            None => return Ok(()),
            Some(wanted) => call(router, "PUT", &format!("{collection}/{name}"), Some(&wanted)).await?,
        },
    };
    if code < 300 {
        return Ok(());
    }
    let message = answer.get("message").and_then(Value::as_str);
    Err(ApiError::internal(format!(
        "CustomResourceDefinition {name}: {}",
        message.unwrap_or("no message")
    )))
}

/// The stored definition with the spec, labels and annotations of the wanted one; `None` if it has them.
fn changed(present: Fields, wanted: &Value) -> Option<Value> {
    let mut after = Value::Object(present.clone());
    for key in ["labels", "annotations"] {
        if let Some(value) = wanted.get("metadata").and_then(|metadata| metadata.get(key)) {
            after["metadata"][key] = value.clone();
        }
    }
    if let Some(spec) = wanted.get("spec") {
        after["spec"] = spec.clone();
    }
    crd::default(&mut after);
    (Value::Object(present) != after).then_some(after)
}

async fn answer(State(server): State<Arc<Server>>, request: Request<Body>) -> http::Response<Body> {
    dispatch::dispatch(server, request).await
}

async fn call(
    router: &Router,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value), ApiError> {
    use http_body_util::BodyExt as _;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
        .map_err(ApiError::internal)?;
    let response = match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let code = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(ApiError::internal)?
        .to_bytes();
    Ok((code, serde_json::from_slice(&body).unwrap_or_default()))
}
