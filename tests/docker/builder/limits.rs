//! What ends a build early, and what is left of its cache.

use davit::builder::{Daemon, Place};

use super::planner::Tool;
use super::*;

#[tokio::test]
async fn killed_step_is_told_from_a_failed_one() {
    let harness = Harness::new("killed");
    // As the kernel does when the memory runs out.
    harness.dockerfile(&["RUN sh -c 'kill -KILL $$'; exit $?"]);
    let error = harness.build(&harness.request()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::BuildOutOfMemory, "{error}");
    assert!(error.to_string().contains("RUN sh"), "{error}");
    harness.dockerfile(&["RUN exit 7"]);
    let error = harness.build(&harness.request()).await.unwrap_err();
    assert!(matches!(error, BuildError::Exit { code: 7, .. }), "{error}");
}

#[tokio::test]
async fn engine_without_buildkit_is_refused_before_the_build_starts() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // An engine from before 20.10.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let mut harness = Harness::new("unsuitable");
    let options = BuilderOptions {
        buildkit: Daemon::Engine(Place::Address(address)),
        ..BuilderOptions::new(SOCKET, &harness.instance)
    };
    let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
    harness.builder = DockerBuilder::new(docker, options);
    harness.dockerfile(&["RUN true"]);
    let error = harness.build(&harness.request()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::BuildkitUnsuitable, "{error}");
    assert!(error.hint().unwrap().contains("20.10"));
    assert_eq!(
        harness.text(),
        "build type: dockerfile: the source has Dockerfile\n"
    );
}

#[tokio::test]
async fn cache_directories_of_an_application_are_removed_with_it_and_no_others() {
    let (tool, _) = nixpacks::tool("freecache");
    let harness = &tool.harness;
    let mut request = nixpacks::request_of(&tool);
    let mut other = request.clone();
    other.app.name = "other".to_owned();
    other.tag = format!("davit-test/{}:other", harness.scope.namespace);
    let runs = async |request: &mut BuildRequest, value: &str| {
        // A changed value runs the commands again.
        request.args = secrets(&[("PLAIN", value)]);
        let image = harness.built(request).await;
        Tool::says(&image, &["cat runs"])
    };
    assert_eq!(runs(&mut request, "1").await, "1");
    assert_eq!(runs(&mut request, "2").await, "2");
    assert_eq!(runs(&mut other, "1").await, "1");
    assert!(harness.builder.trim_cache(None).await.unwrap() > 0);
    harness.builder.free_cache(&request.app).await.unwrap();
    assert_eq!(runs(&mut request, "3").await, "1");
    assert_eq!(runs(&mut other, "2").await, "2");
}
