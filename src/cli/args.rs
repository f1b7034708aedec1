//! The arguments of the command line as types. Every flag is an environment variable too.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::client::ClientCommand;
use super::proxy_args::Proxy;
use crate::app::leader::LeaseName;
use crate::subresources::aggregation::ServiceName;

/// kubectl apply an Application; Davit builds it, runs it, and says the truth about it.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Examples:
  davit up                                  # everything on this machine
  davit init && kubectl apply -f application.yaml
  davit status shop --wait                  # what runs, since when, why, and what to do next
  davit deploy shop --title 'Version 2.1.0' --wait
  davit logs shop -f
  davit rollback shop --wait
  davit status -n production --context acme # -n, --context, --kubeconfig and --as may also stand before the command"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: API server, controller, and the local Docker Engine.
    #[command(after_help = "Examples:
  davit up
  davit up --data-dir ./data --listen 127.0.0.1:0
  davit up --traefik --acme-email me@example.com --health-listen 127.0.0.1:8081")]
    Up(Up),
    /// Run the controller against a cluster: KUBECONFIG, or the cluster it runs in.
    #[command(after_help = "Examples:
  davit controller                                   # containers on the Docker Engine of this machine
  davit controller --runtime kubernetes --lease davit-system/davit
  kubectl apply -k manifests/kubernetes              # in the cluster itself")]
    Controller(InCluster),
    /// Print the CustomResourceDefinitions as YAML.
    #[command(after_help = "Examples:
  davit crds | kubectl apply --server-side -f -")]
    Crds,
    /// Write every object that a running `davit up` stores to a file.
    ///
    /// Uploads of `davit drop` are no objects and not part of it; they are in uploads/ of the data directory.
    #[command(after_help = "Examples:
  davit backup /backups/davit-2026-11-29
  davit backup ./backup --kubeconfig server.kubeconfig")]
    Backup(Backup),
    /// Make the data directory of a new `davit up` from a backup.
    #[command(after_help = "Examples:
  davit restore ./backup --data-dir /var/lib/davit-new --key /safe/encryption.key
  cp -a /var/lib/davit/uploads /var/lib/davit-new/    # what davit drop uploaded")]
    Restore(Restore),
    /// Commands of daily use.
    #[command(flatten)]
    Client(ClientCommand),
}

/// What is logged.
#[derive(Clone, Debug, Args)]
pub struct Logging {
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as davit::plan=debug. A level
    /// applies to Davit; libraries log errors only, unless the filter names them, such as info,bollard=debug. Values of
    /// Secrets are masked at every level.
    #[arg(long, env = "DAVIT_LOG", default_value = "info")]
    pub log: String,
    /// How to log: text or json.
    #[arg(long, env = "DAVIT_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
}

/// `davit up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Where the API server listens; port 0 takes a free one, which is then in the kubeconfig.
    #[arg(
        long,
        env = "DAVIT_LISTEN",
        default_value = "127.0.0.1:6443",
        value_name = "ADDRESS:PORT"
    )]
    pub listen: SocketAddr,
    /// What the controller needs.
    #[command(flatten)]
    pub controller: Controller,
    /// What is logged.
    #[command(flatten)]
    pub logging: Logging,
}

/// `davit controller`.
#[derive(Debug, Args)]
pub struct InCluster {
    /// Where the API server of the cluster forwards logs and listings to, over TLS; nothing is opened by default. The API
    /// server must have aggregation, as clusters have.
    #[arg(long, env = "DAVIT_API_LISTEN", value_name = "ADDRESS:PORT")]
    pub api_listen: Option<SocketAddr>,
    /// The Service in front of --api-listen; the controller registers it with an APIService while it runs.
    #[arg(
        long,
        env = "DAVIT_API_SERVICE",
        value_name = "NAMESPACE/NAME[:PORT]",
        default_value = "davit-system/davit"
    )]
    pub api_service: ServiceName,
    /// For several controllers: the Lease whose holder works, while the others wait. They share the key of all
    /// digests, in the Secret NAME-key of the same namespace.
    #[arg(long, env = "DAVIT_LEASE", value_name = "NAMESPACE/NAME")]
    pub lease: Option<LeaseName>,
    /// What the controller needs.
    #[command(flatten)]
    pub controller: Controller,
    /// What is logged.
    #[command(flatten)]
    pub logging: Logging,
}

/// Where containers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RuntimeKind {
    /// The Docker Engine.
    #[default]
    Docker,
    /// A Docker Swarm.
    Swarm,
    /// The cluster that has the Applications.
    Kubernetes,
}

/// What the controller needs, with or without an API server of its own.
#[derive(Clone, Debug, Args)]
pub struct Controller {
    /// Where everything is kept. Default: /var/lib/davit for root, else $XDG_DATA_HOME/davit or ~/.local/share/davit.
    #[arg(long, env = "DAVIT_DATA_DIR", value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// The name that distinguishes containers, networks, volumes and images of this Davit from those of another one on
    /// the same engine. Default: davit with the default data directory of root, davit-UID with that of another user,
    /// else a random name; the data directory keeps it.
    #[arg(long, env = "DAVIT_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,
    /// The Docker Engine: unix:///path, or tcp://host:port with port 2375 if none is given. Default:
    /// unix:///var/run/docker.sock, but none with --runtime kubernetes, where only builds need an engine. It may start later
    /// than Davit.
    #[arg(long, env = "DOCKER_HOST", value_name = "URL")]
    pub docker_host: Option<String>,
    /// Where containers run: on the Docker Engine, on the Docker Swarm of which that engine is a manager, or on the Kubernetes
    /// cluster that has the Applications, with `davit controller` only.
    #[arg(long, env = "DAVIT_RUNTIME", default_value = "docker", value_name = "RUNTIME")]
    pub runtime: RuntimeKind,
    /// Where /livez, /readyz and /metrics are served, over plain HTTP; nothing is opened by default.
    #[arg(long, env = "DAVIT_HEALTH_LISTEN", value_name = "ADDRESS:PORT")]
    pub health_listen: Option<SocketAddr>,
    /// Add what each Application uses to /metrics: nine series each, for at most 500 Applications, measured when they are read.
    #[arg(long, env = "DAVIT_METRICS_PER_APPLICATION", requires = "health_listen")]
    pub metrics_per_application: bool,
    /// Where deliveries of webhooks are received, over plain HTTP; nothing is opened by default. A reverse proxy adds
    /// HTTPS.
    #[arg(long, env = "DAVIT_WEBHOOK_LISTEN", value_name = "ADDRESS:PORT")]
    pub webhook_listen: Option<SocketAddr>,
    /// The URL under which forges reach --webhook-listen, such as https://davit.example.com. It is shown in
    /// status.webhookUrl, and registered at forges if a GitProvider's webhook.manage is true.
    #[arg(long, env = "DAVIT_PUBLIC_URL", value_name = "URL", requires = "webhook_listen", value_parser = public_url)]
    pub public_url: Option<String>,
    /// How many builds may run at once; the other Releases show their position in status.queue.
    #[arg(long, env = "DAVIT_MAX_BUILDS", default_value_t = 2, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub max_builds: u16,
    /// How many previews of pull requests one namespace may have, whatever spec.previews.limit of its Applications is.
    #[arg(long, env = "DAVIT_MAX_PREVIEWS", default_value_t = 20, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_previews: u16,
    /// The most that the cache of Git repositories may hold, in MiB.
    #[arg(long, env = "DAVIT_GIT_CACHE", default_value_t = 2048, value_name = "MIB")]
    pub git_cache: u64,
    /// The most that uploads of all namespaces may hold, in MiB. A further one is refused until less is used.
    #[arg(long, env = "DAVIT_MAX_UPLOADS", default_value_t = 10240, value_name = "MIB")]
    pub max_uploads: u64,
    /// The registry, with the beginning of a path if it has one, to which every built image is pushed: registry.example.com/davit.
    /// The repository is below it, NAMESPACE/NAME; spec.image of an Application names another one.
    #[arg(long, env = "DAVIT_REGISTRY", value_name = "HOST[/PATH]")]
    pub registry: Option<String>,
    /// The credentials of --registry: a Docker configuration, such as config.json of docker login. It is read at each use.
    #[arg(
        long,
        env = "DAVIT_REGISTRY_CONFIG",
        value_name = "FILE",
        requires = "registry"
    )]
    pub registry_config: Option<PathBuf>,
    /// A registry where Davit deletes old images over plain HTTP; may be given several times. The engine, which pushes and
    /// pulls, needs the same registry in its insecure-registries.
    #[arg(
        long,
        env = "DAVIT_INSECURE_REGISTRY",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    pub insecure_registry: Vec<String>,
    /// The most that the build cache may use, in MiB; what was not used for the longest time is removed after a build. The cache is that of
    /// the whole BuildKit, also of builds that others run there. Default: no bound of Davit's.
    #[arg(long, env = "DAVIT_BUILD_CACHE", value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub build_cache: Option<u64>,
    /// The buildkitd that builds: unix:///path, or tcp://host:port with --buildkit-ca, --buildkit-cert and --buildkit-key. Default: the
    /// BuildKit in the Docker Engine.
    #[arg(long, env = "DAVIT_BUILDKIT_HOST", value_name = "URL", value_parser = super::buildkit_host::buildkit_host)]
    pub buildkit_host: Option<String>,
    /// The certificate authority of the buildkitd at --buildkit-host, in PEM.
    #[arg(long, env = "DAVIT_BUILDKIT_CA", value_name = "FILE", requires_all = ["buildkit_host", "buildkit_cert"])]
    pub buildkit_ca: Option<PathBuf>,
    /// Davit's certificate for that buildkitd, in PEM.
    #[arg(
        long,
        env = "DAVIT_BUILDKIT_CERT",
        value_name = "FILE",
        requires = "buildkit_key"
    )]
    pub buildkit_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(
        long,
        env = "DAVIT_BUILDKIT_KEY",
        value_name = "FILE",
        requires = "buildkit_ca"
    )]
    pub buildkit_key: Option<PathBuf>,
    /// The reverse proxy.
    #[command(flatten)]
    pub proxy: Proxy,
    /// The railpack program, for Applications that are built with it. Default: railpack in the usual directories for programs.
    #[arg(long, env = "DAVIT_RAILPACK", value_name = "FILE")]
    pub railpack: Option<PathBuf>,
    /// The nixpacks program, for Applications that are built with it. Default: nixpacks in the usual directories for programs.
    #[arg(long, env = "DAVIT_NIXPACKS", value_name = "FILE")]
    pub nixpacks: Option<PathBuf>,
    /// For development: let git sources use file:// URLs, and git sources and GitProviders http:// to this machine.
    #[arg(long, env = "DAVIT_ALLOW_LOCAL_SOURCES")]
    pub allow_local_sources: bool,
}

/// A URL that paths can be appended to.
fn public_url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text)
        .map_err(|error| format!("{error}: write https://host, or https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it must begin with https:// or http://".to_owned());
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(
            "it has a user, a query or a fragment: write https://host, or https://host/path".to_owned(),
        );
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// `davit backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write, mode 0600; it is there when it is whole, and replaces an older one only then.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The data directory whose kubeconfig reaches the running server; the default is that of `davit up`.
    #[arg(long, env = "DAVIT_DATA_DIR", value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// Another kubeconfig, for a server on another machine or a user whose only permission is `get` on `/backup`.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// `davit restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The data directory to make; it must not have a store yet.
    #[arg(long, env = "DAVIT_DATA_DIR", value_name = "DIRECTORY")]
    pub data_dir: PathBuf,
    /// The encryption.key with which the backup was made; it is copied into the data directory. Needed unless it is
    /// there already.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}
