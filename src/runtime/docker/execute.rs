//! Executes the steps that [`rolling`](crate::runtime::rolling) decided on.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptions,
    RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptions,
};
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::labels::app_of;
use super::network::Reserved;
use super::observe::{ContainerInfo, left_alias};
use super::{Inner, create, endpoint, errors, labels, network, volumes};
use crate::api::Protocol;
use crate::model::AppId;
use crate::runtime::rolling::{InProgress, Step};
use crate::runtime::{Deployment, Port, RuntimeError};

/// How many steps of one kind are taken at once.
const AT_ONCE: usize = 4;
/// Longer than any stop may take: the engine ends it after the container's own grace.
const STOP_PATIENCE: Duration = Duration::from_hours(24);
/// How long old containers are given to stop before this call ends, where new ones wait for their host port: going on at
/// once is what keeps the port away for as short as can be.
const SWAP_PATIENCE: Duration = Duration::from_secs(1);
/// How many other names are tried where a container that is not ours has the one we want.
const OTHER_NAMES: u32 = 16;

impl Inner {
    /// Executes these steps, those of one kind concurrently. Returns the first error after all have ended.
    pub(super) async fn execute(
        self: &Arc<Self>,
        deployment: &Deployment,
        looked: &[ContainerInfo],
        steps: Vec<Step>,
    ) -> Result<(), RuntimeError> {
        if steps.iter().any(|step| matches!(step, Step::Stop(_))) {
            self.ports_are_free(deployment).await?;
        }
        let mut the_files_stay = None;
        if steps.iter().any(|step| matches!(step, Step::Create { .. })) {
            let here =
                network::is_here(&self.docker, &self.names, &deployment.identity.app.namespace).await?;
            self.image_fits(&deployment.spec.image, here).await?;
            the_files_stay = Some(self.using_files.read().await);
            volumes::ensure(&self.docker, &self.names, deployment).await?;
        }
        let mut groups: Vec<Vec<Step>> = Vec::new();
        for step in steps {
            match groups.last_mut() {
                Some(group)
                    if group.first().map(std::mem::discriminant) == Some(std::mem::discriminant(&step)) =>
                {
                    group.push(step);
                }
                _ => groups.push(vec![step]),
            }
        }
        let mut stopping = Vec::new();
        let last_made = groups
            .iter()
            .rposition(|group| group.iter().any(|step| matches!(step, Step::Create { .. })));
        for (number, group) in groups.into_iter().enumerate() {
            let taken = group.into_iter().map(|step| self.step(deployment, looked, step));
            let results: Vec<_> = futures::stream::iter(taken)
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            for result in results {
                stopping.extend(result?);
            }
            if last_made == Some(number) {
                drop(the_files_stay.take());
            }
        }
        let stopped = futures::future::join_all(stopping);
        let _ = tokio::time::timeout(SWAP_PATIENCE, stopped).await;
        Ok(())
    }

    async fn step(
        self: &Arc<Self>,
        deployment: &Deployment,
        looked: &[ContainerInfo],
        step: Step,
    ) -> Result<Option<JoinHandle<()>>, RuntimeError> {
        let app = || deployment.identity.app.clone();
        let of = |id: &str| looked.iter().find(|one| one.id == id);
        match step {
            Step::Create { index, named } => self.create(deployment, index, named).await?,
            Step::Start(id) => self.start(deployment, &id, of(&id)).await?,
            Step::Unpause(id) => {
                let thawed = self.quietly(&id, self.docker.unpause_container(&id)).await;
                errors::unless_gone("unpause a container", thawed)?;
            }
            Step::Rename(id) => self.rename(deployment, &id, of(&id)).await?,
            Step::Update(id) => {
                let updated = self.docker.update_container(&id, create::update(deployment));
                let updated = self.quietly(&id, updated).await;
                errors::unless_gone("put a container's limits right", updated)?;
            }
            Step::Detach(id) => {
                for network in of(&id)
                    .map(|one| one.other_networks.as_slice())
                    .unwrap_or_default()
                {
                    let left = endpoint::leave(&self.docker, network, &id);
                    self.quietly(&id, left).await?;
                }
            }
            Step::Attach(id) => self.exchange(deployment, &id, of(&id), None).await?,
            Step::Join(id) => {
                let alias = Some(deployment.identity.app.name.clone());
                self.exchange(deployment, &id, of(&id), alias).await?;
            }
            Step::Leave(id) => {
                let alias = Some(left_alias(Timestamp::now()));
                self.exchange(deployment, &id, of(&id), alias).await?;
            }
            Step::Stop(id) => {
                if let Some(one) = of(&id) {
                    let kept = format!("{}{}", one.name.trim_end_matches(labels::KEPT), labels::KEPT);
                    if kept != one.name {
                        self.rename_to(&id, &kept).await?;
                    }
                }
                return Ok(self.retire(&id, app(), InProgress::Stopping));
            }
            Step::Retire(id) => {
                self.retire(&id, app(), InProgress::Retiring);
            }
        }
        Ok(None)
    }

    /// Does something to a container without taking the events that come of it for news.
    async fn quietly<T>(&self, id: &str, work: impl Future<Output = T>) -> T {
        self.hub.begin(id);
        let result = work.await;
        self.hub.end(id);
        result
    }

    async fn create(&self, deployment: &Deployment, index: u32, named: bool) -> Result<(), RuntimeError> {
        let _the_network_stays = self.using_networks.read().await;
        let Reserved { network, ip } = {
            let mut subnets = self.subnets.lock().await;
            network::reserve(
                &self.docker,
                &self.names,
                &deployment.identity.app.namespace,
                &mut subnets,
            )
            .await?
        };
        let alias = named.then(|| deployment.identity.app.name.clone());
        for index in index..index.saturating_add(OTHER_NAMES) {
            let body = create::body(
                &self.names,
                deployment,
                &network,
                create::endpoint(Some(ip.clone()), None, alias.clone()),
            )?;
            let name = self.names.container(deployment, index);
            let options = CreateContainerOptionsBuilder::new().name(&name).build();
            let Err(refusal) = self.docker.create_container(Some(options), body).await else {
                return Ok(());
            };
            if errors::status(&refusal) != Some(409) {
                return Err(errors::creation(deployment, &refusal));
            }
            // The name is taken. By ourselves: a create whose answer we did not get. By others: take the next.
            if let Some(there) = self.inspect(&name).await?
                && there.labels.get(labels::CONFIG) == Some(&deployment.identity.hash)
                && self.names.ours(&there.labels)
            {
                return Ok(());
            }
        }
        Err(RuntimeError::Engine {
            doing: "create a container",
            message: "containers that are not ours have all the names it could have".to_owned(),
        })
    }

    async fn start(
        self: &Arc<Self>,
        deployment: &Deployment,
        id: &str,
        one: Option<&ContainerInfo>,
    ) -> Result<(), RuntimeError> {
        if one.is_some_and(|one| one.name.ends_with(labels::KEPT)) {
            self.rename(deployment, id, one).await?;
        }
        let started = self.docker.start_container(id, None::<StartContainerOptions>);
        let refusal = match self.quietly(id, started).await {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        match errors::start(deployment, &refusal) {
            errors::Refusal::Anew => {
                tracing::info!(container = id, "its network or address is gone: it is made anew");
                self.retire(id, deployment.identity.app.clone(), InProgress::Retiring);
                Ok(())
            }
            errors::Refusal::Port(port) => Err(RuntimeError::PortTaken {
                by: self.port_holder(&port, id).await,
                port,
            }),
            errors::Refusal::Error(error) => Err(error),
        }
    }

    async fn rename(
        &self,
        deployment: &Deployment,
        id: &str,
        one: Option<&ContainerInfo>,
    ) -> Result<(), RuntimeError> {
        let index = one.and_then(|one| self.names.index(deployment, &one.name));
        // Its number is lost with its name: any that is free will do.
        for index in index.map_or(0..OTHER_NAMES, |index| index..index + 1) {
            let name = self.names.container(deployment, index);
            let taken = self
                .docker
                .inspect_container(&name, None::<InspectContainerOptions>)
                .await;
            if errors::unless_gone("inspect a container", taken)?.is_none() {
                return self.rename_to(id, &name).await;
            }
        }
        Ok(())
    }

    async fn rename_to(&self, id: &str, name: &str) -> Result<(), RuntimeError> {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        let renamed = self.quietly(id, self.docker.rename_container(id, options)).await;
        errors::unless_gone("rename a container", renamed).map(drop)
    }

    /// Changes the names that a container answers to. Goes on to its end even if the caller does not: a container that was
    /// left between its two networks would be a broken one.
    async fn exchange(
        self: &Arc<Self>,
        deployment: &Deployment,
        id: &str,
        one: Option<&ContainerInfo>,
        alias: Option<String>,
    ) -> Result<(), RuntimeError> {
        let endpoint = one.and_then(|one| one.endpoint.clone());
        let freeze = one.is_some_and(|one| one.check.is_none());
        let namespace = deployment.identity.app.namespace.clone();
        let (inner, id) = (Arc::clone(self), id.to_owned());
        let work = tokio::spawn(async move {
            let _the_network_stays = inner.using_networks.read().await;
            let left = endpoint.as_ref().map(|end| end.network.clone());
            let mac = endpoint.as_ref().and_then(|end| end.mac.clone());
            let known = endpoint.and_then(|end| Some((end.network, end.ip?)));
            let (network, ip) = if let Some(known) = known {
                known
            } else {
                let mut subnets = inner.subnets.lock().await;
                let reserved =
                    network::reserve(&inner.docker, &inner.names, &namespace, &mut subnets).await?;
                (reserved.network, reserved.ip)
            };
            let end = create::endpoint(Some(ip), mac, alias);
            let work = endpoint::replace(&inner.docker, &network, &id, left.as_deref(), freeze, end);
            inner.probes.hold(&id);
            let exchanged = inner.quietly(&id, work).await;
            inner.probes.hold(&id);
            exchanged
        });
        work.await.unwrap_or_else(|ended| {
            Err(RuntimeError::Engine {
                doing: "change the names of a container",
                message: ended.to_string(),
            })
        })
    }

    /// Stops a container, and removes it unless it is to be kept. Goes on in the background and tells when it has ended.
    /// What is under way already is not begun again.
    pub(super) fn retire(self: &Arc<Self>, id: &str, app: AppId, what: InProgress) -> Option<JoinHandle<()>> {
        if self.busy.lock().insert(id.to_owned(), what).is_some() {
            return None;
        }
        self.hub.begin(id);
        // That it does not answer any more is no news.
        self.probes.hold(id);
        let (inner, id) = (Arc::clone(self), id.to_owned());
        Some(tokio::spawn(async move {
            if let Err(refusal) = inner.stop(&id, what).await {
                // The next reconcile observes the container and tries again.
                tracing::warn!(container = %id, error = %refusal, "stopping a container");
            }
            inner.hub.end(&id);
            inner.probes.hold(&id);
            inner.busy.lock().remove(&id);
            let _ = inner.changed.send(app);
        }))
    }

    async fn stop(&self, id: &str, what: InProgress) -> Result<(), RuntimeError> {
        let Some(looked) = self.inspect(id).await? else {
            return Ok(());
        };
        if looked.phase == super::Phase::Paused {
            errors::unless_gone("unpause a container", self.docker.unpause_container(id).await)?;
        }
        // Without a time of ours the container's own counts, which is its deployment's.
        let patient = self.docker.clone().with_timeout(STOP_PATIENCE);
        let stopped = patient.stop_container(id, None::<StopContainerOptions>).await;
        errors::unless_gone("stop a container", stopped)?;
        if what == InProgress::Stopping {
            return Ok(());
        }
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self.docker.remove_container(id, Some(options)).await;
        match removed {
            // Another client is removing it.
            Err(refusal) if errors::status(&refusal) == Some(409) => {}
            other => {
                errors::unless_gone("remove a container", other)?;
            }
        }
        self.leaving.lock().remove(id);
        self.probes.drop(id);
        self.since.forget(id);
        self.ends.forget(id);
        if let Some(app) = app_of(&looked.labels) {
            let _nobody_makes_containers = self.using_files.write().await;
            volumes::remove_files(&self.docker, &self.names, &app).await?;
        }
        Ok(())
    }

    /// Nothing is stopped for a host port that could not be had in the end. Of a machine that Davit does not run on only the
    /// engine's containers are known, and the start itself will tell the rest.
    async fn ports_are_free(&self, deployment: &Deployment) -> Result<(), RuntimeError> {
        let containers = self.publishing().await?;
        let here = network::is_here(&self.docker, &self.names, &deployment.identity.app.namespace).await?;
        for wanted in deployment.spec.ports.iter().filter(|port| port.host.is_some()) {
            if here && is_elsewhere(wanted) {
                return Err(RuntimeError::AddressMissing(wanted.clone()));
            }
            let own = |one: &ContainerSummary| {
                let labels = one.labels.clone().unwrap_or_default();
                self.names.ours(&labels) && app_of(&labels).as_ref() == Some(&deployment.identity.app)
            };
            let (ours, others): (Vec<_>, Vec<_>) = containers
                .iter()
                .filter(|one| publishes(one, wanted))
                .partition(|one| own(one));
            let by = match others.first() {
                Some(one) => self.describe(one),
                None if here && ours.is_empty() && bound(wanted) => ON_THE_MACHINE.to_owned(),
                None => continue,
            };
            let port = wanted.clone();
            return Err(RuntimeError::PortTaken { port, by });
        }
        Ok(())
    }

    /// The owner of a host port, except the container that could not bind it.
    pub(super) async fn port_holder(&self, port: &Port, refused: &str) -> String {
        let containers = self.publishing().await.unwrap_or_default();
        let holder = containers
            .iter()
            .find(|one| one.id.as_deref() != Some(refused) && publishes(one, port));
        holder.map_or_else(|| ON_THE_MACHINE.to_owned(), |one| self.describe(one))
    }

    /// Names the container that publishes a port, and its Application. An Application of another Davit is marked, since
    /// the user cannot find it in this cluster.
    fn describe(&self, container: &ContainerSummary) -> String {
        let names = container.names.as_deref().unwrap_or_default();
        let name = names
            .first()
            .map(|name| name.trim_start_matches('/'))
            .unwrap_or_default();
        let labels = container.labels.clone().unwrap_or_default();
        match (app_of(&labels), labels.get(labels::INSTANCE)) {
            (Some(app), _) if self.names.ours(&labels) => format!("Application {app} (container {name})"),
            (Some(app), Some(instance)) if !instance.is_empty() => {
                format!("container {name} of Application {app} of another Davit (--instance {instance})")
            }
            (Some(app), _) => format!("container {name} of Application {app} of another Davit"),
            (None, _) => format!("container {name}"),
        }
    }

    async fn publishing(&self) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let listed = self.docker.list_containers(None::<ListContainersOptions>).await;
        listed.map_err(|refusal| errors::error("list containers", &refusal))
    }
}

/// The holder of a port that no container publishes.
const ON_THE_MACHINE: &str = "a program on this machine";

fn publishes(container: &ContainerSummary, wanted: &Port) -> bool {
    let protocol = match wanted.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let ports = container.ports.as_deref().unwrap_or_default().iter();
    let mut same_protocol = ports.filter(|port| port.typ.is_none_or(|kind| kind.to_string() == protocol));
    same_protocol.any(|port| {
        let published = Port {
            name: None,
            container: port.private_port,
            host: port.public_port,
            host_ip: port.ip.clone(),
            protocol: wanted.protocol,
        };
        published.excludes(wanted)
    })
}

/// Whether a program of this machine listens there.
fn bound(wanted: &Port) -> bool {
    let port = wanted.host.unwrap_or_default();
    listen(wanted, port).is_err_and(|refusal| refusal.kind() == ErrorKind::AddrInUse)
}

/// Whether this machine does not have the address.
fn is_elsewhere(wanted: &Port) -> bool {
    listen(wanted, 0).is_err_and(|refusal| refusal.kind() == ErrorKind::AddrNotAvailable)
}

fn listen(wanted: &Port, port: u16) -> io::Result<()> {
    let ip = wanted.host_ip.as_deref().and_then(|ip| ip.parse().ok());
    let ip: IpAddr = ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    match wanted.protocol {
        Protocol::Tcp => TcpListener::bind((ip, port)).map(drop),
        Protocol::Udp => UdpSocket::bind((ip, port)).map(drop),
    }
}
