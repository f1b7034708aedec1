//! What fuzzing has found, and a little more of it with every run: `scripts/fuzz TARGET` does it for minutes.

use std::path::Path;

use proptest::prelude::*;

use crate::fuzzed::{patches, paths, requests, rules, schemas};

/// What does something with arbitrary bytes.
type Run = fn(&[u8]);

/// The targets, by the folders of their corpora.
const TARGETS: [(&str, Run); 5] = [
    ("patches", patches::run),
    ("paths", paths::run),
    ("requests", requests::run),
    ("rules", rules::run),
    ("schemas", schemas::run),
];

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn everything_in_the_corpora_is_answered() {
    for (target, run) in TARGETS {
        let all = corpus(target);
        assert!(all.len() > 10, "the corpus of {target} is there");
        for (name, bytes) in all {
            // The last one named is the one that ended the process, where it was no panic.
            eprintln!("{name}");
            let done = std::panic::catch_unwind(|| run(&bytes));
            assert!(done.is_ok(), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is patched, and by whom.
    #[test]
    fn any_patches(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        patches::run(&bytes);
    }

    /// Whatever is asked for.
    #[test]
    fn any_paths(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        paths::run(&bytes);
    }

    /// Whatever rules say.
    #[test]
    fn any_rules(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        rules::run(&bytes);
    }

    /// Whatever schemas say.
    #[test]
    fn any_schemas(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        schemas::run(&bytes);
    }

    /// Requests of the corpus with pieces exchanged, doubled or cut out.
    #[test]
    fn what_resembles_the_corpus_is_answered(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..5, any::<u8>(), 0usize..40), 1..6),
    ) {
        let all = corpus("requests");
        let mut bytes = all[which.index(all.len())].1.clone();
        for (place, kind, byte, length) in changes {
            if bytes.len() < 2 {
                break;
            }
            let at = 1 + place.index(bytes.len() - 1);
            let end = (at + length).min(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece.repeat(usize::from(byte) % 50));
                }
                _ => bytes[at] ^= 1 << (byte % 8),
            }
        }
        requests::run(&bytes);
    }
}
