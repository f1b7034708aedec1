//! The runtime shape of an Application: environment, ports, health, volumes, rollout.

use garde::Validate;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::formats::STORAGE;
use super::validation::{cpu_amount, first_duplicate, invalid, ip_address, memory_amount, mount_directory};
use super::values::{Duration, KeyRef, PortRef, Quantity, is_false};

/// A variable: a value, or a key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.value) && has(self.valueFrom))")
    .message("at most one of value and valueFrom may be set: remove one of them").reason(Reason::FieldValueInvalid))]
pub struct EnvVar {
    /// Its name: letters, digits, `_`, `-` and `.`, not beginning with a digit.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"))]
    pub name: String,
    /// Its value. In `spec.env`, `$(NAME)` stands for the value of a variable before it, of `spec.envFrom` too; `$$` is
    /// one `$`. Default empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072))]
    pub value: Option<String>,
    /// Where its value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvValueFrom>,
}

impl EnvVar {
    /// Reports whether a variable may have this name. The CRD applies the same rule to `name`.
    pub fn is_name(name: &str) -> bool {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    }
}

/// Where a variable's value comes from: exactly one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
    .message("exactly one of secretKeyRef, configMapKeyRef must be set").reason(Reason::FieldValueInvalid))]
pub struct EnvValueFrom {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// Every key of a Secret, or of the `data` of a ConfigMap, as variables. Keys that are not names of variables are skipped,
/// with an event. A later source and `env` win over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.configMapRef)")
    .message("exactly one of secretRef, configMapRef must be set").reason(Reason::FieldValueInvalid))]
pub struct EnvFrom {
    /// Put before every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"))]
    pub prefix: Option<String>,
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<OptionalRef>,
    /// A ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<OptionalRef>,
}

/// A Secret or ConfigMap that may be allowed to be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptionalRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// When true, it may be missing. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

/// A port of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.hostIp) || has(self.hostPort)")
    .message("hostIp has no effect without hostPort: set hostPort, or remove hostIp").reason(Reason::FieldValueForbidden).field_path(".hostIp"))]
#[garde(allow_unvalidated)]
pub struct Port {
    /// A name that health checks and routes may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 15),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: Option<String>,
    /// The port the container listens on. With its protocol it names the entry, so it is at one place of the machine.
    #[schemars(range(min = 1, max = 65535))]
    pub container_port: i32,
    /// The same port on the machine's addresses. With one, `StopFirst` is used and `replicas` is at most 1. Several
    /// entries may have the same one, each with a `hostIp` of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub host_port: Option<i32>,
    /// The machine's address that `hostPort` is bound to. Default: all addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[garde(custom(ip_address))]
    pub host_ip: Option<String>,
    /// TCP (default) or UDP.
    #[serde(default)]
    pub protocol: Protocol,
}

/// The protocol of a port.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

/// What a container or build may use, in Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct Resources {
    /// What is set aside where not everybody gets all: cpu as a weight beside others (1024 shares for a core), memory
    /// as a soft limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(custom(at_most(self.limits.as_ref())), dive)]
    pub requests: Option<Amounts>,
    /// What is never exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub limits: Option<Amounts>,
}

/// Amounts of cpu and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct Amounts {
    /// Cores: `1`, `250m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(custom(cpu_amount))]
    pub cpu: Option<Quantity>,
    /// Bytes: `128Mi`, `1G`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(custom(memory_amount))]
    pub memory: Option<Quantity>,
}

/// How it is known that a replica works: exactly one of http, tcp, exec. Without one, the image's own check counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.http), has(self.tcp), has(self.exec)].filter(x, x).size() == 1")
    .message("exactly one of http, tcp, exec must be set").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.interval) || duration(self.interval) > duration('0s')")
    .message("interval must be longer than 0s: remove it for the default, 5s").reason(Reason::FieldValueInvalid).field_path(".interval"),
    validation = Rule::new("!has(self.timeout) || duration(self.timeout) > duration('0s')")
    .message("timeout must be longer than 0s: remove it for the default, 2s").reason(Reason::FieldValueInvalid).field_path(".timeout"))]
#[garde(allow_unvalidated)]
#[garde(context(Vec<Port>))]
pub struct HealthCheck {
    /// GET answers with a status below 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub http: Option<HttpCheck>,
    /// A connection is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub tcp: Option<TcpCheck>,
    /// A command in the container ends with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecCheck>,
    /// Time between checks. Default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// The longest one check may take. Default 2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Failures in a row until a replica counts as unhealthy. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub retries: Option<i32>,
    /// Failures in this time after the start do not count. Default 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Duration>,
}

/// An HTTP check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[garde(allow_unvalidated)]
#[garde(context(Vec<Port>))]
pub struct HttpCheck {
    /// The path to GET. Default `/`.
    #[serde(default = "slash")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^/[^\s]*$"))]
    pub path: String,
    /// The container port, by number or name.
    #[garde(custom(tcp_port))]
    pub port: PortRef,
}

/// A TCP check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[garde(allow_unvalidated)]
#[garde(context(Vec<Port>))]
pub struct TcpCheck {
    /// The container port, by number or name.
    #[garde(custom(tcp_port))]
    pub port: PortRef,
}

/// A check by a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecCheck {
    /// The command and its arguments; no shell.
    #[schemars(length(min = 1, max = 64))]
    pub command: Vec<String>,
}

/// What happens when a container ends by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxRetries) || self.maxRetries == 0 || self.condition == 'OnFailure'")
    .message("maxRetries has no effect unless condition is OnFailure: set condition to OnFailure, or remove maxRetries").reason(Reason::FieldValueForbidden).field_path(".maxRetries"))]
pub struct RestartPolicy {
    /// Always (default), OnFailure or Never.
    #[serde(default)]
    pub condition: RestartCondition,
    /// With OnFailure: how often at most; 0 (default) without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_retries: Option<i32>,
}

/// When a container is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartCondition {
    /// Whenever it ends.
    #[default]
    Always,
    /// When it ends with another code than 0.
    OnFailure,
    /// Never.
    Never,
}

/// A directory in the container that does not come from the image: exactly one of volume, configMap, secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.volume), has(self.configMap), has(self.secret)].filter(x, x).size() == 1")
    .message("exactly one of volume, configMap, secret must be set").reason(Reason::FieldValueInvalid))]
#[garde(allow_unvalidated)]
pub struct VolumeMount {
    /// A name of its own; a named volume is kept under it from release to release.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Where it is in the container.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/[^:\s]+$"))]
    #[garde(custom(mount_directory))]
    pub mount_path: String,
    /// Storage that outlives containers and releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<NamedVolume>,
    /// The keys of a ConfigMap as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<Files>,
    /// The keys of a Secret as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Files>,
    /// The container cannot write to it. Default false; files of ConfigMaps and Secrets are never written back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// A ConfigMap or Secret whose keys become files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The mode of each file, which root owns; YAML reads `0400` as octal. Default 0444: every user
    /// of the image can read them, none can write to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 511))]
    pub default_mode: Option<i32>,
}

/// The schema of an amount of storage. It is a text only: a rule for numbers too would cost the API server more than a CRD
/// may, because there are many volumes.
fn storage(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "pattern": STORAGE, "maxLength": 32})
}

/// A named volume. Its size and class are those of a cluster's storage: other runtimes refuse them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedVolume {
    /// How much it holds, such as 10Gi; it can only grow. Default 1Gi. With --runtime kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "storage")]
    pub size: Option<Quantity>,
    /// The StorageClass. Default: that of the cluster. It cannot change. With --runtime kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// Commands that run at certain moments of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Runs once for each Release in its image, before its containers start, with the same environment and volumes. If it
    /// fails, the Release fails, and what runs is unaffected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_deploy: Option<Hook>,
}

/// A command that runs to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.command.size() > 0")
        .message("command must have at least the program: write a list such as [/bin/shop, migrate]").reason(Reason::FieldValueInvalid).field_path(".command"),
    validation = Rule::new("!has(self.timeout) || duration(self.timeout) > duration('0s') && duration(self.timeout) <= duration('24h')")
        .message("timeout must be longer than 0s and at most 24h: leave it out for 10m").reason(Reason::FieldValueInvalid).field_path(".timeout"))]
pub struct Hook {
    /// The program and its arguments; no shell. `$(NAME)` stands for a variable of `env` or `envFrom`, `$$` for one `$`.
    #[schemars(length(max = 256))]
    pub command: Vec<String>,
    /// The longest it may take. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// How a release takes the place of the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.progressDeadline) || duration(self.progressDeadline) > duration('0s')")
    .message("progressDeadline must be longer than 0s: remove it for the default, 5m").reason(Reason::FieldValueInvalid).field_path(".progressDeadline"),
    validation = Rule::new("!has(self.minReady) || duration(self.minReady) < (has(self.progressDeadline) ? duration(self.progressDeadline) : duration('5m'))")
    .message("minReady must be shorter than progressDeadline (default 5m), because no release could succeed otherwise: raise progressDeadline").reason(Reason::FieldValueInvalid).field_path(".minReady"))]
pub struct Rollout {
    /// StartFirst (default) or StopFirst, which is chosen by itself with host ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// The longest a release may take from its first container to healthy, `minReady` included. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<Duration>,
    /// How long every replica must have been healthy. Default 0s with a health check of the Application's or the
    /// image's, 1s without any, so that a container that ends at once is never taken for healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready: Option<Duration>,
    /// When a release fails, its containers go and the release before serves. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_rollback: Option<bool>,
}

/// Which containers come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// New ones are seen healthy before old ones go.
    StartFirst,
    /// Old ones are stopped before new ones start.
    StopFirst,
}

/// Checks that no request is above its limit.
fn at_most(limits: Option<&Amounts>) -> impl FnOnce(&Option<Amounts>, &()) -> garde::Result + '_ {
    move |requests, ()| {
        let (Some(requests), Some(limits)) = (requests, limits) else {
            return Ok(());
        };
        let cpu = |amounts: &Amounts| amounts.cpu.as_ref().and_then(Quantity::nano_cores);
        let memory = |amounts: &Amounts| amounts.memory.as_ref().and_then(Quantity::bytes);
        for (name, request, limit) in [
            ("cpu", cpu(requests), cpu(limits)),
            ("memory", memory(requests), memory(limits)),
        ] {
            if request.zip(limit).is_some_and(|(request, limit)| request > limit) {
                return invalid(format!(
                    "has more {name} than limits.{name}: lower it, or raise the limit"
                ));
            }
        }
        Ok(())
    }
}

/// Checks that no two ports have one name.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes a reference to its context"
)]
pub(super) fn distinct_port_names(ports: &[Port], (): &()) -> garde::Result {
    let names = ports.iter().filter_map(|port| port.name.as_deref());
    match first_duplicate(names) {
        Some(name) => invalid(format!(
            "has the name {name:?} twice: give each port a name of its own"
        )),
        None => Ok(()),
    }
}

impl PortRef {
    /// Returns the number of the TCP port that a health check refers to.
    ///
    /// # Errors
    /// What is wrong with the reference, and the solution; the message continues the path of the field.
    pub fn number(&self, ports: &[Port]) -> Result<u16, String> {
        match self {
            Self::Number(number) => u16::try_from(*number)
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| format!("{number} is not a port: use a number from 1 to 65535")),
            Self::Name(name) => match ports.iter().find(|port| port.name.as_ref() == Some(name)) {
                Some(port) if port.protocol == Protocol::Udp => {
                    Err(format!("{name:?} is a UDP port: use the name of a TCP port"))
                }
                Some(port) => u16::try_from(port.container_port)
                    .map_err(|_| format!("{name:?} has no number from 1 to 65535: change its containerPort")),
                None => Err(format!(
                    "{name:?} is not a name in spec.ports: add it there, or use the number"
                )),
            },
        }
    }
}

/// Checks that the port of a health check exists.
#[expect(clippy::ptr_arg, reason = "garde passes the context by reference")]
fn tcp_port(port: &PortRef, ports: &Vec<Port>) -> garde::Result {
    port.number(ports).map_or_else(invalid, |_| Ok(()))
}

/// Checks that no two volumes are mounted at one path.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes a reference to its context"
)]
pub(super) fn distinct_mount_paths(volumes: &[VolumeMount], (): &()) -> garde::Result {
    let paths = volumes
        .iter()
        .map(|volume| volume.mount_path.trim_end_matches('/'));
    match first_duplicate(paths) {
        Some(path) => invalid(format!(
            "has the mountPath {path:?} twice: give each volume a path of its own"
        )),
        None => Ok(()),
    }
}

fn slash() -> String {
    "/".to_owned()
}
