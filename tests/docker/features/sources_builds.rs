//! What is built: sources by branch, tag, commit, path and submodule, and how they are built.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde_json::{Value, json};

use super::{active, change, create_release, dockerfile, exec, git, inspect, web};
use crate::common::davit::{Davit, condition, fetch_from_network};
use crate::common::docker::{BASE_IMAGE, docker, import};
use crate::common::git_repo::GitRepo;
use crate::common::http::request;
use crate::common::registry::Registry;
use crate::common::{run, try_run, wait_for};

#[test]
fn source_by_branch_tag_commit_path_and_submodule_is_deployed() {
    let davit = Davit::up("refs");
    let part = GitRepo::with(&[("part.txt", "from the submodule")]);
    let repo = GitRepo::with(&[
        ("Dockerfile", &web("root")),
        (
            "apps/shop/Dockerfile",
            &dockerfile("COPY . /all\nCMD [\"sleep\", \"10000\"]"),
        ),
        ("apps/shop/kept.txt", "kept"),
        ("apps/shop/left/out.txt", "x"),
        ("apps/shop/.dockerignore", "left\n"),
    ]);
    let first = repo.head();
    repo.git(["tag", "v1"]);
    let url = part.url();
    repo.git(["submodule", "--quiet", "add", "--", &url, "apps/shop/lib"]);
    repo.commit("Add a submodule", &[]);
    let source = |more: Value| {
        let mut git = json!({"url": repo.url()});
        for (key, value) in more.as_object().unwrap() {
            git[key] = value.clone();
        }
        json!({"source": {"git": git}})
    };
    davit.apply("tagged", source(json!({"ref": {"tag": "v1"}})));
    davit.apply("pinned", source(json!({"ref": {"commit": first}})));
    davit.apply("shop", source(json!({"path": "apps/shop", "submodules": true})));
    davit.apply("bare", source(json!({"path": "apps/shop"})));
    let mut polled = source(json!({"ref": {"branch": "main"}}));
    polled["trigger"] = json!({"pollInterval": "1s"});
    davit.apply("polled", polled);
    for name in ["tagged", "pinned"] {
        assert_eq!(
            davit.wait_until_done(name)["status"]["source"]["revision"],
            first.as_str()
        );
    }
    for name in ["shop", "bare", "polled"] {
        assert_eq!(
            davit.wait_until_done(name)["status"]["source"]["revision"],
            repo.head()
        );
    }
    assert_eq!(
        exec(&davit, "shop", &["cat", "/all/kept.txt", "/all/lib/part.txt"]),
        "keptfrom the submodule"
    );
    assert_eq!(exec(&davit, "shop", &["ls", "/all"]), "Dockerfile\nkept.txt\nlib");
    assert_eq!(
        exec(&davit, "bare", &["ls", "/all/lib"]),
        "",
        "submodules only where they are asked for"
    );

    // A new commit is found by itself, where a branch is followed; a tag that moves is one too.
    let second = repo.commit("Two", &[("Dockerfile", &web("second"))]);
    let release = active(&davit, "polled", 2);
    assert_eq!(release["status"]["cause"]["kind"], "Poll");
    assert_eq!(release["status"]["source"]["revision"], second.as_str());
    assert_eq!(fetch_from_network(&davit, "refs", "polled").unwrap(), "second");
    repo.git(["tag", "--force", "v1"]);
    davit.request_reconcile("tagged");
    davit.request_reconcile("pinned");
    active(&davit, "tagged", 2);
    assert_eq!(
        davit.wait_until_done("pinned")["status"]["source"]["revision"],
        first.as_str()
    );
    assert_eq!(davit.releases_of("pinned").len(), 1);
    assert_eq!(
        davit.application("tagged")["status"]["source"]["revision"],
        second.as_str()
    );
}

#[test]
fn cache_mount_of_a_dockerfile_belongs_to_one_application() {
    let davit = Davit::up("mounts");
    let own = crate::common::unique("own");
    let lines = |count: u8| {
        dockerfile(&format!(
            "RUN --mount=type=cache,target=/kept echo {own} {count}; cat /kept/text > /seen || true; echo left > /kept/text\n\
             CMD [\"sleep\", \"10000\"]"
        ))
    };
    let repo = GitRepo::with(&[("Dockerfile", &lines(1))]);
    // What an Application passes as an argument does not choose the caches.
    let spec = json!({"source": git(&repo), "build": {"args": [{"name": "BUILDKIT_CACHE_MOUNT_NS", "value": "all"}]}});
    davit.apply("shop", spec.clone());
    davit.wait_until_done("shop");
    assert_eq!(exec(&davit, "shop", &["cat", "/seen"]), "");
    repo.commit("Two", &[("Dockerfile", &lines(2))]);
    davit.apply("other", spec);
    davit.wait_until_done("other");
    assert_eq!(
        exec(&davit, "other", &["cat", "/seen"]),
        "",
        "of another Application"
    );
    davit.patch(
        "shop",
        json!({"metadata": {"annotations": {"davit.dev/requestedAt": "1"}}}),
    );
    active(&davit, "shop", 2);
    assert_eq!(exec(&davit, "shop", &["cat", "/seen"]), "left");
}

#[test]
fn build_uses_arguments_secrets_stage_and_no_cache() {
    let davit = Davit::up("builds");
    // Something of its own, so that nothing comes from the cache of an earlier run.
    let own = crate::common::unique("own");
    let lines = format!(
        "FROM {BASE_IMAGE} AS wanted\nARG FLAVOUR=plain\nARG FROM_SECRET\nRUN date +%s%N > /built; echo {own}; echo $FLAVOUR > /flavour\n\
         RUN --mount=type=secret,id=TOKEN cat /run/secrets/TOKEN; wc -c < /run/secrets/TOKEN > /size\n\
         HEALTHCHECK --interval=1s CMD [\"test\", \"-e\", \"/flavour\"]\nCMD [\"sleep\", \"10000\"]\n\
         FROM {BASE_IMAGE}\nRUN false\n"
    );
    let repo = GitRepo::with(&[("sub/My.Dockerfile", &lines)]);
    davit.create_secret("npm", &[("token", "build-s3cr3t")]);
    let spec = |flavour: &str| {
        json!({
            "source": git(&repo),
            "build": {
                "dockerfile": {"path": "sub/My.Dockerfile", "context": "sub", "target": "wanted"},
                "args": [{"name": "FLAVOUR", "value": flavour}],
                "secrets": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "npm", "key": "token"}}}],
            },
        })
    };
    davit.apply("app", spec("vanilla"));
    let app = davit.wait_until_done("app");
    assert_eq!(exec(&davit, "app", &["cat", "/flavour", "/size"]), "vanilla\n12");
    wait_for("the image's own check to count", Duration::from_secs(20), || {
        (inspect(&davit, "app")["State"]["Health"]["Status"] == "healthy").then_some(())
    });
    let healthy = condition(&app, "Healthy");
    assert_eq!(healthy["reason"], "Healthy", "{healthy}");
    let image = app["status"]["release"]["image"].as_str().unwrap().to_owned();
    let history = run(davit.docker().args(["history", "--no-trunc", &image]));
    let config = run(davit.docker().args(["inspect", &image]));
    let uid = app["metadata"]["uid"].as_str().unwrap();
    let log =
        std::fs::read_to_string(davit.data_dir().join("logs/builds").join(uid).join("app-1.log")).unwrap();
    assert!(log.contains(" ***"), "what the secret was is masked: {log}");
    for (place, text) in [("history", history), ("config", config), ("log", log)] {
        assert!(!text.contains("build-s3cr3t"), "the secret is in the {place}");
    }

    // Another argument is another image; the same commit again is built anew when it is asked for, without a cache.
    davit.apply("app", spec("mint"));
    let release = active(&davit, "app", 2);
    assert_eq!(release["status"]["why"], json!(["build arg FLAVOUR changed"]));
    assert_eq!(exec(&davit, "app", &["cat", "/flavour"]), "mint");
    let built = exec(&davit, "app", &["cat", "/built"]);
    create_release(
        &davit,
        "clean",
        &json!({"application": "app", "type": "Redeploy", "cleanCache": true}),
    );
    davit.wait_until("app", 60, "built anew", |app| {
        app["status"]["release"]["active"] == "clean"
    });
    davit.wait_until_done("app");
    wait_for("the old container to go", Duration::from_secs(20), || {
        (davit.containers("app").len() == 1).then_some(())
    });
    assert_ne!(
        exec(&davit, "app", &["cat", "/built"]),
        built,
        "it came from the cache"
    );
    // A Secret of the build is one of its inputs.
    change(
        &davit,
        "secret",
        "npm",
        &json!({"stringData": {"token": "longer-s3cr3t-than-before"}}),
    );
    let release = active(&davit, "app", 4);
    assert_eq!(
        release["status"]["why"],
        json!(["build secret TOKEN changed (Secret npm)"])
    );
    assert_eq!(release["status"]["cause"]["kind"], "Secret");
}

#[test]
fn static_site_is_detected_and_served() {
    let davit = Davit::up("static");
    let repo = GitRepo::with(&[
        ("public/index.html", "<p>home"),
        ("public/about.html", "<p>about"),
        ("secret.txt", "not published"),
    ]);
    let site = |spa: bool| {
        json!({"source": git(&repo), "build": {"static": {"publishDirectory": "public", "spa": spa}},
            "healthCheck": {"http": {"port": 8080}}})
    };
    davit.apply("plain", site(false));
    davit.apply("routed", site(true));
    davit.apply(
        "found",
        json!({"source": {"git": {"url": repo.url(), "path": "public"}}, "healthCheck": {"tcp": {"port": 8080}}}),
    );
    let both = GitRepo::with(&[("Dockerfile", &web("docker")), ("index.html", "static")]);
    davit.apply("both", json!({"source": git(&both)}));
    for name in ["plain", "routed", "found", "both"] {
        davit.wait_until_done(name);
    }
    let page = |path: &str| fetch_from_network(&davit, "static", path);
    assert_eq!(page("plain:8080").unwrap(), "<p>home");
    assert_eq!(page("plain:8080/about.html").unwrap(), "<p>about");
    assert!(page("plain:8080/orders/7").unwrap_err().contains("404"));
    // The browser routes: a page that is not there is the application, any other file that is not there is not.
    let networks = inspect(&davit, "routed")["NetworkSettings"]["Networks"].clone();
    let ip = networks.as_object().unwrap().values().next().unwrap()["IPAddress"].clone();
    let ask = |path: &str, accept: &str| {
        let url = format!("http://{}:8080/{path}", ip.as_str().unwrap());
        request("GET", &url).header(&format!("Accept: {accept}")).send()
    };
    assert_eq!(ask("orders/7", "text/html").expect(200).body.trim(), "<p>home");
    assert_eq!(ask("gone.js", "*/*").status, 404);
    assert_eq!(ask("%2e%2e/secret.txt", "*/*").status, 404);
    assert_eq!(page("found:8080/about.html").unwrap(), "<p>about");
    assert_eq!(page("both").unwrap(), "docker", "a Dockerfile comes first");
    let built_by = |name: &str| davit.releases_of(name)[0]["status"]["builder"]["type"].clone();
    assert_eq!(built_by("found"), "static");
    assert_eq!(built_by("both"), "dockerfile");
}

#[test]
fn pulled_image_is_removed_with_its_last_release_and_an_older_image_stays() {
    let mut davit = Davit::up("pulled");
    let registry = Registry::start_open();
    let push = |number: u32| {
        let local = format!("{}-pulled:{number}", davit.instance);
        import(&local, &[&format!("number={}-{number}", davit.instance)]);
        let digest = registry.push(&local, &format!("shop:{number}"));
        run(docker().args(["rmi", &local]));
        registry.image(&format!("shop@{digest}"))
    };
    let [one, two, three] = [1, 2, 3].map(push);
    let there = |name: &str| try_run(docker().args(["image", "inspect", name])).0;
    let spec = |number: u32| {
        json!({"source": {"docker": {"image": registry.image(&format!("shop:{number}"))}},
            "command": ["sleep", "10000"], "history": {"succeeded": 1, "failed": 1}, "stopGracePeriod": "1s"})
    };
    // An image that the user pulled.
    run(docker().args(["pull", "--quiet", &three]));
    davit.apply("web", spec(1));
    davit.apply("peer", spec(1));
    davit.wait_until_done("web");
    davit.wait_until_done("peer");
    let tag = davit.releases_of("web")[0]["status"]["imageTag"].clone();
    let tag = tag.as_str().unwrap();
    assert!(
        there(tag) && tag.starts_with(&format!("davit.local/{}/pulled/web:", davit.instance)),
        "{tag}"
    );
    let cluster = davit.block_on(Api::<Namespace>::all(davit.client()).get("kube-system"));
    let mark = davit::builder::image_mark(&cluster.unwrap().metadata.uid.unwrap());
    assert!(mark.len() > 8 && tag.ends_with(&mark), "{tag} {mark}");
    davit.patch("peer", json!({"spec": {"stopped": true}}));
    davit.wait_until("peer", 30, "stopped", |_| davit.containers("peer").is_empty());

    let pruned = |number: usize| {
        active(&davit, "web", number);
        wait_for("the history to be pruned", Duration::from_secs(20), || {
            (davit.releases_of("web").len() == 1).then_some(())
        });
    };
    davit.apply("web", spec(2));
    pruned(2);
    assert!(!there(tag), "its own tag is gone");
    assert!(
        there(&one),
        "another Application needs it, although none of its containers runs"
    );
    davit.delete_and_wait("peer");
    assert!(!there(&one), "no Application needs it any more");
    davit.apply("web", spec(3));
    pruned(3);
    assert!(!there(&two));
    assert!(davit.releases_of("web")[0]["status"]["imageTag"].is_null());
    davit.delete_and_wait("web");
    assert!(there(&three), "it was there before Davit came");
    run(docker().args(["rmi", &three]));

    // Davit was killed when it had pulled an image and had not yet said that it is its own.
    davit.kill();
    run(docker().args(["pull", "--quiet", &two]));
    let left = format!("davit.local/{}/pulled/lost:1", davit.instance);
    std::fs::create_dir_all(davit.data_dir().join("pulls")).unwrap();
    std::fs::write(davit.data_dir().join("pulls/left"), format!("{two}\n{left}\n")).unwrap();
    davit.start();
    wait_for("it to be known", Duration::from_secs(20), || {
        there(&left).then_some(())
    });
    davit.apply("lost", spec(2));
    davit.wait_until_done("lost");
    davit.delete_and_wait("lost");
    assert!(!there(&two) && !there(&left));
}

#[test]
fn image_that_is_run_by_its_id_stays_when_the_application_that_built_it_goes() {
    let davit = Davit::up("by-id");
    let repo = GitRepo::with(&[(
        "Dockerfile",
        &dockerfile("RUN echo promoted > /it\nCMD [\"sleep\", \"10000\"]"),
    )]);
    davit.apply(
        "staging",
        json!({"source": {"git": {"url": repo.url()}}, "stopGracePeriod": "1s"}),
    );
    let image = davit.wait_until_done("staging")["status"]["release"]["image"].clone();
    let image = image.as_str().unwrap();
    let there = || try_run(docker().args(["image", "inspect", image])).0;
    davit.apply(
        "production",
        json!({"source": {"docker": {"image": image}}, "command": ["sleep", "10000"], "stopGracePeriod": "1s"}),
    );
    davit.wait_until_done("production");
    let tag = davit.releases_of("production")[0]["status"]["imageTag"].clone();
    let own = format!("davit.local/{}/by-id/production:", davit.instance);
    assert!(tag.as_str().is_some_and(|tag| tag.starts_with(&own)), "{tag}");
    // No container keeps it meanwhile.
    davit.patch("production", json!({"spec": {"stopped": true}}));
    davit.wait_until("production", 30, "stopped", |_| {
        davit.containers("production").is_empty()
    });
    davit.delete_and_wait("staging");
    assert!(there(), "production names it");
    davit.patch("production", json!({"spec": {"stopped": false}}));
    davit.wait_until_done("production");
    davit.delete_and_wait("production");
    assert!(!there(), "no Application needs it any more");
}

#[test]
fn build_uses_the_engine_of_the_containers() {
    let (address, builds) = door_to_the_engine();
    let davit = Davit::with_flags("tcp", &["--docker-host", &format!("tcp://{address}")]);
    let repo = GitRepo::with(&[("Dockerfile", &web("by tcp"))]);
    let mut spec = json!({"source": git(&repo)});
    davit.create_secret("session", &[("s", "through the session")]);
    let from = json!({"secretKeyRef": {"name": "session", "key": "s"}});
    spec["build"] = json!({"secrets": [{"name": "S", "valueFrom": from}]});
    davit.apply("app", spec);
    davit.wait_until_done("app");
    assert_eq!(fetch_from_network(&davit, "tcp", "app").unwrap(), "by tcp");
    assert!(builds.load(Ordering::Relaxed) > 0, "it was built somewhere else");
}

/// An address behind which the machine's engine is, and how many builds have been asked for there.
fn door_to_the_engine() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let builds = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&builds);
    std::thread::spawn(move || {
        for outer in listener.incoming().map_while(Result::ok) {
            let inner = UnixStream::connect("/var/run/docker.sock").unwrap();
            let (mut asks, mut answers) = (outer.try_clone().unwrap(), outer);
            let (mut to, mut from) = (inner.try_clone().unwrap(), inner);
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut piece = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = asks.read(&mut piece) {
                    let piece = &piece[..length];
                    counted.fetch_add(usize::from(piece.starts_with(b"POST /grpc ")), Ordering::Relaxed);
                    if to.write_all(piece).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut answers);
                let _ = answers.shutdown(Shutdown::Write);
            });
        }
    });
    (address, builds)
}
