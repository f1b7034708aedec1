#![no_main]
#![allow(dead_code)]

#[path = "../../tests/apiserver/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::patches::run(data));
