//! Runs the commands of a case, and keeps what kubectl said in a form that two servers can share.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use kube::Client;
use regex::Regex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
};

use super::{
    Kubectl,
    case::{self, Case, During, Step},
    normal::Normal,
};
use crate::compare::{case::define, run as requests};

/// How long a command may take, and how often one is run again.
const PATIENCE: Duration = Duration::from_secs(40);

/// What kubectl said, one a step; after a step that could not be done there are none.
pub async fn run(client: &Client, kubectl: Kubectl, kubeconfig: &Path, case: &Case) -> Vec<Value> {
    let mut answers = Vec::new();
    if let Err(why) = follow(client, kubectl, kubeconfig, case, &mut answers).await {
        answers.push(json!({"failed": why}));
    }
    answers
}

/// A case under way.
struct Session<'a> {
    kubectl: Kubectl,
    directory: &'a Path,
    /// What stands for a `$name`.
    names: BTreeMap<String, String>,
    normal: Normal,
}

async fn follow(
    client: &Client,
    kubectl: Kubectl,
    kubeconfig: &Path,
    case: &Case,
    answers: &mut Vec<Value>,
) -> Result<(), String> {
    let namespace = match kubectl {
        Kubectl::Current => case.name().replace('/', "-"),
        // Both are recorded on one server.
        Kubectl::Debian => format!("old-{}", case.name().replace('/', "-")),
    };
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    requests::namespace(client, &namespace).await?;
    let mut session = Session {
        kubectl,
        directory: directory.path(),
        names: BTreeMap::from([
            ("group".to_owned(), format!("{namespace}.example.com")),
            ("ns".to_owned(), namespace.clone()),
        ]),
        // Debian's shows the owners of fields always.
        normal: Normal::new(kubectl == Kubectl::Debian),
    };
    if case.widgets {
        let crd = serde_yaml::from_str(&session.fill(&case::widgets())).unwrap();
        for step in define(&crd) {
            requests::ask(client, &step).await?;
        }
    }
    session.write(&case.files);
    write_kubeconfigs(kubeconfig, directory.path(), &namespace);
    for step in &case.steps {
        if step.new && kubectl == Kubectl::Debian {
            answers.push(Value::Null);
            continue;
        }
        let answer = session.step(step).await?;
        answers.push(answer);
    }
    Ok(())
}

/// `config` with the case's namespace, and `bare` without anybody's credentials.
fn write_kubeconfigs(kubeconfig: &Path, directory: &Path, namespace: &str) {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    config["contexts"][0]["context"]["namespace"] = namespace.into();
    config["contexts"][0]["context"]["user"] = "admin".into();
    config["users"][0]["name"] = "admin".into();
    std::fs::write(directory.join("config"), config.to_string()).unwrap();
    config["users"][0]["user"] = json!({});
    std::fs::write(directory.join("bare"), config.to_string()).unwrap();
}

impl Session<'_> {
    /// The text with what its `$names` stand for.
    fn fill(&self, text: &str) -> String {
        let mut names: Vec<&String> = self.names.keys().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.iter().fold(text.to_owned(), |text, name| {
            text.replace(&format!("${name}"), &self.names[*name])
        })
    }

    fn write(&self, files: &BTreeMap<String, Value>) {
        for (name, content) in files {
            std::fs::write(self.directory.join(name), self.fill(&case::text(content))).unwrap();
        }
    }

    async fn step(&mut self, step: &Step) -> Result<Value, String> {
        self.write(&step.files);
        if step.run.list().is_empty() {
            return Ok(Value::Null);
        }
        if let Some(during) = &step.during {
            return self.watch(step, during).await;
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let output = tokio::time::timeout(PATIENCE, self.start(step)?.wait_with_output());
            let output = output
                .await
                .map_err(|_| format!("{:?} does not end", step.run.list()))?;
            let output = output.map_err(|error| error.to_string())?;
            let out = String::from_utf8_lossy(&output.stdout).into_owned();
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            let as_wanted = step
                .until
                .as_ref()
                .is_none_or(|text| output.status.success() && out.contains(&self.fill(text)));
            // Another case's definition went between the list of all groups and the look into each of them.
            let done = as_wanted && !err.contains("unable to retrieve the complete list of server APIs");
            if !done {
                if Instant::now() > end {
                    return Err(format!("{:?} in vain: {out}{err}", step.run.list()));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            if let Some(name) = &step.save {
                if !output.status.success() {
                    return Err(format!("{:?}: {out}{err}", step.run.list()));
                }
                self.names.insert(name.clone(), out.trim().to_owned());
                return Ok(Value::Null);
            }
            return Ok(self.said(step, output.status.code(), &out, &err));
        }
    }

    /// A command that does not end by itself.
    async fn watch(&mut self, step: &Step, during: &During) -> Result<Value, String> {
        let mut child = self.start(step)?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut out = String::new();
        for (wanted, steps) in [(during.after, &during.steps[..]), (during.lines, &[])] {
            while out.lines().count() < wanted {
                let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
                let line = line.map_err(|_| format!("only {out}"))?;
                let Some(line) = line.map_err(|error| error.to_string())? else {
                    return Err(format!("{:?} ended: {out}", step.run.list()));
                };
                out += &(line + "\n");
            }
            for step in steps {
                Box::pin(self.step(step)).await?;
            }
        }
        child.kill().await.map_err(|error| error.to_string())?;
        Ok(self.said(step, None, &out, ""))
    }

    fn start(&self, step: &Step) -> Result<Child, String> {
        #[allow(clippy::disallowed_methods, reason = "a test starts the client it is about")]
        let mut command = Command::new(self.kubectl.program());
        command
            .args(step.run.list().iter().map(|word| self.fill(word)))
            .current_dir(self.directory)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.directory)
            .env("TMPDIR", self.directory)
            .env("KUBECONFIG", self.directory.join("config"))
            .envs(&step.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if self.kubectl == Kubectl::Debian {
            // It compares the owners of the fields too, and the second of their last write is that of this one or not.
            command.env("KUBECTL_EXTERNAL_DIFF", "diff -U0 -N -Itime");
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut stdin = child.stdin.take().ok_or("no input")?;
        let input = step.input.as_ref().map(|input| self.fill(&case::text(input)));
        tokio::spawn(async move {
            // A command that reads nothing may be gone already.
            let _ = stdin.write_all(input.unwrap_or_default().as_bytes()).await;
        });
        Ok(child)
    }

    fn said(&mut self, step: &Step, exit: Option<i32>, out: &str, err: &str) -> Value {
        let mut out = self.normal.lines(out, self.directory);
        let err = self.normal.lines(err, self.directory);
        if let Some(keep) = &step.keep {
            let keep = Regex::new(&self.fill(keep)).unwrap();
            out.retain(|line| keep.is_match(line));
        }
        if step.sort {
            out.sort();
        }
        json!({"exit": exit, "out": out, "err": err})
    }
}
