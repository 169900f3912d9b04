//! See `stria_fuzz::wal_frame`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::wal_frame(bytes));
