//! Requests of IAM, STS and SNS, which clients of S3 send to the same port.
//!
//! Invariant: nothing is answered but to who signed, and in the XML their clients read. Runs on the accepting core.

use stria_http::Query;
use stria_s3::{ErrorCode, S3Error};
use stria_sigv4::PayloadMode;

use super::{Request, door, store_body::read_xml};
use crate::conn::{body::Body, failure::Failure, reply::Reply};

/// Verifies the request and says that its action is not there.
pub async fn query_api(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let form = read_xml(PayloadMode::Unsigned, body).await?;
    let allowed = door::admit_query_api(request.state, request.head, &form)?;
    allowed.identity(&request.state.shared.identities)?;
    let action = Query::new(&form).get("Action").map_err(|_| ErrorCode::InvalidURI)?;
    if action.is_none_or(|action| action.is_empty()) {
        return Err(S3Error::new(ErrorCode::InvalidRequest, "The parameter Action is missing.").into());
    }
    let message = "IAM, STS and SNS are not implemented by this server yet.";
    Err(S3Error::new(ErrorCode::NotImplemented, message).into())
}
