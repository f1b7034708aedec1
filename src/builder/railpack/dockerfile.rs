//! Converts a railpack plan into a Dockerfile. Pure.
//!
//! railpack's own BuildKit frontend needs `mergeop`, which a Docker Engine has only with the containerd image store. The
//! Dockerfile works on every engine from 20.10 on: a stage for each step, and the image as the last stage. It follows
//! railpack's `buildkit/build_llb`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::plan::{Command, Layer, Plan, Step};
use super::words::{optional, places, removal};
use crate::builder::planned::{APP, cache_mount, exported, write_file};
use crate::builder::words::{image_name, is_name, quoted, word};

/// The `PATH` of an image that sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the plan itself does not contain.
pub struct Context<'a> {
    /// Begins the id of every cache mount. A build with this id can use the cache, so it must not be guessable.
    pub cache_key: &'a str,
    /// Changes if a secret changes.
    pub secrets_hash: &'a str,
    /// The paths of the source that a path, or a pattern in its last part, means.
    pub find: &'a dyn Fn(&str) -> Vec<String>,
}

/// The environment that a step hands on.
#[derive(Clone, Debug, Default)]
struct Environment {
    paths: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl Environment {
    fn merge(&mut self, other: &Self) {
        self.paths.extend(other.paths.iter().cloned());
        self.variables.extend(other.variables.clone());
    }
}

/// The Dockerfile of the plan.
///
/// # Errors
/// The plan refers to something that it does not contain, or uses what a Dockerfile cannot express.
pub fn convert(plan: &Plan, context: &Context<'_>) -> Result<String, String> {
    let order = order(plan)?;
    let mut writer = Writer {
        plan,
        context,
        out: String::new(),
        filters: 0,
        environments: BTreeMap::new(),
    };
    for index in order {
        writer.step(index)?;
    }
    writer.deploy()?;
    Ok(writer.out)
}

/// The steps that the image needs, each after those that it needs itself.
fn order(plan: &Plan) -> Result<Vec<usize>, String> {
    fn visit(
        plan: &Plan,
        name: &str,
        open: &mut BTreeSet<String>,
        order: &mut Vec<usize>,
    ) -> Result<(), String> {
        let index = position(plan, name)?;
        if order.contains(&index) {
            return Ok(());
        }
        if !open.insert(name.to_owned()) {
            return Err(format!("step {name} depends on itself"));
        }
        let step = plan.steps.get(index).map(|step| step.inputs.as_slice());
        for input in step.unwrap_or_default() {
            if let Some(needed) = &input.step {
                visit(plan, needed, open, order)?;
            }
        }
        order.push(index);
        Ok(())
    }
    let mut order = Vec::new();
    let deploy = std::iter::once(&plan.deploy.base).chain(&plan.deploy.inputs);
    for layer in deploy {
        if let Some(name) = &layer.step {
            visit(plan, name, &mut BTreeSet::new(), &mut order)?;
        }
    }
    Ok(order)
}

fn position(plan: &Plan, name: &str) -> Result<usize, String> {
    plan.steps
        .iter()
        .position(|step| step.name == name)
        .ok_or_else(|| format!("the plan has no step {name}"))
}

struct Writer<'a> {
    plan: &'a Plan,
    context: &'a Context<'a>,
    out: String,
    filters: usize,
    environments: BTreeMap<usize, Environment>,
}

impl Writer<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn step(&mut self, index: usize) -> Result<(), String> {
        let step = self.plan.steps.get(index).ok_or("the plan has no such step")?;
        let (base, rest) = step
            .inputs
            .split_first()
            .map_or((None, &[][..]), |(base, rest)| (Some(base), rest));
        let prepared = self.prepare(rest)?;
        self.from(base, &format!("s{index}"))?;
        self.copies(&prepared)?;
        self.line(&format!("WORKDIR {APP}"));
        let mut environment = Environment::default();
        for input in &step.inputs {
            if let Some(name) = &input.step {
                let of = position(self.plan, name)?;
                environment.merge(self.environments.get(&of).unwrap_or(&Environment::default()));
            }
        }
        environment.variables.extend(step.variables.clone());
        self.variables(&environment.variables)?;
        self.path(&environment.paths);
        for command in &step.commands {
            self.command(step, command, &mut environment)?;
        }
        self.parents(&step.name);
        self.environments.insert(index, environment);
        Ok(())
    }

    fn deploy(&mut self) -> Result<(), String> {
        let deploy = &self.plan.deploy;
        let prepared = self.prepare(&deploy.inputs)?;
        self.from(Some(&deploy.base), "image")?;
        self.copies(&prepared)?;
        let mut environment = Environment::default();
        for input in &deploy.inputs {
            if let Some(name) = &input.step {
                let of = position(self.plan, name)?;
                environment.merge(self.environments.get(&of).unwrap_or(&Environment::default()));
            }
        }
        environment.variables.extend(deploy.variables.clone());
        environment.variables.remove("PATH");
        self.variables(&environment.variables)?;
        // As railpack does: sorted, which puts the directories of the application before those of the system.
        let mut paths: Vec<_> = deploy
            .paths
            .iter()
            .chain(&environment.paths)
            .map(String::as_str)
            .collect();
        paths.push(DEFAULT_PATH);
        paths.sort_unstable();
        self.line(&format!("ENV PATH={}", quoted(&paths.join(":"))?));
        self.line(&format!("WORKDIR {APP}"));
        self.line(r#"ENTRYPOINT ["/bin/bash", "-c"]"#);
        let start = match deploy.start_command.as_str() {
            "" => "/bin/bash",
            command => command,
        };
        self.line(&format!("CMD {}", serde_json::json!([start])));
        Ok(())
    }

    fn from(&mut self, layer: Option<&Layer>, name: &str) -> Result<(), String> {
        let layer = layer.cloned().unwrap_or_default();
        if !layer.include.is_empty() || !layer.exclude.is_empty() {
            return Err("the first input of a step has paths".to_owned());
        }
        let base = match (&layer.image, &layer.step) {
            (Some(image), _) => image_name(image)?.to_owned(),
            (None, Some(step)) => format!("s{}", position(self.plan, step)?),
            (None, None) => "scratch".to_owned(),
        };
        self.line(&format!("FROM {base} AS {name}"));
        // railpack ignores the user of a base image.
        self.line("USER 0:0");
        if layer.local {
            self.line(r#"COPY [".", "/"]"#);
        }
        Ok(())
    }

    /// What is copied from each layer. Exclusions are removed in a stage of their own, because `COPY --exclude` is not in
    /// every frontend.
    fn prepare(&mut self, layers: &[Layer]) -> Result<Vec<(Option<String>, Layer)>, String> {
        let mut prepared = Vec::new();
        for layer in layers {
            let source = match (&layer.image, &layer.step) {
                (Some(image), _) => Some(image_name(image)?.to_owned()),
                (None, Some(step)) => Some(format!("s{}", position(self.plan, step)?)),
                (None, None) if layer.local => None,
                (None, None) => continue,
            };
            let source = match source {
                Some(source) if !layer.exclude.is_empty() && !layer.include.is_empty() => {
                    Some(self.filter(&source, layer)?)
                }
                other => other,
            };
            prepared.push((source, layer.clone()));
        }
        Ok(prepared)
    }

    fn filter(&mut self, source: &str, layer: &Layer) -> Result<String, String> {
        let name = format!("f{}", self.filters);
        self.filters += 1;
        self.line(&format!("FROM {source} AS {name}"));
        self.line("USER 0:0");
        let mut script = String::new();
        for include in &layer.include {
            let (root, _) = places(include, false);
            for pattern in &layer.exclude {
                let _ = write!(script, "{}; ", removal(&root, pattern)?);
            }
        }
        script.push_str("true");
        self.line(&format!("RUN {}", serde_json::json!(["/bin/sh", "-c", script])));
        Ok(name)
    }

    fn copies(&mut self, prepared: &[(Option<String>, Layer)]) -> Result<(), String> {
        for (source, layer) in prepared {
            for include in &layer.include {
                let (from, to) = places(include, layer.local);
                match source {
                    Some(stage) => self.copy(Some(stage), &optional(&from), &to)?,
                    None if (self.context.find)(&from).is_empty() => {}
                    None => self.copy(None, &from, &to)?,
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, from: Option<&str>, src: &str, dest: &str) -> Result<(), String> {
        let from = from.map_or(String::new(), |stage| format!("--from={stage} "));
        let words = serde_json::json!([word(src)?, word(dest)?]);
        self.line(&format!("COPY {from}{words}"));
        Ok(())
    }

    /// Creates the parents of what others copy from the step: a source may be missing, but not its parent.
    fn parents(&mut self, name: &str) {
        let of_steps = self.plan.steps.iter().flat_map(|step| &step.inputs);
        let parents: BTreeSet<String> = of_steps
            .chain(&self.plan.deploy.inputs)
            .filter(|layer| layer.step.as_deref() == Some(name))
            .flat_map(|layer| &layer.include)
            .filter_map(|include| {
                let (from, _) = places(include, false);
                let (parent, _) = from.trim_end_matches('/').rsplit_once('/')?;
                (!parent.is_empty() && parent != APP).then(|| parent.to_owned())
            })
            .collect();
        if !parents.is_empty() {
            let mut words = vec!["mkdir".to_owned(), "-p".to_owned(), "--".to_owned()];
            words.extend(parents);
            self.line(&format!("RUN {}", serde_json::json!(words)));
        }
    }

    fn variables(&mut self, variables: &BTreeMap<String, String>) -> Result<(), String> {
        for (name, value) in variables {
            if !is_name(name) {
                return Err(format!("the variable {name:?} has no valid name"));
            }
            self.line(&format!("ENV {name}={}", quoted(value)?));
        }
        Ok(())
    }

    fn path(&mut self, paths: &[String]) {
        if let Ok(path) = quoted(&format!("{}:{DEFAULT_PATH}", paths.join(":")))
            && !paths.is_empty()
        {
            self.line(&format!("ENV PATH={path}"));
        }
    }

    fn command(
        &mut self,
        step: &Step,
        command: &Command,
        environment: &mut Environment,
    ) -> Result<(), String> {
        match command {
            Command::Exec { cmd } => self.exec(step, cmd),
            Command::Path { path } => {
                if !environment.paths.contains(path) {
                    environment.paths.insert(0, path.clone());
                }
                self.path(&environment.paths);
                Ok(())
            }
            Command::Copy { image, src, dest } => {
                if let Some(image) = image {
                    return self.copy(Some(image_name(image)?), src, dest);
                }
                // Each match by itself: `COPY` would copy what is in a directory, where railpack copies the directory.
                for found in (self.context.find)(src) {
                    let base = found.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                    let into = matches!(dest.as_str(), "." | "./") || dest.ends_with('/');
                    let to = if into && !matches!(base, "" | ".") {
                        format!("{}/{base}", dest.trim_end_matches('/'))
                    } else {
                        dest.clone()
                    };
                    self.copy(None, &found, &to)?;
                }
                Ok(())
            }
            Command::File { path, name, mode } => {
                let content = step
                    .assets
                    .get(name)
                    .ok_or_else(|| format!("step {} has no asset {name}", step.name))?;
                self.out
                    .push_str(&write_file(path, content, mode.unwrap_or(0o644)));
                Ok(())
            }
        }
    }

    fn exec(&mut self, step: &Step, cmd: &str) -> Result<(), String> {
        let words =
            shlex::split(cmd).ok_or_else(|| format!("the quotes of the command {cmd:?} do not match"))?;
        let names = self.plan.secrets.iter().map(String::as_str);
        let (mut mounts, mut script) = exported(names)?;
        if !step.secrets.is_empty() && !self.context.secrets_hash.is_empty() {
            script.insert_str(0, &format!(": {}; ", self.context.secrets_hash));
        }
        for name in &step.caches {
            let cache = self
                .plan
                .caches
                .get(name)
                .ok_or_else(|| format!("the plan has no cache {name}"))?;
            let sharing = if cache.kind == "locked" {
                "locked"
            } else {
                "shared"
            };
            mounts.push_str(&cache_mount(
                self.context.cache_key,
                name,
                &cache.directory,
                sharing,
            )?);
        }
        let words = if script.is_empty() {
            words
        } else {
            script.push_str("exec \"$@\"");
            let wrapper = ["/bin/sh", "-c", &script, "sh"].map(str::to_owned);
            wrapper.into_iter().chain(words).collect()
        };
        self.line(&format!("RUN {mounts}{}", serde_json::json!(words)));
        Ok(())
    }
}
