//! Converts a nixpacks plan into a Dockerfile. Pure.
//!
//! It follows the Dockerfile that nixpacks itself writes, but for two things: the variables of the user are secret mounts of the
//! commands and not `ARG` and `ENV`, and generated files are in the instructions and not in the build context.

use std::fmt::Write as _;

use super::nix;
use super::plan::{Phase, Plan};
use crate::builder::planned::{APP, IMAGE, cache_mount, exported, write_file};
use crate::builder::words::{image_name, is_name, quoted, word};

/// Where nixpacks' generated files are.
const ASSETS: &str = "/assets";
/// The stage of the phases.
const BUILD: &str = "build";
/// The shell of nixpacks' base images, which every command runs in.
const SHELL: [&str; 4] = ["/bin/bash", "-ol", "pipefail", "-c"];

/// What the plan itself does not contain.
pub struct Context<'a> {
    /// Begins the id of every cache mount.
    pub cache_key: &'a str,
    /// Changes if a variable of the user changes.
    pub hash: &'a str,
    /// The variables of the user.
    pub variables: &'a [&'a str],
}

/// The Dockerfile of the plan.
///
/// # Errors
/// The plan has what a Dockerfile cannot express.
pub fn convert(plan: &Plan, context: &Context<'_>) -> Result<String, String> {
    let phases = plan.in_order()?;
    let mut out = String::new();
    let stage = plan.start.run_image.as_ref().map_or(IMAGE, |_| BUILD);
    begin(&mut out, &plan.build_image, stage)?;
    setup(&mut out, plan)?;
    for (name, value) in &plan.variables {
        if context.variables.contains(&name.as_str()) {
            continue;
        }
        if !is_name(name) {
            return Err(format!("the variable {name:?} has no valid name"));
        }
        let _ = writeln!(out, "ENV {name}={}", quoted(value)?);
    }
    for (_, phase) in &phases {
        run_phase(&mut out, phase, context)?;
    }
    for (_, phase) in phases.iter().filter(|(_, phase)| !phase.paths.is_empty()) {
        let line = format!("\nPATH={}:$PATH", phase.paths.join(":"));
        let words = [
            "/bin/sh",
            "-c",
            "printf %s \"$1\" >> /root/.profile",
            "sh",
            line.as_str(),
        ];
        let _ = writeln!(out, "RUN {}", serde_json::json!(words));
    }
    finish(&mut out, plan)?;
    Ok(out)
}

fn begin(out: &mut String, image: &str, stage: &str) -> Result<(), String> {
    let _ = write!(
        out,
        "FROM {} AS {stage}\nENTRYPOINT [\"/bin/bash\", \"-l\", \"-c\"]\nWORKDIR {APP}/\n",
        image_name(image)?
    );
    Ok(())
}

/// Packages and generated files.
fn setup(out: &mut String, plan: &Plan) -> Result<(), String> {
    for phase in plan.phases.values().filter(|phase| phase.uses_nix()) {
        copy(out, None, phase.only_include_files.iter().flatten())?;
    }
    for archive in plan.archives() {
        let file = format!("{APP}/.nixpacks/{}", nix::file_name(archive));
        out.push_str(&write_file(&file, &nix::expression(plan, archive)?, 0o644));
        run(out, "", &format!("nix-env -if {file} && nix-collect-garbage -d"));
    }
    let packages: Vec<&str> = plan
        .phases
        .values()
        .flat_map(|phase| &phase.apt_pkgs)
        .map(String::as_str)
        .collect();
    if !packages.is_empty() {
        let words: Vec<_> = packages
            .iter()
            .map(|name| shlex::try_quote(name).map_err(|_| format!("the package {name:?} has no valid name")))
            .collect::<Result<_, _>>()?;
        let install = "sudo apt-get update && sudo apt-get install -y --no-install-recommends";
        run(out, "", &format!("{install} {}", words.join(" ")));
    }
    for (name, content) in &plan.static_assets {
        out.push_str(&write_file(&format!("{ASSETS}/{name}"), content, 0o644));
    }
    Ok(())
}

fn run_phase(out: &mut String, phase: &Phase, context: &Context<'_>) -> Result<(), String> {
    if !phase.has_commands() {
        return Ok(());
    }
    if !phase.paths.is_empty() {
        // `$NIXPACKS_PATH` is that of the phase before.
        let paths = quoted(&phase.paths.join(":"))?;
        let paths = paths.trim_end_matches('"');
        let _ = writeln!(out, "ENV NIXPACKS_PATH={paths}:$NIXPACKS_PATH\"");
    }
    match &phase.only_include_files {
        Some(files) => copy(out, None, files)?,
        None => copy(out, None, [&".".to_owned()])?,
    }
    let (mut mounts, mut script) = exported(context.variables.iter().copied())?;
    if !context.variables.is_empty() {
        script.insert_str(0, &format!(": {}; ", context.hash));
    }
    for directory in &phase.cache_directories {
        let directory = directory.replace('~', "/root");
        let directory = if directory.starts_with('/') {
            directory
        } else {
            format!("{APP}/{directory}")
        };
        let name = directory.trim_matches('/').replace('/', "-");
        mounts.push_str(&cache_mount(context.cache_key, &name, &directory, "shared")?);
    }
    for command in &phase.cmds {
        run(out, &mounts, &format!("{script}{command}"));
    }
    Ok(())
}

fn finish(out: &mut String, plan: &Plan) -> Result<(), String> {
    let start = &plan.start;
    if let Some(image) = &start.run_image {
        begin(out, image, IMAGE)?;
        let _ = writeln!(out, "COPY --from={BUILD} /etc/ssl/certs /etc/ssl/certs");
        if start.only_include_files.is_empty() {
            let _ = writeln!(out, "COPY --from={BUILD} {APP}/ {APP}/");
        }
        copy(out, Some(BUILD), &start.only_include_files)?;
    } else {
        copy(out, None, [&".".to_owned()])?;
    }
    if let Some(user) = &start.user {
        if !user
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
        {
            return Err(format!("{user:?} is not the name of a user"));
        }
        let words = ["useradd", "-m", "-s", "/bin/bash", "--", user];
        let _ = write!(out, "RUN {}\nUSER {user}\n", serde_json::json!(words));
    }
    if let Some(command) = &start.cmd {
        let _ = writeln!(out, "CMD {}", serde_json::json!([command]));
    }
    Ok(())
}

/// Copies files of the source, or of a stage, to the same places beneath the directory of the application.
fn copy<'a>(
    out: &mut String,
    from: Option<&str>,
    files: impl IntoIterator<Item = &'a String>,
) -> Result<(), String> {
    for file in files {
        let path = file.trim_start_matches("./").trim_start_matches('/');
        let to = match path {
            "" | "." => format!("{APP}/"),
            path => format!("{APP}/{path}"),
        };
        let (stage, source) = match from {
            Some(stage) => (format!("--from={stage} "), to.as_str()),
            None => (String::new(), file.as_str()),
        };
        let words = serde_json::json!([word(source)?, word(&to)?]);
        let _ = writeln!(out, "COPY {stage}{words}");
    }
    Ok(())
}

fn run(out: &mut String, mounts: &str, script: &str) {
    let words: Vec<&str> = SHELL.iter().copied().chain([script]).collect();
    let _ = writeln!(out, "RUN {mounts}{}", serde_json::json!(words));
}
