//! Priority levels.

use crate::auth::identity::{Identity, MASTERS};

/// The priority level of a request, as upstream's suggested flow schemas assign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Members of `system:masters`: never queued.
    Exempt,
    /// Components of the cluster, and service accounts of `kube-system`.
    System,
    /// Everything else.
    Workload,
}

impl Level {
    pub(super) fn of(identity: &Identity) -> Self {
        let user = identity.user.as_str();
        let system = user.starts_with("system:serviceaccount:kube-system:")
            || (user.starts_with("system:") && !user.starts_with("system:serviceaccount:"));
        match () {
            () if identity.groups.iter().any(|group| group == MASTERS) => Self::Exempt,
            () if system => Self::System,
            () => Self::Workload,
        }
    }

    /// The name of the level, for metrics.
    pub(super) const fn priority_level(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::System => "system",
            Self::Workload => "workload-low",
        }
    }

    /// The name of the flow schema that assigns the level, for metrics.
    pub(super) const fn flow_schema(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::System => "system",
            Self::Workload => "global-default",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_follows_the_user() {
        for (name, groups, level) in [
            ("admin", &[MASTERS][..], Level::Exempt),
            ("system:kube-scheduler", &[], Level::System),
            ("system:serviceaccount:kube-system:x", &[], Level::System),
            ("system:serviceaccount:default:x", &[], Level::Workload),
            ("jane", &[], Level::Workload),
        ] {
            assert_eq!(Level::of(&Identity::new(name, groups)), level, "{name}");
        }
    }
}
