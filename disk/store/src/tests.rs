//! Tests of the store over a disk in memory.
