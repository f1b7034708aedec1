//! Steps of a Release.

/// A step of a Release, as `status.steps` and `status.failure` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Before the first step.
    Pending,
    /// The source is fetched, or the image pulled.
    Fetching,
    /// The image is built.
    Building,
    /// The image is pushed.
    Pushing,
    /// `hooks.preDeploy` runs.
    PreDeploy,
    /// Containers are created and started.
    Deploying,
    /// Containers become healthy.
    Verifying,
}

impl Step {
    /// Returns the text in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Fetching => "Fetching",
            Self::Building => "Building",
            Self::Pushing => "Pushing",
            Self::PreDeploy => "PreDeploy",
            Self::Deploying => "Deploying",
            Self::Verifying => "Verifying",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
