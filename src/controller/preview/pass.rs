//! One pass over the previews of an Application: list, decide, ask, execute.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Resource as _, ResourceExt as _};

use crate::api::{Application, ApplicationSpec, LABEL_PREVIEW_OF, MANAGER, PreviewState, Reason};
use crate::controller::context::Context;
use crate::controller::problem::{caught, cluster_problem, panicked};
use crate::controller::resolve::remote::ForgeRemote;
use crate::error::{Class, Problem};
use crate::forge::{ForgeError, PullRequests};
use crate::model::{AppId, PullRequest};
use crate::plan::preview::{
    Facts, OWN_ANNOTATIONS, PreviewInput, PreviewPlan, Question, Removal, Wanted, built, decide, is_own,
    labels, listed, name, own, wanted,
};

use super::comments;
use super::hindrance::{Held, PassProblem};
use super::state::{Begin, PassResult};

/// How soon the next pass follows if one could not do everything.
const SOON: Duration = Duration::from_secs(20);
/// How soon a pass is tried again at least that waits for another object, whose change is not always seen.
const WAITING: Duration = Duration::from_secs(15);
/// How soon a problem that only a user can solve is looked at again: the forge's permissions change without notice.
const LATER: Duration = Duration::from_mins(1);

/// Reports a problem of a pass as an event.
pub async fn report_problem(ctx: &Context, app: &Application, message: &str) {
    let about = app.object_ref(&());
    ctx.report
        .new_event(&about, true, Reason::PreviewsFailed, message)
        .await;
}

/// Runs one pass.
pub(super) async fn pass(ctx: &Arc<Context>, id: &AppId, app: &Application, begin: Begin) -> PassResult {
    let mut result = PassResult {
        listed: None,
        states: None,
        facts: begin.facts,
        is_decided: false,
        asked: 0,
        looked_at: begin.looked_at,
        expires_in: None,
        refused: begin.refused,
        problem: None,
        comments: None,
    };
    let from = From {
        pull_requests: begin.pull_requests,
        questions: begin.questions,
        comments_held: begin.comments_held,
    };
    let tried = caught(Box::pin(try_pass(ctx, id, app, from, &mut result))).await;
    if let Err(problem) = tried.unwrap_or_else(|| Err(panicked("update the previews"))) {
        result.problem = Some(PassProblem::of(&problem));
    }
    result
}

/// What a pass has from the one before.
struct From {
    pull_requests: Option<Arc<Vec<PullRequest>>>,
    questions: usize,
    comments_held: Option<Held>,
}

impl PassProblem {
    fn of(problem: &Problem) -> Self {
        Self {
            pause: match problem.class {
                Class::Terminal => Some(LATER),
                Class::Waiting | Class::Transient => None,
            },
            longest: if problem.class == Class::Waiting {
                WAITING
            } else {
                Duration::MAX
            },
            is_reported: problem.class != Class::Waiting,
            holds: true,
            message: problem.message.clone(),
        }
    }

    /// More is to be done than one pass does.
    fn soon(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            pause: Some(SOON),
            longest: Duration::MAX,
            is_reported: false,
            holds: true,
        }
    }
}

async fn try_pass(
    ctx: &Arc<Context>,
    id: &AppId,
    app: &Application,
    from: From,
    result: &mut PassResult,
) -> Result<(), Problem> {
    let known = from.pull_requests;
    let is_wanted = wanted(app).is_some();
    let remote = ctx.resolver.repository(id, app).await;
    // What is to be removed is removed, whether the forge answers or not.
    let (remote, away) = match remote {
        Ok(remote) => (Some(remote), None),
        Err(problem) if is_wanted => return Err(problem),
        Err(problem) => (
            None,
            Some(problem).filter(|problem| problem.class != Class::Terminal),
        ),
    };
    let forge = remote
        .as_ref()
        .and_then(|remote| Some((remote, remote.forge.pull_requests()?)));
    let pull_requests = match (&known, forge, is_wanted) {
        (Some(known), ..) => Arc::clone(known),
        (None, Some((remote, forge)), true) => {
            let found = forge.open_pull_requests(&remote.repository()).await;
            let found = Arc::new(found.map_err(|error| Problem::of(&error))?);
            result.listed = Some(Arc::clone(&found));
            found
        }
        (None, None, true) => {
            return Err(Problem::invalid(
                "spec.previews needs a forge that has pull requests",
            ));
        }
        (None, _, false) => Arc::default(),
    };
    let is_fresh = known.is_none();
    let base_has_heads = forge.is_none_or(|(_, forge)| forge.base_has_heads());
    let labels = wanted(app)
        .map(|previews| previews.labels.clone())
        .unwrap_or_default();
    let approval = forge
        .map(|(_, forge)| forge.approval(&labels))
        .unwrap_or_default();
    let decided = |children: &[Application], room: usize, facts: &Facts| {
        decide(&PreviewInput {
            id,
            app,
            pull_requests: &pull_requests,
            children,
            room,
            most: ctx.previews.most(),
            base_has_heads,
            approval: &approval,
            facts,
            now: Timestamp::now(),
        })
    };
    let (seen, room) = children(ctx, id, app).await?;
    let built = built(&own(app, &seen));
    result.facts.see(&pull_requests, &built, Timestamp::now());
    while let Some((remote, forge)) = forge.filter(|_| result.asked < from.questions) {
        let questions = decided(&seen, room, &result.facts).questions;
        if questions.is_empty() {
            break;
        }
        let most = from.questions - result.asked;
        for question in unique(questions).iter().take(most) {
            result.asked += 1;
            let facts = &mut result.facts;
            ask(remote, forge, question, &pull_requests, &labels, facts).await?;
        }
    }
    let plan = {
        // The forge is not asked while others wait.
        let _held = ctx.previews.creating().lock().await;
        let (seen, room) = children(ctx, id, app).await?;
        let plan = decided(&seen, room, &result.facts);
        execute(ctx, id, app, &plan).await?;
        plan
    };
    result.decided(&plan);
    let mut states = plan.states;
    let comments = comments::Comments {
        ctx,
        id,
        app,
        remote: remote.as_ref(),
        comes_back: away.is_some(),
        commits: &plan.commits,
        held: from.comments_held.as_ref(),
    };
    let written = comments
        .write(&mut states, is_fresh, &mut result.looked_at, &mut result.refused)
        .await;
    let states = listed(&states);
    let is_left = states
        .iter()
        .any(|preview| preview.state == PreviewState::Removed);
    result.states = Some(states);
    if let Some(problem) = away.filter(|_| is_left) {
        return Err(problem);
    }
    result.commented(written);
    Ok(())
}

/// Each question once, in the same order.
fn unique(mut questions: Vec<Question>) -> Vec<Question> {
    let mut seen = HashSet::new();
    questions.retain(|question| seen.insert(question.clone()));
    questions
}

impl PassResult {
    /// Notes what was decided.
    fn decided(&mut self, plan: &PreviewPlan) {
        self.is_decided = plan.questions.is_empty();
        self.expires_in = plan.expires_in;
        if !self.is_decided {
            let message = "the forge has more to be asked about its pull requests than one pass asks";
            self.problem = Some(PassProblem::soon(message));
        }
    }

    /// Notes what became of the comments.
    fn commented(&mut self, written: Result<bool, Problem>) {
        self.comments = match written {
            Ok(false) => None,
            Ok(true) => Some(PassProblem::soon("more comments are due than one pass writes")),
            // What the forge refuses for one pull request is tried again apart from the others.
            Err(problem) => Some(PassProblem {
                holds: problem.class != Class::Terminal || problem.reason == Reason::ForgeAuthFailed,
                ..PassProblem::of(&problem)
            }),
        };
    }
}

/// The previews of an Application, Applications that have the name of one, and how many previews it may have by the limit of the
/// namespace.
async fn children(
    ctx: &Context,
    id: &AppId,
    app: &Application,
) -> Result<(Vec<Application>, usize), Problem> {
    let api: Api<Application> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let all = api.list(&ListParams::default()).await;
    let all = all
        .map_err(|error| cluster_problem("list the previews", &error))?
        .items;
    let others = all
        .iter()
        .filter(|other| other.labels().contains_key(LABEL_PREVIEW_OF) && !is_own(app, other))
        .count();
    let prefix = name(&id.name, 0);
    let prefix = prefix.trim_end_matches('0');
    let children = all
        .into_iter()
        .filter(|other| is_own(app, other) || other.name_any().starts_with(prefix))
        .collect();
    Ok((children, ctx.previews.most().saturating_sub(others)))
}

/// Asks the forge. A limit of requests ends the pass; another problem concerns one preview.
async fn ask(
    remote: &ForgeRemote,
    forge: &dyn PullRequests,
    question: &Question,
    pull_requests: &[PullRequest],
    labels: &[String],
    facts: &mut Facts,
) -> Result<(), Problem> {
    let repository = &remote.repository();
    let find = |number: &u64| pull_requests.iter().find(|found| found.number == *number);
    match question {
        Question::Head(number) => {
            let Some(pull_request) = find(number) else {
                return Ok(());
            };
            let answer = told(forge.head(repository, pull_request).await)?;
            facts.heads.insert((*number, pull_request.head.clone()), answer);
        }
        Question::IsOpen(number) => {
            let answer = told(forge.is_open(repository, *number).await)?;
            facts.open.insert(*number, answer);
        }
        Question::MayWrite(account) => {
            let answer = told(forge.may_write(repository, account).await)?;
            facts.writers.insert(account.clone(), answer);
        }
        Question::Approvals(number, commit) => {
            let Some(pull_request) = find(number) else {
                return Ok(());
            };
            let answer = told(forge.approvals(repository, pull_request, commit, labels).await)?;
            facts.approvals.insert((*number, commit.clone()), answer);
        }
    }
    Ok(())
}

fn told<T>(answer: Result<T, ForgeError>) -> Result<Result<T, String>, Problem> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(
            error @ (ForgeError::RateLimited { .. }
            | ForgeError::Auth { .. }
            | ForgeError::Unreachable { .. }),
        ) => Err(Problem::of(&error)),
        Err(error) => Ok(Err(Problem::of(&error).message)),
    }
}

/// Carries the plan out. A preview that cannot be made does not hold up the others.
async fn execute(ctx: &Context, id: &AppId, app: &Application, plan: &PreviewPlan) -> Result<(), Problem> {
    let api: Api<Application> = Api::namespaced(ctx.client.clone(), &id.namespace);
    let mut first = Ok(());
    // Room first.
    for removal in &plan.remove {
        let done = remove(ctx, &api, app, removal).await;
        first = first.and(done);
    }
    for wanted in &plan.create {
        let done = write(ctx, &api, app, wanted).await;
        first = first.and(done);
    }
    for wanted in &plan.update {
        let done = write(ctx, &api, app, wanted).await;
        first = first.and(done);
    }
    first
}

async fn remove(
    ctx: &Context,
    api: &Api<Application>,
    app: &Application,
    removal: &Removal,
) -> Result<(), Problem> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(removal.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&removal.name, &params).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
        Err(error) => return Err(cluster_problem("remove a preview", &error)),
    }
    let message = format!("removed the preview {}: {}", removal.name, removal.why);
    let mut preview = Application::new(&removal.name, ApplicationSpec::default());
    preview.metadata.namespace = app.namespace();
    preview.metadata.uid = Some(removal.uid.clone());
    let (about, preview) = (app.object_ref(&()), preview.object_ref(&()));
    ctx.report
        .event(&about, Some(&preview), false, Reason::PreviewRemoved, &message)
        .await;
    Ok(())
}

/// Creates a preview, or makes an existing one what it should be.
async fn write(
    ctx: &Context,
    api: &Api<Application>,
    app: &Application,
    wanted: &Wanted,
) -> Result<(), Problem> {
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let (done, reason, doing) = match &wanted.resource_version {
        None => {
            let mut preview = Application::new(&wanted.name, wanted.spec.clone());
            preview.metadata = ObjectMeta {
                name: Some(wanted.name.clone()),
                namespace: app.namespace(),
                labels: Some(labels(&app.name_any())),
                annotations: Some(wanted.annotations.clone()),
                owner_references: Some(app.controller_owner_ref(&()).into_iter().collect()),
                ..ObjectMeta::default()
            };
            let done = api.create(&params, &preview).await;
            (done, Reason::PreviewCreated, "create a preview")
        }
        Some(version) => {
            let found = api.get_opt(&wanted.name).await;
            let Some(mut preview) = found.map_err(|error| cluster_problem("read a preview", &error))? else {
                return Ok(());
            };
            if preview.metadata.resource_version.as_ref() != Some(version) {
                // Its status was written meanwhile; its spec is what is written now.
                preview.metadata.managed_fields = None;
            }
            preview.labels_mut().extend(labels(&app.name_any()));
            let annotations = preview.annotations_mut();
            annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
            annotations.extend(wanted.annotations.clone());
            preview.spec = wanted.spec.clone();
            if !is_own(app, &preview) {
                // A user took it away.
                let owner = app.controller_owner_ref(&());
                preview.owner_references_mut().extend(owner);
            }
            let done = api.replace(&wanted.name, &params, &preview).await;
            (done, Reason::PreviewUpdated, "change a preview")
        }
    };
    let preview = match done {
        Ok(preview) => preview.object_ref(&()),
        // It is looked at again, because the other change is seen.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
        Err(error) => return Err(cluster_problem(doing, &error)),
    };
    let verb = if reason == Reason::PreviewCreated {
        "created"
    } else {
        "changed"
    };
    let message = format!(
        "{verb} the preview {} of pull request {}",
        wanted.name, wanted.number
    );
    let about = app.object_ref(&());
    ctx.report
        .event(&about, Some(&preview), false, reason, &message)
        .await;
    Ok(())
}
