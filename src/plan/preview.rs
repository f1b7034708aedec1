//! Decides which previews an Application has: from its open pull requests, the previews that exist, and what the forge
//! answered about them. Only the state of the forge counts, so deliveries that are lost or come in another order change nothing.

mod child;
pub mod comment;
mod decision;
mod facts;
mod host;
mod owned;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Application, PreviewState, PreviewStatus, Previews};
use crate::model::{CommitId, CommitState, PullRequest};

pub use self::child::{labels, name, number};
pub use self::decision::{CommitReport, PreviewInput, PreviewPlan, Removal, Wanted};
use self::facts::{Answer, Trust};
pub use self::facts::{Facts, Question};
pub use self::owned::{OWN_ANNOTATIONS, built, is_own, own};
use self::owned::{commit_of, is_as_wanted, pushed_at_of};

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
        undecided: 0,
    };
    let children = own(input.app, input.children);
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
    /// How many pull requests may get a preview as soon as the forge has answered.
    undecided: usize,
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
                format!("previews.limit is {limit}, and as many newer pull requests have a preview");
            return self.wait(pull_request, child, message);
        }
        if self.running >= self.input.room {
            return self.wait(
                pull_request,
                child,
                format!(
                    "the namespace has as many previews as it may have: close pull requests, lower previews.limit of its Applications, or raise --max-previews of davit above {}",
                    self.input.most
                ),
            );
        }
        let (commit, pushed_at) = match self.head(previews, pull_request, child) {
            Answer::Known(head) => head,
            Answer::Asked => return self.ask(limit, child, pull_request, vec![Question::Head(number)]),
            Answer::Failed(problem) => return self.keep_with(pull_request, child, problem),
        };
        if let Some(ttl) = &previews.ttl {
            let age = self.input.now.duration_since(pushed_at).max(SignedDuration::ZERO);
            if age.unsigned_abs() >= ttl.get() {
                let why = format!("the last push is longer ago than {ttl}; the next push makes it anew");
                return self.unwanted(number, child, &why);
            }
            let rest = ttl.get().saturating_sub(age.unsigned_abs());
            self.plan.expires_in = Some(self.plan.expires_in.unwrap_or(rest).min(rest));
        }
        match self.input.facts.trust(pull_request, &commit) {
            Trust::Yes => self.run(previews, pull_request, child, &commit, pushed_at, None),
            Trust::Ask(questions) => self.ask(limit, child, pull_request, questions),
            Trust::Failed(problem) => self.keep_with(pull_request, child, problem),
            Trust::No => self.unapproved(previews, pull_request, child, &commit, pushed_at),
        }
    }

    /// The commit at the head may not run.
    fn unapproved(
        &mut self,
        previews: &Previews,
        pull_request: &PullRequest,
        child: Option<&Application>,
        commit: &CommitId,
        pushed_at: Timestamp,
    ) {
        let why = if pull_request.is_from_author {
            format!("{} has none", pull_request.author.name)
        } else {
            "it is not from a repository of its author, or the forge does not tell".to_owned()
        };
        let message = format!(
            "commit {} waits for the approval of a user with write access, because {why}: {}",
            commit.short(),
            self.input.approval
        );
        let approved = child.and_then(|child| Some((child, commit_of(child)?)));
        // What Davit reported is what it approved: a user may have written another commit into the preview.
        let reported = self.reported(pull_request.number);
        let reported = reported.and_then(|old| old.revision.clone());
        let is_known =
            |approved: &CommitId| approved != commit && reported.as_deref() == Some(approved.as_str());
        match approved.filter(|(_, approved)| is_known(approved)) {
            // What was approved before the push goes on running.
            Some((child, approved)) => {
                self.report(pull_request.number, commit, CommitState::Pending, &message);
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
            // An approval that was taken back stops the code.
            None => self.wait(pull_request, child, message),
        }
    }

    /// The commit at the head, and when it was pushed. The forge is asked only if that is needed.
    fn head(
        &self,
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
                let at = self.input.facts.pushed_at(pull_request, head.at);
                Answer::Known((head.commit, at))
            }
            Answer::Asked => Answer::Asked,
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
        let host = child::host_of(input.id, previews, pull_request);
        let wanted = Wanted {
            number: pull_request.number,
            spec: child::spec(input.app, previews, commit, head_repository, host.as_deref()),
            annotations: child::annotations(pull_request, pushed_at, host.as_deref()),
            resource_version: None,
            name: name.clone(),
        };
        let mut state = state::of(pull_request.number, commit.as_str(), child);
        state.application = Some(name.clone());
        match child {
            None if input
                .children
                .iter()
                .any(|other| other.metadata.name.as_deref() == Some(&name)) =>
            {
                let message = format!(
                    "the name {name} is taken by an Application that is no preview: delete it, or apply it under another name"
                );
                self.report(pull_request.number, commit, CommitState::Failure, &message);
                state = state::failed(pull_request, message);
            }
            None => self.plan.create.push(wanted),
            // The next one is created when it is gone.
            Some(child) if child.metadata.deletion_timestamp.is_some() => {}
            Some(child) if is_as_wanted(input.id, child, &wanted) => {}
            Some(child) => {
                if child.spec != wanted.spec {
                    // Its status is about what it was until now.
                    state::begin(&mut state);
                }
                self.plan.update.push(Wanted {
                    resource_version: child.metadata.resource_version.clone(),
                    ..wanted
                });
            }
        }
        if let Some(note) = note {
            state.message = Some(note);
        }
        self.plan.states.insert(pull_request.number, state);
    }

    fn report(&mut self, number: u64, commit: &CommitId, state: CommitState, description: &str) {
        let report = CommitReport {
            commit: commit.clone(),
            state,
            description: description.to_owned(),
        };
        self.plan.commits.insert(number, report);
    }

    fn wait(&mut self, pull_request: &PullRequest, child: Option<&Application>, message: String) {
        if let Some(child) = child {
            self.removal(child, &message);
        }
        if let Some(commit) = CommitId::parse(&pull_request.head) {
            self.report(pull_request.number, &commit, CommitState::Pending, &message);
        }
        let state = state::waiting(pull_request, message);
        self.plan.states.insert(pull_request.number, state);
    }

    fn unwanted(&mut self, number: u64, child: Option<&Application>, why: &str) {
        if let Some(child) = child {
            self.remove(number, child, why);
        } else if let Some(old) = self.reported(number).cloned() {
            self.gone(number, &old, why);
        }
    }

    /// Reports that there is no preview any more. A commit that had one, or waited for one, holds up no merge.
    fn gone(&mut self, number: u64, old: &PreviewStatus, why: &str) {
        let commit = old.revision.as_deref().and_then(CommitId::parse);
        if let Some(commit) = commit.filter(|_| old.state != PreviewState::Failed) {
            let description = format!("There is no preview: {why}");
            self.report(number, &commit, CommitState::Success, &description);
        }
        self.plan.states.insert(number, state::removed(old, why));
    }

    /// The forge has to be asked: about the newest first, and about no more than may run.
    fn ask(
        &mut self,
        limit: usize,
        child: Option<&Application>,
        pull_request: &PullRequest,
        questions: Vec<Question>,
    ) {
        if child.is_some() {
            self.plan.questions.extend(questions);
        } else if self.running + self.undecided < limit.min(self.input.room) {
            self.undecided += 1;
            self.plan.questions.extend(questions);
        }
        self.keep(pull_request.number, child);
    }

    /// The forge has not answered yet.
    fn keep(&mut self, number: u64, child: Option<&Application>) {
        if let Some(child) = child {
            self.running += 1;
            let reported = self.reported(number).and_then(|old| old.revision.clone());
            let commit = reported.or_else(|| Some(commit_of(child)?.as_str().to_owned()));
            let mut state = state::of(number, &commit.unwrap_or_default(), Some(child));
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
        self.gone(number, &old, why);
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
        let input = self.input;
        for old in input.app.status.iter().flat_map(|status| &status.previews) {
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
                    self.gone(number, old, why);
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
