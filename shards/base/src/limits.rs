//! Every limit of the process in one place. At a limit the answer is an error of the protocol, never
//! growth. Source of the S3 figures: the AWS S3 user guide, "Amazon S3 limits and quotas".

use crate::units::{GIB, KIB, MIB};

/// Request line and headers together.
pub const HEAD_BYTES_MAX: usize = 16 * KIB as usize;
/// Header lines of one request.
pub const HEADER_COUNT_MAX: usize = 100;
/// Time from the first byte of a head to its last.
pub const HEAD_TIMEOUT_MS: u64 = 10_000;
/// A keep-alive connection without a request is closed after this.
pub const IDLE_TIMEOUT_MS: u64 = 60_000;
/// Below this rate, measured after `BODY_RATE_GRACE_MS`, a body is given up.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = KIB;
/// Time before the body rate floor applies.
pub const BODY_RATE_GRACE_MS: u64 = 10_000;
/// XML request bodies.
pub const XML_BYTES_MAX: usize = 2 * MIB as usize;
/// Nesting of XML request bodies.
pub const XML_DEPTH_MAX: usize = 16;
/// Object keys, in UTF-8 bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// User metadata of one object: the sum of names and values.
pub const USER_METADATA_BYTES_MAX: usize = 2 * KIB as usize;
/// Keys of one list page.
pub const LIST_KEYS_MAX: usize = 1000;
/// Keys of one DeleteObjects request.
pub const DELETE_KEYS_MAX: usize = 1000;
/// Parts of one multipart upload.
pub const PART_COUNT_MAX: u16 = 10_000;
/// Smallest part but the last.
pub const PART_BYTES_MIN: u64 = 5 * MIB;
/// Largest single PUT and largest part.
pub const PUT_BYTES_MAX: u64 = 5 * GIB;
/// Buckets of one account.
pub const BUCKETS_MAX: usize = 10_000;
/// Lifetime of a presigned URL.
pub const PRESIGN_SECONDS_MAX: u64 = 7 * 24 * 3600;
/// Tolerated difference between a request's date and ours.
pub const CLOCK_SKEW_SECONDS_MAX: u64 = 15 * 60;
/// Bodies up to this live in the log frame that committed them; larger ones in extents.
pub const INLINE_BYTES_MAX: u64 = 32 * KIB;
/// Largest contiguous piece asked of the allocator.
pub const EXTENT_BYTES_MAX: u64 = 4 * MIB;

const _: () = assert!(INLINE_BYTES_MAX < EXTENT_BYTES_MAX);
const _: () = assert!(PART_BYTES_MIN > INLINE_BYTES_MAX, "a full-sized part never lies in the log");
