//! Shared by the tests: the credentials and the clock of the AWS documentation's examples.

mod matrix;
mod stream;
mod verifying;

use stria_http::Head;

use crate::sign::{Request, Signer};
use crate::{AuthError, Authenticated, KeyCache, OneKey, RegionPolicy, Verified, VerifyOptions};

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2013-05-24T00:00:00Z
const NOW: u64 = 1_369_353_600;
const SIGNER: Signer<'static> = Signer {
    access_key: ACCESS_KEY,
    secret: SECRET,
    region: "us-east-1",
    service: "s3",
    session_token: None,
};

fn parse(text: &str) -> Head {
    stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0
}

/// The head a client would send.
fn head_of(request: &Request<'_>, query: &str) -> Head {
    let mark = if query.is_empty() { "" } else { "?" };
    let mut text = format!("{} {}{mark}{query} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    parse(&format!("{text}\r\n"))
}

fn request(method: &'static str, path: &'static str, query: &'static str) -> Request<'static> {
    let headers = vec![("host".to_owned(), "examplebucket.s3.amazonaws.com".to_owned())];
    Request { method, path, query, headers }
}

fn verify_at(head: &Head, now_unix_s: u64) -> Result<Authenticated, AuthError> {
    let secrets = OneKey { access_key: ACCESS_KEY, secret: SECRET };
    let options = VerifyOptions { now_unix_s, region: RegionPolicy::Only("us-east-1"), service: "s3" };
    crate::verify(&mut KeyCache::new(), &secrets, head, &options)
}

fn verified(head: &Head) -> Verified {
    match verify_at(head, NOW) {
        Ok(Authenticated::Signed(verified)) => verified,
        other => panic!("{other:?}"),
    }
}
