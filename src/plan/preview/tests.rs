//! Which previews there are, by rows.

mod order;
mod removal;

use std::collections::BTreeMap;

use kube::Resource as _;
use serde_json::{Value, json};

use super::*;
use crate::api::ApplicationSpec;
use crate::model::{AppId, ForgeAccount, PushedHead};

const NOW: &str = "2026-11-29T12:00:00Z";

fn account(name: &str) -> ForgeAccount {
    ForgeAccount {
        id: name.to_owned(),
        name: name.to_owned(),
    }
}

/// A commit that a digit stands for.
fn commit(digit: u64) -> CommitId {
    CommitId::parse(&format!("{digit:040x}")).unwrap()
}

pub(super) fn pull_request(number: u64) -> PullRequest {
    PullRequest {
        number,
        head: commit(number).as_str().to_owned(),
        branch: "feature/a".to_owned(),
        repository: Some("acme/shop".to_owned()),
        is_fork: false,
        is_from_author: true,
        author: account("jane"),
        is_draft: false,
        labels: Vec::new(),
        created_at: "2026-11-29T00:00:00Z".parse().unwrap(),
    }
}

fn fork(number: u64) -> PullRequest {
    PullRequest {
        is_fork: true,
        author: account("eve"),
        repository: Some("eve/shop".to_owned()),
        ..pull_request(number)
    }
}

fn parent(previews: &Value) -> Application {
    let mut app: Application = serde_json::from_value(json!({
        "apiVersion": "davit.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "shop", "namespace": "production", "uid": "parent", "generation": 1},
        "spec": {"source": {"gitea": {"provider": {"name": "gt"}, "owner": "acme", "repository": "shop", "ref": {"branch": "main"}}},
            "build": {"args": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "b"}}}],
                "secrets": [{"name": "NPM", "valueFrom": {"secretKeyRef": {"name": "npm", "key": "t"}}}],
                "pullSecretRef": {"name": "registry"}},
            "image": {"repository": "r.example.com/shop", "pushSecretRef": {"name": "push"}},
            "env": [{"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}],
            "envFrom": [{"secretRef": {"name": "keys"}}, {"configMapRef": {"name": "common"}}],
            "volumes": [{"name": "data", "mountPath": "/data", "volume": {}},
                {"name": "conf", "mountPath": "/etc/shop", "configMap": {"name": "conf"}}],
            "ports": [{"containerPort": 3000, "hostPort": 8080, "hostIp": "127.0.0.1"}],
            "replicas": 3, "command": ["/bin/shop"], "stopped": true, "trigger": {"on": "Push"}}}))
    .unwrap();
    app.spec.previews = Some(serde_json::from_value(previews.clone()).unwrap());
    app
}

/// A namespace with the previews of one Application, and its forge.
#[derive(Clone)]
struct World {
    app: Application,
    pull_requests: Vec<PullRequest>,
    children: Vec<Application>,
    facts: Facts,
    room: usize,
    now: Timestamp,
}

impl World {
    fn new(previews: &Value, pull_requests: Vec<PullRequest>) -> Self {
        Self {
            app: parent(previews),
            pull_requests,
            children: Vec::new(),
            facts: Facts::default(),
            room: 20,
            now: NOW.parse().unwrap(),
        }
    }

    fn plan(&self) -> PreviewPlan {
        decide(&PreviewInput {
            id: &AppId::new("production", "shop"),
            app: &self.app,
            pull_requests: &self.pull_requests,
            children: &self.children,
            room: self.room,
            most: 20,
            base_has_heads: true,
            approval: "approve it",
            facts: &self.facts,
            now: self.now,
        })
    }

    /// Answers as a forge does at which jane may write, and at which these accounts approved these commits.
    fn answer(&mut self, approvals: &[(u64, u64, &str)]) {
        for question in self.plan().questions {
            match question {
                Question::Head(number) => {
                    let found = self
                        .pull_requests
                        .iter()
                        .find(|found| found.number == number)
                        .unwrap();
                    let head = PushedHead {
                        commit: CommitId::parse(&found.head).unwrap(),
                        at: found.created_at,
                    };
                    self.facts.heads.insert((number, found.head.clone()), Ok(head));
                }
                Question::IsOpen(number) => {
                    let open = self.pull_requests.iter().any(|found| found.number == number);
                    self.facts.open.insert(number, Ok(open));
                }
                Question::MayWrite(account) => {
                    let may = account.name == "jane";
                    self.facts.writers.insert(account, Ok(may));
                }
                Question::Approvals(number, of) => {
                    let given = approvals
                        .iter()
                        .filter(|(to, at, _)| *to == number && commit(*at) == of);
                    let given = given.map(|(.., by)| account(by)).collect();
                    self.facts.approvals.insert((number, of), Ok(given));
                }
            }
        }
    }

    /// Carries a plan out, as the controller does, until nothing is left to do.
    fn settle(&mut self, approvals: &[(u64, u64, &str)]) {
        for _ in 0..20 {
            self.facts = std::mem::take(&mut self.facts).lasting();
            let built = built(&own(&self.app, &self.children));
            self.facts.see(&self.pull_requests, &built, self.now);
            while !self.plan().questions.is_empty() {
                self.answer(approvals);
            }
            let plan = self.plan();
            let is_done = plan.create.is_empty() && plan.update.is_empty() && plan.remove.is_empty();
            self.execute(&plan);
            if is_done {
                return;
            }
        }
        panic!("it never settles: {:?}", self.plan());
    }

    fn execute(&mut self, plan: &PreviewPlan) {
        self.children.retain(|child| {
            !plan
                .remove
                .iter()
                .any(|gone| Some(&gone.name) == child.metadata.name.as_ref())
        });
        for wanted in plan.create.iter().chain(&plan.update) {
            self.children
                .retain(|child| child.metadata.name.as_ref() != Some(&wanted.name));
            let mut child = Application::new(&wanted.name, wanted.spec.clone());
            child.metadata.labels = Some(labels("shop"));
            child.metadata.annotations = Some(wanted.annotations.clone());
            child.metadata.uid = Some(format!("uid of {}", wanted.name));
            child.metadata.owner_references = Some(self.app.controller_owner_ref(&()).into_iter().collect());
            self.children.push(child);
        }
        let mut status = self.app.status.clone().unwrap_or_default();
        status.previews = listed(&plan.states);
        for preview in &mut status.previews {
            preview.comment.get_or_insert_with(|| "1".to_owned());
        }
        status
            .previews
            .retain(|preview| preview.state != PreviewState::Removed);
        self.app.status = Some(status);
    }

    /// The previews and their commits.
    fn running(&self) -> BTreeMap<String, String> {
        let all = self.children.iter().map(|child| {
            let commit = commit_of(child).unwrap();
            (
                child.metadata.name.clone().unwrap(),
                commit.as_str().trim_start_matches('0').to_owned(),
            )
        });
        all.collect()
    }

    fn names(&self) -> String {
        self.running().into_keys().collect::<Vec<_>>().join(" ")
    }

    fn state(&self, number: i64) -> (PreviewState, String) {
        let all = &self.app.status.as_ref().unwrap().previews;
        let found = all.iter().find(|preview| preview.number == number).unwrap();
        (found.state, found.message.clone().unwrap_or_default())
    }
}

#[test]
fn newest_pull_requests_have_previews_and_the_others_wait() {
    let mut world = World::new(&json!({"limit": 2}), (1..=4).map(pull_request).collect());
    world.settle(&[]);
    assert_eq!(world.names(), "shop-pr-3 shop-pr-4");
    let (state, message) = world.state(1);
    assert!(
        state == PreviewState::Waiting && message.contains("previews.limit is 2"),
        "{message}"
    );
    world.pull_requests.push(pull_request(5));
    world.settle(&[]);
    assert_eq!(world.names(), "shop-pr-4 shop-pr-5");
    assert_eq!(world.state(3).0, PreviewState::Waiting);
    world.pull_requests.retain(|found| found.number != 5);
    world.settle(&[]);
    assert_eq!(world.names(), "shop-pr-3 shop-pr-4");
    world.room = 1;
    world.settle(&[]);
    assert_eq!(world.names(), "shop-pr-4");
    assert!(world.state(3).1.contains("namespace"));
}

#[test]
fn five_hundred_pull_requests_at_once_are_one_plan() {
    let mut world = World::new(&json!({}), (1..=500).map(pull_request).collect());
    world.settle(&[]);
    assert_eq!(world.names(), "shop-pr-498 shop-pr-499 shop-pr-500");
    assert_eq!(world.app.status.as_ref().unwrap().previews.len(), 500);
}

#[test]
fn drafts_forks_and_pull_requests_without_the_label_have_no_preview() {
    let labelled = |number, labels: &[&str]| PullRequest {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..pull_request(number)
    };
    let draft = PullRequest {
        is_draft: true,
        ..labelled(3, &["preview"])
    };
    let open = vec![
        labelled(1, &["bug"]),
        labelled(2, &["bug", "preview"]),
        draft,
        PullRequest {
            labels: vec!["preview".to_owned()],
            ..fork(4)
        },
    ];
    for (previews, expected) in [
        (json!({"labels": ["preview", "demo"], "limit": 9}), "shop-pr-2"),
        (
            json!({"labels": ["preview"], "drafts": true, "limit": 9}),
            "shop-pr-2 shop-pr-3",
        ),
        (json!({"limit": 9}), "shop-pr-1 shop-pr-2"),
        (json!({"limit": 9, "enabled": false}), ""),
    ] {
        let mut world = World::new(&previews, open.clone());
        world.settle(&[]);
        assert_eq!(world.names(), expected, "{previews}");
    }
    let mut world = World::new(&json!({"labels": ["preview"]}), vec![labelled(2, &["preview"])]);
    world.settle(&[]);
    assert_eq!(world.names(), "shop-pr-2");
    world.pull_requests = vec![labelled(2, &[])];
    let plan = world.plan();
    assert_eq!(plan.remove[0].why, "the pull request has no label preview");
    assert_eq!(plan.states[&2].state, PreviewState::Removed);
}

#[test]
fn code_without_write_access_runs_only_at_the_approved_commit() {
    let mut world = World::new(&json!({"allowForks": true}), vec![fork(7)]);
    world.settle(&[]);
    assert_eq!(world.names(), "");
    assert!(world.state(7).1.contains("approval"), "{}", world.state(7).1);
    // The author, and an account without write access.
    world.settle(&[(7, 7, "eve"), (7, 7, "mallory")]);
    assert_eq!(world.names(), "");
    // Another commit.
    world.settle(&[(7, 6, "jane")]);
    assert_eq!(world.names(), "");
    world.settle(&[(7, 7, "jane")]);
    assert_eq!(world.running()["shop-pr-7"], "7");
    // A push afterwards: what was approved goes on running.
    world.pull_requests[0].head = commit(8).as_str().to_owned();
    world.settle(&[(7, 7, "jane")]);
    assert_eq!(world.running()["shop-pr-7"], "7");
    assert!(world.state(7).1.contains("waits for the approval") && world.state(7).1.contains("approve it"));
    let report = &world.plan().commits[&7];
    assert_eq!((&report.commit, report.state), (&commit(8), CommitState::Pending));
    world.settle(&[(7, 8, "jane")]);
    assert_eq!(world.running()["shop-pr-7"], "8");
    // The approval of the commit that runs is taken back.
    world.settle(&[(7, 7, "jane")]);
    assert_eq!(world.names(), "");
    assert_eq!(world.state(7).0, PreviewState::Waiting);
    world.settle(&[(7, 8, "jane")]);
    // Forks are not allowed any more.
    world.app.spec.previews.as_mut().unwrap().allow_forks = false;
    world.settle(&[]);
    assert_eq!(world.names(), "");
    // An author with write access needs no approval, but the fork of another account does.
    let mut own = fork(9);
    own.author = account("jane");
    let another = PullRequest {
        number: 10,
        is_from_author: false,
        ..own.clone()
    };
    let mut world = World::new(&json!({"allowForks": true}), vec![own, another]);
    world.settle(&[(10, 9, "mallory")]);
    assert_eq!(world.names(), "shop-pr-9");
}

#[test]
fn preview_gets_what_the_application_builds_and_runs_without_what_belongs_to_it() {
    let previews = json!({"env": [{"name": "PORT", "value": "1"}], "volumes": [{"name": "tmp", "mountPath": "/t", "volume": {}}]});
    let mut world = World::new(&previews, vec![pull_request(7)]);
    world.settle(&[]);
    let spec = serde_json::to_value(&world.children[0].spec).unwrap();
    assert_eq!(
        spec,
        json!({"source": {"gitea": {"provider": {"name": "gt"}, "owner": "acme", "repository": "shop", "ref": {"commit": commit(7).as_str()}}},
            "build": {"args": [{"name": "A", "value": "1"}]}, "env": [{"name": "PORT", "value": "1"}], "replicas": 1,
            "command": ["/bin/shop"], "ports": [{"containerPort": 3000, "protocol": "TCP"}],
            "volumes": [{"name": "tmp", "mountPath": "/t", "volume": {}}], "concurrencyPolicy": "Supersede",
            "history": {"succeeded": 1, "failed": 2}, "deletionPolicy": "DeleteWithVolumes"})
    );
    // What changes in the Application reaches it, and a manual change is reverted.
    world.app.spec.command = vec!["/bin/other".to_owned()];
    world.children[0].spec.replicas = 5;
    assert_eq!(world.plan().update.len(), 1);
    world.settle(&[]);
    assert_eq!(
        (
            world.children[0].spec.replicas,
            world.children[0].spec.command[0].as_str()
        ),
        (1, "/bin/other")
    );
    let mut lists = previews;
    lists["build"] =
        json!({"args": [], "secrets": [{"name": "NPM", "value": "x"}], "pullSecretRef": {"name": "public"}});
    lists["image"] = json!({"repository": "r.example.com/previews"});
    world.app.spec.previews = Some(serde_json::from_value(lists).unwrap());
    world.settle(&[]);
    let build = serde_json::to_value(&world.children[0].spec.build).unwrap();
    assert_eq!(
        build,
        json!({"secrets": [{"name": "NPM", "value": "x"}], "pullSecretRef": {"name": "public"}})
    );
    assert_eq!(
        world.children[0].spec.image.as_ref().unwrap().repository,
        "r.example.com/previews"
    );
}

#[test]
fn preview_has_the_routes_of_its_application_with_a_host_of_its_own() {
    let mut world = World::new(
        &json!({"host": "{{number}}.{{name}}.example.com"}),
        vec![pull_request(7)],
    );
    world.app.spec.routes = serde_json::from_value(json!([
        {"host": "shop.example.com", "tls": {"secretRef": {"name": "shop"}}, "redirects": [{"from": "^http", "to": "https://shop"}]},
        {"host": "www.example.com"},
        {"host": "shop.example.com", "path": "/api", "port": 3000},
        {"host": "shop.example.com", "path": "/staff", "basicAuthSecretRef": {"name": "staff"}}]))
    .unwrap();
    world.settle(&[]);
    let routes = &world.children[0].spec.routes;
    let found: Vec<_> = routes
        .iter()
        .map(|route| (route.host.as_str(), route.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [("7.shop.example.com", "/"), ("7.shop.example.com", "/api")]
    );
    assert!(routes[0].redirects.is_empty());
    assert_eq!(routes[0].tls.as_ref().unwrap().secret_ref, None);
    world.app.spec.previews.as_mut().unwrap().host = None;
    world.settle(&[]);
    assert!(world.children[0].spec.routes.is_empty());
}

/// Sets what a preview's own reconcile has observed.
fn observed(child: &mut Application, generation: i64, phase: &str) {
    child.metadata.generation = Some(generation);
    let status = json!({"phase": phase, "observedGeneration": generation, "urls": ["http://7.example.com"]});
    child.status = Some(serde_json::from_value(status).unwrap());
}

#[test]
fn preview_is_not_ready_for_a_commit_that_it_was_not_built_from() {
    for phase in ["done", "error"] {
        let mut world = World::new(&json!({}), vec![pull_request(7)]);
        world.settle(&[]);
        observed(&mut world.children[0], 1, phase);
        assert_ne!(world.plan().states[&7].state, PreviewState::Building, "{phase}");
        world.pull_requests[0].head = commit(8).as_str().to_owned();
        let plan = world.plan();
        assert_eq!(plan.update.len(), 1);
        let state = &plan.states[&7];
        assert_eq!(state.state, PreviewState::Building, "{phase}");
        assert_eq!(state.revision.as_deref(), Some(commit(8).as_str()));
        assert_eq!(state.message, None);
    }
}

#[test]
fn forge_is_asked_about_the_newest_and_about_no_more_than_may_run() {
    let mut world = World::new(
        &json!({"allowForks": true, "limit": 3}),
        (1..=500).map(fork).collect(),
    );
    let numbers = |plan: &PreviewPlan| plan.questions.len();
    assert_eq!(numbers(&world.plan()), 3);
    let mut rounds = 0;
    while !world.plan().questions.is_empty() {
        let asked = world.plan().questions;
        assert!(asked.len() <= 3, "{asked:?}");
        world.answer(&[(2, 2, "jane")]);
        rounds += 1;
        assert!(rounds < 2000);
    }
    world.settle(&[(2, 2, "jane")]);
    assert_eq!(world.names(), "shop-pr-2", "every one gets its turn");
    assert!(world.state(500).1.contains("waits for the approval"));
}

#[test]
fn status_of_a_commit_follows_its_preview_when_that_goes() {
    let mut world = World::new(&json!({"labels": ["preview"]}), vec![pull_request(7)]);
    world.pull_requests[0].labels = vec!["preview".to_owned()];
    world.settle(&[]);
    observed(&mut world.children[0], 1, "done");
    world.settle(&[]);
    world.pull_requests[0].labels.clear();
    let plan = world.plan();
    let report = &plan.commits[&7];
    assert_eq!(
        (report.state, report.description.as_str()),
        (
            CommitState::Success,
            "There is no preview: the pull request has no label preview"
        )
    );
}

#[test]
fn application_of_a_user_is_left_alone() {
    let mut world = World::new(&json!({}), vec![pull_request(7)]);
    let other = Application::new("shop-pr-7", ApplicationSpec::default());
    world.children.push(other.clone());
    let plan = world.plan();
    assert!(plan.create.is_empty() && plan.update.is_empty() && plan.remove.is_empty());
    assert!(plan.states[&7].message.as_ref().unwrap().contains("delete it"));
    world.pull_requests.clear();
    assert_eq!(world.plan().remove, []);
}

#[test]
fn pull_request_that_is_not_in_the_list_is_looked_up_before_its_preview_goes() {
    let mut world = World::new(&json!({}), vec![pull_request(7)]);
    world.settle(&[]);
    world.pull_requests.clear();
    assert_eq!(world.plan().questions, [Question::IsOpen(7)]);
    assert!(world.plan().remove.is_empty());
    world.facts.open.insert(7, Err("the forge is down".to_owned()));
    assert!(
        world.plan().remove.is_empty(),
        "a forge that is down removes nothing"
    );
    world.facts.open.insert(7, Ok(true));
    assert!(world.plan().remove.is_empty(), "it was moved to another page");
    world.facts.open.insert(7, Ok(false));
    assert_eq!(world.plan().remove[0].why, "the pull request is closed");
}
