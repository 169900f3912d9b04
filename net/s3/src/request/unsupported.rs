//! Headers that promise what this server does not do yet. Each later issue removes its rows.
//!
//! Invariant: an object is never stored with less protection than its headers asked for; the request is
//! refused instead. Any core. Owner: `net/s3`.

use stria_http::Head;

use crate::error::S3Error;

/// Refused with 501, whatever the value.
const NOT_YET: [&str; 12] = [
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
];

/// Refuses a write whose headers promise something missing here.
///
/// # Errors
/// `NotImplemented` naming the header.
pub fn check(head: &Head) -> Result<(), S3Error> {
    for (name, _) in head.headers() {
        // Nearly every header is told apart by its first bytes.
        if !name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-")) {
            continue;
        }
        if let Some(known) = NOT_YET.iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            return Err(S3Error::header_not_implemented(known));
        }
    }
    Ok(())
}
