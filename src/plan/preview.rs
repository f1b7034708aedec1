//! Decides which previews an Application has: from its open pull requests, the previews that exist, and what the forge
//! answered about them. Only the state of the forge counts, so deliveries that are lost or come in another order change nothing.

mod child;
pub mod comment;
mod facts;
mod host;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{
    Application, ApplicationSpec, LABEL_PREVIEW_OF, PULL_REQUEST, PUSHED_AT, PreviewState, PreviewStatus,
    Previews,
};
use crate::model::{AppId, CommitId, PullRequest};

pub use self::child::{labels, name};
use self::facts::{Answer, Trust};
pub use self::facts::{Facts, Question};

/// What a decision is made from.
pub struct PreviewInput<'a> {
    /// The Application's namespace and name.
    pub id: &'a AppId,
    /// The Application.
    pub app: &'a Application,
    /// Its open pull requests.
    pub pull_requests: &'a [PullRequest],
    /// Its previews, and other Applications with the name of one.
    pub children: &'a [Application],
    /// How many more previews the namespace may have than those of this Application.
    pub room: usize,
    /// Whether the base repository has the commits of all pull requests.
    pub base_has_heads: bool,
    /// What the forge answered.
    pub facts: &'a Facts,
    /// The time.
    pub now: Timestamp,
}

/// A preview that has to be created, or made what it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The number of the pull request.
    pub number: u64,
    /// The name of its Application.
    pub name: String,
    /// The spec of its Application.
    pub spec: ApplicationSpec,
    /// The annotations of its Application.
    pub annotations: BTreeMap<String, String>,
    /// The version of the existing one.
    pub resource_version: Option<String>,
}

/// A preview that has to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The name of its Application.
    pub name: String,
    /// Its UID, so that another Application of the same name stays.
    pub uid: String,
    /// Why, as the end of a sentence.
    pub why: String,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreviewPlan {
    /// What the forge has to be asked first. Until it is, the previews concerned stay as they are.
    pub questions: Vec<Question>,
    /// Previews to create.
    pub create: Vec<Wanted>,
    /// Previews to change.
    pub update: Vec<Wanted>,
    /// Previews to remove.
    pub remove: Vec<Removal>,
    /// How each preview is, by the number of its pull request.
    pub states: BTreeMap<u64, PreviewStatus>,
}

/// Returns the settings of previews, if previews are wanted now.
pub fn wanted(app: &Application) -> Option<&Previews> {
    let previews = app.spec.previews.as_ref()?;
    (previews.enabled && app.metadata.deletion_timestamp.is_none()).then_some(previews)
}

/// Decides what to do.
pub fn decide(input: &PreviewInput<'_>) -> PreviewPlan {
    let mut planner = Planner {
        input,
        plan: PreviewPlan::default(),
        running: 0,
    };
    let children: BTreeMap<u64, &Application> = input
        .children
        .iter()
        .filter(|child| is_own(input.app, child))
        .filter_map(|child| Some((number(child)?, child)))
        .collect();
    let Some(previews) = wanted(input.app) else {
        let why = if input.app.metadata.deletion_timestamp.is_some() {
            "the Application is deleted"
        } else {
            "previews are disabled"
        };
        for (number, child) in &children {
            planner.remove(*number, child, why);
        }
        planner.forget(&children, why);
        return planner.plan;
    };
    let mut newest_first: Vec<&PullRequest> = input.pull_requests.iter().collect();
    newest_first.sort_by_key(|pull_request| std::cmp::Reverse(pull_request.number));
    newest_first.dedup_by_key(|pull_request| pull_request.number);
    for pull_request in &newest_first {
        planner.decide(
            previews,
            pull_request,
            children.get(&pull_request.number).copied(),
        );
    }
    let is_open = |number: &u64| {
        newest_first
            .iter()
            .any(|pull_request| pull_request.number == *number)
    };
    for (number, child) in children.iter().filter(|(number, _)| !is_open(number)) {
        planner.unlisted(*number, child);
    }
    planner.forget(&children, "the pull request is closed");
    planner.plan
}

struct Planner<'a> {
    input: &'a PreviewInput<'a>,
    plan: PreviewPlan,
    running: usize,
}

impl Planner<'_> {
    fn decide(&mut self, previews: &Previews, pull_request: &PullRequest, child: Option<&Application>) {
        let number = pull_request.number;
        if let Some(why) = unwanted(previews, pull_request) {
            return self.unwanted(number, child, &why);
        }
        let limit = usize::try_from(previews.limit).unwrap_or(1);
        if self.running >= limit {
            let message =
                format!("previews.limit is {limit}, and {limit} newer pull requests have a preview");
            return self.wait(pull_request, child, message);
        }
        if self.running >= self.input.room {
            return self.wait(
                pull_request,
                child,
                "the namespace has as many previews as it may have".to_owned(),
            );
        }
        let (commit, pushed_at) = match self.head(previews, pull_request, child) {
            Answer::Known(head) => head,
            Answer::Asked => return self.keep(number, child),
            Answer::Failed(problem) => return self.keep_with(pull_request, child, problem),
        };
        if let Some(ttl) = &previews.ttl {
            let age = self.input.now.duration_since(pushed_at);
            if age.unsigned_abs() >= ttl.get() && age.is_positive() {
                let why = format!("the last push is longer ago than {ttl}");
                return self.unwanted(number, child, &why);
            }
        }
        match self.input.facts.trust(pull_request, &commit) {
            Trust::Yes => self.run(previews, pull_request, child, &commit, pushed_at, None),
            Trust::Ask(questions) => {
                self.plan.questions.extend(questions);
                self.keep(number, child);
            }
            Trust::Failed(problem) => self.keep_with(pull_request, child, problem),
            Trust::No => {
                let message = format!(
                    "commit {} waits for the approval of a user with write access, because {} has none",
                    commit.short(),
                    pull_request.author.name
                );
                // What was approved goes on running.
                match child.and_then(|child| Some((child, commit_of(child)?))) {
                    Some((child, approved)) => {
                        let pushed_at = pushed_at_of(child).unwrap_or(pushed_at);
                        self.run(
                            previews,
                            pull_request,
                            Some(child),
                            &approved,
                            pushed_at,
                            Some(message),
                        );
                    }
                    None => self.wait(pull_request, None, message),
                }
            }
        }
    }

    /// The commit at the head, and when it was pushed. The forge is asked only if that is needed.
    fn head(
        &mut self,
        previews: &Previews,
        pull_request: &PullRequest,
        child: Option<&Application>,
    ) -> Answer<(CommitId, Timestamp)> {
        let known = child.and_then(|child| Some((commit_of(child)?, pushed_at_of(child)?)));
        if let Some((commit, at)) =
            known.filter(|(commit, _)| commit.as_str().starts_with(&pull_request.head))
        {
            return Answer::Known((commit, at));
        }
        if let Some(commit) = CommitId::parse(&pull_request.head)
            && previews.ttl.is_none()
        {
            return Answer::Known((commit, self.input.now));
        }
        match self.input.facts.head(pull_request) {
            Answer::Known(head) => {
                // The commit was seen to change, so it was pushed since, whenever it was made.
                let at = if child.is_some() { self.input.now } else { head.at };
                Answer::Known((head.commit.clone(), at))
            }
            Answer::Asked => {
                self.plan.questions.push(Question::Head(pull_request.number));
                Answer::Asked
            }
            Answer::Failed(problem) => Answer::Failed(problem),
        }
    }

    fn run(
        &mut self,
        previews: &Previews,
        pull_request: &PullRequest,
        child: Option<&Application>,
        commit: &CommitId,
        pushed_at: Timestamp,
        note: Option<String>,
    ) {
        self.running += 1;
        let input = self.input;
        let head_repository = pull_request
            .repository
            .as_deref()
            .filter(|_| !input.base_has_heads);
        let name = name(&input.id.name, pull_request.number);
        let wanted = Wanted {
            number: pull_request.number,
            spec: child::spec(input.app, previews, commit, head_repository),
            annotations: child::annotations(input.id, previews, pull_request, pushed_at),
            resource_version: None,
            name: name.clone(),
        };
        let mut state = state::of(pull_request.number, commit.as_str(), child);
        state.application = Some(name.clone());
        if let Some(note) = note {
            state.message = Some(note);
        }
        match child {
            None if input
                .children
                .iter()
                .any(|other| other.metadata.name.as_deref() == Some(&name)) =>
            {
                let message = format!(
                    "the name {name} is taken by an Application that is no preview: rename or delete it"
                );
                state = state::failed(pull_request, message);
            }
            None => self.plan.create.push(wanted),
            // The next one is created when it is gone.
            Some(child) if child.metadata.deletion_timestamp.is_some() => {}
            Some(child) if is_as_wanted(input.id, child, &wanted) => {}
            Some(child) => self.plan.update.push(Wanted {
                resource_version: child.metadata.resource_version.clone(),
                ..wanted
            }),
        }
        self.plan.states.insert(pull_request.number, state);
    }

    fn wait(&mut self, pull_request: &PullRequest, child: Option<&Application>, message: String) {
        if let Some(child) = child {
            self.removal(child, &message);
        }
        let state = state::waiting(pull_request, message);
        self.plan.states.insert(pull_request.number, state);
    }

    fn unwanted(&mut self, number: u64, child: Option<&Application>, why: &str) {
        if let Some(child) = child {
            self.remove(number, child, why);
        } else if let Some(old) = self.reported(number) {
            let state = state::removed(old, why);
            self.plan.states.insert(number, state);
        }
    }

    /// The forge has not answered yet.
    fn keep(&mut self, number: u64, child: Option<&Application>) {
        if let Some(child) = child {
            self.running += 1;
            let commit = commit_of(child);
            let mut state = state::of(number, commit.as_ref().map_or("", CommitId::as_str), Some(child));
            state.application.clone_from(&child.metadata.name);
            self.plan.states.insert(number, state);
        } else if let Some(old) = self.reported(number) {
            self.plan.states.insert(number, old.clone());
        }
    }

    /// The forge cannot answer.
    fn keep_with(&mut self, pull_request: &PullRequest, child: Option<&Application>, problem: String) {
        if child.is_none() {
            let state = state::failed(pull_request, problem);
            self.plan.states.insert(pull_request.number, state);
            return;
        }
        self.keep(pull_request.number, child);
        if let Some(state) = self.plan.states.get_mut(&pull_request.number) {
            state.message = Some(problem);
        }
    }

    /// A pull request that is not in the list may have been moved from one page to another while they were read.
    fn unlisted(&mut self, number: u64, child: &Application) {
        match self.input.facts.is_open(number) {
            Answer::Known(false) => self.remove(number, child, "the pull request is closed"),
            Answer::Known(true) | Answer::Failed(_) => self.keep(number, Some(child)),
            Answer::Asked => {
                self.plan.questions.push(Question::IsOpen(number));
                self.keep(number, Some(child));
            }
        }
    }

    fn remove(&mut self, number: u64, child: &Application, why: &str) {
        self.removal(child, why);
        let commit = commit_of(child);
        let old = state::of(number, commit.as_ref().map_or("", CommitId::as_str), None);
        let old = self.reported(number).cloned().unwrap_or(old);
        self.plan.states.insert(number, state::removed(&old, why));
    }

    fn removal(&mut self, child: &Application, why: &str) {
        if child.metadata.deletion_timestamp.is_none() {
            self.plan.remove.push(Removal {
                name: child.metadata.name.clone().unwrap_or_default(),
                uid: child.metadata.uid.clone().unwrap_or_default(),
                why: why.to_owned(),
            });
        }
    }

    /// Reports the previews that were reported before and are neither wanted nor there.
    fn forget(&mut self, children: &BTreeMap<u64, &Application>, why: &str) {
        for old in self.input.app.status.iter().flat_map(|status| &status.previews) {
            let Ok(number) = u64::try_from(old.number) else {
                continue;
            };
            if !children.contains_key(&number) && !self.plan.states.contains_key(&number) {
                let open = self
                    .input
                    .pull_requests
                    .iter()
                    .any(|found| found.number == number);
                if !open || wanted(self.input.app).is_none() {
                    self.plan.states.insert(number, state::removed(old, why));
                }
            }
        }
    }

    fn reported(&self, number: u64) -> Option<&PreviewStatus> {
        let status = self.input.app.status.as_ref()?;
        let number = i64::try_from(number).ok()?;
        status.previews.iter().find(|preview| preview.number == number)
    }
}

/// Why a pull request gets no preview.
fn unwanted(previews: &Previews, pull_request: &PullRequest) -> Option<String> {
    if pull_request.is_draft && !previews.drafts {
        return Some("the pull request is a draft".to_owned());
    }
    if pull_request.is_fork && !previews.allow_forks {
        return Some("the pull request comes from a fork".to_owned());
    }
    let has = |label: &String| pull_request.labels.contains(label);
    if !previews.labels.is_empty() && !previews.labels.iter().any(has) {
        return Some(format!(
            "the pull request has no label {}",
            previews.labels.join(" or ")
        ));
    }
    None
}

/// Reports whether an Application is a preview of another one.
pub fn is_own(parent: &Application, child: &Application) -> bool {
    let (Some(uid), Some(owners)) = (&parent.metadata.uid, &child.metadata.owner_references) else {
        return false;
    };
    owners
        .iter()
        .any(|owner| owner.uid == *uid && owner.controller == Some(true))
}

/// Returns the number of a preview's pull request.
pub fn number(child: &Application) -> Option<u64> {
    child
        .metadata
        .annotations
        .as_ref()?
        .get(PULL_REQUEST)?
        .parse()
        .ok()
}

/// Returns the commit that a preview is built from.
fn commit_of(child: &Application) -> Option<CommitId> {
    let source = child.spec.source.as_ref()?.forge()?;
    CommitId::parse(source.git_ref?.commit.as_deref()?)
}

fn pushed_at_of(child: &Application) -> Option<Timestamp> {
    child.metadata.annotations.as_ref()?.get(PUSHED_AT)?.parse().ok()
}

fn is_as_wanted(parent: &AppId, child: &Application, wanted: &Wanted) -> bool {
    let label = child
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(LABEL_PREVIEW_OF));
    let annotations = child.metadata.annotations.clone().unwrap_or_default();
    label == Some(&parent.name)
        && wanted
            .annotations
            .iter()
            .all(|(key, value)| annotations.get(key) == Some(value))
        && child.spec == wanted.spec
}

/// Returns the previews that the status of the Application lists: those with a state that is worth a row.
pub fn listed(states: &BTreeMap<u64, PreviewStatus>) -> Vec<PreviewStatus> {
    /// The most entries that the schema allows.
    const MOST: usize = 1000;
    let all = states.values().rev();
    all.filter(|preview| preview.state != PreviewState::Removed || preview.comment.is_some())
        .take(MOST)
        .cloned()
        .collect()
}
