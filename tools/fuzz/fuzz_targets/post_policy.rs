//! See `stria_fuzz::post_policy`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::post_policy(bytes));
