//! Looks for a value in the arguments of all processes of the machine while something is built.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::*;

/// Looks for a value until [`Arguments::assert_free`].
pub struct Arguments {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Option<String>>,
}

impl Arguments {
    /// Begins.
    pub fn watch(value: &str) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (ended, value) = (Arc::clone(&ended), value.to_owned());
            move || {
                while !ended.load(Ordering::Relaxed) {
                    if let Some(found) = holder(&value) {
                        return Some(found);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                None
            }
        });
        Self { ended, thread }
    }

    /// Asserts that no process had the value in its arguments.
    pub fn assert_free(self) {
        self.ended.store(true, Ordering::Relaxed);
        let found = self.thread.join().unwrap();
        assert_eq!(found, None, "the value is in the arguments of a process");
    }
}

/// The command line of a process that has the value in it.
pub fn holder(value: &str) -> Option<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let line = lines.find(|line| line.windows(value.len()).any(|part| part == value.as_bytes()))?;
    Some(String::from_utf8_lossy(&line).into_owned())
}

#[test]
fn value_in_the_arguments_of_a_process_is_found() {
    let marker = unique("argument");
    let watch = Arguments::watch(&marker);
    let mut command = Command::new("sh");
    command
        .args(["-c", "read line", &marker])
        .stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_for("the value", Duration::from_secs(20), || {
        watch.thread.is_finished().then_some(())
    });
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(watch.thread.join().unwrap().unwrap().contains(&marker));
}
