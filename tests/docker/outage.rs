//! What happens when what Davit stands on goes away: the engine, while nothing happens, while something is built, and
//! while containers change; and the space on the disk, Davit's own and the engine's. Each test has an engine of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end"
)]

use std::time::{Duration, Instant};

use crate::common::davit::{Davit, condition};
use crate::common::docker::BASE_IMAGE;
use crate::common::engine::{Disk, Engine, fill, relieve, resize};
use crate::common::git_repo::GitRepo;
use crate::common::{run, wait_for};
use serde_json::{Value, json};

/// A web server of one page, after `steps` of the build.
fn page(text: &str, steps: &str) -> String {
    format!(
        "FROM {BASE_IMAGE}\n{steps}RUN mkdir /www && echo '{text}' > /www/index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]\n"
    )
}

fn source(repo: &GitRepo) -> Value {
    json!({"git": {"url": repo.url(), "ref": {"branch": "main"}}})
}

/// How many writes there were until now, of whatever object.
fn writes(davit: &Davit) -> u64 {
    let list = davit
        .block_on(davit.applications().list(&kube::api::ListParams::default()))
        .unwrap();
    list.metadata.resource_version.unwrap().parse().unwrap()
}

/// What an Application's container answers to itself: the engine's containers are in a network that only they see.
fn answers(davit: &Davit, name: &str) -> String {
    let container = davit.containers(name).pop().unwrap();
    let ask = ["exec", &container, "wget", "-q", "-O", "-", "http://127.0.0.1/"];
    run(davit.docker().args(ask)).trim().to_owned()
}

/// A check that the engine makes, from within the container.
fn check(interval: &str) -> Value {
    let ask = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"];
    json!({"exec": {"command": ask}, "interval": interval})
}

fn says_that_the_engine_is_away(davit: &Davit, name: &str) {
    let app = davit.wait_until(name, 30, "without an engine", |app| {
        condition(app, "Ready")["reason"] == "EngineUnavailable"
    });
    assert_eq!(app["status"]["phase"], "error", "{}", app["status"]);
    assert_eq!(condition(&app, "Ready")["status"], "False");
    assert_eq!(condition(&app, "Reconciling")["reason"], "ProgressingWithRetry");
    assert_eq!(
        condition(&app, "Stalled"),
        Value::Null,
        "nobody but the engine can help"
    );
    assert_eq!(
        condition(&app, "Healthy")["status"],
        "Unknown",
        "nobody knows how the containers are"
    );
    let message = condition(&app, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("start the container engine") && message.contains("--docker-host"),
        "{message}"
    );
}

fn phase_of_release(davit: &Davit, name: &str, number: usize) -> String {
    let all = davit.releases_of(name);
    let phase = all
        .get(number - 1)
        .map(|release| release["status"]["phase"].clone());
    phase
        .and_then(|phase| phase.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[test]
fn engine_stopped_while_idle_is_reported_and_recovers() {
    let mut engine = Engine::start();
    let davit = Davit::on_engine("idle", &engine);
    let (web, late) = (
        GitRepo::with(&[("Dockerfile", &page("web", ""))]),
        GitRepo::with(&[("Dockerfile", &page("late", ""))]),
    );
    davit.apply(
        "web",
        json!({"source": source(&web), "replicas": 2, "healthCheck": check("500ms")}),
    );
    davit.apply(
        "plain",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "10000"]}),
    );
    davit.wait_until_done("web");
    davit.wait_until_done("plain");
    let image = davit.application("web")["status"]["release"]["image"].clone();

    // Stopped, which stops the containers too; killed, which leaves them running.
    for (round, kill) in [(1, false), (2, true)] {
        if kill {
            engine.kill();
        } else {
            engine.stop();
        }
        let begun = Instant::now();
        says_that_the_engine_is_away(&davit, "web");
        says_that_the_engine_is_away(&davit, "plain");
        // kubectl goes on: what it asks for is taken and waits, and the status says for what.
        let before = writes(&davit);
        let name = format!("late-{round}");
        davit.apply(
            &name,
            json!({"source": source(&late), "healthCheck": check("1s")}),
        );
        let seen = Instant::now();
        run(davit.kubectl().args(["get", "davit,events"]));
        assert!(
            seen.elapsed() < Duration::from_secs(5),
            "kubectl waits for the engine"
        );
        says_that_the_engine_is_away(&davit, &name);
        // Long enough to try several times. Each try costs a pass, not a write.
        wait_for("some tries", Duration::from_secs(20), || {
            (begun.elapsed() > Duration::from_secs(8)).then_some(())
        });
        let written = writes(&davit) - before;
        assert!(written < 25, "{written} writes while the engine was away");

        engine.start_again();
        for name in ["web", "plain", &name] {
            davit.wait_until_done(name);
        }
        assert_eq!(answers(&davit, "web"), "web");
        assert_eq!(answers(&davit, &name), "late");
        let app = davit.application("web");
        assert_eq!(app["status"]["release"]["image"], image);
        assert_eq!(davit.releases_of("web").len(), 1, "an outage makes no Release");
        assert_eq!(davit.releases_of(&name).len(), 1);
        wait_for("nothing but what is wanted", Duration::from_secs(20), || {
            (davit.containers("web").len() == 2 && davit.containers("plain").len() == 1).then_some(())
        });
        assert_eq!(davit.list_in_engine("networks").len(), 1);
    }
    for name in ["web", "plain", "late-1", "late-2"] {
        davit.delete_and_wait(name);
    }
    for kind in ["containers", "networks", "volumes"] {
        assert!(davit.list_in_engine(kind).is_empty(), "{kind} are left behind");
    }
    let of_an_application = "label=dev.davit.application";
    let images = run(davit
        .docker()
        .args(["image", "ls", "--quiet", "--filter", of_an_application]));
    assert_eq!(images, "", "images are left behind");
}

#[test]
fn engine_started_after_davit_is_used() {
    let mut engine = Engine::start();
    engine.stop();
    let _ = std::fs::remove_file(engine.socket());
    let mut davit = Davit::on_engine("early", &engine);
    let host = engine.host();
    wait_for("the start to report the engine", Duration::from_secs(10), || {
        let log = davit.log();
        (log.contains(&format!("the Docker Engine at {host} does not answer"))
            && log.contains("--docker-host"))
        .then_some(())
    });
    davit.apply(
        "web",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "10000"]}),
    );
    says_that_the_engine_is_away(&davit, "web");
    engine.start_again();
    davit.wait_until_done("web");
    wait_for(
        "the log to report the engine's return",
        Duration::from_secs(10),
        || {
            davit
                .log()
                .contains(&format!("the Docker Engine at {host} answers"))
                .then_some(())
        },
    );
    davit.delete_and_wait("web");
    assert!(davit.stop(), "it ended with an error:\n{}", davit.log());
}

#[test]
fn unusable_engine_address_is_reported_at_once() {
    for host in ["bogus", "ssh://somewhere"] {
        let dir = tempfile::tempdir().unwrap();
        let mut davit = std::process::Command::new(env!("CARGO_BIN_EXE_davit"));
        davit.args([
            "up",
            "--listen",
            "127.0.0.1:0",
            "--docker-host",
            host,
            "--data-dir",
        ]);
        let (ended, out, said) = crate::common::try_run(davit.arg(dir.path()));
        assert!(!ended && out.is_empty(), "it said that it is ready: {out}");
        assert!(said.contains("--docker-host") && said.contains(host), "{said}");
    }
}

#[test]
fn engine_stopped_during_a_build_repeats_the_build_later() {
    let mut engine = Engine::start();
    let davit = Davit::on_engine("build", &engine);
    let slow = "RUN sleep 3\n";
    let repo = GitRepo::with(&[("Dockerfile", &page("built", slow))]);
    davit.apply("web", json!({"source": source(&repo)}));
    for (round, kill) in [(1, true), (2, false)] {
        if round == 2 {
            repo.commit("Two", &[("Dockerfile", &page("built again", slow))]);
            davit.request_reconcile("web");
        }
        davit.wait_until("web", 30, "building", |_| {
            phase_of_release(&davit, "web", round) == "Building"
        });
        if kill {
            engine.kill();
        } else {
            engine.stop();
        }
        let app = davit.wait_until("web", 30, "without an engine", |app| {
            condition(app, "Ready")["reason"] == "EngineUnavailable"
        });
        assert_eq!(condition(&app, "Reconciling")["reason"], "ProgressingWithRetry");
        // The status of the Release is written after that of the Application.
        wait_for("the release to wait", Duration::from_secs(30), || {
            (phase_of_release(&davit, "web", round) == "Pending").then_some(())
        });
        engine.start_again();
        davit.wait_until("web", 60, "at its release", |app| {
            app["status"]["release"]["active"] == format!("web-{round}")
        });
        davit.wait_until_done("web");
        assert_eq!(davit.releases_of("web").len(), round, "the same Release went on");
        assert_eq!(davit.application("web")["status"]["retry"], Value::Null);
    }
    wait_for("the old container to go", Duration::from_secs(20), || {
        (davit.containers("web").len() == 1).then_some(())
    });
    assert_eq!(answers(&davit, "web"), "built again");
    let images = davit.list_in_engine("images");
    assert_eq!(images.len(), 2, "one image a release: {images:?}");
}

#[test]
fn engine_stopped_during_a_rollout_continues_the_rollout_later() {
    let mut engine = Engine::start();
    let davit = Davit::on_engine("rollout", &engine);
    let repo = GitRepo::with(&[("Dockerfile", &page("one", ""))]);
    davit.apply(
        "web",
        json!({"source": source(&repo), "healthCheck": check("300ms"),
            "rollout": {"minReady": "2s", "progressDeadline": "10s"}}),
    );
    davit.wait_until_done("web");
    for (number, text, kill) in [(2, "two", true), (3, "three", false)] {
        repo.commit(text, &[("Dockerfile", &page(text, ""))]);
        davit.request_reconcile("web");
        davit.wait_until("web", 60, "verifying", |_| {
            phase_of_release(&davit, "web", number) == "Verifying"
        });
        let begun = Instant::now();
        if kill {
            engine.kill();
        } else {
            engine.stop();
        }
        says_that_the_engine_is_away(&davit, "web");
        // Once longer than its deadline: that the engine is away is no fault of the release.
        wait_for("the deadline to pass", Duration::from_secs(20), || {
            (number > 2 || begun.elapsed() > Duration::from_secs(11)).then_some(())
        });
        assert_eq!(phase_of_release(&davit, "web", number), "Verifying");
        engine.start_again();
        davit.wait_until("web", 60, "at its release", |app| {
            app["status"]["release"]["active"] == format!("web-{number}")
        });
        davit.wait_until_done("web");
        wait_for("the old container to go", Duration::from_secs(20), || {
            (davit.containers("web").len() == 1).then_some(())
        });
        assert_eq!(answers(&davit, "web"), text);
    }
    assert_eq!(davit.releases_of("web").len(), 3);
}

/// A repository with a file of so many megabytes that nothing makes smaller.
fn big(megabytes: usize) -> GitRepo {
    use std::io::Read as _;
    let repo = GitRepo::with(&[("Dockerfile", &page("big", ""))]);
    let mut noise = vec![0; megabytes << 20];
    std::fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut noise)
        .unwrap();
    std::fs::write(repo.path().join("noise"), noise).unwrap();
    std::fs::write(repo.path().join(".dockerignore"), "noise").unwrap();
    repo.commit("Big", &[]);
    repo
}

#[test]
fn full_disk_of_the_data_directory_stops_only_writes() {
    let disk = Disk::new(48);
    let mut davit = Davit::in_dir("full", &disk.path().join("data"), &[]);
    let small = GitRepo::with(&[("Dockerfile", &page("small", ""))]);
    davit.apply("before", json!({"source": source(&small)}));
    davit.wait_until_done("before");

    // A repository that is too big to fetch is reported, and delays no other Application.
    let big = big(64);
    davit.apply("big", json!({"source": source(&big)}));
    let app = davit.wait_until("big", 60, "short of space", |app| {
        condition(app, "Ready")["reason"] == "DiskFull"
    });
    let message = condition(&app, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("no space left") && message.contains("free space"),
        "{message}"
    );
    assert_eq!(condition(&app, "Reconciling")["reason"], "ProgressingWithRetry");
    assert_eq!(
        davit.releases_of("big")[0]["status"]["failure"]["step"],
        "Fetching"
    );
    davit.apply("meanwhile", json!({"source": source(&small)}));
    davit.wait_until_done("meanwhile");
    let attempts = |davit: &Davit| davit.application("big")["status"]["retry"]["attempts"].as_i64();
    davit.wait_until("big", 60, "tried again", |_| {
        attempts(&davit).is_some_and(|tries| tries >= 2)
    });
    assert_eq!(
        davit.releases_of("big").len(),
        1,
        "the same Release is tried again"
    );

    // Full to the last byte: the API server refuses what it cannot keep, says so, and goes on answering.
    let filler = disk.path().to_owned();
    davit.apply("big", json!({"suspend": true}));
    fill(&filler);
    let body = "x".repeat(200_000);
    let refused = wait_for("a write to be refused", Duration::from_secs(20), || {
        let name = crate::common::unique("many");
        let (ok, _, said) = crate::common::try_run(davit.kubectl().args([
            "create",
            "configmap",
            &name,
            &format!("--from-literal=a={}", &body[..100_000]),
        ]));
        (!ok).then_some(said)
    });
    assert!(refused.contains("free space"), "{refused}");
    run(davit.kubectl().args(["get", "davit"]));
    assert_eq!(davit.application("before")["status"]["phase"], "done");

    // With room again everything goes on by itself; and nothing is lost that was acknowledged.
    relieve(&filler);
    resize(disk.path(), 512);
    wait_for("writes to be taken", Duration::from_secs(20), || {
        let command = ["create", "configmap", "kept", "--from-literal=a=b"];
        crate::common::try_run(davit.kubectl().args(command))
            .0
            .then_some(())
    });
    davit.apply("big", json!({"source": source(&big)}));
    for name in ["before", "meanwhile", "big"] {
        davit.wait_until_done(name);
    }
    assert!(davit.stop(), "it ends well");
    davit.start();
    for name in ["before", "meanwhile", "big"] {
        davit.wait_until_done(name);
    }
    run(davit.kubectl().args(["get", "configmap", "kept"]));
}

#[test]
fn start_with_full_disk_serves_or_names_the_way_out() {
    let disk = Disk::new(48);
    let data = disk.path().join("data");
    let port = davit_test_support::process::Port::take();
    let listen = format!("127.0.0.1:{}", port.number());
    let start = |data: &std::path::Path| {
        let mut davit = std::process::Command::new(env!("CARGO_BIN_EXE_davit"));
        davit.args([
            "up",
            "--listen",
            &listen,
            "--docker-host",
            "unix:///nonexistent",
            "--instance",
            "fulldisk",
        ]);
        davit.arg("--data-dir").arg(data);
        davit
    };
    let serve = || {
        let out = disk
            .path()
            .parent()
            .unwrap()
            .join(crate::common::unique("full-out"));
        let mut child = start(&data)
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_for("davit to be ready", Duration::from_secs(20), || {
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            std::fs::read_to_string(&out)
                .unwrap()
                .contains("davit is ready")
                .then_some(())
        });
        std::fs::remove_file(&out).unwrap();
        child
    };
    let end = |mut child: std::process::Child| {
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
    };
    end(serve());
    fill(disk.path());

    // What is there is served although nothing can be written.
    let child = serve();
    let mut kubectl = std::process::Command::new("kubectl");
    run(kubectl
        .arg("--kubeconfig")
        .arg(data.join("kubeconfig"))
        .args(["get", "davit"]));
    end(child);

    // A new data directory needs room.
    let (ended_well, out, error) = crate::common::try_run(&mut start(&disk.path().join("new")));
    assert!(!ended_well && out.is_empty(), "{out}");
    assert!(
        error.contains("no space left") && error.contains("free space and start davit again"),
        "{error}"
    );
}

#[test]
fn full_disk_of_the_engine_is_reported_and_recovers() {
    let engine = Engine::with_disk(96);
    let davit = Davit::on_engine("narrow", &engine);
    let small = GitRepo::with(&[("Dockerfile", &page("small", ""))]);
    davit.apply(
        "small",
        json!({"source": source(&small), "healthCheck": check("1s")}),
    );
    davit.wait_until_done("small");
    let writes = "RUN echo a-clue && dd if=/dev/zero of=/big bs=1M count=200\n";
    let repo = GitRepo::with(&[("Dockerfile", &page("big", writes))]);
    davit.apply(
        "big",
        json!({"source": source(&repo), "healthCheck": check("1s")}),
    );
    let app = davit.wait_until("big", 60, "short of space", |app| {
        condition(app, "Ready")["reason"] == "DiskFull"
    });
    let message = condition(&app, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("engine's disk") && message.contains("free space"),
        "{message}"
    );
    assert_eq!(app["status"]["phase"], "error");
    let failure = davit.releases_of("big")[0]["status"]["failure"].clone();
    assert_eq!(failure["reason"], "DiskFull");
    let tail = failure["logTail"].as_str().unwrap();
    assert!(
        tail.contains("a-clue") && tail.contains("o space left on device"),
        "{tail}"
    );
    // What runs goes on meanwhile, and with more room the same Release ends well.
    assert_eq!(answers(&davit, "small"), "small");
    resize(&engine.data(), 512);
    davit.wait_until_done("big");
    let all = davit.releases_of("big");
    assert_eq!(all.len(), 1);
    assert_eq!(
        all[0]["status"]["failure"],
        Value::Null,
        "what ended well has no failure"
    );
    assert_eq!(answers(&davit, "big"), "big");
}
