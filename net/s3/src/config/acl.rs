//! Access control lists: who may do what beside the owner, read from requests, written in answers, stored.
//!
//! Invariant: a list of a request is taken whole or refused, never stored in part; a stored list reads back as
//! it was. What a list allows is decided by [`Acl::allows`] alone. Any core. Owner: `net/s3`. Source: AWS S3 user
//! guide, "Access control list (ACL) overview".

mod request;
#[cfg(test)]
mod tests;

pub use self::request::{Directory, Parties, check_closed, from_document, from_headers, is_harmless, of_put};
use crate::{response::Owner, xml::Writer};

/// The canonical id of nobody: who sends unsigned requests, and owner of what they write.
pub const ANONYMOUS_ID: &str = "65a011a29cdf8ec533ec3d1ccaae921c";
/// Who bundles machine images (`aws-exec-read`).
const EXEC_ID: &str = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c";
/// Most grants of one list.
pub const GRANTS_MAX: usize = 100;

/// What a grant allows. The letters are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Listing a bucket, reading an object.
    Read,
    /// Writing and deleting objects of a bucket.
    Write,
    /// Reading the list.
    ReadAcp,
    /// Replacing the list.
    WriteAcp,
    /// All four.
    FullControl,
}

impl Permission {
    /// All, with their name in XML, their header and their stored letter.
    const ALL: [(Self, &'static str, &'static str, char); 5] = [
        (Self::Read, "READ", "x-amz-grant-read", 'r'),
        (Self::Write, "WRITE", "x-amz-grant-write", 'w'),
        (Self::ReadAcp, "READ_ACP", "x-amz-grant-read-acp", 'R'),
        (Self::WriteAcp, "WRITE_ACP", "x-amz-grant-write-acp", 'W'),
        (Self::FullControl, "FULL_CONTROL", "x-amz-grant-full-control", 'f'),
    ];

    fn row(self) -> &'static (Self, &'static str, &'static str, char) {
        Self::ALL.iter().find(|row| row.0 == self).expect("the table has them all")
    }

    fn covers(self, wanted: Self) -> bool {
        self == wanted || self == Self::FullControl
    }
}

/// To whom something is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// An account, by canonical id.
    Id(Box<str>),
    /// Everybody.
    AllUsers,
    /// Everybody who signs.
    AuthenticatedUsers,
    /// The service that writes access logs.
    LogDelivery,
}

impl Grantee {
    /// The groups, with their URI and their stored sign, which no id begins with.
    const GROUPS: [(Self, &'static str, &'static str); 3] = [
        (Self::AllUsers, "http://acs.amazonaws.com/groups/global/AllUsers", "*"),
        (Self::AuthenticatedUsers, "http://acs.amazonaws.com/groups/global/AuthenticatedUsers", "@"),
        (Self::LogDelivery, "http://acs.amazonaws.com/groups/s3/LogDelivery", "%"),
    ];

    fn group(&self) -> Option<&'static (Self, &'static str, &'static str)> {
        Self::GROUPS.iter().find(|row| row.0 == *self)
    }

    fn is_public(&self) -> bool {
        matches!(self, Self::AllUsers | Self::AuthenticatedUsers)
    }
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub grantee: Grantee,
    /// What.
    pub permission: Permission,
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Canonical id of the owner, to whom everything is allowed.
    pub owner: Box<str>,
    /// The grants, in the order they were given.
    pub grants: Vec<Grant>,
}

/// Who asks, as lists know him.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// Whether he is known by that canonical id.
    pub is: &'a dyn Fn(&str) -> bool,
    /// Whether he signed.
    pub is_authenticated: bool,
    /// Whether grants to everybody count.
    pub public_counts: bool,
}

impl Acl {
    /// The owner's full control, and nothing else.
    #[must_use]
    pub fn private(owner: &str) -> Self {
        let grant = Grant { grantee: Grantee::Id(owner.into()), permission: Permission::FullControl };
        Self { owner: owner.into(), grants: vec![grant] }
    }

    /// Whether `asking` may do what `wanted` stands for.
    #[must_use]
    pub fn allows(&self, wanted: Permission, asking: &Asking<'_>) -> bool {
        (asking.is)(&self.owner)
            || self.grants.iter().any(|grant| {
                let is_meant = match &grant.grantee {
                    Grantee::Id(id) => (asking.is)(id),
                    Grantee::AllUsers => asking.public_counts,
                    Grantee::AuthenticatedUsers => asking.public_counts && asking.is_authenticated,
                    Grantee::LogDelivery => false,
                };
                is_meant && grant.permission.covers(wanted)
            })
    }

    /// Whether it grants anything to everybody, or to everybody who signs.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.grants.iter().any(|grant| grant.grantee.is_public())
    }

    /// Whether it is [`Acl::private`] of that owner.
    #[must_use]
    pub fn is_private_of(&self, owner: &str) -> bool {
        *self == Self::private(owner)
    }

    /// Whether it gives `id` full control.
    #[must_use]
    pub fn gives_all_to(&self, id: &str) -> bool {
        self.grants.iter().any(|grant| {
            grant.permission == Permission::FullControl && grant.grantee == Grantee::Id(id.into())
        })
    }

    /// As stored: the owner, then a line for each grant, its letter first.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = self.owner.to_string();
        for grant in &self.grants {
            out.push('\n');
            out.push(grant.permission.row().3);
            match (&grant.grantee, grant.grantee.group()) {
                (_, Some((_, _, sign))) => out.push_str(sign),
                (Grantee::Id(id), None) => out.push_str(id),
                (_, None) => unreachable!("what is no id is a group"),
            }
        }
        out
    }

    /// From its stored form; `None` when it is none.
    #[must_use]
    pub fn decode(stored: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(stored).ok()?.split('\n');
        let owner = lines.next().filter(|owner| !owner.is_empty())?.into();
        let mut grants = Vec::new();
        for line in lines {
            let mut letters = line.chars();
            let letter = letters.next()?;
            let permission = Permission::ALL.iter().find(|row| row.3 == letter)?.0;
            let name = letters.as_str();
            let group = Grantee::GROUPS.iter().find(|row| row.2 == name).map(|row| row.0.clone());
            let grantee = match group {
                Some(group) => group,
                None if name.is_empty() => return None,
                None => Grantee::Id(name.into()),
            };
            grants.push(Grant { grantee, permission });
        }
        Some(Self { owner, grants })
    }

    /// Writes the answer to a read. `shown` names an account.
    pub fn write<'a>(&'a self, out: &mut Vec<u8>, shown: impl Fn(&'a str) -> Owner<'a>) {
        let mut xml = Writer::document(out);
        xml.open_root("AccessControlPolicy");
        shown(&self.owner).write("Owner", &mut xml);
        xml.open("AccessControlList");
        for grant in &self.grants {
            xml.constant(
                "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"",
            );
            match &grant.grantee {
                Grantee::Id(id) => {
                    xml.constant("CanonicalUser\">");
                    shown(id).write_fields(&mut xml);
                }
                group => {
                    xml.constant("Group\">");
                    xml.optional("URI", group.group().map(|row| row.1));
                }
            }
            xml.constant("</Grantee>");
            xml.text("Permission", grant.permission.row().1);
            xml.close("Grant");
        }
        xml.close("AccessControlList");
        xml.close("AccessControlPolicy");
    }
}
