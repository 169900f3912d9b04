//! See `stria_fuzz::checkpoint`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::checkpoint(bytes));
