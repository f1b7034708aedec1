//! 1,000 signed deliveries per second to 1,000 Applications of one GitProvider, each of another repository: how long until the
//! Release of a pushed commit exists. Most deliveries of a real forge announce nothing new: here they are repeated, as by several
//! hooks for one push, or of branches that no Application follows. `APPLICATIONS` in the environment makes a small run.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use davit::api::{GitProvider, Release};
use davit::forge::RepositoryPath;
use davit::forge::fake::{FakeForge, FakeRepository};
use davit::http::{Served, bind, webhook};
use davit::redact::SafeUrl;
use futures::StreamExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::common::git_repo::GitRepo;
use crate::common::signature;
use crate::harness::{self, Harness};

const SECRET: &str = "correct horse battery staple";
/// How many new commits are pushed per second, and for how many seconds. All other deliveries announce nothing new.
const STAGES: [(usize, usize); 2] = [(2, 60), (10, 10)];
/// The most deliveries that are under way at once. What waits for a place counts from the moment when it was due.
const AT_ONCE: usize = 64;
/// The longest that a Release may take before it counts as lost.
const PATIENCE: Duration = Duration::from_mins(1);

fn applications() -> usize {
    let wanted = std::env::var("APPLICATIONS").ok();
    wanted.map_or(1000, |text| text.parse().expect("a number"))
}

/// Deliveries per second: one for each Application.
fn rate() -> usize {
    applications()
}

fn percentile(all: &mut [Duration], percent: usize) -> f64 {
    all.sort();
    all.get(all.len().saturating_sub(1) * percent / 100)
        .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// The resident memory of this process in MiB: the controller, and the API server with its objects in memory.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / 1024.0 / 1024.0
}

async fn secret(davit: &Harness, name: &str, key: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: SECRET}});
    let secrets = davit.api::<k8s_openapi::api::core::v1::Secret>();
    let params = PatchParams::apply("bench").force();
    secrets.patch(name, &params, &Patch::Apply(secret)).await.unwrap();
}

/// A push as Gitea delivers it.
struct Push {
    app: usize,
    branch: &'static str,
    before: String,
    after: String,
}

impl Push {
    /// The body of the delivery.
    fn body(&self) -> String {
        json!({"ref": format!("refs/heads/{}", self.branch), "before": self.before, "after": self.after,
            "head_commit": {"id": self.after, "message": "Mend"}, "pusher": {"login": "jane"},
            "repository": {"full_name": format!("acme/repo-{}", self.app), "default_branch": "main"}})
        .to_string()
    }
}

async fn deliver(client: &reqwest::Client, url: &str, body: String) {
    let signed = signature(SECRET, body.as_bytes());
    let answer = client
        .post(url)
        .header("x-gitea-event", "push")
        .header("x-github-event", "push")
        .header("x-gitea-signature", signed)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 202);
}

/// The argument with which this program is the sender. It is a process of its own, because the memory of Davit is measured.
pub const SENDER: &str = "deliveries-sender";

/// Signs and sends each body that is a line of the standard input, and prints the time until its answer, in microseconds.
pub fn sender(url: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let url: Arc<str> = url.into();
    runtime.block_on(async {
        // A connection is given up before the receiver closes it, as proxies and forges do.
        let client = reqwest::Client::builder()
            .pool_idle_timeout(Duration::from_secs(2))
            .build()
            .unwrap();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let (read, mut lines) = tokio::sync::mpsc::channel(AT_ONCE);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                read.blocking_send(line.unwrap()).unwrap();
            }
        });
        let mut all = tokio::task::JoinSet::new();
        while let Some(body) = lines.recv().await {
            let (client, url, places) = (client.clone(), Arc::clone(&url), Arc::clone(&places));
            let due = Instant::now();
            all.spawn(async move {
                let _place = places.acquire().await.unwrap();
                deliver(&client, &url, body).await;
                println!("{}", due.elapsed().as_micros());
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap();
        }
    });
}

pub fn deliveries() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

/// When a Release first named a commit, by its Application and the commit.
type Seen = Arc<Mutex<HashMap<(String, String), Instant>>>;

/// Follows the Releases.
fn follow(davit: &Harness) -> Seen {
    let seen = Seen::default();
    let (api, all) = (davit.api::<Release>(), Arc::clone(&seen));
    tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        while let Some(event) = events.next().await {
            let Ok(watcher::Event::Apply(release) | watcher::Event::InitApply(release)) = event else {
                continue;
            };
            let source = release.status.as_ref().and_then(|status| status.source.as_ref());
            if let Some(source) = source {
                let key = (release.spec.application.clone(), source.revision.clone());
                all.lock().entry(key).or_insert_with(Instant::now);
            }
        }
    });
    seen
}

async fn run() {
    let count = applications();
    let repo = harness::repo(harness::GOOD);
    let rounds = STAGES
        .iter()
        .map(|(commits, seconds)| commits * seconds)
        .sum::<usize>()
        / count
        + 2;
    let mut commits = vec![repo.git(["rev-parse", "HEAD"]).trim().to_owned()];
    for round in 0..rounds {
        commits.push(repo.commit(&format!("Commit {round}"), &[("round", &round.to_string())]));
    }
    // The branch is moved when the first delivery of a round is sent.
    repo.git(["branch", "all"]);
    repo.git(["reset", "--quiet", "--hard", &commits[0]]);

    let forge = FakeForge::at("https://forge.example.com").unwrap();
    for number in 0..count {
        let path = RepositoryPath::parse(&format!("acme/repo-{number}")).unwrap();
        let clone_url = Some(SafeUrl::parse_git(&repo.url()).unwrap());
        forge.add(
            &path,
            FakeRepository {
                branches: vec!["main".to_owned()],
                clone_url,
                ..FakeRepository::default()
            },
        );
    }
    let davit = Harness::with_forge(&forge).await;
    secret(&davit, "hook", "webhookSecret").await;
    secret(&davit, "gt", "token").await;
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": "https://forge.example.com", "tokenSecretRef": {"name": "gt"}}, "webhook": {"secretRef": {"name": "hook"}}}});
    davit.create::<GitProvider>(provider).await;
    let began = Instant::now();
    for number in 0..count {
        let source = json!({"gitea": {"provider": {"name": "gt"}, "owner": "acme", "repository": format!("repo-{number}"), "ref": {"branch": "main"}}});
        let spec = json!({"source": source, "trigger": {"pollInterval": "0s"}});
        davit.apply(&format!("app-{number}"), spec).await;
    }
    for number in 0..count {
        // The harness waits 30 s for one, and 1,000 take longer.
        while davit.application(&format!("app-{number}")).await["status"]["phase"] != "done" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    davit.wait_until_idle().await;
    println!(
        "deliveries           {count} Applications deployed in {:.0} s",
        began.elapsed().as_secs_f64()
    );

    let listener = bind("--webhook-listen", ([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let served = Served::start(listener, davit.webhooks.router(), webhook::limits());
    let mut load = Load {
        url: format!("http://{address}/webhooks/gitproviders/default/gt"),
        seen: follow(&davit),
        repo,
        commits,
        pushed: vec![0; count],
        next: 0,
        moved_to: 0,
    };
    for (commits, seconds) in STAGES {
        load.stage(commits, seconds).await;
        davit.wait_until_idle().await;
    }
    served.close().await;
}

/// The sender.
struct Load {
    url: String,
    seen: Seen,
    repo: GitRepo,
    commits: Vec<String>,
    /// How often each repository was pushed to.
    pushed: Vec<usize>,
    /// The repository that is pushed to next.
    next: usize,
    /// The commit of the branch.
    moved_to: usize,
}

impl Load {
    /// The next commit of the next repository.
    fn new_commit(&mut self) -> Push {
        let app = self.next;
        self.next = (self.next + 1) % self.pushed.len();
        self.pushed[app] += 1;
        let at = self.pushed[app];
        if at > self.moved_to {
            self.repo
                .git(["update-ref", "refs/heads/main", &self.commits[at]]);
            self.moved_to = at;
        }
        self.push(app, "main", at)
    }

    fn push(&self, app: usize, branch: &'static str, at: usize) -> Push {
        Push {
            app,
            branch,
            before: self.commits[at - 1].clone(),
            after: self.commits[at].clone(),
        }
    }

    /// A delivery that announces nothing new.
    fn other(&self, number: usize) -> Push {
        let app = number * 7919 % self.pushed.len();
        match self.pushed[app] {
            // The one that is under way is not delivered again before it is recorded.
            at if at > 0
                && number.is_multiple_of(2)
                && app != (self.next + self.pushed.len() - 1) % self.pushed.len() =>
            {
                self.push(app, "main", at)
            }
            _ => self.push(app, "feature", 1),
        }
    }

    async fn stage(&mut self, commits: usize, seconds: usize) {
        let rate = rate();
        let one_of = rate / commits;
        let mut sender = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args([SENDER, &self.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut bodies = sender.stdin.take().unwrap();
        let mut times = tokio::io::BufReader::new(sender.stdout.take().unwrap()).lines();
        let answers = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(time) = times.next_line().await.unwrap() {
                all.push(Duration::from_micros(time.parse().unwrap()));
            }
            all
        });
        let before = resident();
        let mut ticks = tokio::time::interval(Duration::from_nanos(1_000_000_000 / rate as u64));
        let mut announced = Vec::new();
        let mut largest = before;
        for number in 0..rate * seconds {
            ticks.tick().await;
            let push = if number.is_multiple_of(one_of) {
                let push = self.new_commit();
                announced.push(((format!("app-{}", push.app), push.after.clone()), Instant::now()));
                push
            } else {
                self.other(number)
            };
            let mut line = push.body();
            line.push('\n');
            bodies.write_all(line.as_bytes()).await.unwrap();
            if number.is_multiple_of(rate) {
                largest = largest.max(resident());
            }
        }
        drop(bodies);
        assert!(sender.wait().await.unwrap().success());
        let mut answered = answers.await.unwrap();
        assert_eq!(answered.len(), rate * seconds, "each was accepted");
        let end = Instant::now() + PATIENCE;
        let is_there = |key: &(String, String)| self.seen.lock().contains_key(key);
        while Instant::now() < end && !announced.iter().all(|(key, _)| is_there(key)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seen = self.seen.lock().clone();
        let mut took: Vec<Duration> = announced
            .iter()
            .filter_map(|(key, sent)| Some(seen.get(key)?.duration_since(*sent)))
            .collect();
        println!(
            "deliveries           {:>7.1} ms median, {:.1} ms p99 until the Release exists: {rate} a second for {seconds} s, \
             {commits} a second with a new commit; {} of {} lost; answered in {:.1} ms median, {:.1} ms p99; {:.0} MiB more memory",
            percentile(&mut took, 50),
            percentile(&mut took, 99),
            announced.len() - took.len(),
            announced.len(),
            percentile(&mut answered, 50),
            percentile(&mut answered, 99),
            largest.max(resident()) - before,
        );
    }
}
