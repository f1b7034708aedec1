//! Runs `railpack prepare`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::FIELD;
use super::plan::Plan;
use crate::api;
use crate::builder::contract::BuildRequest;
use crate::builder::error::BuildError;
use crate::error::cut;
use crate::job_log::JobLog;
use crate::process::{Output, ProcessError, Program};

/// The exit code for what may succeed later, such as a download that failed.
const TEMPORARY: i32 = 75;
/// The longest plan, in bytes.
const LARGEST_PLAN: u64 = 8 << 20;

/// The railpack program.
#[derive(Clone, Debug)]
pub struct Railpack {
    /// Its name, looked up in `path`, or its path.
    pub program: OsString,
    /// `PATH` of the program.
    pub path: OsString,
    /// A directory for what it downloads.
    pub home: PathBuf,
}

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

/// Reports whether the program can be started.
pub async fn is_installed(railpack: &Railpack, cancel: &CancellationToken) -> bool {
    let program = railpack.base().arg("--version");
    program.run(cancel).await.is_ok_and(|output| output.ok())
}

impl Railpack {
    fn base(&self) -> Program {
        Program::new(&self.program)
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("NO_COLOR", "1")
            .timeout(Duration::from_mins(1))
    }

    /// The plan for the source.
    ///
    /// # Errors
    /// railpack is not installed or not of the version that the spec names, finds nothing that it can build, or could not
    /// download what it needs.
    pub async fn prepare(
        &self,
        settings: &api::Railpack,
        request: &BuildRequest,
        limit: Duration,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Plan, BuildError> {
        let io = BuildError::Io;
        std::fs::create_dir_all(&self.home).map_err(io)?;
        self.check_version(settings, cancel).await?;
        let source = directory(&request.root, &request.path)?;
        let out = tempfile::tempdir().map_err(io)?;
        let (plan, info) = (out.path().join("plan.json"), out.path().join("info.json"));
        let mut program = self
            .base()
            .arg("prepare")
            .arg(&source)
            .arg("--plan-out")
            .arg(&plan)
            .arg("--info-out")
            .arg(&info)
            .arg("--hide-pretty-plan")
            .timeout(limit);
        // By their names: railpack reads the values from its environment, so that none is an argument of a process.
        for (name, value) in request.args.iter().chain(&request.secrets) {
            use std::os::unix::ffi::OsStringExt as _;
            program = program
                .arg("--env")
                .arg(name.as_str())
                .env(name.as_str(), OsString::from_vec(value.expose().to_vec()));
        }
        let output = run(program, limit, cancel).await?;
        for line in String::from_utf8_lossy(&output.stdout)
            .lines()
            .chain(output.err().lines())
        {
            log.write(line);
        }
        let told: Info = read(&info).unwrap_or_default();
        if !output.ok() {
            return Err(failure(&output, &told, log));
        }
        log.write(&format!("railpack detected {}", described(&told)));
        read(&plan).ok_or_else(|| BuildError::Failed("railpack wrote no valid plan".to_owned()))
    }

    async fn check_version(
        &self,
        settings: &api::Railpack,
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let output = run(self.base().arg("--version"), Duration::from_mins(1), cancel).await?;
        let Some(wanted) = &settings.version else {
            return Ok(());
        };
        let text = output.out();
        let installed = text
            .split_whitespace()
            .last()
            .unwrap_or_default()
            .trim_start_matches('v');
        if installed == wanted.trim_start_matches('v') {
            return Ok(());
        }
        Err(BuildError::NotSupported {
            field: "spec.build.railpack.version",
            why: format!("the railpack that Davit can run is {installed}, not {wanted}"),
        })
    }
}

/// The directory of the source. No part of the way to it leads out of the checkout.
fn directory(root: &Path, path: &str) -> Result<PathBuf, BuildError> {
    let real = |path: &Path| path.canonicalize().map_err(BuildError::Io);
    let (root, source) = (real(root)?, real(&root.join(path.trim_start_matches('/')))?);
    if source.starts_with(&root) {
        Ok(source)
    } else {
        Err(BuildError::PathEscapes {
            field: crate::builder::error::SOURCE_PATH,
            path: path.to_owned(),
        })
    }
}

async fn run(program: Program, limit: Duration, cancel: &CancellationToken) -> Result<Output, BuildError> {
    program.run(cancel).await.map_err(|error| match error {
        ProcessError::Cancelled { .. } => BuildError::Cancelled,
        ProcessError::Timeout { .. } => BuildError::Timeout(limit),
        ProcessError::Start { .. } => BuildError::NotSupported {
            field: FIELD,
            why: "the program railpack is not installed on Davit's machine".to_owned(),
        },
        other @ ProcessError::Io { .. } => BuildError::Engine(crate::error::chain(&other)),
    })
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.len() > LARGEST_PLAN {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn failure(output: &Output, info: &Info, log: &JobLog) -> BuildError {
    let said = info.logs.last().map(|line| line.msg.clone());
    let said = said.unwrap_or_else(|| {
        let text = output.err();
        let text = if text.trim().is_empty() {
            output.out()
        } else {
            text
        };
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        last.unwrap_or_default().to_owned()
    });
    let said = cut(log.mask(&said).trim(), 300);
    if output.code() == TEMPORARY {
        BuildError::Temporary(format!("railpack could not prepare the build: {said}"))
    } else {
        BuildError::Failed(format!("railpack could not prepare the build: {said}"))
    }
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
