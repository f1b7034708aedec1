//! The build plan that `nixpacks plan` prints (nixpacks' `src/nixpacks/plan`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A build plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Plan {
    /// The image that the phases run in.
    pub build_image: String,
    /// Environment variables, those of the user among them.
    pub variables: BTreeMap<String, String>,
    /// The content of generated files by name.
    pub static_assets: BTreeMap<String, String>,
    /// The phases by name.
    pub phases: BTreeMap<String, Phase>,
    /// The image.
    pub start: Start,
}

/// One phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Phase {
    /// The phases before it.
    pub depends_on: Vec<String>,
    /// Packages of nixpkgs.
    pub nix_pkgs: Vec<String>,
    /// Libraries of nixpkgs.
    pub nix_libs: Vec<String>,
    /// URLs of overlays of nixpkgs.
    pub nix_overlays: Vec<String>,
    /// The revision of nixpkgs.
    pub nixpkgs_archive: Option<String>,
    /// Packages of Debian.
    pub apt_pkgs: Vec<String>,
    /// Commands of a shell.
    pub cmds: Vec<String>,
    /// The files of the source that it needs; all of them if `None`.
    pub only_include_files: Option<Vec<String>>,
    /// The directories that outlive a build.
    pub cache_directories: Vec<String>,
    /// Directories of `PATH`.
    pub paths: Vec<String>,
}

impl Phase {
    /// Reports whether it installs anything from nixpkgs.
    pub fn uses_nix(&self) -> bool {
        !self.nix_pkgs.is_empty() || !self.nix_libs.is_empty()
    }

    /// Reports whether it is more than a list of packages.
    pub fn has_commands(&self) -> bool {
        !self.cmds.is_empty() || !self.paths.is_empty()
    }
}

/// What the image is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Start {
    /// What a container runs, in a shell.
    pub cmd: Option<String>,
    /// The image that the result is copied into; the build image if `None`.
    pub run_image: Option<String>,
    /// What is copied into it; the whole directory of the application if empty.
    pub only_include_files: Vec<String>,
    /// The user of the containers.
    pub user: Option<String>,
}

impl Plan {
    /// The phases, each after those that it depends on; by name where nothing else decides.
    ///
    /// # Errors
    /// A phase depends on itself.
    pub fn in_order(&self) -> Result<Vec<(&str, &Phase)>, String> {
        let mut open: BTreeMap<&str, &Phase> = self
            .phases
            .iter()
            .map(|(name, phase)| (name.as_str(), phase))
            .collect();
        let mut order = Vec::new();
        while !open.is_empty() {
            let waits = |phase: &Phase| {
                phase
                    .depends_on
                    .iter()
                    .any(|name| open.contains_key(name.as_str()))
            };
            let next: Vec<&str> = open
                .iter()
                .filter(|(_, phase)| !waits(phase))
                .map(|(name, _)| *name)
                .collect();
            if next.is_empty() {
                let names: Vec<&str> = open.keys().copied().collect();
                return Err(format!("the phases {} depend on each other", names.join(", ")));
            }
            for name in next {
                order.extend(open.remove(name).map(|phase| (name, phase)));
            }
        }
        Ok(order)
    }

    /// The revisions of nixpkgs that packages come from.
    pub fn archives(&self) -> BTreeSet<Option<&str>> {
        let phases = self.phases.values().filter(|phase| phase.uses_nix());
        phases.map(|phase| phase.nixpkgs_archive.as_deref()).collect()
    }

    /// The languages that nixpacks found.
    pub fn providers(&self) -> &str {
        self.variables.get("NIXPACKS_METADATA").map_or("", String::as_str)
    }
}
