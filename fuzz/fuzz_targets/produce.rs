#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| milena::doors::fuzz::produce(input));
