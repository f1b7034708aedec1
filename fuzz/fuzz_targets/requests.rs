//! Every kind of request, made of arbitrary bytes: no panic, no hang, no memory without bound.
#![no_main]

#[path = "../../tests/apiserver/fuzz_target.rs"]
mod fuzz_target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_target::run(data));
