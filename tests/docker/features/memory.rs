//! The memory of the control plane at rest.

use std::time::{Duration, Instant};

use crate::common::davit::Davit;

/// The most that heap and stacks may take, in KiB. The other part of the resident memory is code, whose size in a debug
/// build is that of a release build several times over: `benches/figures.rs` holds the sum of both at 25 MiB.
const LIMIT: u64 = 8 << 10;

#[test]
fn up_at_rest_keeps_heap_and_stacks_small() {
    let mut davit = Davit::up("memory");
    wait_until_small(&davit, "after the first start, which installs the CRDs");
    davit.stop();
    davit.start();
    wait_until_small(&davit, "after another start");
}

/// Waits, because threads that a start needed end some seconds later.
fn wait_until_small(davit: &Davit, when: &str) {
    let mut size = 0;
    let end = Instant::now() + Duration::from_mins(1);
    while Instant::now() < end {
        size = anonymous(davit.pid());
        if size <= LIMIT {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("heap and stacks take {size} KiB {when}, of {LIMIT} at most");
}

/// The resident memory in KiB that no file backs.
fn anonymous(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut sum, mut is_anonymous) = (0, false);
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            ["Rss:", size, "kB"] if is_anonymous => sum += size.parse::<u64>().unwrap(),
            // The line of a mapping: its addresses come first, a path or a name in brackets last.
            [addresses, ..] if addresses.contains('-') => {
                is_anonymous = !fields.last().unwrap().starts_with('/');
            }
            _ => {}
        }
    }
    sum
}
