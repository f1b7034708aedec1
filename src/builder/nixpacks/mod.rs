//! Builds with nixpacks: `nixpacks plan` examines the source and prints a plan, which becomes a Dockerfile.
//!
//! The program runs, and not the crate: it costs Davit's own program nothing, and its plans are the same.

mod dockerfile;
mod nix;
mod plan;
#[cfg(test)]
mod tests;

use tokio_util::sync::CancellationToken;

use super::buildkit::SolveRequest;
use super::contract::{BuildRequest, BuilderDetails};
use super::error::BuildError;
use super::paths::Root;
use super::planned::{self, Variables};
use super::planner::Planner;
use crate::error::one_line;
use crate::job_log::JobLog;
use crate::redact::Secret;
pub use plan::Plan;

/// The field that chooses this build type.
pub const FIELD: &str = "spec.build.nixpacks";
/// The beginning of the variables that steer nixpacks.
const STEERS: &str = "NIXPACKS_";
/// What the log says of every build.
const MAINTENANCE: &str =
    "nixpacks is in maintenance mode: its makers suggest railpack, its successor (spec.build.railpack)";

/// The plan for the source, and what nixpacks found in it. Secrets have no part in it: a plan repeats the values of variables.
///
/// # Errors
/// nixpacks is not installed, finds nothing that it can build, or cannot read its configuration.
pub async fn plan(
    tool: &Planner,
    request: &BuildRequest,
    log: &JobLog,
    cancel: &CancellationToken,
) -> Result<(Plan, BuilderDetails), BuildError> {
    if let Some(name) = request.secrets.keys().find(|name| name.starts_with(STEERS)) {
        return Err(BuildError::Misplaced {
            name: name.clone(),
            why: "nixpacks repeats the variables that steer it in its plan, and so in the image's history",
            field: "spec.build.secrets",
            instead: "spec.build.args",
        });
    }
    log.write(MAINTENANCE);
    let source = tool.source(request).await?;
    let version = tool.version(cancel).await?;
    let program = tool.base().arg("plan").arg(&source).arg("--format").arg("json");
    let program = Planner::with_variables(program, &request.args);
    let output = tool.run(program, request.timeout, cancel).await?;
    let said = output.err();
    if !output.ok() {
        let said = said.split("Stack backtrace").next().unwrap_or_default();
        let said = one_line(said.trim().trim_start_matches("Error: "));
        return Err(tool.failure(&output, Some(&said), false, log));
    }
    said.lines().for_each(|line| log.write(line));
    let plan: Plan = serde_json::from_slice(&output.stdout)
        .map_err(|error| BuildError::Failed(format!("nixpacks printed no valid plan: {error}")))?;
    if plan.phases.is_empty() {
        return Err(BuildError::NotDetected(
            "the source: nixpacks recognises nothing in it, and it has no nixpacks.toml".to_owned(),
        ));
    }
    let found = described(&plan);
    log.write(&format!("nixpacks detected {found}"));
    let details = BuilderDetails {
        version: Some(format!("nixpacks {version}")),
        detected: Some(found),
        ..BuilderDetails::default()
    };
    Ok((plan, details))
}

/// The build of a plan. A site that is served needs no start command.
///
/// # Errors
/// The plan cannot be converted, or the source has an unreadable `.dockerignore`.
pub fn solve(
    root: &Root,
    plan: &Plan,
    request: &BuildRequest,
    key: &Secret,
    is_site: bool,
) -> Result<SolveRequest, BuildError> {
    if plan.start.cmd.is_none() && !is_site {
        return Err(BuildError::Failed(
            "nixpacks found no start command: set NIXPACKS_START_CMD in spec.build.args, or [start] in nixpacks.toml".to_owned(),
        ));
    }
    let variables = Variables::new(request, key);
    let names: Vec<&str> = variables.names().collect();
    let context = dockerfile::Context {
        cache_key: &variables.cache_key,
        cache_mark: &variables.cache_mark,
        hash: &variables.hash,
        variables: &names,
    };
    let text = dockerfile::convert(plan, &context)
        .map_err(|why| BuildError::Failed(format!("nixpacks' plan cannot be built: {why}")))?;
    planned::solve(root, FIELD, text, request, variables)
}

fn described(plan: &Plan) -> String {
    let packages: Vec<&str> = plan
        .phases
        .values()
        .flat_map(|phase| &phase.nix_pkgs)
        .map(String::as_str)
        .collect();
    match (plan.providers(), packages.is_empty()) {
        ("", true) => "no provider".to_owned(),
        (providers, true) => providers.to_owned(),
        ("", false) => packages.join(", "),
        (providers, false) => format!("{providers} ({})", packages.join(", ")),
    }
}
