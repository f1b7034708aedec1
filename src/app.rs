//! Wires everything; the only file that imports all modules.

mod build_host;
pub mod leader;
mod monitoring;
mod outbound;
mod routing;
mod runtime;
mod usage_series;

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::build_host::{daemon, place};
use self::leader::{Election, LeaseName};
pub use self::monitoring::Monitoring;
use self::outbound::{forges, proxy_environment};
pub use self::routing::{Routing, routing, routing_in_cluster};
use crate::builder::{Builder, BuilderOptions, DockerBuilder, NoBuilder};
use crate::cli::args::RuntimeKind;
use crate::config::{Config, update_private, write_private};
use crate::controller::build_cache::BuildCache;
use crate::controller::commit_statuses::CommitStatuses;
use crate::controller::context::Context;
use crate::controller::hooks::Hooks;
use crate::controller::job_queue::Jobs;
use crate::controller::orphans::Orphans;
use crate::controller::preview::state::Previews;
use crate::controller::pull_journal::Pulls;
use crate::controller::registries::Registries;
use crate::controller::report::Report;
use crate::controller::resolve::Resolver;
use crate::controller::resolve::single_flight::Lookups;
use crate::controller::suspects::Suspects;
use crate::controller::tools::Tools;
use crate::controller::watch::{self, Stores};
use crate::http;
use crate::http::health::Check;
use crate::image::RegistryOptions;
use crate::plan::desired::Install;
use crate::plan::endpoint::Endpoint;
use crate::runtime::Runtime;
use crate::runtime::docker::docker_host::Host;
use crate::source::archive::Limits;
use crate::source::uploads::Uploads;
use crate::source::{Git, GitOptions};
use crate::subresources;
use crate::subresources::aggregation::{self, ServiceName};
use davit_apiserver::{ApiServer, Identity, OpenError, Options, StoreError};

/// How often the kubeconfig's certificate is checked.
const DAY: Duration = Duration::from_hours(24);
/// The pause before the next request to an API server that did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How long a start waits for a store that another process has open.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// The longest that the engine may take to answer a ping before it is reported as away.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

/// Runs `davit up` until SIGTERM or SIGINT, and returns when everything has ended.
///
/// # Errors
/// An address, a directory or the store cannot be used.
pub async fn up(config: Config) -> anyhow::Result<()> {
    if config.runtime == RuntimeKind::Kubernetes {
        anyhow::bail!(
            "--runtime kubernetes needs the API server of the cluster, and davit up has one of its own: use davit controller with \
             the kubeconfig of the cluster"
        );
    }
    let host = Host::parse(config.docker_host.as_deref())?;
    let stop = stop_on_signal()?;
    let monitoring = Monitoring::default();
    let monitored = monitoring.serve(&config, &stop).await?;
    let server = open(&config).await?;
    server
        .install_known_crds(crate::api::each_crd())
        .await
        .map_err(|error| anyhow::anyhow!("install the CRDs: {error}"))?;
    server
        .mount(
            subresources::GROUP,
            subresources::VERSION,
            monitoring.subresources.router(),
        )
        .await?;
    let address = config.listen.unwrap_or_else(|| ([127, 0, 0, 1], 6443).into());
    let listener = http::bind("--listen", address).await?;
    let address = listener.local_addr()?;
    let served = server.serve(listener)?;
    let client = Client::new(server.router_as(Identity::trusted("system:davit")), "default");
    subresources::roles::install(&client).await?;
    let kubeconfig = config.data_dir.join("kubeconfig");
    let text = server.kubeconfig(address);
    update_private(&kubeconfig, text.as_bytes())?;
    writeln!(
        std::io::stdout(),
        "davit is ready: export KUBECONFIG={}",
        kubeconfig.display()
    )?;
    tracing::info!(%address, data_dir = %config.data_dir.display(), instance = config.instance, "ready");
    tokio::select! {
        worked = work(&config, &host, client, stop, monitoring) => worked?,
        never = renew(&kubeconfig, text, || server.kubeconfig(address)) => match never {},
    }
    server.close().await;
    served.await?;
    for monitored in monitored {
        monitored.close().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Opens the API server. A process that was just killed may hold the store for a moment after it has freed the data
/// directory.
async fn open(config: &Config) -> Result<ApiServer, OpenError> {
    let end = tokio::time::Instant::now() + STORE_PATIENCE;
    loop {
        let opened = ApiServer::open(Options {
            data_dir: Some(config.data_dir.join("apiserver")),
            cluster_name: "davit".to_owned(),
            ..Options::default()
        })
        .await;
        match opened {
            Err(OpenError::Store(StoreError::InUse { .. })) if tokio::time::Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return opened,
        }
    }
}

/// Writes the kubeconfig again when its certificate was renewed, every eleven months.
async fn renew(kubeconfig: &Path, mut written: String, current: impl Fn() -> String) -> Infallible {
    loop {
        tokio::time::sleep(DAY).await;
        let text = current();
        if text == written {
            continue;
        }
        match write_private(kubeconfig, text.as_bytes()) {
            Ok(()) => written = text,
            Err(error) => {
                tracing::warn!(%error, path = %kubeconfig.display(), "could not renew the kubeconfig");
            }
        }
    }
}

/// Runs `davit controller` until SIGTERM or SIGINT.
///
/// # Errors
/// An address or a directory cannot be used, or no cluster is configured.
pub async fn controller(
    mut config: Config,
    aggregation: Option<(SocketAddr, ServiceName)>,
    lease: Option<LeaseName>,
) -> anyhow::Result<()> {
    let host = Host::parse(config.docker_host.as_deref())?;
    let stop = stop_on_signal()?;
    let monitoring = Monitoring::default();
    let monitored = monitoring.serve(&config, &stop).await?;
    let client = Client::try_default().await.map_err(|error| {
        anyhow::anyhow!(
            "cannot find a cluster: {}: set KUBECONFIG to the path of a kubeconfig",
            crate::error::chain(&error)
        )
    })?;
    let election = lease.map(|lease| Election::new(client.clone(), lease, &host_name()));
    if let Some(election) = &election {
        // A controller that waits is ready to take over.
        for check in [Check::Cluster, Check::Caches] {
            monitoring.health.set(check, true);
        }
        if stop.run_until_cancelled(election.acquire()).await.is_none() {
            return Ok(());
        }
        for check in [Check::Cluster, Check::Caches] {
            monitoring.health.set(check, false);
        }
        config.key = election.shared_key(&config.key).await?;
    }
    let aggregated = match aggregation {
        Some((address, service)) => {
            let listener = http::bind("--api-listen", address).await?;
            let group = monitoring.subresources.router();
            let served = aggregation::serve(listener, service, client.clone(), group, stop.clone());
            Some(tokio::spawn(served))
        }
        None => None,
    };
    tracing::info!(data_dir = %config.data_dir.display(), instance = config.instance, "started");
    let worked = work(&config, &host, client, stop.clone(), monitoring);
    let worked = match &election {
        None => worked.await,
        Some(election) => tokio::select! {
            worked = worked => worked,
            // Another controller may work already, so nothing is finished here.
            lost = election.hold() => anyhow::bail!("{lost}, so this controller ends"),
        },
    };
    stop.cancel();
    if let Some(aggregated) = aggregated {
        aggregated.await??;
    }
    if let Some(election) = &election {
        election.release().await;
    }
    worked?;
    for monitored in monitored {
        monitored.close().await;
    }
    Ok(())
}

/// The name of this machine; in a cluster, of this Pod.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Runs the controller until `stop`.
///
/// # Errors
/// A directory cannot be used.
async fn work(
    config: &Config,
    host: &Host,
    client: Client,
    stop: CancellationToken,
    monitoring: Monitoring,
) -> anyhow::Result<()> {
    let Some(installation) = stop.run_until_cancelled(installation(&client)).await else {
        return Ok(());
    };
    monitoring.health.set(Check::Cluster, true);
    // In a cluster an engine only builds.
    let in_cluster = config.runtime == RuntimeKind::Kubernetes;
    let has_engine = !in_cluster || config.docker_host.is_some();
    let docker = host.client()?;
    if has_engine {
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(report_engine(docker.clone(), host.to_string())),
        );
    }
    let (runtime, routing) = runtime::runtime(config, &docker, &client, &installation)?;
    let work_dir = config.data_dir.join("work");
    // Files of jobs that ended with the previous process are useless.
    let _ = std::fs::remove_dir_all(&work_dir);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&work_dir)?;
    let git = Git::new(GitOptions {
        max_cache_bytes: config.git_cache,
        allow_file: config.allow_local_sources,
        environment: proxy_environment(config),
        ..GitOptions::new(config.data_dir.join("cache/git"), std::env::current_exe()?)
    })?;
    let mut options = BuilderOptions {
        installation: installation.clone(),
        key: config.key.clone(),
        registries: RegistryOptions {
            plain_http: config.insecure_registries.clone(),
        },
        buildkit: daemon(config, host)?,
        ..BuilderOptions::at(place(host), &config.instance)
    };
    for (planner, program) in [
        (&mut options.railpack, &config.railpack),
        (&mut options.nixpacks, &config.nixpacks),
    ] {
        planner.home = config.data_dir.join("cache").join(planner.name);
        if let Some(program) = program {
            planner.program = program.into();
        }
    }
    let registries = in_cluster.then(|| options.registries.clone());
    let builder: Arc<dyn Builder> = if has_engine {
        Arc::new(DockerBuilder::new(docker.clone(), options))
    } else if config.buildkit_host.is_some() {
        Arc::new(DockerBuilder::without_engine(options))
    } else {
        Arc::new(NoBuilder)
    };
    let tools = Tools {
        forges: forges(config),
        git: Arc::new(git),
        builder,
        cache: BuildCache::new(config.build_cache, monitoring.metrics.clone()),
        docker: has_engine.then_some(docker),
        registries,
        uploads: Uploads::new(
            config.data_dir.join("uploads"),
            Limits {
                stored_bytes: config.max_uploads,
                ..Limits::default()
            },
        ),
        work_dir,
    };
    controller_loop(
        config,
        &installation,
        client,
        stop,
        monitoring,
        runtime,
        tools,
        routing,
    )
    .await;
    Ok(())
}

/// Logs that the engine does not answer, and later that it does. Every Application reports the same in its conditions.
async fn report_engine(docker: Docker, host: String) {
    let mut is_away = false;
    loop {
        let answer = tokio::time::timeout(ENGINE_PATIENCE, docker.ping()).await;
        let error = match answer {
            Ok(Ok(_)) => break,
            Ok(Err(error)) => crate::error::chain(&error),
            Err(_) => format!("no answer within {ENGINE_PATIENCE:?}"),
        };
        if !is_away {
            tracing::warn!(
                "the Docker Engine at {host} does not answer ({error}), so nothing is built or started: start the engine, \
                 allow this user to use its socket, or set --docker-host to another one"
            );
        }
        is_away = true;
        tokio::time::sleep(ASK_AGAIN).await;
    }
    if is_away {
        tracing::info!("the Docker Engine at {host} answers");
    }
}

/// Returns the ID of the cluster, which distinguishes this Davit from another one with the same instance name. By
/// convention that is the UID of the namespace `kube-system`; a backup keeps it.
async fn installation(client: &Client) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    loop {
        match namespaces.get_metadata_opt("kube-system").await {
            Ok(found) => return found.and_then(|found| found.metadata.uid).unwrap_or_default(),
            Err(kube::Error::Api(refusal)) if (400..500).contains(&refusal.code) && refusal.code != 429 => {
                tracing::warn!(
                    message = refusal.message,
                    "may not get the namespace kube-system: another Davit with this --instance would not be noticed"
                );
                return String::new();
            }
            Err(error) => {
                tracing::warn!(error = %crate::error::chain(&error), "the API server does not answer yet");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
}

/// Runs the controller with the given dependencies, so that tests can pass fakes. `installation` distinguishes it from
/// another Davit with the same `--instance`; it may be empty.
#[expect(clippy::too_many_arguments, reason = "each is a part that tests replace")]
pub async fn controller_loop(
    config: &Config,
    installation: &str,
    client: Client,
    stop: CancellationToken,
    monitoring: Monitoring,
    runtime: Arc<dyn Runtime>,
    tools: Tools,
    routing: Option<Routing>,
) {
    let mut stores = Stores::new();
    let metrics = monitoring.metrics.clone();
    let (wake, woken) = mpsc::unbounded_channel();
    let routes = routing.map(|routing| routing.start(&wake, &stores.applications, &stores.listed[0], &stop));
    let ctx = Arc::new(Context {
        install: Install {
            key: config.key.clone(),
            capabilities: runtime.capabilities(),
            image_prefix: crate::builder::image_prefix(&config.instance),
            image_mark: crate::builder::image_mark(installation),
            webhooks: Endpoint {
                is_served: config.webhook_listen.is_some(),
                public_url: config.public_url.clone(),
            },
            registry: config.registry.clone(),
        },
        resolver: Resolver::new(
            client.clone(),
            tools.clone(),
            stores.providers.clone(),
            Lookups::new(wake.clone()),
        ),
        commit_statuses: CommitStatuses::new(wake.clone()),
        previews: Previews::new(config.max_previews, wake.clone()),
        jobs: Jobs::new(config.max_builds, wake),
        report: Report::new(client.clone(), &config.instance, metrics.clone()),
        log_dir: config.data_dir.join("logs"),
        orphans: Orphans::new(config.data_dir.join("orphans")),
        pulls: Pulls::new(config.data_dir.join("pulls")),
        applications: stores.applications.clone(),
        providers: stores.providers.clone(),
        suspects: Suspects::new(stores.suspect.clone()),
        client,
        forges: tools.forges.clone(),
        tools,
        runtime,
        metrics,
        hooks: Hooks::default(),
        registries: Registries {
            default: config.registry.clone(),
            config: config.registry_config.clone(),
        },
        routes,
    });
    monitoring.observe(&stores, &ctx.jobs);
    monitoring.subresources.start(Arc::clone(&ctx));
    monitoring.receive(&mut stores, &ctx.client);
    watch::run(ctx, stores, woken, stop).await;
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn kubeconfig_is_written_again_only_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        let days = Cell::new(0);
        let current = || {
            days.set(days.get() + 1);
            String::from(if days.get() < 335 { "first" } else { "second" })
        };
        let begun = tokio::time::Instant::now();
        let _ = tokio::time::timeout(334 * DAY + DAY / 2, renew(&path, "first".into(), current)).await;
        assert!(!path.exists(), "written without a change");
        let _ = tokio::time::timeout(2 * DAY, renew(&path, "first".into(), current)).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(
            (days.get(), begun.elapsed().as_secs() / DAY.as_secs()),
            (336, 336)
        );
    }
}
