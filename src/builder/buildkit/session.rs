//! BuildKit's way back to its client: while a build runs, it asks over this session for files, for secrets and for the
//! credentials of registries, each when a step needs it. Nothing of it is stored in the engine's configuration, in the
//! image or in a command line.

use std::collections::BTreeMap;

use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard::moby::filesync::packet::file_sync_server::FileSyncServer;
use bollard::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard::moby::filesync::v1::file_send_server::FileSendServer;
use bollard::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use futures::stream::BoxStream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::control::Control;
use super::filesend::Receiver;
use super::filesync::{FirstError, Trees};
use crate::image::HostLogins;
use crate::model::RegistryLogin;
use crate::redact::Secret;

/// What we answer to. BuildKit only asks for what is announced, and fetches registry tokens by itself where we do not
/// offer to.
const METHODS: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.filesync.v1.FileSync/DiffCopy",
];

/// What a build may ask for.
#[derive(Clone, Debug, Default)]
pub struct SessionContent {
    /// Trees by the name that BuildKit knows them by: `context` and `dockerfile`.
    pub trees: Trees,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Credentials of registries.
    pub registries: HostLogins,
    /// Names the place in BuildKit's cache where transferred files are kept from build to build.
    pub shared_key: String,
    /// Takes the files that the build exports.
    pub receiver: Receiver,
}

/// An open session; closed when dropped.
#[derive(Debug)]
pub struct Session {
    /// What the build refers to it by.
    pub id: String,
    /// The first file that could not be read: BuildKit reports only that the transfer failed.
    pub unreadable: FirstError,
    _served: AbortOnDropHandle<()>,
}

impl Session {
    /// Opens a session in the daemon.
    pub fn open(control: &Control, content: SessionContent) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        let mut headers = vec![
            ("x-docker-expose-session-uuid", id.clone()),
            ("x-docker-expose-session-name", "davit".to_owned()),
            ("x-docker-expose-session-sharedkey", content.shared_key),
        ];
        headers.extend(METHODS.map(|method| ("x-docker-expose-session-grpc-method", method.to_owned())));
        let (stream, carried) = control.callback(&headers);
        let unreadable = FirstError::default();
        let files = super::filesync::Files::new(content.trees, unreadable.clone());
        let routes = Routes::new(HealthServer::new(Serving))
            .add_service(SecretsServer::new(SecretStore(content.secrets)))
            .add_service(AuthServer::new(Logins(content.registries)))
            .add_service(FileSendServer::new(content.receiver))
            .add_service(FileSyncServer::new(files))
            .prepare();
        let served = tokio::spawn(async move {
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
            // The daemon ends the session with the build; how, makes no difference any more.
            tokio::select! {
                _ = served => {}
                () = carried => {}
            }
        });
        Self {
            id,
            unreadable,
            _served: AbortOnDropHandle::new(served),
        }
    }
}

struct Serving;

#[tonic::async_trait]
impl Health for Serving {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("watch"))
    }
}

struct SecretStore(BTreeMap<String, Secret>);

#[tonic::async_trait]
impl Secrets for SecretStore {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.0.get(&id) {
            Some(secret) => Ok(Response::new(GetSecretResponse {
                data: secret.expose().to_vec(),
            })),
            None => Err(Status::not_found(format!(
                "the secret {id} is not in spec.build.secrets"
            ))),
        }
    }
}

struct Logins(HostLogins);

#[tonic::async_trait]
impl Auth for Logins {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let text = |secret: &Secret| {
            let text = secret.expose_str().map(str::to_owned);
            text.ok_or_else(|| Status::invalid_argument(format!("the credential of {host} is not text")))
        };
        // A secret without a user name is a refresh token.
        let (username, secret) = match self.0.get(&host) {
            Some(RegistryLogin::Basic { username, password }) => (username.clone(), text(password)?),
            Some(RegistryLogin::Identity(token)) => (String::new(), text(token)?),
            Some(RegistryLogin::Bearer(_)) => {
                return Err(Status::invalid_argument(format!(
                    "the credential of {host} is a registrytoken, which BuildKit does not take: use auth or identitytoken"
                )));
            }
            None => (String::new(), String::new()),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("fetch_token"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("get_token_authority"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("verify_token_authority"))
    }
}
