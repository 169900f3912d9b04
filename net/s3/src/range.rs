//! Byte ranges: of GET, where a doubtful one is ignored, and of UploadPartCopy, where it is refused.
//!
//! Invariant: a resolved part lies inside the object and is not empty. Any core. Owner: `net/s3`.

use crate::code::ErrorCode;
use crate::error::S3Error;

/// What of an object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// All of it, answered with 200.
    Whole,
    /// These positions, both included, answered with 206.
    Part {
        /// First byte.
        first: u64,
        /// Last byte, at least `first` and below the object's length.
        last: u64,
    },
    /// Nothing that exists, answered with 416.
    Unsatisfiable,
}

/// A single range as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `bytes=first-`
    From(u64),
    /// `bytes=first-last`
    Between(u64, u64),
    /// `bytes=-length`
    Suffix(u64),
}

fn position(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

impl Range {
    /// Of a Range header. `None` for anything but one byte range: another unit, several ranges, malformed
    /// or backward ones. S3 answers those with the whole object.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (unit, spec) = value.split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes=") {
            return None;
        }
        let dash = spec.iter().position(|&b| b == b'-')?;
        let (first, last) = (spec[..dash].trim_ascii(), spec[dash + 1..].trim_ascii());
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => position(last).map(Self::Suffix),
            (false, true) => position(first).map(Self::From),
            (false, false) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// Against an object of `total` bytes.
    #[must_use]
    pub fn resolve(self, total: u64) -> Resolved {
        let (first, last) = match self {
            Self::From(first) => (first, u64::MAX),
            Self::Between(first, last) => (first, last),
            Self::Suffix(0) => return Resolved::Unsatisfiable,
            Self::Suffix(length) => (total.saturating_sub(length), u64::MAX),
        };
        if first >= total {
            return Resolved::Unsatisfiable;
        }
        Resolved::Part { first, last: last.min(total - 1) }
    }
}

/// A Range header, if any, against an object of `total` bytes.
#[must_use]
pub fn resolve(header: Option<&[u8]>, total: u64) -> Resolved {
    header.and_then(Range::parse).map_or(Resolved::Whole, |range| range.resolve(total))
}

/// The answer to [`Resolved::Unsatisfiable`].
#[must_use]
pub fn unsatisfiable(header: &[u8], total: u64) -> S3Error {
    S3Error::from(ErrorCode::InvalidRange)
        .with("RangeRequested", header)
        .with("ActualObjectSize", total.to_string().as_bytes())
}

/// `x-amz-copy-source-range`: positions of the source, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRange {
    /// First byte.
    pub first: u64,
    /// Last byte, at least `first`.
    pub last: u64,
}

impl CopyRange {
    /// Of the header.
    ///
    /// # Errors
    /// `InvalidArgument` unless it is `bytes=first-last`.
    pub fn parse(value: &[u8]) -> Result<Self, S3Error> {
        match Range::parse(value) {
            Some(Range::Between(first, last)) => Ok(Self { first, last }),
            _ => Err(S3Error::argument(
                "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
                "x-amz-copy-source-range",
                value,
            )),
        }
    }

    /// Whether it lies in a source of `total` bytes.
    ///
    /// # Errors
    /// `InvalidArgument` when it does not.
    pub fn check(self, total: u64) -> Result<Self, S3Error> {
        if self.last < total {
            return Ok(self);
        }
        Err(S3Error::argument(
            "Range specified is not valid for source object",
            "x-amz-copy-source-range",
            format!("bytes={}-{}", self.first, self.last).as_bytes(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_get() {
        let part = |first, last| Resolved::Part { first, last };
        for (header, total, want) in [
            ("bytes=0-9", 100, part(0, 9)),
            ("Bytes=0-", 100, part(0, 99)),
            ("bytes=90-200", 100, part(90, 99)),
            ("bytes=-5", 100, part(95, 99)),
            ("bytes=-500", 100, part(0, 99)),
            ("bytes=99-99", 100, part(99, 99)),
            ("bytes=100-", 100, Resolved::Unsatisfiable),
            ("bytes=-0", 100, Resolved::Unsatisfiable),
            ("bytes=0-0", 0, Resolved::Unsatisfiable),
            ("bytes=-1", 0, Resolved::Unsatisfiable),
            ("bytes=0-1,5-6", 100, Resolved::Whole),
            ("bytes=9-0", 100, Resolved::Whole),
            ("bytes=", 100, Resolved::Whole),
            ("bytes=-", 100, Resolved::Whole),
            ("bytes=a-b", 100, Resolved::Whole),
            ("bytes=+1-2", 100, Resolved::Whole),
            ("items=0-1", 100, Resolved::Whole),
            ("bytes=0-99999999999999999999", 100, Resolved::Whole),
            ("", 100, Resolved::Whole),
        ] {
            assert_eq!(resolve(Some(header.as_bytes()), total), want, "{header} of {total}");
        }
        assert_eq!(resolve(None, 0), Resolved::Whole);
    }

    #[test]
    fn ranges_of_copies_are_strict() {
        assert_eq!(CopyRange::parse(b"bytes=0-4"), Ok(CopyRange { first: 0, last: 4 }));
        for bad in ["bytes=0-", "bytes=-4", "0-4", "bytes=4-0", "bytes=0-1,2-3", ""] {
            let code = CopyRange::parse(bad.as_bytes()).map_err(|error| error.code);
            assert_eq!(code, Err(ErrorCode::InvalidArgument), "{bad}");
        }
        let range = CopyRange { first: 0, last: 4 };
        assert!(range.check(5).is_ok() && range.check(4).is_err());
    }
}
