//! The trait `Runtime` on the engine in memory and on a real Docker Engine: the same promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::{API_DEFAULT_VERSION, Docker};
use davit::api::{Protocol, Strategy};
use davit::runtime::docker::{DockerOptions, DockerRuntime};
use davit::runtime::fake::orchestrator::FakeOrchestrator;
use davit::runtime::fake::{Behaviour, FakeRuntime, ManualAction, deployment};
use davit::runtime::kubernetes::KubernetesRuntime;
use davit::runtime::swarm::SwarmRuntime;
use davit::runtime::{
    Deployment, EnvVar, Health, Mount, MountSource, Port, Probe, Progress, RedactionPolicy, Replica,
    ReplicaState, Restart, Runtime, RuntimeError, RuntimeEvent,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::common::cluster::Cluster;
use crate::common::docker::{BASE_IMAGE, DockerScope, docker};
use crate::common::engine::Engine as OwnEngine;
use crate::common::{run, unique};

/// The longest that anything in these tests may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// An image that no engine has.
const NO_IMAGE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What a workload's containers do.
#[derive(Clone, Copy)]
pub enum Does {
    Serve,
    NeverGetWell,
    Exit(i64),
}

pub enum Engine {
    Fake(FakeRuntime),
    Docker(Box<DockerScope>),
    Swarm(Arc<OwnEngine>),
    Kubernetes(Arc<Cluster>),
    Orchestrator(FakeOrchestrator),
}

/// A runtime with the means to reach behind its back.
pub struct Harness {
    pub runtime: Box<dyn Runtime>,
    pub engine: Engine,
    pub events: BoxStream<'static, RuntimeEvent>,
    pub namespace: String,
}

impl Harness {
    pub fn fake() -> Self {
        let fake = FakeRuntime::default();
        fake.script("sick", &Behaviour::Unhealthy("connection refused".to_owned()));
        fake.write_log("sick", "connecting\nno database\n");
        Self {
            events: fake.events(),
            runtime: Box::new(fake.clone()),
            engine: Engine::Fake(fake),
            namespace: "shop".to_owned(),
        }
    }

    pub fn docker(test: &str) -> Self {
        let scope = DockerScope::new(test);
        let runtime = docker_runtime(&scope.namespace);
        Self {
            events: runtime.events(),
            namespace: scope.namespace.clone(),
            runtime: Box::new(runtime),
            engine: Engine::Docker(Box::new(scope)),
        }
    }

    pub fn orchestrator() -> Self {
        let fake = FakeOrchestrator::default();
        fake.script("sick", &Behaviour::Unhealthy("connection refused".to_owned()));
        fake.write_log("sick", "connecting\nno database\n");
        Self {
            events: fake.events(),
            runtime: Box::new(fake.clone()),
            engine: Engine::Orchestrator(fake),
            namespace: "shop".to_owned(),
        }
    }

    /// Sets what the containers of an image do, on the fakes.
    fn script(&self, image: &str, behaviour: &Behaviour) {
        match &self.engine {
            Engine::Fake(fake) => fake.script(image, behaviour),
            Engine::Orchestrator(fake) => fake.script(image, behaviour),
            Engine::Docker(_) | Engine::Swarm(_) | Engine::Kubernetes(_) => {}
        }
    }

    /// One on a Swarm that several tests share.
    pub fn swarm(engine: &Arc<OwnEngine>) -> Self {
        let namespace = unique("t-sw");
        let docker =
            Docker::connect_with_unix(&engine.socket().display().to_string(), 60, API_DEFAULT_VERSION);
        let runtime = SwarmRuntime::new(docker.expect("a client"), &namespace, "");
        Self {
            events: runtime.events(),
            namespace,
            runtime: Box::new(runtime),
            engine: Engine::Swarm(Arc::clone(engine)),
        }
    }

    /// One in a new namespace of a cluster that several tests share.
    pub async fn kubernetes(cluster: &Arc<Cluster>) -> Self {
        let namespace = unique("t");
        run(cluster.kubectl().args(["create", "namespace", &namespace]));
        let runtime = KubernetesRuntime::new(client(cluster).await);
        let mut events = runtime.events();
        // The watches have begun: nothing is missed.
        assert_eq!(events.next().await, Some(RuntimeEvent::Connected));
        Self {
            events,
            namespace,
            runtime: Box::new(runtime),
            engine: Engine::Kubernetes(Arc::clone(cluster)),
        }
    }

    pub fn workload(&self, name: &str, hash: &str, does: Does) -> Deployment {
        let mut workload = deployment(&self.namespace, name, hash);
        workload.spec.stop_grace = Duration::from_secs(1);
        if matches!(self.engine, Engine::Fake(_) | Engine::Orchestrator(_)) {
            match does {
                Does::Serve => "good".clone_into(&mut workload.spec.image),
                Does::NeverGetWell => "sick".clone_into(&mut workload.spec.image),
                Does::Exit(code) => {
                    "ends".clone_into(&mut workload.spec.image);
                    let message = "last words".to_owned();
                    self.script("ends", &Behaviour::Exits { code, message });
                }
            }
            return workload;
        }
        BASE_IMAGE.clone_into(&mut workload.spec.image);
        let script = match does {
            Does::Serve => "mkdir /w; echo $MARK > /w/index.html; exec httpd -f -p 8080 -h /w".to_owned(),
            Does::NeverGetWell => "echo connecting; echo no database; exec sleep 1000".to_owned(),
            Does::Exit(code) => format!("echo last words; exit {code}"),
        };
        workload.spec.env = vec![EnvVar::plain("MARK", hash)];
        workload.spec.command = ["sh", "-c", &script].map(Into::into).into();
        if !matches!(does, Does::Exit(_)) {
            workload.spec.health = Some(http_check());
        }
        if let Engine::Swarm(engine) = &self.engine {
            let image = ["image", "inspect", "--format={{.Id}}", BASE_IMAGE];
            workload.spec.image = run(engine.docker().args(image));
            if let Some(health) = &mut workload.spec.health {
                let check = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"];
                health.probe = Probe::Exec(check.map(str::to_owned).into());
            }
        }
        workload
    }

    /// Calls until the workload is complete, as the loop would: at events and when time has passed.
    pub async fn deploy_until_complete(&mut self, workload: &Deployment) {
        self.deploy_until(workload, |progress| *progress == Progress::Complete)
            .await;
    }

    pub async fn deploy_until(
        &mut self,
        workload: &Deployment,
        enough: impl Fn(&Progress) -> bool,
    ) -> Progress {
        let end = Instant::now() + PATIENCE;
        loop {
            let progress = self
                .runtime
                .deploy(workload)
                .await
                .expect("the next steps are taken");
            if enough(&progress) {
                return progress;
            }
            assert!(Instant::now() < end, "waited in vain: {progress:?}");
            let Progress::Rolling { check_in, .. } = progress else {
                panic!("{progress:?}")
            };
            let _ = tokio::time::timeout(check_in.unwrap_or(PATIENCE), self.events.next()).await;
        }
    }

    pub async fn replicas(&self, workload: &Deployment) -> Vec<Replica> {
        self.runtime
            .observe(&workload.identity.app, &RedactionPolicy::default())
            .await
            .expect("the containers are seen")
            .replicas
    }

    pub async fn replicas_until(
        &mut self,
        workload: &Deployment,
        enough: impl Fn(&[Replica]) -> bool,
    ) -> Vec<Replica> {
        let end = Instant::now() + PATIENCE;
        loop {
            let replicas = self.replicas(workload).await;
            if enough(&replicas) {
                return replicas;
            }
            assert!(Instant::now() < end, "waited in vain: {replicas:?}");
            let _ = tokio::time::timeout(Duration::from_millis(200), self.events.next()).await;
        }
    }

    pub async fn remove(&mut self, workload: &Deployment, volumes: bool) {
        let end = Instant::now() + PATIENCE;
        while !self
            .runtime
            .remove(&workload.identity.app, volumes)
            .await
            .expect("it is removed")
        {
            assert!(Instant::now() < end, "it does not go");
            let _ = tokio::time::timeout(Duration::from_secs(5), self.events.next()).await;
        }
    }

    /// Does it to a container that serves.
    async fn manually(&self, workload: &Deployment, action: ManualAction) {
        let replicas = self.replicas(workload).await;
        let serves = replicas.iter().find(|it| it.serving);
        let id = &serves.or(replicas.first()).expect("there is one").id;
        match &self.engine {
            Engine::Fake(fake) => assert!(fake.manually(&workload.identity.app, action)),
            Engine::Orchestrator(fake) => {
                assert_eq!(action, ManualAction::Remove, "tasks are replaced, not repaired");
                fake.remove_container(&workload.identity.app);
            }
            Engine::Swarm(engine) => {
                let format = "--format={{.Status.ContainerStatus.ContainerID}}";
                let container = run(engine.docker().args(["inspect", "--type=task", format, id]));
                run(engine.docker().args(["rm", "--force", &container]));
            }
            Engine::Kubernetes(cluster) => {
                assert_eq!(action, ManualAction::Remove, "Pods are replaced, not repaired");
                let pod = [
                    "delete",
                    "pod",
                    "--wait=false",
                    "--namespace",
                    &self.namespace,
                    id,
                ];
                run(cluster.kubectl().args(pod));
            }
            Engine::Docker(_) => {
                let renamed = format!("{}-by-action", self.namespace);
                let network = self.network();
                let args: &[&str] = match action {
                    ManualAction::Stop => &["stop", "--time=1"],
                    ManualAction::Remove => &["rm", "--force"],
                    ManualAction::Pause => &["pause"],
                    ManualAction::Rename => &["rename"],
                    ManualAction::Update => &["update", "--restart=no"],
                    ManualAction::Disconnect => &["network", "disconnect", &network],
                    ManualAction::Connect => &["network", "connect", "bridge"],
                };
                let mut command = docker();
                command.args(args).arg(id);
                if action == ManualAction::Rename {
                    command.arg(renamed);
                }
                run(&mut command);
            }
        }
    }

    /// The claims of volumes of this test in a cluster.
    fn claims(&self) -> Vec<String> {
        let Engine::Kubernetes(cluster) = &self.engine else {
            return Vec::new();
        };
        let get = [
            "get",
            "persistentvolumeclaims",
            "--output=name",
            "--namespace",
            &self.namespace,
        ];
        run(cluster.kubectl().args(get))
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The volumes of this test on a Swarm.
    fn swarm_volumes(&self) -> Vec<String> {
        let Engine::Swarm(engine) = &self.engine else {
            return Vec::new();
        };
        let label = format!("label=dev.davit.namespace={}", self.namespace);
        let listed = run(engine
            .docker()
            .args(["volume", "ls", "--quiet", "--filter", &label]));
        listed.lines().map(str::to_owned).collect()
    }

    pub fn network(&self) -> String {
        let Engine::Docker(scope) = &self.engine else {
            return String::new();
        };
        let ids = scope.list("networks");
        let id = ids.first().expect("the namespace has a network");
        run(docker().args(["network", "inspect", "--format={{.Name}}", id]))
    }

    /// Nothing of it is told until the next thing happens.
    async fn forget_events(&mut self) {
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(200), self.events.next()).await {}
    }
}

/// A client with the rights of an administrator.
pub async fn client(cluster: &Cluster) -> kube::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    let file = kube::config::Kubeconfig::read_from(&cluster.server.kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
        .await
        .unwrap();
    kube::Client::try_from(config).unwrap()
}

pub fn docker_runtime(instance: &str) -> DockerRuntime {
    let docker = Docker::connect_with_local_defaults().expect("the engine's socket is known");
    let options = DockerOptions {
        instance: instance.to_owned(),
        ..DockerOptions::default()
    };
    DockerRuntime::new(docker, options)
}

pub fn http_check() -> Health {
    Health {
        probe: Probe::Http {
            path: "/".to_owned(),
            port: 8080,
        },
        interval: Duration::from_millis(500),
        timeout: Duration::from_secs(2),
        retries: 2,
        start_period: Duration::ZERO,
    }
}

pub fn ids(replicas: &[Replica]) -> BTreeSet<String> {
    replicas.iter().map(|it| it.id.clone()).collect()
}

fn host_port(port: u16) -> Port {
    Port {
        name: None,
        container: 8080,
        host: Some(port),
        host_ip: Some("127.0.0.1".to_owned()),
        protocol: Protocol::Tcp,
    }
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Makes each function of the contract a test on the runtime that the expression `$harness` starts.
macro_rules! runtime_contract {
    ($harness:expr) => {
        crate::contract::runtime_contract::runtime_contract! {
            $harness =>
            replicas_serve_and_a_second_deploy_changes_nothing
            previous_container_serves_until_the_new_one_is_healthy
            scaling_does_not_touch_other_replicas
            manual_change_is_repaired
            completed_container_is_kept_and_reported
            crash_loop_is_not_healthy
            log_tail_of_a_failed_container_keeps_lines_and_hides_secrets
            host_port_moves_to_the_new_container_and_back
            taken_host_port_is_reported_and_stops_no_container
            container_that_cannot_start_reports_the_cause
            removed_application_leaves_only_volumes
            application_of_the_same_name_adopts_nothing
        }
    };
    ($harness:expr => $($name:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            crate::contract::runtime_contract::$name($harness).await;
        })*
    };
}
pub(crate) use runtime_contract;

pub async fn replicas_serve_and_a_second_deploy_changes_nothing(mut harness: Harness) {
    let mut wanted = harness.workload("web", "h1", Does::Serve);
    wanted.policy.replicas = 2;
    harness.deploy_until_complete(&wanted).await;
    let replicas = harness.replicas(&wanted).await;
    assert_eq!(replicas.len(), 2);
    for it in &replicas {
        assert_eq!((&*it.hash, &*it.release), ("h1", "web-1"));
        assert_eq!(it.state, ReplicaState::Healthy, "{it:?}");
        assert!(it.serving && !it.draining && it.healthy_since.is_some(), "{it:?}");
    }
    assert_eq!(harness.runtime.deploy(&wanted).await.unwrap(), Progress::Complete);
    assert_eq!(ids(&harness.replicas(&wanted).await), ids(&replicas));
    assert_eq!(
        harness.runtime.apps().await.unwrap(),
        [(wanted.identity.app.clone(), wanted.identity.uid.clone())]
    );
}

pub async fn previous_container_serves_until_the_new_one_is_healthy(mut harness: Harness) {
    let first = harness.workload("web", "h1", Does::Serve);
    harness.deploy_until_complete(&first).await;
    let old = ids(&harness.replicas(&first).await);

    let sick = harness.workload("web", "h2", Does::NeverGetWell);
    harness.runtime.deploy(&sick).await.unwrap();
    let unwell = |it: &Replica| it.hash == "h2" && matches!(it.state, ReplicaState::Unhealthy(_));
    let replicas = harness.replicas_until(&sick, |all| all.iter().any(unwell)).await;
    let progress = harness.runtime.deploy(&sick).await.unwrap();
    let Progress::Rolling {
        created,
        ready,
        waiting_for,
        ..
    } = progress
    else {
        panic!("{progress:?}")
    };
    assert_eq!((created, ready), (1, 0));
    assert!(
        waiting_for.contains("unhealthy") && waiting_for.contains("refused"),
        "{waiting_for}"
    );
    let serving: Vec<_> = replicas.into_iter().filter(|it| it.serving).collect();
    assert_eq!(ids(&serving), old, "only the old one serves");

    harness.deploy_until_complete(&first).await;
    assert_eq!(
        ids(&harness.replicas(&first).await),
        old,
        "the way back is the old container itself"
    );

    let third = harness.workload("web", "h3", Does::Serve);
    harness.deploy_until_complete(&third).await;
    let replicas = harness.replicas(&third).await;
    assert_eq!(replicas.len(), 1);
    assert!(replicas.iter().all(|it| it.hash == "h3" && it.serving));
}

pub async fn scaling_does_not_touch_other_replicas(mut harness: Harness) {
    let mut wanted = harness.workload("web", "h1", Does::Serve);
    harness.deploy_until_complete(&wanted).await;
    let first = ids(&harness.replicas(&wanted).await);
    wanted.policy.replicas = 3;
    harness.deploy_until_complete(&wanted).await;
    let three = ids(&harness.replicas(&wanted).await);
    assert!(three.len() == 3 && three.is_superset(&first));
    wanted.policy.replicas = 2;
    harness.deploy_until_complete(&wanted).await;
    // An orchestrator may still show the one that is too many.
    let end = Instant::now() + PATIENCE;
    let two = loop {
        let two = ids(&harness.replicas(&wanted).await);
        if two.len() == 2 {
            break two;
        }
        assert!(Instant::now() < end, "{two:?} remain of {three:?}");
        let _ = tokio::time::timeout(Duration::from_secs(1), harness.events.next()).await;
    };
    assert!(two.is_subset(&three), "{two:?} remain of {three:?}");
    let end = Instant::now() + PATIENCE;
    while harness.runtime.stop(&wanted.identity.app).await.unwrap() != Progress::Complete {
        assert!(Instant::now() < end, "it does not stop");
        let _ = tokio::time::timeout(Duration::from_secs(5), harness.events.next()).await;
    }
    assert_eq!(harness.replicas(&wanted).await, []);
}

pub async fn manual_change_is_repaired(mut harness: Harness) {
    let wanted = harness.workload("web", "h1", Does::Serve);
    harness.deploy_until_complete(&wanted).await;
    let before = harness.replicas(&wanted).await;
    for action in [
        ManualAction::Stop,
        ManualAction::Pause,
        ManualAction::Rename,
        ManualAction::Update,
        ManualAction::Disconnect,
        ManualAction::Connect,
        ManualAction::Remove,
    ] {
        harness.forget_events().await;
        harness.manually(&wanted, action).await;
        let told = tokio::time::timeout(Duration::from_secs(10), harness.events.next()).await;
        assert_eq!(
            told,
            Ok(Some(RuntimeEvent::Changed(wanted.identity.app.clone()))),
            "{action:?}"
        );
        harness.deploy_until_complete(&wanted).await;
        let after = harness.replicas(&wanted).await;
        assert!(after.len() == 1 && after[0].serving, "{action:?}: {after:?}");
        assert_eq!(after[0].name, before[0].name, "{action:?}");
        assert_eq!(
            ids(&after) == ids(&before),
            action != ManualAction::Remove,
            "{action:?}"
        );
    }
}

pub async fn completed_container_is_kept_and_reported(mut harness: Harness) {
    let mut wanted = harness.workload("job", "h1", Does::Exit(3));
    wanted.spec.restart = Restart::Never;
    harness.runtime.deploy(&wanted).await.unwrap();
    let ended = |all: &[Replica]| {
        all.iter()
            .any(|it| matches!(it.state, ReplicaState::Exited { .. }))
    };
    let replicas = harness.replicas_until(&wanted, ended).await;
    let ReplicaState::Exited {
        code: 3,
        oom: false,
        message,
    } = &replicas[0].state
    else {
        panic!("{replicas:?}")
    };
    assert_eq!(message, "last words");
    let progress = harness.runtime.deploy(&wanted).await.unwrap();
    let Progress::Rolling { waiting_for, .. } = progress else {
        panic!("{progress:?}")
    };
    assert!(waiting_for.contains("exit code 3"), "{waiting_for}");
    assert_eq!(ids(&harness.replicas(&wanted).await), ids(&replicas));
    // Once it is on record that this one ran to its end, nothing is missing, whether it is still there or not.
    wanted.history.completed = ids(&replicas).into_iter().collect();
    assert_eq!(harness.runtime.deploy(&wanted).await.unwrap(), Progress::Complete);
    harness.manually(&wanted, ManualAction::Remove).await;
    assert_eq!(harness.runtime.deploy(&wanted).await.unwrap(), Progress::Complete);
    assert!(harness.replicas(&wanted).await.is_empty());
    wanted.history.completed.clear();
    harness.runtime.deploy(&wanted).await.unwrap();
    assert_eq!(harness.replicas(&wanted).await.len(), 1);
}

pub async fn log_tail_of_a_failed_container_keeps_lines_and_hides_secrets(mut harness: Harness) {
    let redaction = RedactionPolicy {
        confidential: Some(vec!["database".into()]),
        ..RedactionPolicy::default()
    };
    let sick = harness.workload("web", "h1", Does::NeverGetWell);
    harness.runtime.deploy(&sick).await.unwrap();
    let unwell = |all: &[Replica]| {
        all.iter()
            .any(|it| matches!(it.state, ReplicaState::Unhealthy(_)))
    };
    let replicas = harness.replicas_until(&sick, unwell).await;
    let tail = harness
        .runtime
        .log_tail(&sick.identity.app, &replicas[0].id, &redaction)
        .await;
    assert_eq!(tail.unwrap(), "connecting\nno ***");

    // The container of another Application is not read.
    let other = davit::model::AppId::new(&sick.identity.app.namespace, "other");
    let tail = harness
        .runtime
        .log_tail(&other, &replicas[0].id, &redaction)
        .await;
    assert_eq!(tail.unwrap(), "");

    let mut ends = harness.workload("job", "h2", Does::Exit(3));
    ends.spec.restart = Restart::Never;
    ends.spec.env.push(EnvVar::confidential("TOKEN", "words"));
    harness.runtime.deploy(&ends).await.unwrap();
    let ended = |all: &[Replica]| {
        all.iter()
            .any(|it| matches!(it.state, ReplicaState::Exited { .. }))
    };
    let replicas = harness.replicas_until(&ends, ended).await;
    let tail = harness
        .runtime
        .log_tail(&ends.identity.app, &replicas[0].id, &redaction)
        .await;
    assert_eq!(tail.unwrap(), "last ***");
    let gone = harness
        .runtime
        .log_tail(&ends.identity.app, "0".repeat(64).as_str(), &redaction)
        .await;
    assert_eq!(gone.unwrap(), "");
}

pub async fn crash_loop_is_not_healthy(mut harness: Harness) {
    let wanted = harness.workload("loop", "h1", Does::Exit(1));
    harness.runtime.deploy(&wanted).await.unwrap();
    let again = |all: &[Replica]| all.iter().any(|it| it.restarts > 0);
    let replicas = harness.replicas_until(&wanted, again).await;
    assert!(
        matches!(replicas[0].state, ReplicaState::KeepsEnding { .. }),
        "{replicas:?}"
    );
    let progress = harness.runtime.deploy(&wanted).await.unwrap();
    assert!(
        matches!(progress, Progress::Rolling { ready: 0, .. }),
        "{progress:?}"
    );
}

pub async fn host_port_moves_to_the_new_container_and_back(mut harness: Harness) {
    let port = free_port();
    let with_port = |mut it: Deployment| {
        it.spec.ports = vec![host_port(port)];
        it.policy.strategy = Strategy::StopFirst;
        it
    };
    let first = with_port(harness.workload("web", "h1", Does::Serve));
    harness.deploy_until_complete(&first).await;
    let old = harness.replicas(&first).await;
    assert_eq!(old[0].endpoints, [host_port(port)]);

    let sick = with_port(harness.workload("web", "h2", Does::NeverGetWell));
    harness.runtime.deploy(&sick).await.unwrap();
    let unwell = |it: &Replica| it.hash == "h2" && matches!(it.state, ReplicaState::Unhealthy(_));
    harness.deploy_until(&sick, |progress| matches!(progress, Progress::Rolling { waiting_for, .. } if waiting_for.contains("unhealthy"))).await;
    let replicas = harness.replicas(&sick).await;
    assert!(
        replicas.iter().any(unwell) && ids(&replicas).is_superset(&ids(&old)),
        "{replicas:?}"
    );
    let kept = replicas.iter().find(|it| it.id == old[0].id).unwrap();
    assert_eq!(kept.state, ReplicaState::Kept, "it did not end by itself");

    harness.deploy_until_complete(&first).await;
    let back = harness.replicas(&first).await;
    assert_eq!(ids(&back), ids(&old), "the old one was kept and started again");
    assert_eq!((&back[0].name, back[0].serving), (&old[0].name, true));

    let third = with_port(harness.workload("web", "h3", Does::Serve));
    harness.deploy_until_complete(&third).await;
    let replicas = harness.replicas(&third).await;
    assert!(
        replicas.len() == 1 && replicas[0].hash == "h3" && replicas[0].endpoints == [host_port(port)],
        "{replicas:?}"
    );
}

pub async fn taken_host_port_is_reported_and_stops_no_container(mut harness: Harness) {
    let port = free_port();
    let mut holder = harness.workload("holder", "h1", Does::Serve);
    holder.spec.ports = vec![host_port(port)];
    holder.policy.strategy = Strategy::StopFirst;
    harness.deploy_until_complete(&holder).await;
    let mut wanted = harness.workload("web", "h2", Does::Serve);
    wanted.policy.strategy = Strategy::StopFirst;
    harness.deploy_until_complete(&wanted).await;

    let mut taken = harness.workload("web", "h3", Does::Serve);
    taken.policy.strategy = Strategy::StopFirst;
    taken.spec.ports = vec![host_port(port)];
    let refused = harness.runtime.deploy(&taken).await.unwrap_err();
    let RuntimeError::PortTaken { port: named, by } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(*named, host_port(port));
    assert!(by.contains(&holder.identity.app.to_string()), "{by}");
    if matches!(harness.engine, Engine::Docker(_)) {
        let serving = harness
            .replicas(&wanted)
            .await
            .into_iter()
            .any(|it| it.hash == "h2" && it.serving);
        assert!(serving, "the old one was stopped for nothing");
    }

    let program = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = program.local_addr().unwrap().port();
    let mut taken = harness.workload("other", "h4", Does::Serve);
    taken.spec.ports = vec![host_port(port)];
    if let Engine::Fake(fake) = &harness.engine {
        fake.occupy(port, "a program on this machine");
    }
    let refused = harness.runtime.deploy(&taken).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("host port 127.0.0.1:{port} is taken by a program on this machine")
    );
}

pub async fn container_that_cannot_start_reports_the_cause(mut harness: Harness) {
    let mut wanted = harness.workload("web", "h1", Does::Serve);
    wanted.spec.command = vec!["/no/such/program".into()];
    harness.script(
        "good",
        &Behaviour::RefusesToStart("exec: /no/such/program".to_owned()),
    );
    match &harness.engine {
        Engine::Fake(fake) => fake.lose_image(NO_IMAGE),
        Engine::Orchestrator(fake) => fake.lose_image(NO_IMAGE),
        Engine::Docker(_) | Engine::Swarm(_) | Engine::Kubernetes(_) => {}
    }
    let end = Instant::now() + PATIENCE;
    let refused = loop {
        match harness.runtime.deploy(&wanted).await {
            Err(refused) => break refused,
            Ok(progress) => assert!(Instant::now() < end, "{progress:?}"),
        }
        let _ = tokio::time::timeout(PATIENCE, harness.events.next()).await;
    };
    let RuntimeError::Rejected { message: why, .. } = &refused else {
        panic!("{refused}")
    };
    assert!(why.contains("/no/such/program"), "{why}");

    let mut wanted = harness.workload("lost", "h2", Does::Serve);
    NO_IMAGE.clone_into(&mut wanted.spec.image);
    let refused = harness.runtime.deploy(&wanted).await.unwrap_err();
    assert!(
        matches!(&refused, RuntimeError::ImageMissing(image) if *image == wanted.spec.image),
        "{refused}"
    );
}

pub async fn removed_application_leaves_only_volumes(mut harness: Harness) {
    let mut wanted = harness.workload("web", "h1", Does::Serve);
    wanted.spec.mounts = vec![Mount {
        name: "data".to_owned(),
        path: "/data".to_owned(),
        source: MountSource::Volume,
        read_only: false,
    }];
    let other = harness.workload("other", "h2", Does::Serve);
    harness.deploy_until_complete(&wanted).await;
    harness.deploy_until_complete(&other).await;
    harness.remove(&wanted, false).await;
    assert_eq!(harness.replicas(&wanted).await, []);
    assert_eq!(
        harness.runtime.apps().await.unwrap(),
        [(other.identity.app.clone(), other.identity.uid.clone())]
    );
    match &harness.engine {
        Engine::Fake(fake) => assert_eq!(fake.volumes(), [(wanted.identity.app.clone(), "data".to_owned())]),
        Engine::Docker(scope) => assert_eq!(scope.list("volumes").len(), 1),
        Engine::Swarm(_) => assert_eq!(harness.swarm_volumes().len(), 1),
        Engine::Kubernetes(_) => assert_eq!(harness.claims().len(), 1),
        Engine::Orchestrator(fake) => {
            assert_eq!(fake.volumes(), [(wanted.identity.app.clone(), "data".to_owned())]);
        }
    }
    harness.remove(&other, true).await;
    if let Engine::Docker(scope) = &harness.engine {
        assert_eq!(
            scope.list("networks").len(),
            0,
            "the network goes with the last container"
        );
        assert_eq!(
            scope.list("volumes").len(),
            1,
            "another Application's volume stays"
        );
    }
    harness.remove(&wanted, true).await;
    match &harness.engine {
        Engine::Fake(fake) => assert_eq!(fake.volumes(), []),
        Engine::Docker(scope) => assert_eq!(scope.leftovers(), Vec::<String>::new()),
        Engine::Swarm(_) => assert_eq!(harness.swarm_volumes(), Vec::<String>::new()),
        Engine::Kubernetes(_) => assert_eq!(harness.claims(), Vec::<String>::new()),
        Engine::Orchestrator(fake) => assert_eq!(fake.volumes(), []),
    }
    assert_eq!(harness.runtime.apps().await.unwrap(), []);
}

pub async fn application_of_the_same_name_adopts_nothing(mut harness: Harness) {
    let first = harness.workload("web", "h1", Does::Serve);
    harness.deploy_until_complete(&first).await;
    let old = ids(&harness.replicas(&first).await);
    let mut second = first.clone();
    "another".clone_into(&mut second.identity.uid);
    harness.deploy_until_complete(&second).await;
    assert!(ids(&harness.replicas(&second).await).is_disjoint(&old));
    assert_eq!(
        harness.runtime.apps().await.unwrap(),
        [(second.identity.app.clone(), "another".to_owned())]
    );
}
