//! Condition types and reasons: one vocabulary for conditions, events and metrics.
//! `docs/reasons.md` holds the same sentences; a test keeps the two equal.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The types of condition that Davit writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// Everything wanted is so; summarised from the others in one place.
    Ready,
    /// Work is under way; present only when true.
    Reconciling,
    /// Only the user can help; present only when true.
    Stalled,
    /// The source was resolved to a commit or digest.
    SourceReady,
    /// The image of the newest wanted release is there.
    Built,
    /// The newest wanted release is what runs.
    Deployed,
    /// Every replica of what runs is healthy.
    Healthy,
    /// Requests for every route reach the Application; present only if it has routes.
    RoutesReady,
    /// A rollback holds automatic deployments; present only when true.
    AutoDeployHeld,
    /// A Release has ended well (True) or badly (False).
    Succeeded,
    /// The forge accepted the credential.
    Authenticated,
    /// The forge's rate limit is used up; present only when true.
    RateLimited,
    /// Deliveries of webhooks can arrive, and are verified; present only if a webhook is configured.
    WebhookReady,
}

/// A status with conditions.
pub trait Conditions {
    /// All of them, one of each type.
    fn conditions(&self) -> &[Condition];
}

macro_rules! conditions {
    ($($status:ident),*) => {
        $(impl Conditions for super::$status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
        })*
    };
}
conditions!(ApplicationStatus, GitProviderStatus, ReleaseStatus);

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Declares [`Reason`] together with the sentence of each, so that neither can be forgotten.
macro_rules! reasons {
    ($($(#[$meta:meta])* $name:ident = $sentence:literal,)*) => {
        /// Why a condition is as it is, an event was sent or a metric was counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $(#[doc = $sentence] $name,)* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What it means, as a sentence for the user.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// The word itself, as it stands in conditions and events.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }

        impl std::str::FromStr for Reason {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $(stringify!($name) => Ok(Self::$name),)* _ => Err(()) }
            }
        }
    };
}

reasons! {
    // Under way or well.
    Pending = "The object was seen and nothing has begun yet.",
    Queued = "The release waits for a place among the builds that may run at once.",
    Fetching = "The source is being fetched.",
    Building = "The image is being built.",
    Pushing = "The image is being pushed to its registry.",
    Deploying = "The containers of the release are being started.",
    Verifying = "The containers run and are watched until they have been healthy for minReady.",
    Progressing = "Work is under way.",
    ProgressingWithRetry = "Something failed that may heal by itself; it is tried again with growing pauses.",
    Resolving = "The source is being looked up and has not answered yet.",
    Resolved = "The source was resolved to a commit or digest.",
    Built = "The image was built.",
    Pushed = "The image was pushed to its registry.",
    ImageReused = "An image of the same commit and the same build inputs was there already and was not built again.",
    Deployed = "The newest wanted release is what runs.",
    Healthy = "Every replica is healthy.",
    Ready = "Everything wanted is so.",
    Succeeded = "The release ended well.",
    Stopped = "The workload is stopped because spec.stopped is true.",
    Suspended = "Nothing is reconciled because spec.suspend is true.",
    NoSource = "The Application has no source, so there is nothing to run.",
    Cancelling = "Cancel was asked for and the work is being stopped.",
    Cancelled = "The release was cancelled and its work has ended.",
    NotOnBranch = "The branch no longer leads to the commit that a delivery announced; its release ended before it began.",
    Superseded = "A newer release took the place of this one before it ended.",
    StopFirst = "The old containers are stopped before the new ones start, because both need the same host port or it was asked for.",
    Deleting = "The object is being deleted and what it made is being removed.",
    Concurrent = "Another release of the same Application is under way and concurrencyPolicy says to wait or to refuse.",

    PreDeploy = "hooks.preDeploy runs in the new image; the containers start when it has ended well.",
    PreDeployFailed = "hooks.preDeploy ended with a code other than 0.",
    PreDeployTimeout = "hooks.preDeploy did not end in time.",
    Restarting = "New containers of the same release take the place of the old ones.",
    RestartFailed = "The new containers of a restart did not become healthy in time; those from before serve.",
    RolledBack = "A rollback holds automatic deployments until the spec changes or davit resume is called.",

    // The specification.
    InvalidSpec = "A field of the spec has a value that cannot work.",
    NotSupported = "A field asks for something that this version of Davit does not do yet.",
    BuildOutOfMemory = "A step of the build was killed, as the kernel does when the memory runs out.",
    BuildkitUnavailable = "The buildkitd of --buildkit-host does not answer, or is not the right one.",
    BuildkitUnsuitable = "The BuildKit that builds lacks what every build needs.",
    Deprecated = "The spec uses something that works and that its makers no longer develop.",
    InvalidEnvName = "Keys of a Secret or ConfigMap in spec.envFrom are skipped, because they are not names of environment variables.",
    InvalidQuantity = "A quantity of cpu or memory cannot be read or is out of range.",
    ReleaseNotFound = "spec.rollbackTo names a Release that does not exist.",
    ReleaseNeverServed = "spec.rollbackTo names a Release that did not succeed, so there is nothing to go back to.",
    ApplicationNotFound = "The Release names an Application that is not there.",

    // What it refers to.
    SecretNotFound = "A Secret that the spec refers to is not there.",
    SecretKeyMissing = "A Secret lacks the key that is asked for.",
    SecretInvalid = "A Secret is there but does not hold what its use needs.",
    ConfigMapNotFound = "A ConfigMap that the spec refers to is not there.",
    ConfigMapKeyMissing = "A ConfigMap lacks the key that is asked for.",
    ProviderNotFound = "The GitProvider that the source names is not there.",
    ProviderNotReady = "The GitProvider is there but not ready.",
    AccessDenied = "The GitProvider does not allow this namespace to use it.",

    // Fetching.
    GitAuthFailed = "The Git server refused the credential, or wants one.",
    GitHostKeyMissing = "An ssh source needs known_hosts in its Secret, or the explicit insecure opt-out.",
    GitHostKeyUnknown = "The ssh server's host key is not the one in known_hosts.",
    GitRepositoryNotFound = "The repository is not there, or the credential may not see it.",
    GitRefNotFound = "The branch, tag or commit is not in the repository.",
    NoMatchingTag = "No tag of the repository matches spec.trigger.tagPattern.",
    ChecksPending = "The commit waits for its checks at the forge, as spec.trigger.requireChecks asks.",
    ChecksFailed = "Checks of the commit failed, so it is not deployed.",
    CommitStatusFailed = "The status of the commit could not be reported to its forge; the release goes on.",
    CommitSkipped = "The message of a newer commit asks for no deployment, so no release is created for it.",
    NoWatchedChange = "A newer commit changes nothing in spec.trigger.watchPaths, so no release is created for it.",
    GitTransportForbidden = "The URL's transport is not allowed: only https and ssh are.",
    GitTlsFailed = "The Git server's certificate cannot be trusted.",
    GitUnreachable = "The Git server cannot be reached.",
    GitFailed = "Git failed in a way that is not known.",
    SubmoduleFailed = "A submodule could not be fetched.",
    GitLfsFailed = "The content of files in Git LFS could not be fetched.",
    PathNotFound = "A path that the spec names is not in the source.",
    PathEscapes = "A path leads out of the source.",

    // Images and builds.
    BuildTypeNotDetected = "No build type is given and none fits the source.",
    DockerfileNotFound = "The Dockerfile is not there.",
    PublishDirectoryNotFound = "The directory to publish is not there.",
    BuildFailed = "The build failed; its last lines are in the Release.",
    BuildTimeout = "The build took longer than build.timeout.",
    ImageNotFound = "The image is neither in its registry nor in the local engine.",
    ImagePullDenied = "The registry refused the credential, or wants one; or the image belongs to another namespace.",
    ImagePullFailed = "The image could not be pulled.",
    ImagePushDenied = "The registry refused the credential for pushing, or wants one.",
    ImagePushFailed = "The image could not be pushed.",
    RegistryTlsFailed = "The registry's certificate cannot be trusted, or it speaks plain HTTP.",
    RegistryUnreachable = "The registry cannot be reached.",

    // Running.
    Unschedulable = "No node of the cluster can take a container: too little CPU or memory, or a volume that is elsewhere.",
    QuotaExceeded = "A quota of the namespace leaves no room for a container.",
    NotPermitted = "The cluster does not allow the controller to do what is needed.",
    NameTaken = "An object of the name that is needed exists and is not Davit's.",
    PortTaken = "A host port is taken by something else.",
    ContainerConfigInvalid = "The engine refused to make or start the container.",
    ArchitectureMismatch = "The image or its program is for another CPU architecture than the engine's machine.",
    ContainerExited = "A container ended although it should run.",
    Unhealthy = "A container runs but is not healthy.",
    ProgressDeadlineExceeded = "The release was not healthy within rollout.progressDeadline.",
    ReplicasMissing = "Fewer replicas run than are wanted.",

    // The machine.
    EngineUnavailable = "The container engine does not answer.",
    EngineFailed = "The container engine failed in a way that is not known.",
    DiskFull = "There is no space left on the device.",
    ArchiveInvalid = "The uploaded archive is not accepted.",
    ArchiveMissing = "Nothing with the digest of spec.source.drop was uploaded.",
    ClusterUnavailable = "The API server does not answer.",
    Internal = "Something failed inside Davit.",

    // Forges.
    RepositoriesFound = "The forge answered and the repositories were counted.",
    CredentialExpiresSoon = "The forge answered, and the credential expires within seven days.",
    ForgeUnreachable = "The forge cannot be reached.",
    ForgeTlsFailed = "The forge's certificate cannot be trusted.",
    ForgeNotRecognised = "What answers at the URL is not the forge that the spec says.",
    ForgeAuthFailed = "The forge refused the credential.",
    ForgeScopeMissing = "The credential lacks a permission that is needed.",
    ForgeTimeout = "The forge did not answer in time.",
    ForgeResponseIncomplete = "The forge's answer ended early.",
    ForgeResponseInvalid = "The forge's answer was not JSON.",
    ForgeRedirected = "The forge redirects to another host, which the credential is not sent to.",
    ForgeClockSkewed = "The forge refused a signature because the clock of this machine is wrong.",
    ForgeAppNotInstalled = "No account has installed the App.",
    ForgeRateLimited = "The rate limit of the forge is used up; the message names its end.",
    ForgeFailed = "The forge failed in a way that is not known.",
    WebhookReady = "Deliveries of the webhook are received and verified.",
    HooksRegistered = "Davit registered one hook for each repository in use at the forge.",
    WebhookNotServed = "This Davit receives no webhooks, or does not know its public URL.",
    HookFailed = "A hook could not be registered or repaired at the forge.",
    HookNotRemoved = "A hook that Davit registered could not be removed from the forge.",
    HooksRemain = "The GitProvider was deleted, and webhooks that could not be removed remain at the forge.",
    PreviewCreated = "A pull request got a preview.",
    PreviewUpdated = "A preview was made what its pull request and its Application ask for.",
    PreviewRemoved = "A preview was removed; the message states why.",
    PreviewsFailed = "The previews of an Application could not be brought up to date; Davit tries again.",

    // Routes.
    RoutesReady = "The reverse proxy has loaded every route, and healthy replicas serve them.",
    RoutePending = "The reverse proxy has not loaded the present routes yet.",
    RouteConflict = "An older Application has the host, or the host and path, of a route.",
    RouteNotAllowed = "The namespace may not have the host of a route.",
    RouteInvalid = "A route refers to something that is missing or cannot be used.",
    RouteRefused = "The reverse proxy refused a route.",
    RouteHasNoReplica = "No healthy replica serves a route.",
    RouteUnobserved = "The routes are written, and nothing tells whether the reverse proxy has loaded them.",
    ProxyMissing = "This Davit has no reverse proxy, so routes have no effect.",
    ProxyUnreachable = "The reverse proxy does not answer, or its configuration cannot be written.",
    DnsElsewhere = "The name of a route does not lead to this machine, so there is no certificate for it.",
    CertificateRefused = "The certificate authority refused a certificate for the host of a route.",
    CertificateExpires = "The certificate for the host of a route expires soon, and was not renewed.",
    CertificateExpired = "The certificate for the host of a route has expired.",
    CertificatePending = "The reverse proxy has no certificate for the host of a route yet, or one that is not valid yet.",
    InUse = "The GitProvider is deleted only when no Application uses it.",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Looks a condition up by its type.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    let name = kind.to_string();
    conditions.iter().find(|condition| condition.type_ == name)
}

/// True where the condition is there and its status is `True`.
pub fn is_true(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// Sets a condition. `lastTransitionTime` moves only when the status flips, as the Kubernetes API conventions ask.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: ConditionType,
    status: Option<bool>,
    reason: Reason,
    message: &str,
    generation: i64,
    now: jiff::Timestamp,
) {
    let status = match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let name = kind.to_string();
    let since = conditions
        .iter()
        .find(|condition| condition.type_ == name && condition.status == status)
        .map_or(Time(now), |condition| condition.last_transition_time.clone());
    let new = Condition {
        type_: name.clone(),
        status: status.to_owned(),
        reason: reason.to_string(),
        message: message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == name) {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// Removes a condition: abnormal-true ones are present only while they are true.
pub fn remove(conditions: &mut Vec<Condition>, kind: ConditionType) {
    let name = kind.to_string();
    conditions.retain(|condition| condition.type_ != name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let (first, second) = (
            jiff::Timestamp::UNIX_EPOCH,
            jiff::Timestamp::from_second(60).unwrap(),
        );
        let mut all = Vec::new();
        set(
            &mut all,
            ConditionType::Ready,
            Some(false),
            Reason::Pending,
            "a",
            1,
            first,
        );
        set(
            &mut all,
            ConditionType::Ready,
            Some(false),
            Reason::Building,
            "b",
            2,
            second,
        );
        let ready = find(&all, ConditionType::Ready).unwrap();
        assert_eq!(
            (ready.last_transition_time.0, ready.reason.as_str()),
            (first, "Building")
        );
        set(
            &mut all,
            ConditionType::Ready,
            Some(true),
            Reason::Ready,
            "c",
            2,
            second,
        );
        assert_eq!(
            find(&all, ConditionType::Ready).unwrap().last_transition_time.0,
            second
        );
        assert_eq!(all.len(), 1);
        remove(&mut all, ConditionType::Ready);
        assert!(all.is_empty());
    }

    #[test]
    fn a_reason_is_read_back_as_it_was_written() {
        for reason in Reason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(*reason));
            assert!(reason.sentence().ends_with('.'), "{reason}");
        }
    }
}
