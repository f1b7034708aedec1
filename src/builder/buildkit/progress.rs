//! BuildKit's reports as lines of a log, as they come: `#3 [2/4] RUN make`, `#3 <what it prints>`, `#3 DONE 1.2s`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus};

use super::input;
use crate::job_log::JobLog;

/// The longest line that is waited for, in bytes; of a longer one the rest is left out.
const LONGEST_LINE: usize = 16 * 1024;

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name: `[2/4] RUN make`.
    pub step: String,
    /// What BuildKit says of it.
    pub error: String,
}

/// What is known of a build.
#[derive(Debug, Default)]
pub struct Progress {
    steps: HashMap<String, Step>,
    transfers: HashSet<(String, String)>,
    failure: Option<Failure>,
    names: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct Step {
    number: usize,
    /// How long it took, in seconds, if it has ended.
    took: Option<f64>,
    line: Vec<u8>,
}

impl Progress {
    /// Nothing is known yet. `names` are shown in place of the text of a step, by a part of that text.
    pub fn named(names: Vec<(&'static str, String)>) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    fn given(&self, vertex: &Vertex) -> Option<&str> {
        let mut names = self.names.iter();
        let name = names.find(|(mark, _)| vertex.name.contains(mark));
        name.map(|(_, name)| name.as_str())
    }

    fn name<'a>(&'a self, vertex: &'a Vertex) -> Cow<'a, str> {
        self.given(vertex)
            .map_or_else(|| input::without(&vertex.name), Cow::Borrowed)
    }

    /// Takes in a report.
    pub fn report(&mut self, status: StatusResponse, log: &JobLog) {
        let (ended, begun): (Vec<_>, Vec<_>) = status
            .vertexes
            .into_iter()
            .partition(|vertex| vertex.completed.is_some());
        for vertex in &begun {
            self.begin(vertex, log);
        }
        for status in &status.statuses {
            self.transfer(status, log);
        }
        for message in &status.logs {
            self.print(message, log);
        }
        // Last, so that a step ends after what it printed.
        for vertex in &ended {
            self.begin(vertex, log);
            self.end(vertex, log);
        }
        for warning in &status.warnings {
            log.write(&format!("WARNING: {}", String::from_utf8_lossy(&warning.short)));
        }
    }

    /// The first step that failed by itself.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    fn begin(&mut self, vertex: &Vertex, log: &JobLog) {
        if vertex.started.is_none() || self.steps.contains_key(&vertex.digest) {
            return;
        }
        let number = self.steps.len() + 1;
        log.write(&format!("#{number} {}", self.name(vertex)));
        self.steps.insert(
            vertex.digest.clone(),
            Step {
                number,
                took: None,
                line: Vec::new(),
            },
        );
    }

    fn end(&mut self, vertex: &Vertex, log: &JobLog) {
        let cancelled = vertex.error.contains("context canceled");
        if !vertex.error.is_empty() && !cancelled && self.failure.is_none() {
            self.failure = Some(Failure {
                step: self.name(vertex).into_owned(),
                error: vertex.error.clone(),
            });
        }
        let is_named = self.given(vertex).is_some();
        let Some(step) = self.steps.get_mut(&vertex.digest) else {
            return;
        };
        // BuildKit may take a step up again, after it has looked into its cache: worth a line if that took its time.
        let took = seconds(vertex);
        if step.took.is_some_and(|before| took < before + 0.1) {
            return;
        }
        step.took = Some(took);
        step.flush(log);
        let number = step.number;
        log.write(&if cancelled {
            format!("#{number} CANCELLED")
        } else if !vertex.error.is_empty() {
            let error = if is_named {
                exit_of(&vertex.error)
            } else {
                &vertex.error
            };
            format!("#{number} ERROR: {error}")
        } else if vertex.cached {
            format!("#{number} CACHED")
        } else {
            format!("#{number} DONE {took:.1}s")
        });
    }

    fn print(&mut self, message: &VertexLog, log: &JobLog) {
        let Some(step) = self.steps.get_mut(&message.vertex) else {
            return;
        };
        for part in message.msg.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(step.line.len());
            step.line
                .extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            if part.ends_with(b"\n") {
                step.flush(log);
            }
        }
    }

    /// Layers that were pulled; what moves within the machine is not worth a line.
    fn transfer(&mut self, status: &VertexStatus, log: &JobLog) {
        let Some(step) = self.steps.get(&status.vertex) else {
            return;
        };
        let layer = status.id.starts_with("sha256:") || status.id.starts_with("extracting ");
        if layer
            && status.completed.is_some()
            && self.transfers.insert((status.vertex.clone(), status.id.clone()))
        {
            log.write(&format!("#{} {} done", step.number, status.id));
        }
    }
}

impl Step {
    /// Writes the line so far. Of a line that overwrote itself, as progress bars do, its last state is kept.
    fn flush(&mut self, log: &JobLog) {
        let mut end = self.line.len();
        if end == LONGEST_LINE {
            end -= log.longest_secret().min(end); // What is left of a secret at the cut would not be known.
        }
        let line = String::from_utf8_lossy(self.line.get(..end).unwrap_or_default());
        let line = line.trim_end_matches(['\r', '\n']);
        let last = line.rsplit('\r').next().unwrap_or(line);
        if !last.is_empty() {
            log.write(&format!("#{} {last}", self.number));
        }
        self.line.clear();
    }
}

/// The end of the error of a step whose text is not shown: the error begins with that text.
fn exit_of(error: &str) -> &str {
    error
        .rfind("exit code: ")
        .and_then(|at| error.get(at..))
        .unwrap_or("failed")
}

fn seconds(vertex: &Vertex) -> f64 {
    let (Some(from), Some(to)) = (&vertex.started, &vertex.completed) else {
        return 0.0;
    };
    let milliseconds = (to.seconds - from.seconds) * 1000 + i64::from(to.nanos - from.nanos) / 1_000_000;
    f64::from(i32::try_from(milliseconds).unwrap_or(i32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::{Masker, Secret};

    #[expect(
        clippy::default_trait_access,
        reason = "the type of a time cannot be named from here"
    )]
    /// A step that began at 0 and ended after one and a half seconds, if it did.
    fn vertex(digest: &str, error: &str, ended: bool, cached: bool) -> Vertex {
        let mut vertex = Vertex {
            digest: digest.to_owned(),
            name: format!("[{digest}] RUN x"),
            cached,
            started: Some(Default::default()),
            completed: ended.then(Default::default),
            error: error.to_owned(),
            ..Vertex::default()
        };
        if let Some(end) = &mut vertex.completed {
            (end.seconds, end.nanos) = (1, 500_000_000);
        }
        vertex
    }

    fn report(vertexes: Vec<Vertex>, printed: &[(&str, &str)]) -> StatusResponse {
        let log = |(vertex, text): &(&str, &str)| VertexLog {
            vertex: (*vertex).to_owned(),
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        };
        StatusResponse {
            vertexes,
            logs: printed.iter().map(log).collect(),
            ..StatusResponse::default()
        }
    }

    fn logged(reports: Vec<StatusResponse>) -> (String, Progress) {
        let dir = tempfile::tempdir().unwrap();
        let log = JobLog::open(&dir.path().join("log"), Masker::new(&[Secret::from("hunter2")])).unwrap();
        let mut progress = Progress::default();
        for report in reports {
            progress.report(report, &log);
        }
        (log.tail(), progress)
    }

    #[test]
    fn lines_are_whole_numbered_and_masked() {
        let (text, progress) = logged(vec![
            report(
                vec![vertex("a", "", false, false), vertex("b", "", true, true)],
                &[],
            ),
            report(vec![], &[("a", "one\ntw"), ("a", "o hun"), ("unknown", "x\n")]),
            report(vec![], &[("a", "ter2\n10%\r50%\r100%\r\n\nend")]),
            report(
                vec![vertex("a", "", true, false), vertex("a", "", true, false)],
                &[],
            ),
        ]);
        assert_eq!(
            text,
            "#1 [a] RUN x\n#2 [b] RUN x\n#2 CACHED\n#1 one\n#1 two ***\n#1 100%\n#1 end\n#1 DONE 1.5s\n"
        );
        assert_eq!(progress.failure(), None);
    }

    #[test]
    fn the_step_that_failed_is_known_and_not_those_it_took_along() {
        let (text, progress) = logged(vec![report(
            vec![
                vertex("a", "context canceled", true, false),
                vertex("b", "exit code: 7", true, false),
            ],
            &[],
        )]);
        assert!(
            text.contains("#1 CANCELLED\n") && text.contains("#2 ERROR: exit code: 7\n"),
            "{text}"
        );
        assert_eq!(progress.failure().unwrap().step, "[b] RUN x");
    }

    #[test]
    fn a_secret_at_the_cut_of_a_line_leaves_nothing_behind() {
        for shift in 0..10 {
            let line = format!("{}hunter2 and more\n", "x".repeat(LONGEST_LINE - shift));
            let (text, _) = logged(vec![
                report(vec![vertex("a", "", false, false)], &[]),
                report(vec![], &[("a", &line), ("a", "next\n")]),
            ]);
            assert!(text.ends_with("#1 next\n") && !text.contains("hu"), "{shift}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_cut_and_not_kept_in_memory() {
        let piece = "x".repeat(10_000);
        let (_, progress) = logged(vec![
            report(vec![vertex("a", "", false, false)], &[]),
            report(vec![], &[("a", &piece), ("a", &piece), ("a", &piece)]),
        ]);
        assert_eq!(progress.steps["a"].line.len(), LONGEST_LINE);
    }
}
