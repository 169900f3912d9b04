//! See `stria_fuzz::aws_chunked`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::aws_chunked(bytes));
