use super::*;
use std::time::Instant;

fn busybox() -> Program {
    Program::new("busybox").env("PATH", "/usr/bin:/bin")
}

#[tokio::test]
async fn a_program_gets_what_it_is_given_and_nothing_else() {
    let cancel = CancellationToken::new();
    let output = busybox().arg("env").env("ONE", "1").run(&cancel).await.unwrap();
    let mut lines: Vec<_> = output.out().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["ONE=1", "PATH=/usr/bin:/bin"]);

    let odd = busybox()
        .args(["echo", "$HOME; echo `id`"])
        .run(&cancel)
        .await
        .unwrap();
    assert_eq!(odd.out(), "$HOME; echo `id`\n");
    let cat = busybox()
        .arg("cat")
        .stdin(Secret::from("hello"))
        .run(&cancel)
        .await
        .unwrap();
    assert_eq!((cat.out().as_str(), cat.ok()), ("hello", true));
    let none = busybox().arg("cat").run(&cancel).await.unwrap();
    assert_eq!(none.out(), "");
    let failed = busybox().args(["sh", "-c", "exit 3"]).run(&cancel).await.unwrap();
    assert_eq!((failed.code(), failed.ok()), (3, false));
    let missing = Program::new("/nonexistent/program")
        .run(&cancel)
        .await
        .unwrap_err();
    assert!(matches!(missing, ProcessError::Start { .. }), "{missing:?}");
}

#[tokio::test]
async fn output_is_bounded_and_read_to_its_end() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; echo $i >&2; i=$((i+1)); done";
    let output = busybox()
        .args(["sh", "-c", script])
        .kept(100)
        .run(&CancellationToken::new())
        .await
        .unwrap();
    assert!(output.ok() && output.stdout_cut);
    assert_eq!((output.stdout.len(), output.stderr.len()), (100, 100));
    assert!(output.out().starts_with("0\n1\n") && output.err().ends_with("19999\n"));
}

/// True while a process of this number runs; one that is gone but not yet collected has no arguments any more.
fn runs(pid: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

async fn wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts a child in the background that ignores SIGTERM, and writes its number into `file`.
fn stubborn(file: &Path) -> Program {
    let script = "trap '' TERM; sleep 1000 & echo $! >\"$1.new\"; mv \"$1.new\" \"$1\"; wait; wait";
    busybox().args(["sh", "-c", script, "sh"]).arg(file)
}

#[tokio::test]
async fn cancelling_ends_the_whole_group_and_waits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let cancel = CancellationToken::new();
    let run = tokio::spawn({
        let (program, cancel) = (stubborn(&file), cancel.clone());
        async move { program.run(&cancel).await }
    });
    let pid = wait_for(|| std::fs::read_to_string(&file).ok()).await;
    assert!(runs(pid.trim()));
    cancel.cancel();
    let error = run.await.unwrap().unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled { .. }), "{error:?}");
    assert!(!runs(pid.trim()), "it has waited");
    let error = busybox().arg("true").run(&cancel).await.unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled { .. }), "{error:?}");
}

#[tokio::test]
async fn dropping_the_future_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let program = stubborn(&file);
    let task = tokio::spawn(async move { program.run(&CancellationToken::new()).await });
    let pid = wait_for(|| std::fs::read_to_string(&file).ok()).await;
    task.abort();
    wait_for(|| (!runs(pid.trim())).then_some(())).await;
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_ended() {
    let error = busybox()
        .args(["sleep", "1000"])
        .timeout(Duration::from_millis(50))
        .run(&CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(error, ProcessError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_hold_us() {
    let output = busybox()
        .args(["sh", "-c", "sleep 1000 & echo $!"])
        .run(&CancellationToken::new())
        .await
        .unwrap();
    let pid = output.out();
    wait_for(|| (!runs(pid.trim())).then_some(())).await;
}

#[test]
fn nothing_secret_is_shown() {
    let program = busybox()
        .arg("echo")
        .arg_masked("private")
        .env("TOKEN", "hunter2")
        .stdin(Secret::from("hunter3"));
    assert_eq!(format!("{program:?}"), "PATH=*** TOKEN=*** busybox echo ***");
}
