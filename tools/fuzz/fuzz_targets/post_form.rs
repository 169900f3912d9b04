//! See `stria_fuzz::post_form`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::post_form(bytes));
