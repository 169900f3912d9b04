//! One client connection: heads in, answers out, until it closes.
//!
//! Invariant: answers leave in the order of their requests, head and first bytes of the body in one send;
//! a request whose body was not read to its end is the last of its connection. Runs on the accepting core,
//! one task per connection.

pub mod body;
pub mod failure;
mod input;
pub mod reply;
pub mod stream;

use std::{cell::OnceCell, pin::pin, rc::Rc};

use stria_base::limits::{HEAD_TIMEOUT_MS, IDLE_TIMEOUT_MS};
use stria_env::{
    Env,
    sync::{Either, race},
};
use stria_http::{Head, HeadError, Method};
use stria_runtime::TcpStream;
use stria_s3::{
    ErrorCode, Op, S3Error,
    error::{ErrorContext, write_error, write_query_api_error},
};

use self::{
    body::Body,
    failure::Failure,
    input::{Input, NoHead},
    reply::{Reply, ReplyTo},
};
use crate::{
    handlers,
    state::{ConnectionCount, CoreState},
};

/// A send that makes no progress for this long is given up.
const SEND_TIMEOUT_NS: u64 = 60_000_000_000;

/// What a connection does after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Takes the next request.
    Request,
    /// Closes, once the client had time to read the answer: it may still be sending.
    Linger,
    /// Closes.
    Close,
}

/// Serves one connection to its end.
pub async fn serve(count: ConnectionCount, stream: TcpStream) {
    let state = count.0.clone();
    let mut input = Input::new(state.env.runtime().clone(), stream);
    let mut stop = pin!(state.stop.notified());
    loop {
        if state.stopping.get() && input.data().is_empty() {
            return;
        }
        let head = match race(input.head(IDLE_TIMEOUT_MS, HEAD_TIMEOUT_MS), stop.as_mut()).await {
            Either::First(head) => head,
            // Between two requests the connection can be closed; a head under way is given up, and the
            // client repeats it elsewhere.
            Either::Second(()) => {
                stop.set(state.stop.notified());
                continue;
            }
        };
        let next = match head {
            Ok(head) => Box::pin(serve_request(&state, &mut input, &head)).await,
            Err(NoHead::Closed) => return,
            Err(NoHead::TimedOut) => refuse(&state, &mut input, &ErrorCode::RequestTimeout.into()).await,
            Err(NoHead::Malformed(error)) => refuse(&state, &mut input, &head_error(&error)).await,
        };
        match next {
            Next::Request => {}
            Next::Linger => return input.linger().await,
            Next::Close => return,
        }
    }
}

/// The S3 error of a head that is none.
fn head_error(error: &HeadError) -> S3Error {
    S3Error::new(ErrorCode::BadRequest, error.reason())
}

/// Answers a request that has no acceptable head.
async fn refuse(state: &Rc<CoreState>, input: &mut Input, error: &S3Error) -> Next {
    let request_id = request_id(state);
    let to =
        ReplyTo { state, request_id: request_id.text(), is_head: false, close: true, cors: OnceCell::new() };
    let reply = error_reply(&to, error, b"", None);
    state.counters.answered(None, reply.status, 0);
    if send(state, input, reply).await { Next::Linger } else { Next::Close }
}

/// Serves one request.
async fn serve_request(state: &Rc<CoreState>, input: &mut Input, head: &Head) -> Next {
    let started_ns = state.env.runtime().now_ns();
    let request_id = request_id(state);
    let keep = head.keep_alive() && !state.stopping.get();
    let mut after = if keep { Next::Request } else { Next::Close };
    let mut to = ReplyTo {
        state,
        request_id: request_id.text(),
        is_head: head.method() == Method::Head,
        close: !keep,
        cors: OnceCell::new(),
    };
    let mut operation = None;
    let outcome = handlers::handle(state, input, head, &to, &mut operation).await;
    let mut reply = match outcome {
        handlers::Outcome::Reply(reply, body_done) => {
            if !body_done {
                after = Next::Linger;
            }
            reply
        }
        handlers::Outcome::Failed(Failure::Gone) => return Next::Close,
        handlers::Outcome::Failed(Failure::Error(error)) => {
            to.close = true;
            after = Next::Linger;
            error_reply(&to, &error, head.path(), operation)
        }
        handlers::Outcome::FailedInOrder(error) => error_reply(&to, &error, head.path(), operation),
    };
    if after == Next::Request && state.stopping.get() {
        after = Next::Close;
    }
    // What was found out after the head was made: the rest of the body is not read, or the process is to end.
    if after != Next::Request && !to.close {
        reply.announce_close();
    }
    let status = reply.status;
    let sent = send(state, input, reply).await;
    state.counters.answered(operation, status, state.env.runtime().now_ns() - started_ns);
    if sent { after } else { Next::Close }
}

/// Sends a whole reply. Whether it got through.
async fn send(state: &Rc<CoreState>, input: &mut Input, reply: Reply) -> bool {
    let (head, first, rest) = reply.into_sends();
    let runtime = state.env.runtime();
    if !matches!(runtime.timeout(SEND_TIMEOUT_NS, input.stream.send(head, first)).await, Ok(Ok(()))) {
        return false;
    }
    let Some(mut rest) = rest else { return true };
    loop {
        match rest.next().await {
            Ok(None) => return true,
            Ok(Some(piece)) => {
                if !matches!(
                    runtime.timeout(SEND_TIMEOUT_NS, input.stream.send_bytes(piece)).await,
                    Ok(Ok(()))
                ) {
                    return false;
                }
            }
            Err(error) => {
                // The head promised more bytes than can be given: only breaking off tells the client.
                drop(crate::error_map::s3_error(error));
                return false;
            }
        }
    }
}

fn error_reply(to: &ReplyTo<'_>, error: &S3Error, resource: &[u8], operation: Option<Op>) -> Reply {
    let status = error.status();
    if matches!(error.code, ErrorCode::NotModified) {
        return to.empty(304, |_| {});
    }
    let mut xml = Vec::with_capacity(512);
    if operation == Some(Op::QueryApi) {
        write_query_api_error(error, to.request_id, &mut xml);
    } else {
        let context = ErrorContext { resource, request_id: to.request_id, host_id: &to.state.shared.host_id };
        write_error(error, &context, &mut xml);
    }
    to.bytes(status, Some("application/xml"), xml.into(), |out| {
        for line in &error.headers {
            reply::field(out, line.name, &line.value);
        }
    })
}

/// 16 hex digits, unique enough to find a request in a log.
struct RequestId([u8; 16]);

impl RequestId {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

fn request_id(state: &CoreState) -> RequestId {
    let random = state.env.random();
    let digit = |at: usize| b"0123456789ABCDEF"[(random >> (60 - 4 * at) & 15) as usize];
    RequestId(std::array::from_fn(digit))
}

/// Makes a request's body reader.
pub(crate) fn body_of<'c>(
    state: &Rc<CoreState>,
    input: &'c mut Input,
    head: &Head,
    aws: Option<stria_sigv4::aws_chunked::Decoder>,
) -> Body<'c> {
    Body::new(input, state.env.clone(), head.framing(), aws, head.expect_continue())
}

pub use self::input::Input as ConnectionInput;
