//! See `stria_fuzz::route`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::route(bytes));
