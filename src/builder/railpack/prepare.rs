//! Runs `railpack prepare`.

use std::path::Path;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use crate::api;
use crate::builder::contract::{BuildRequest, BuilderDetails};
use crate::builder::error::BuildError;
use crate::builder::planner::{LARGEST_PLAN, Planner};
use crate::job_log::JobLog;

/// The exit code for what may succeed later, such as a download that failed.
const TEMPORARY: i32 = 75;

/// The field of the version.
const VERSION_FIELD: &str = "spec.build.railpack.version";

/// What `--info-out` holds.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Info {
    detected_providers: Vec<String>,
    resolved_packages: std::collections::BTreeMap<String, Package>,
    logs: Vec<Line>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Package {
    resolved_version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    msg: String,
}

/// Reports whether a railpack of any version is installed.
pub async fn is_installed(tool: &Planner, cancel: &CancellationToken) -> bool {
    let found = tool
        .of_version(api::Railpack::default().version(), VERSION_FIELD, cancel)
        .await;
    !matches!(
        found,
        Err(BuildError::ProgramMissing { .. } | BuildError::Cancelled)
    )
}

/// The plan for the source, and what railpack found in it.
///
/// # Errors
/// railpack is not installed or not of the version that the spec names, finds nothing that it can build, or could not
/// download what it needs.
pub async fn prepare(
    tool: &Planner,
    settings: &api::Railpack,
    request: &BuildRequest,
    log: &JobLog,
    cancel: &CancellationToken,
) -> Result<(Plan, BuilderDetails), BuildError> {
    let source = tool.source(request).await?;
    let version = settings.version().to_owned();
    let tool = &tool.of_version(&version, VERSION_FIELD, cancel).await?;
    let out = tempfile::tempdir().map_err(BuildError::Io)?;
    let (plan, info) = (out.path().join("plan.json"), out.path().join("info.json"));
    let program = tool
        .base()
        .arg("prepare")
        .arg(&source)
        .arg("--plan-out")
        .arg(&plan)
        .arg("--info-out")
        .arg(&info);
    let program = Planner::with_variables(program, request.args.iter().chain(&request.secrets));
    let output = tool.run(program, request.timeout, cancel).await?;
    for line in String::from_utf8_lossy(&output.stdout)
        .lines()
        .chain(output.err().lines())
    {
        log.write(line);
    }
    let told: Info = read(&info).unwrap_or_default();
    if !output.ok() {
        let said = told.logs.last().map(|line| line.msg.as_str());
        let temporary =
            output.code() == TEMPORARY || is_download(&output.out()) || is_download(&output.err());
        return Err(tool.failure(&output, said, temporary, log));
    }
    let found = described(&told);
    log.write(&format!("railpack detected {found}"));
    let plan = read(&plan).ok_or_else(|| BuildError::Failed("railpack wrote no valid plan".to_owned()))?;
    let details = BuilderDetails {
        version: Some(format!("railpack {version}")),
        detected: Some(found),
        ..BuilderDetails::default()
    };
    Ok((plan, details))
}

/// Reports whether railpack printed that a download failed: railpack 0.9 has one exit code for all failures.
fn is_download(text: &str) -> bool {
    ["failed to download", "dial tcp", "no such host", "i/o timeout"]
        .iter()
        .any(|words| text.contains(words))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.len() > LARGEST_PLAN as u64 {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn described(info: &Info) -> String {
    let packages: Vec<_> = info
        .resolved_packages
        .iter()
        .map(|(name, package)| match &package.resolved_version {
            Some(version) => format!("{name} {version}"),
            None => name.clone(),
        })
        .collect();
    let providers = info.detected_providers.join(", ");
    match (providers.is_empty(), packages.is_empty()) {
        (true, true) => "no provider".to_owned(),
        (false, true) => providers,
        _ => format!("{providers} ({})", packages.join(", ")),
    }
}
