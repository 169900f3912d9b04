//! Access control lists of buckets whose owner owns everything: one grant, and no other can be set.
//!
//! Invariant: a list that would grant anybody else anything is refused, never stored and forgotten. Any
//! core. Owner: `net/s3`. Source: AWS S3 user guide, "Controlling ownership of objects".

use stria_http::Head;

use super::{
    schema::{
        Content::{Of, OneOf, Text},
        many, maybe, normalise, one,
    },
    tree::Element,
};
use crate::{code::ErrorCode, error::S3Error, response::Owner, xml::Writer};

const CANNED: [&[u8]; 8] = [
    b"private",
    b"public-read",
    b"public-read-write",
    b"authenticated-read",
    b"aws-exec-read",
    b"bucket-owner-read",
    b"bucket-owner-full-control",
    b"log-delivery-write",
];

/// Most grants of one list.
const GRANTS_MAX: usize = 100;

const DOCUMENT: super::schema::Content = Of(&[
    maybe("Owner", Of(&[maybe("ID", Text), maybe("DisplayName", Text)])),
    one(
        "AccessControlList",
        Of(&[many(
            "Grant",
            Of(&[
                one(
                    "Grantee",
                    Of(&[
                        maybe("ID", Text),
                        maybe("DisplayName", Text),
                        maybe("EmailAddress", Text),
                        maybe("URI", Text),
                        maybe("Type", Text),
                    ]),
                ),
                one("Permission", OneOf(&["FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP"])),
            ]),
        )]),
    ),
]);

/// Checks a request to set an ACL where ACLs are off: the owner's full control is all there can be.
///
/// # Errors
/// `AccessControlListNotSupported` for any other grant, `MalformedACLError`, `InvalidArgument` for an
/// unknown canned name, `MissingSecurityHeader` for a request that says nothing, `InvalidRequest` for one that says it twice.
pub fn check_put(head: &Head, body: &[u8], owner_id: &str) -> Result<(), S3Error> {
    let canned = head.get("x-amz-acl");
    let grants = head
        .headers()
        .any(|(name, _)| name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-grant-")));
    let has_body = !body.trim_ascii().is_empty();
    if (canned.is_some() && grants) || (has_body && (canned.is_some() || grants)) {
        let message = "Specifying both Canned ACLs and Header Grants, or either with a body, is not allowed";
        return Err(S3Error::new(ErrorCode::InvalidRequest, message));
    }
    if let Some(name) = canned {
        return match name {
            b"private" | b"bucket-owner-full-control" => Ok(()),
            known if CANNED.contains(&known) => Err(ErrorCode::AccessControlListNotSupported.into()),
            other => Err(S3Error::argument("Invalid canned ACL", "x-amz-acl", other)),
        };
    }
    if grants {
        return Err(ErrorCode::AccessControlListNotSupported.into());
    }
    if !has_body {
        return Err(ErrorCode::MissingSecurityHeader.into());
    }
    let malformed = || S3Error::from(ErrorCode::MalformedACLError);
    let mut document = Element::parse(body).map_err(|_| malformed())?;
    if document.name != "AccessControlPolicy" {
        return Err(malformed());
    }
    normalise(&mut document, DOCUMENT).map_err(|_| malformed())?;
    let list = document.child("AccessControlList").ok_or_else(malformed)?;
    if list.children.len() > GRANTS_MAX {
        return Err(malformed());
    }
    let is_owners = |grant: &Element| {
        grant.text_of("Permission") == Some("FULL_CONTROL")
            && grant.child("Grantee").and_then(|grantee| grantee.text_of("ID")) == Some(owner_id)
    };
    if !list.children.is_empty() && list.children.iter().all(is_owners) {
        Ok(())
    } else {
        Err(ErrorCode::AccessControlListNotSupported.into())
    }
}

/// Writes the list there is: the owner's full control.
pub fn write(out: &mut Vec<u8>, owner: Owner<'_>) {
    let mut xml = Writer::document(out);
    xml.open_root("AccessControlPolicy");
    owner.write("Owner", &mut xml);
    xml.constant("<AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">");
    xml.text("ID", owner.id);
    xml.text("DisplayName", owner.display_name);
    xml.constant("</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>");
    xml.close("AccessControlPolicy");
}
