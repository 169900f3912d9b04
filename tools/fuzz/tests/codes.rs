//! The codes that authentication names exist among those of S3, with the status it means.

use stria_s3::ErrorCode;
use stria_sigv4::{AuthError, StreamError};

#[test]
fn every_code_of_authentication_is_one_of_s3() {
    let auth = [
        AuthError::MultipleMechanisms,
        AuthError::UnsupportedScheme,
        AuthError::UnsupportedVersion,
        AuthError::Header(stria_sigv4::error::Fault::Parts),
        AuthError::Query(stria_sigv4::error::Fault::Parts),
        AuthError::WrongRegion { expected: "".into(), presigned: false },
        AuthError::WrongRegion { expected: "".into(), presigned: true },
        AuthError::MissingDate,
        AuthError::MissingContentSha256,
        AuthError::BadContentSha256,
        AuthError::UnsignedAwsChunked,
        AuthError::PayloadNotImplemented,
        AuthError::StreamingNeedsSignature,
        AuthError::HeaderNotSigned("".into()),
        AuthError::BadUri,
        AuthError::Skewed { request_unix_s: 0, server_unix_s: 0 },
        AuthError::NotYetValid,
        AuthError::Expired { expires_s: 0, expired_unix_s: 0, server_unix_s: 0 },
        AuthError::UnknownAccessKey("".into()),
        AuthError::InvalidToken,
    ];
    for error in auth {
        assert!(ErrorCode::from_name(error.code_name()).is_some(), "{error:?}");
    }
    assert_eq!(ErrorCode::from_name("SignatureDoesNotMatch").map(ErrorCode::status), Some(403));
    for error in [
        StreamError::MissingDecodedLength,
        StreamError::BadDecodedLength,
        StreamError::BadChunkHeader,
        StreamError::ChunkTooLarge,
        StreamError::ChunkTooSmall,
        StreamError::BadLineBreak,
        StreamError::ChunkSignature,
        StreamError::TrailerSignature,
        StreamError::BadTrailer,
        StreamError::Incomplete,
        StreamError::TrailingBytes,
    ] {
        assert!(ErrorCode::from_name(error.code_name()).is_some(), "{error:?}");
    }
}
