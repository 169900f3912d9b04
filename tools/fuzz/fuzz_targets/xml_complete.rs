//! See `stria_fuzz::xml_complete`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stria_fuzz::xml_complete(bytes));
