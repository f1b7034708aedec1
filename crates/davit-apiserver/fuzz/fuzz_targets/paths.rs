#![no_main]
#![allow(dead_code)]

#[path = "../../tests/it/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::paths::run(data));
