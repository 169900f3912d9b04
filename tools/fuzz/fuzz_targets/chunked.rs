//! See `stria_fuzz::chunked`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::chunked(bytes));
