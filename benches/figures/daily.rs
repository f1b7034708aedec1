//! What a person waits for every day: the first byte of a log, a whole log, and an upload.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::io::AsyncReadExt as _;
use serde_json::json;

use crate::common::davit::Davit;
use crate::common::docker::BASE_IMAGE;
use crate::common::{run, wait_for};
use crate::engine_log::EngineLog;
use crate::median;

/// How much the container writes: what the engine keeps.
const LOG: usize = 18_000_000;

/// How much the engine without disks has: 512 MiB, or `DAVIT_BENCH_MIB`.
fn log_bytes() -> usize {
    let mebibytes = std::env::var("DAVIT_BENCH_MIB").map_or(512, |text| text.parse().unwrap());
    mebibytes << 20
}

/// How much is uploaded: 256 MiB, or `DAVIT_BENCH_MIB`.
fn upload_bytes() -> usize {
    let mebibytes = std::env::var("DAVIT_BENCH_MIB").map_or(256, |text| text.parse().unwrap());
    mebibytes << 20
}

/// The first byte of a log, and the speed of a whole log beside that of `docker logs`.
pub fn logs() {
    let davit = Davit::up("bench-logs");
    let line = "0123456789".repeat(100);
    let print = format!("yes {line} | head -c {LOG}; echo; echo end; sleep 10000");
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", print]}),
    );
    davit.wait_until_done("shop");
    let path = format!(
        "/apis/subresources.davit.dev/v1alpha1/namespaces/{}/applications/shop/log",
        davit.namespace
    );
    let client = davit.client();
    let read = |query: &str, whole: bool| {
        let request = http::Request::get(format!("{path}?{query}"))
            .body(Vec::new())
            .unwrap();
        davit.block_on(async {
            let mut log = Box::pin(client.request_stream(request).await.unwrap());
            let mut buffer = vec![0; 1 << 20];
            let mut length = log.read(&mut buffer).await.unwrap();
            if whole {
                loop {
                    match log.read(&mut buffer).await.unwrap() {
                        0 => break,
                        more => length += more,
                    }
                }
            }
            length
        })
    };
    wait_for("the whole output", Duration::from_mins(1), || {
        (read("tailLines=1", true) == "end\n".len()).then_some(())
    });
    let timed = |work: &dyn Fn()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let first = median(
        (0..50)
            .map(|_| timed(&|| _ = read("follow=true", false)))
            .collect(),
    );
    let whole = median((0..5).map(|_| timed(&|| _ = read("", true))).collect());
    let container = davit.containers("shop").swap_remove(0);
    let engine = median(
        (0..5)
            .map(|_| {
                timed(&|| {
                    let mut logs = davit.docker();
                    logs.args(["logs", &container]).stdout(Stdio::null());
                    assert!(logs.status().unwrap().success());
                })
            })
            .collect(),
    );
    let rate = |time: Duration| LOG as f64 / 1e6 / time.as_secs_f64();
    println!("first byte of a log: {first:?}");
    println!(
        "a whole log of the engine: {:.0} MB/s; docker logs: {:.0} MB/s",
        rate(whole),
        rate(engine)
    );
    drop(davit);
    follow();
}

/// The speed of a followed log from an engine that is as fast as its reader: what Davit itself takes.
fn follow() {
    let bytes = log_bytes();
    let engine = EngineLog::start(bytes);
    let davit = Davit::with_flags("bench-follow", &["--docker-host", &engine.url]);
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "10000"],
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}}]}),
    );
    davit.create_secret("token", &[("token", "a-secret-that-is-masked")]);
    davit.wait_until_done("shop");
    let path = format!(
        "/apis/subresources.davit.dev/v1alpha1/namespaces/{}/applications/shop/log",
        davit.namespace
    );
    let client = davit.client();
    let times = (0..3).map(|_| {
        let request = http::Request::get(&path).body(Vec::new()).unwrap();
        let began = Instant::now();
        let length = davit.block_on(async {
            let mut log = Box::pin(client.request_stream(request).await.unwrap());
            let (mut buffer, mut length) = (vec![0; 1 << 20], 0);
            loop {
                match log.read(&mut buffer).await.unwrap() {
                    0 => return length,
                    more => length += more,
                }
            }
        });
        assert!(length + 64_000 >= bytes, "{length} of {bytes}");
        began.elapsed()
    });
    let time = median(times.collect());
    println!(
        "a log from an engine without disks: {:.0} MB/s",
        bytes as f64 / 1e6 / time.as_secs_f64()
    );
}

/// An upload through the API server beside a copy of the same file to the same disk.
pub fn upload() {
    let davit = Davit::up("bench-upload");
    davit.apply("shop", json!({"suspend": true}));
    let size = upload_bytes();
    let file = davit.dir().join("shop.tar");
    let mut uploads = Vec::new();
    let mut copies = Vec::new();
    for round in 0..5_u8 {
        // Other content each time: the same one is not sent again.
        let mut builder = tar::Builder::new(std::fs::File::create(&file).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(size as u64);
        header.set_mode(0o644);
        let content = vec![round; size];
        builder.append_data(&mut header, "content", &content[..]).unwrap();
        builder.into_inner().unwrap().flush().unwrap();
        let began = Instant::now();
        run(Command::new(env!("CARGO_BIN_EXE_davit"))
            .args(["drop", "shop", "shop.tar", "-n", &davit.namespace])
            .env("KUBECONFIG", davit.kubeconfig())
            .current_dir(davit.dir()));
        uploads.push(began.elapsed());
        let began = Instant::now();
        run(Command::new("cp").arg(&file).arg(davit.data_dir().join("copy")));
        std::fs::File::open(davit.data_dir().join("copy"))
            .unwrap()
            .sync_all()
            .unwrap();
        copies.push(began.elapsed());
    }
    let rate = |time: Duration| size as f64 / 1e6 / time.as_secs_f64();
    let (upload, copy) = (rate(median(uploads)), rate(median(copies)));
    println!(
        "an upload with its checks: {upload:.0} MB/s; a copy: {copy:.0} MB/s; {:.0} %",
        upload / copy * 100.0
    );
}
