//! What lists say, what is refused, and that a stored list reads back.

use proptest::prelude::*;

use super::*;
use crate::code::ErrorCode;

struct Known;

impl Directory for Known {
    fn has_id(&self, id: &str) -> bool {
        id == "alice" || id == "bob"
    }

    fn id_of_email(&self, email: &str) -> Option<String> {
        (email == "bob@example.com").then(|| "bob".to_owned())
    }
}

const PARTIES: Parties<'_> = Parties { owner: "alice", bucket_owner: Some("bob"), directory: &Known };

fn headers(lines: &str) -> Result<Option<String>, ErrorCode> {
    let text = format!("PUT /b/k HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let head = stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0;
    from_headers(&head, &PARTIES).map(|acl| acl.map(|acl| acl.encode())).map_err(|error| error.code)
}

fn document(owner: &str, grants: &str) -> Result<String, ErrorCode> {
    let text = format!(
        "<AccessControlPolicy><Owner><ID>{owner}</ID></Owner><AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
    );
    from_document(text.as_bytes(), &PARTIES).map(|acl| acl.encode()).map_err(|error| error.code)
}

fn grant(grantee: &str, permission: &str) -> String {
    format!("<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>")
}

#[test]
fn canned_names() {
    for (name, want) in [
        ("private", "alice\nfalice"),
        ("public-read", "alice\nfalice\nr*"),
        ("public-read-write", "alice\nfalice\nr*\nw*"),
        ("authenticated-read", "alice\nfalice\nr@"),
        ("bucket-owner-read", "alice\nfalice\nrbob"),
        ("bucket-owner-full-control", "alice\nfalice\nfbob"),
        ("log-delivery-write", "alice\nfalice\nw%\nR%"),
    ] {
        assert_eq!(headers(&format!("x-amz-acl: {name}\r\n")), Ok(Some(want.to_owned())));
    }
    assert_eq!(headers(""), Ok(None));
    assert_eq!(headers("x-amz-acl: Private\r\n"), Err(ErrorCode::InvalidArgument));
}

#[test]
fn grant_headers() {
    let got = headers(
        "x-amz-grant-read: id=\"bob\", emailAddress=bob@example.com\r\nx-amz-grant-write-acp: uri=http://acs.amazonaws.com/groups/global/AllUsers\r\n",
    );
    assert_eq!(got, Ok(Some("alice\nrbob\nrbob\nW*".to_owned())), "the owner has only what the headers give");
    for (lines, code) in [
        ("x-amz-grant-read: id=carol", ErrorCode::InvalidArgument),
        ("x-amz-grant-read: uri=http://example.com", ErrorCode::InvalidArgument),
        ("x-amz-grant-read: emailAddress=x@example.com", ErrorCode::UnresolvableGrantByEmailAddress),
        ("x-amz-grant-read: bob", ErrorCode::InvalidArgument),
        ("x-amz-acl: private\r\nx-amz-grant-read: id=bob", ErrorCode::InvalidRequest),
    ] {
        assert_eq!(headers(&format!("{lines}\r\n")), Err(code), "{lines}");
    }
}

#[test]
fn documents() {
    let all = [
        grant("<ID>bob</ID>", "READ"),
        grant("<EmailAddress>bob@example.com</EmailAddress>", "WRITE_ACP"),
        grant("<URI>http://acs.amazonaws.com/groups/s3/LogDelivery</URI>", "WRITE"),
    ];
    assert_eq!(document("alice", &all.concat()), Ok("alice\nrbob\nWbob\nw%".to_owned()));
    assert_eq!(document("alice", ""), Ok("alice".to_owned()));
    assert_eq!(document("bob", ""), Err(ErrorCode::AccessDenied), "the owner stays");
    for (grants, code) in [
        (grant("<ID>carol</ID>", "READ"), ErrorCode::InvalidArgument),
        (grant("<ID>bob</ID>", "DELETE"), ErrorCode::MalformedACLError),
        (grant("<ID>bob</ID><URI>x</URI>", "READ"), ErrorCode::MalformedACLError),
        (grant("", "READ"), ErrorCode::MalformedACLError),
        (grant("<ID>bob</ID>", "READ").repeat(GRANTS_MAX + 1), ErrorCode::MalformedACLError),
    ] {
        assert_eq!(document("alice", &grants), Err(code), "{grants}");
    }
    assert!(document("alice", &grant("<ID>bob</ID>", "READ").repeat(GRANTS_MAX)).is_ok());
    assert_eq!(from_document(b"<x", &PARTIES).map_err(|e| e.code), Err(ErrorCode::MalformedACLError));
}

#[test]
fn what_a_list_allows() {
    let allows = |stored: &str, who: Option<&str>, wanted, public_counts| {
        let is = |id: &str| Some(id) == who;
        let asking = Asking { is: &is, is_authenticated: who.is_some(), public_counts };
        Acl::decode(stored.as_bytes()).expect("a list").allows(wanted, &asking)
    };
    use Permission::{FullControl, Read, ReadAcp, Write, WriteAcp};
    for wanted in [Read, Write, ReadAcp, WriteAcp, FullControl] {
        assert!(allows("alice", Some("alice"), wanted, false), "the owner, without any grant");
        assert!(allows("alice\nfbob", Some("bob"), wanted, false));
        assert!(!allows("alice\nfalice\nw%", Some("bob"), wanted, true));
        assert_eq!(allows("alice\nrbob", Some("bob"), wanted, true), wanted == Read);
        assert_eq!(allows("alice\nw*", None, wanted, true), wanted == Write);
        assert_eq!(allows("alice\nr@", Some("bob"), wanted, true), wanted == Read);
        assert!(!allows("alice\nr@", None, wanted, true), "authenticated users sign");
        assert!(!allows("alice\nf*\nf@", Some("bob"), wanted, false), "a block makes public grants nothing");
    }
}

#[test]
fn damaged_lists_are_none() {
    for stored in ["", "\nrbob", "alice\n", "alice\nr", "alice\nxbob", "alice\n\nrbob"] {
        assert_eq!(Acl::decode(stored.as_bytes()), None, "{stored:?}");
    }
}

proptest! {
    #[test]
    fn decoding_never_panics_and_encoding_is_read_back(bytes: Vec<u8>) {
        if let Some(acl) = Acl::decode(&bytes) {
            prop_assert_eq!(Acl::decode(acl.encode().as_bytes()), Some(acl));
        }
    }
}
