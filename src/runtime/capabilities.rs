//! What a runtime supports. Validation refuses fields that the runtime of this installation cannot honour.

/// What a runtime supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The value of `--runtime` that selects it.
    pub name: &'static str,
    /// Whether containers run on other machines than the builder's engine, so that images must come from a registry.
    pub needs_registry: bool,
    /// Whether an image that is in no registry cannot run at all.
    pub pulls_only: bool,
    /// Whether a container can publish a port of its machine (`hostPort`).
    pub host_ports: bool,
    /// Whether `hostPort` can be limited to one address (`hostIp`).
    pub host_ip: bool,
    /// Whether Davit or the runtime can check health over HTTP and TCP without a program in the image.
    pub network_probes: bool,
    /// Whether containers may run to completion (`restartPolicy` OnFailure and Never).
    pub run_to_completion: bool,
    /// Whether a container can run once before the others (`hooks.preDeploy`).
    pub hooks: bool,
    /// Whether volumes have a size and a class.
    pub storage: bool,
    /// The least limit of memory, in bytes.
    pub min_memory: u64,
}

impl Capabilities {
    /// The Docker Engine.
    pub const DOCKER: Self = Self {
        name: "docker",
        needs_registry: false,
        pulls_only: false,
        host_ports: true,
        host_ip: true,
        network_probes: true,
        run_to_completion: true,
        hooks: true,
        storage: false,
        min_memory: 6 << 20,
    };

    /// A Docker Swarm. It checks health only by commands in the container.
    pub const SWARM: Self = Self {
        name: "swarm",
        needs_registry: true,
        pulls_only: false,
        host_ports: true,
        host_ip: false,
        network_probes: false,
        run_to_completion: true,
        hooks: false,
        storage: false,
        min_memory: 6 << 20,
    };

    /// A Kubernetes cluster. Ports of nodes belong to no Application there, and baseline Pod Security forbids them.
    pub const KUBERNETES: Self = Self {
        name: "kubernetes",
        needs_registry: true,
        pulls_only: true,
        host_ports: false,
        host_ip: false,
        network_probes: true,
        run_to_completion: true,
        hooks: true,
        storage: true,
        min_memory: 6 << 20,
    };
}
