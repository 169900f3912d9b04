//! See `stria_fuzz::sigv4_canonical`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::sigv4_canonical(bytes));
