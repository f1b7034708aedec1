//! Finds the API server and the namespace as kubectl does, and explains what the API server refuses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use super::args::Connection;
use super::lost::why;
use super::terminal::Terminal;
use crate::api::{Application, Release};
use crate::cli::failure::Failure;
use crate::config;

/// The longest that a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// The field manager of what the commands change.
pub const MANAGER: &str = "davit-cli";

/// What a command does to the API server's objects; it decides which role grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads.
    View,
    /// It changes something.
    Edit,
}

/// The API server, the namespace and the terminal of a command.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace of the command.
    pub namespace: String,
    /// The terminal.
    pub terminal: Terminal,
    url: String,
    /// What the command needs in the end, also for its requests that only read.
    access: Access,
    /// The user to impersonate.
    user: Option<String>,
}

impl Cluster {
    /// Reads the kubeconfig. The API server is not asked yet.
    ///
    /// # Errors
    /// There is no kubeconfig, or it cannot be used.
    pub async fn new(connection: &Connection) -> Result<Self, Failure> {
        let mut config = kube_config(connection).await?;
        config.connect_timeout = Some(CONNECT_PATIENCE);
        config.read_timeout = None;
        config.auth_info.impersonate.clone_from(&connection.impersonate);
        let namespace = connection.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| {
            let why = crate::error::chain(&error);
            Failure::new(format!("cannot use the kubeconfig for {url}: {why}"))
        })?;
        let terminal = Terminal::new(connection.color);
        Ok(Self {
            client,
            namespace,
            terminal,
            url,
            access: Access::View,
            user: connection.impersonate.clone(),
        })
    }

    /// The same for a command that changes something: a refusal names the role for all that it does.
    ///
    /// # Errors
    /// There is no kubeconfig, or it cannot be used.
    pub async fn for_changes(connection: &Connection) -> Result<Self, Failure> {
        let access = Access::Edit;
        Ok(Self {
            access,
            ..Self::new(connection).await?
        })
    }

    /// The same API server with another namespace.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }

    /// Whether the API server is on this machine.
    pub fn is_on_this_machine(&self) -> bool {
        let host = url::Url::parse(&self.url)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned));
        host.is_some_and(|host| matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]"))
    }

    /// The Applications of the namespace.
    pub fn applications(&self) -> Api<Application> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Releases of the namespace.
    pub fn releases(&self) -> Api<Release> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Sends a GET request for JSON.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, accept: &str) -> Result<T, Failure> {
        let request = http::Request::get(path).header(http::header::ACCEPT, accept);
        let request = request
            .body(Vec::new())
            .map_err(|error| Failure::new(format!("cannot ask for {path}: {error}")))?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| self.refused(&error, Access::View))
    }

    /// Explains why a request failed, with the way out.
    pub fn refused(&self, error: &kube::Error, access: Access) -> Failure {
        let kube::Error::Api(status) = error else {
            return Failure::new(format!(
                "cannot reach the API server at {}: {}: start it (davit up), or choose another one with --kubeconfig or --context",
                self.url,
                why(error)
            ));
        };
        let (reason, message) = (&status.reason, &status.message);
        match status.code {
            401 => Failure::new(format!(
                "the API server at {} refused the credential: renew the kubeconfig, or choose another one with --kubeconfig or \
                 --context",
                self.url
            )),
            403 => {
                let role = match (access, self.access) {
                    (Access::View, Access::View) => "davit-view",
                    _ => "davit-edit",
                };
                let advice = role_advice(role, self.user.as_deref(), &self.namespace, message);
                // Where Davit serves the API itself, the refusal has a hint of its own.
                let message = message.split(ROLE_HINT).next().unwrap_or(message);
                Failure::new(format!("{}\n{advice}", from_server(reason, message)))
            }
            404 if message.contains("the server could not find the requested resource")
                || message.contains("404 page") =>
            {
                Failure::new(format!(
                    "the API server at {} has no Davit: start davit controller there (manifests/), or choose another one with \
                     --kubeconfig or --context",
                    self.url
                ))
            }
            _ => Failure::new(from_server(reason, message)),
        }
    }
}

/// How the hint of a refusal begins.
const ROLE_HINT: &str = ": a RoleBinding to the ClusterRole ";

/// Returns how an administrator grants what was refused: in the namespace, or in all of them if that was asked for.
fn role_advice(role: &str, user: Option<&str>, namespace: &str, refusal: &str) -> String {
    // The refusal of the API server names the user where it is not impersonated.
    let named = refusal
        .split_once("User \"")
        .and_then(|(_, rest)| rest.split('"').next());
    let user = user.or(named).unwrap_or("USER");
    let (kind, place) = if refusal.contains("at the cluster scope") {
        ("clusterrolebinding", String::new())
    } else {
        ("rolebinding", format!(" -n {namespace}"))
    };
    format!(
        "The ClusterRole {role} grants it; an administrator binds it with: kubectl create {kind} NAME --clusterrole {role} \
         --user {user}{place}"
    )
}

/// Returns a refusal in the words of kubectl.
fn from_server(reason: &str, message: &str) -> String {
    if reason.is_empty() {
        format!("from server: {message}")
    } else {
        format!("from server ({reason}): {message}")
    }
}

/// The configuration of the client: `--kubeconfig`, else `KUBECONFIG`, else `~/.kube/config`, else that of the Pod, else
/// that of `davit up` on this machine.
async fn kube_config(connection: &Connection) -> Result<Config, Failure> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        ..KubeConfigOptions::default()
    };
    let (files, kubeconfig) = if let Some(file) = &connection.kubeconfig {
        (file.display().to_string(), Some(read(file)?))
    } else {
        let files: Vec<PathBuf> = config::kubeconfig_files();
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        (names.join(", "), merged(&files)?)
    };
    let Some(kubeconfig) = kubeconfig else {
        if let Ok(config) = Config::incluster() {
            return Ok(config);
        }
        return Err(Failure::new(format!(
            "no cluster is configured (there is no {files}): set KUBECONFIG as davit up prints it, or --kubeconfig"
        )));
    };
    let contexts: Vec<&str> = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.as_str())
        .collect();
    if let Some(context) = &connection.context
        && !contexts.contains(&context.as_str())
    {
        return Err(Failure::new(format!(
            "context {context:?} is not in the kubeconfig ({files}): {}",
            crate::subresources::nearest::advice(context, &contexts, "set --context to one of")
        )));
    }
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| {
            let why = crate::error::chain(&error);
            Failure::new(format!("cannot use the kubeconfig ({files}): {why}"))
        })
}

/// Returns the names of the contexts; none if the kubeconfig cannot be read.
pub fn contexts(connection: &Connection) -> Vec<String> {
    let found = match &connection.kubeconfig {
        Some(file) => read(file).ok(),
        None => merged(&config::kubeconfig_files()).ok().flatten(),
    };
    let contexts = found.into_iter().flat_map(|config| config.contexts);
    contexts.map(|context| context.name).collect()
}

/// Reads one kubeconfig.
fn read(file: &Path) -> Result<Kubeconfig, Failure> {
    Kubeconfig::read_from(file).map_err(|error| {
        let why = crate::error::chain(&error);
        Failure::new(format!("cannot read the kubeconfig {}: {why}", file.display()))
    })
}

/// Reads those of the files that exist; `None` if none does. The first file that has a value decides, as in kubectl.
fn merged(files: &[PathBuf]) -> Result<Option<Kubeconfig>, Failure> {
    let mut all: Option<Kubeconfig> = None;
    for file in files.iter().filter(|file| file.exists()) {
        let next = read(file)?;
        all = Some(match all {
            None => next,
            Some(before) => before.merge(next).map_err(|error| {
                let why = crate::error::chain(&error);
                Failure::new(format!("cannot merge the kubeconfig {}: {why}", file.display()))
            })?,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_binding_that_helps() {
        let within = "applications.davit.dev is forbidden: User \"bob\" cannot list resource \"applications\" in API group \
                      \"davit.dev\" in the namespace \"shop\"";
        let everywhere = "User \"bob\" cannot list resource \"applications\" in API group \"davit.dev\" at the cluster scope";
        for (user, refusal, command) in [
            (
                None,
                within,
                "create rolebinding NAME --clusterrole davit-view --user bob -n shop",
            ),
            (
                Some("jane"),
                everywhere,
                "create clusterrolebinding NAME --clusterrole davit-view --user jane",
            ),
            (
                None,
                "no",
                "create rolebinding NAME --clusterrole davit-view --user USER -n shop",
            ),
        ] {
            let advice = role_advice("davit-view", user, "shop", refusal);
            assert!(advice.ends_with(command), "{advice}");
        }
    }
}
