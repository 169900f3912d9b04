//! Lists as requests say them: by a canned name, by grant headers, by a document.
//!
//! Invariant: an id, e-mail or group nobody knows is refused, never granted to nobody. Any core. Owner: `net/s3`.

use stria_http::Head;

use super::{ANONYMOUS_ID, Acl, EXEC_ID, GRANTS_MAX, Grant, Grantee, Permission};
use crate::{
    code::ErrorCode,
    config::{
        schema::{
            Content::{Of, OneOf, Text},
            many, maybe, normalise, one,
        },
        tree::Element,
    },
    error::S3Error,
};

/// Grants of a canned name beside the owner's.
#[derive(Clone, Copy)]
enum Canned {
    Groups(&'static [(Grantee, Permission)]),
    BucketOwner(Permission),
    Exec,
}

const CANNED: [(&[u8], Canned); 8] = [
    (b"private", Canned::Groups(&[])),
    (b"public-read", Canned::Groups(&[(Grantee::AllUsers, Permission::Read)])),
    (
        b"public-read-write",
        Canned::Groups(&[(Grantee::AllUsers, Permission::Read), (Grantee::AllUsers, Permission::Write)]),
    ),
    (b"authenticated-read", Canned::Groups(&[(Grantee::AuthenticatedUsers, Permission::Read)])),
    (
        b"log-delivery-write",
        Canned::Groups(&[
            (Grantee::LogDelivery, Permission::Write),
            (Grantee::LogDelivery, Permission::ReadAcp),
        ]),
    ),
    (b"bucket-owner-read", Canned::BucketOwner(Permission::Read)),
    (b"bucket-owner-full-control", Canned::BucketOwner(Permission::FullControl)),
    (b"aws-exec-read", Canned::Exec),
];

/// Canned names that say what a bucket without lists does anyway.
const HARMLESS: [&[u8]; 2] = [b"private", b"bucket-owner-full-control"];

const DOCUMENT: crate::config::schema::Content = Of(&[
    one("Owner", Of(&[maybe("ID", Text), maybe("DisplayName", Text)])),
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

/// Who is known to the server.
pub trait Directory {
    /// Whether an account has this canonical id.
    fn has_id(&self, id: &str) -> bool;
    /// The canonical id of the account with this e-mail address.
    fn id_of_email(&self, email: &str) -> Option<String>;
}

/// Whom a list of a request is about.
#[derive(Clone, Copy)]
pub struct Parties<'a> {
    /// Canonical id of the owner of what the list is for.
    pub owner: &'a str,
    /// Canonical id of the bucket's owner, where the list is for an object.
    pub bucket_owner: Option<&'a str>,
    /// Who is known.
    pub directory: &'a dyn Directory,
}

fn has_grants(head: &Head) -> bool {
    head.headers()
        .any(|(name, _)| name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-grant-")))
}

/// Whether the headers of a write ask for no more than a bucket without lists does anyway.
#[must_use]
pub fn is_harmless(head: &Head) -> bool {
    head.get("x-amz-acl").is_none_or(|name| HARMLESS.contains(&name)) && !has_grants(head)
}

/// The list the headers of a request say; `None` when they say none.
///
/// # Errors
/// `InvalidRequest` for two of them, `InvalidArgument` for an unknown name, id or group,
/// `UnresolvableGrantByEmailAddress`.
pub fn from_headers(head: &Head, parties: &Parties<'_>) -> Result<Option<Acl>, S3Error> {
    let canned = head.get("x-amz-acl");
    if canned.is_some() && has_grants(head) {
        let message = "Specifying both Canned ACLs and Header Grants is not allowed";
        return Err(S3Error::new(ErrorCode::InvalidRequest, message));
    }
    match canned {
        Some(name) => of_canned(name, parties).map(Some),
        None if has_grants(head) => of_grants(head, parties).map(Some),
        None => Ok(None),
    }
}

fn of_canned(name: &[u8], parties: &Parties<'_>) -> Result<Acl, S3Error> {
    let Some((_, canned)) = CANNED.iter().find(|(known, _)| *known == name) else {
        return Err(S3Error::argument("Invalid canned ACL", "x-amz-acl", name));
    };
    let mut acl = Acl::private(parties.owner);
    let mut grant = |grantee, permission| acl.grants.push(Grant { grantee, permission });
    match canned {
        Canned::Groups(groups) => {
            groups.iter().for_each(|(group, permission)| grant(group.clone(), *permission));
        }
        // For buckets, and for what the bucket's owner writes himself, it says nothing more.
        Canned::BucketOwner(permission) => {
            if let Some(owner) = parties.bucket_owner.filter(|owner| *owner != parties.owner) {
                grant(Grantee::Id(owner.into()), *permission);
            }
        }
        Canned::Exec => grant(Grantee::Id(EXEC_ID.into()), Permission::Read),
    }
    Ok(acl)
}

fn of_grants(head: &Head, parties: &Parties<'_>) -> Result<Acl, S3Error> {
    let mut acl = Acl { owner: parties.owner.into(), grants: Vec::new() };
    for (permission, _, header, _) in Permission::ALL {
        for value in head.get_all(header) {
            let text = std::str::from_utf8(value);
            let text =
                text.map_err(|_| S3Error::argument("Argument format not recognized", header, value))?;
            for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
                let wrong = || S3Error::argument("Argument format not recognized", header, value);
                let (kind, name) = one.split_once('=').ok_or_else(wrong)?;
                let name = name.trim().trim_matches('"');
                let grantee = match kind.trim().to_ascii_lowercase().as_str() {
                    "id" => of_id(name, parties)?,
                    "emailaddress" => of_email(name, parties)?,
                    "uri" => of_uri(name)?,
                    _ => return Err(wrong()),
                };
                acl.grants.push(Grant { grantee, permission });
            }
        }
    }
    check_count(&acl)?;
    Ok(acl)
}

fn of_id(id: &str, parties: &Parties<'_>) -> Result<Grantee, S3Error> {
    let is_known = id == parties.owner
        || parties.bucket_owner == Some(id)
        || [ANONYMOUS_ID, EXEC_ID].contains(&id)
        || parties.directory.has_id(id);
    // The stored form separates by lines and tells groups by their sign.
    if is_known && !id.contains('\n') {
        Ok(Grantee::Id(id.into()))
    } else {
        Err(S3Error::argument("Invalid id", "CanonicalUser/ID", id.as_bytes()))
    }
}

fn of_email(email: &str, parties: &Parties<'_>) -> Result<Grantee, S3Error> {
    match parties.directory.id_of_email(email) {
        Some(id) => Ok(Grantee::Id(id.into())),
        None => {
            Err(S3Error::from(ErrorCode::UnresolvableGrantByEmailAddress)
                .with("EmailAddress", email.as_bytes()))
        }
    }
}

fn of_uri(uri: &str) -> Result<Grantee, S3Error> {
    let group = Grantee::GROUPS.iter().find(|row| row.1 == uri).map(|row| row.0.clone());
    group.ok_or_else(|| S3Error::argument("Invalid group uri", "Group/URI", uri.as_bytes()))
}

fn check_count(acl: &Acl) -> Result<(), S3Error> {
    if acl.grants.len() > GRANTS_MAX {
        let message = "An access control list has at most 100 grants";
        return Err(S3Error::new(ErrorCode::MalformedACLError, message));
    }
    Ok(())
}

fn document(body: &[u8]) -> Result<Element, S3Error> {
    let malformed = || S3Error::from(ErrorCode::MalformedACLError);
    let mut document = Element::parse(body).map_err(|_| malformed())?;
    if document.name != "AccessControlPolicy" {
        return Err(malformed());
    }
    normalise(&mut document, DOCUMENT).map_err(|_| malformed())?;
    Ok(document)
}

/// The list of a document.
///
/// # Errors
/// `MalformedACLError`, `AccessDenied` for another owner, and as [`from_headers`] for grantees.
pub fn from_document(body: &[u8], parties: &Parties<'_>) -> Result<Acl, S3Error> {
    let malformed = || S3Error::from(ErrorCode::MalformedACLError);
    let document = document(body)?;
    let owner = document.child("Owner").and_then(|owner| owner.text_of("ID")).ok_or_else(malformed)?;
    if owner != parties.owner {
        return Err(ErrorCode::AccessDenied.into());
    }
    let list = document.child("AccessControlList").ok_or_else(malformed)?;
    let mut acl = Acl { owner: owner.into(), grants: Vec::with_capacity(list.children.len()) };
    for grant in &list.children {
        let word = grant.text_of("Permission").ok_or_else(malformed)?;
        let permission = Permission::ALL.iter().find(|row| row.1 == word).ok_or_else(malformed)?.0;
        let grantee = grant.child("Grantee").ok_or_else(malformed)?;
        let names = (grantee.text_of("ID"), grantee.text_of("EmailAddress"), grantee.text_of("URI"));
        let grantee = match names {
            (Some(id), None, None) => of_id(id, parties)?,
            (None, Some(email), None) => of_email(email, parties)?,
            (None, None, Some(uri)) => of_uri(uri)?,
            _ => return Err(malformed()),
        };
        acl.grants.push(Grant { grantee, permission });
    }
    check_count(&acl)?;
    Ok(acl)
}

/// The list a request to set one says, in headers or body.
///
/// # Errors
/// `MissingSecurityHeader` for a request that says nothing, `InvalidRequest` for one that says it twice, and as
/// [`from_headers`] and [`from_document`].
pub fn of_put(head: &Head, body: &[u8], parties: &Parties<'_>) -> Result<Acl, S3Error> {
    let has_body = !body.trim_ascii().is_empty();
    match from_headers(head, parties)? {
        Some(_) if has_body => {
            let message = "Specifying Canned ACLs or Header Grants with a body is not allowed";
            Err(S3Error::new(ErrorCode::InvalidRequest, message))
        }
        Some(acl) => Ok(acl),
        None if has_body => from_document(body, parties),
        None => Err(ErrorCode::MissingSecurityHeader.into()),
    }
}

/// Checks a request to set a list where lists are off: the owner's full control is all there can be.
///
/// # Errors
/// `AccessControlListNotSupported` for anything else, and as [`of_put`] for what is no list.
pub fn check_closed(head: &Head, body: &[u8], parties: &Parties<'_>) -> Result<(), S3Error> {
    let refused = || Err(S3Error::from(ErrorCode::AccessControlListNotSupported));
    if has_grants(head) && head.get("x-amz-acl").is_none() {
        return refused();
    }
    if head.get("x-amz-acl").is_none() && !body.trim_ascii().is_empty() {
        let owner = Some(parties.owner);
        let document = document(body)?;
        let list = document.child("AccessControlList").map_or(&[][..], |list| &list.children);
        let is_owners = |grant: &Element| {
            grant.text_of("Permission") == Some("FULL_CONTROL")
                && grant.child("Grantee").and_then(|grantee| grantee.text_of("ID")) == owner
        };
        let is_all = !list.is_empty() && list.len() <= GRANTS_MAX && list.iter().all(is_owners);
        return if is_all { Ok(()) } else { refused() };
    }
    of_put(head, body, parties)?;
    if is_harmless(head) { Ok(()) } else { refused() }
}
