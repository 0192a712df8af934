#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keysteward::fuzzing::run("cursor", data));
