//! A terminal in which a test types commands, and what it shows without what differs from run to run.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::{Value, json};

use crate::common::davit::Davit;
use crate::common::docker::BASE_IMAGE;

/// A terminal in which a user types commands.
pub struct Session {
    /// What the commands talk to.
    pub davit: Davit,
    /// What was typed and printed.
    pub transcript: String,
    /// How many lines of progress were printed.
    pub steps: usize,
    /// For a command that needs no API server.
    pub without_namespace: bool,
    /// What the next command reads from standard input.
    pub input: Option<String>,
}

impl Session {
    pub fn new(test: &str) -> Self {
        Self::with_flags(test, &[])
    }

    pub fn with_flags(test: &str, flags: &[&str]) -> Self {
        Self {
            davit: Davit::with_flags(test, flags),
            transcript: String::new(),
            steps: 0,
            without_namespace: false,
            input: None,
        }
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.davit.kubeconfig())
            .env_remove("NO_COLOR")
            .current_dir(self.davit.dir())
            .stdin(Stdio::null());
        command
    }

    /// Runs `davit` in the test's namespace, adds what it prints to the transcript, and checks the exit code.
    pub fn types(&mut self, args: &[&str], code: i32) -> String {
        let (out, given) = self.tries(args);
        assert_eq!(given, code, "davit {args:?}\n{}", self.transcript);
        out
    }

    /// The same with any exit code, which the transcript shows, too.
    pub fn tries(&mut self, args: &[&str]) -> (String, i32) {
        let mut command = self.command(env!("CARGO_BIN_EXE_davit"));
        command.args(args);
        if !self.without_namespace {
            // What follows -- belongs to a command in a container.
            let at = args.iter().position(|word| *word == "--").unwrap_or(args.len());
            let (own, rest) = args.split_at(at);
            command = self.command(env!("CARGO_BIN_EXE_davit"));
            command.args(own).args(["-n", &self.davit.namespace]).args(rest);
        }
        if let Some(input) = self.input.take() {
            let file = self.davit.dir().join("input");
            std::fs::write(&file, input).unwrap();
            command.stdin(std::fs::File::open(&file).unwrap());
        }
        let output = command.output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let (out, error) = (plain(&out), plain(&error));
        // How many steps are seen depends on the machine.
        let is_step = Regex::new("^[a-z]+(-[0-9A-Z]+)?: ").unwrap();
        let is_step = |line: &&str| {
            is_step.is_match(line) && !line.starts_with("error: ") && !line.starts_with("davit: ")
        };
        self.steps += error.lines().filter(is_step).count();
        write!(self.transcript, "$ davit {}\n{out}", args.join(" ")).unwrap();
        for line in error.lines().filter(|line| !is_step(line)) {
            writeln!(self.transcript, "! {line}").unwrap();
        }
        let given = output.status.code().unwrap();
        if given != 0 {
            writeln!(self.transcript, "exit code {given}").unwrap();
        }
        self.transcript.push('\n');
        (out, given)
    }

    pub fn apply(&self, name: &str, more: &Value) {
        let mut spec = json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "1000"],
            "stopGracePeriod": "0s"});
        let fields = spec.as_object_mut().unwrap();
        for (field, value) in more.as_object().unwrap() {
            if value.is_null() {
                fields.remove(field);
            } else {
                fields.insert(field.clone(), value.clone());
            }
        }
        self.davit.apply(name, spec);
    }
}

/// Replaces what differs from run to run: generated names, digests, lengths of time and addresses.
pub fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, stands_for) in [
        (r"\n {12}", " "),
        (r"davit-t[0-9]+-[a-z]+-([a-z]+)-[0-9a-f]{8}-\d+", "davit-cli-$1-0"),
        (
            r"timed out after [0-9a-z]+: .*; it goes on",
            "timed out after TIME: STATE; it goes on",
        ),
        (r"/tmp/[^/]+/", "DIR/"),
        (r"\b(\d+m)?\d+(s|m|h)( ago|\b)", "TIME$3"),
        (r"sha256:[0-9a-f]{64}", "sha256:DIGEST"),
        (r"\b[0-9a-f]{12}\b", "REVISION"),
        (r"-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "-XXXXX"),
        (r"https?://127\.0\.0\.1:\d+", "URL"),
        (r"[0-9a-z.-]+/[a-z0-9/-]*davit[a-z0-9/.-]*", "IMAGE"),
        (r"TIME {2,}", "TIME   "),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIMESTAMP"),
        (r" +\n", "\n"),
    ] {
        text = Regex::new(pattern)
            .unwrap()
            .replace_all(&text, stands_for)
            .into_owned();
    }
    text
}
