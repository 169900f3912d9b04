//! Configurations of buckets: documents that are checked, stored and given back, and what they mean.
//!
//! Invariant: [`KINDS`] is the one list of them; the handler, the stored names and the answers derive from
//! it. A stored document passed its checks. Runs on the accepting core, sans I/O. Owner: `net/s3`.
//! Deliberately absent: policies and encryption (access control), execution of lifecycle, replication,
//! logging, notifications (background jobs).

pub mod acl;
mod checks;
pub mod cors;
mod documents;
pub mod replication;
pub mod schema;
pub mod tags;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod website;

pub use self::documents::OWNERSHIPS;

use self::{
    schema::{Content, normalise},
    tree::Element,
};
use crate::{code::ErrorCode, error::S3Error, ops::Op, xml::Writer};

/// One kind of configuration.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The sub-resource; also the name it is stored under.
    pub name: &'static str,
    /// Root element.
    pub root: &'static str,
    content: Content,
    check: fn(&mut Element) -> Result<(), S3Error>,
    /// Sets it.
    pub put: Op,
    /// Reads it.
    pub get: Op,
    /// Removes it, where it can be removed.
    pub delete: Option<Op>,
    /// Lists them, where a bucket has several by id.
    pub list: Option<Op>,
    /// Status of a successful put.
    pub put_status: u16,
}

const fn kind(
    name: &'static str,
    root: &'static str,
    content: Content,
    check: fn(&mut Element) -> Result<(), S3Error>,
    (put, get, delete): (Op, Op, Option<Op>),
) -> Kind {
    Kind { name, root, content, check, put, get, delete, list: None, put_status: 200 }
}

const fn by_id(kind: Kind, list: Op) -> Kind {
    Kind { list: Some(list), ..kind }
}

const fn answered(kind: Kind, put_status: u16) -> Kind {
    Kind { put_status, ..kind }
}

/// Every kind.
pub static KINDS: &[Kind] = &[
    answered(
        kind(
            "tagging",
            "Tagging",
            documents::TAGGING,
            checks::tagging,
            (Op::PutBucketTagging, Op::GetBucketTagging, Some(Op::DeleteBucketTagging)),
        ),
        204,
    ),
    kind(
        "versioning",
        "VersioningConfiguration",
        documents::VERSIONING,
        checks::versioning,
        (Op::PutBucketVersioning, Op::GetBucketVersioning, None),
    ),
    kind(
        "cors",
        "CORSConfiguration",
        documents::CORS,
        checks::cors,
        (Op::PutBucketCors, Op::GetBucketCors, Some(Op::DeleteBucketCors)),
    ),
    kind(
        "website",
        "WebsiteConfiguration",
        documents::WEBSITE,
        checks::website,
        (Op::PutBucketWebsite, Op::GetBucketWebsite, Some(Op::DeleteBucketWebsite)),
    ),
    kind(
        "lifecycle",
        "LifecycleConfiguration",
        documents::LIFECYCLE,
        checks::lifecycle,
        (
            Op::PutBucketLifecycleConfiguration,
            Op::GetBucketLifecycleConfiguration,
            Some(Op::DeleteBucketLifecycle),
        ),
    ),
    kind(
        "ownershipControls",
        "OwnershipControls",
        documents::OWNERSHIP,
        checks::nothing,
        (
            Op::PutBucketOwnershipControls,
            Op::GetBucketOwnershipControls,
            Some(Op::DeleteBucketOwnershipControls),
        ),
    ),
    kind(
        "publicAccessBlock",
        "PublicAccessBlockConfiguration",
        documents::PUBLIC_ACCESS_BLOCK,
        checks::public_access_block,
        (Op::PutPublicAccessBlock, Op::GetPublicAccessBlock, Some(Op::DeletePublicAccessBlock)),
    ),
    kind(
        "requestPayment",
        "RequestPaymentConfiguration",
        documents::REQUEST_PAYMENT,
        checks::nothing,
        (Op::PutBucketRequestPayment, Op::GetBucketRequestPayment, None),
    ),
    kind(
        "accelerate",
        "AccelerateConfiguration",
        documents::ACCELERATE,
        checks::nothing,
        (Op::PutBucketAccelerateConfiguration, Op::GetBucketAccelerateConfiguration, None),
    ),
    kind(
        "logging",
        "BucketLoggingStatus",
        documents::LOGGING,
        checks::logging,
        (Op::PutBucketLogging, Op::GetBucketLogging, None),
    ),
    kind(
        "notification",
        "NotificationConfiguration",
        documents::NOTIFICATION,
        checks::notification,
        (Op::PutBucketNotificationConfiguration, Op::GetBucketNotificationConfiguration, None),
    ),
    kind(
        "replication",
        "ReplicationConfiguration",
        replication::REPLICATION,
        replication::check,
        (Op::PutBucketReplication, Op::GetBucketReplication, Some(Op::DeleteBucketReplication)),
    ),
    by_id(
        kind(
            "analytics",
            "AnalyticsConfiguration",
            documents::ANALYTICS,
            checks::filtered,
            (
                Op::PutBucketAnalyticsConfiguration,
                Op::GetBucketAnalyticsConfiguration,
                Some(Op::DeleteBucketAnalyticsConfiguration),
            ),
        ),
        Op::ListBucketAnalyticsConfigurations,
    ),
    by_id(
        kind(
            "intelligent-tiering",
            "IntelligentTieringConfiguration",
            documents::INTELLIGENT_TIERING,
            checks::filtered,
            (
                Op::PutBucketIntelligentTieringConfiguration,
                Op::GetBucketIntelligentTieringConfiguration,
                Some(Op::DeleteBucketIntelligentTieringConfiguration),
            ),
        ),
        Op::ListBucketIntelligentTieringConfigurations,
    ),
    by_id(
        answered(
            kind(
                "inventory",
                "InventoryConfiguration",
                documents::INVENTORY,
                checks::inventory,
                (
                    Op::PutBucketInventoryConfiguration,
                    Op::GetBucketInventoryConfiguration,
                    Some(Op::DeleteBucketInventoryConfiguration),
                ),
            ),
            204,
        ),
        Op::ListBucketInventoryConfigurations,
    ),
    by_id(
        answered(
            kind(
                "metrics",
                "MetricsConfiguration",
                documents::METRICS,
                checks::filtered,
                (
                    Op::PutBucketMetricsConfiguration,
                    Op::GetBucketMetricsConfiguration,
                    Some(Op::DeleteBucketMetricsConfiguration),
                ),
            ),
            204,
        ),
        Op::ListBucketMetricsConfigurations,
    ),
];

/// What an operation does with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sets it.
    Put,
    /// Reads it.
    Get,
    /// Removes it.
    Delete,
    /// Lists those of the kind.
    List,
}

/// The kind and action of an operation; `None` for one that is about something else.
#[must_use]
pub fn of_op(op: Op) -> Option<(&'static Kind, Action)> {
    KINDS.iter().find_map(|kind| {
        let action = match () {
            () if kind.put == op => Action::Put,
            () if kind.get == op => Action::Get,
            () if kind.delete == Some(op) => Action::Delete,
            () if kind.list == Some(op) => Action::List,
            () => return None,
        };
        Some((kind, action))
    })
}

/// The kind stored under a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

impl Kind {
    /// Reads and checks a document of this kind. `id` is the request's parameter, for kinds that have one.
    ///
    /// # Errors
    /// `MalformedXML`, or what S3 says of the first thing that is wrong.
    pub fn parse(&self, body: &[u8], id: Option<&str>) -> Result<Element, S3Error> {
        if body.trim_ascii().is_empty() {
            return Err(ErrorCode::MissingRequestBodyError.into());
        }
        let mut document = Element::parse(body)?;
        if document.name != self.root {
            return Err(ErrorCode::MalformedXML.into());
        }
        normalise(&mut document, self.content)?;
        (self.check)(&mut document)?;
        if let Some(id) = id
            && document.text_of("Id") != Some(id)
        {
            return Err(ErrorCode::InvalidConfigurationId.into());
        }
        Ok(document)
    }

    /// As stored: the content of the root element, ready to be written again.
    #[must_use]
    pub fn stored(&self, document: &Element) -> String {
        let mut out = Vec::new();
        document.write_content(&mut Writer::fragment(&mut out));
        String::from_utf8(out).expect("texts are UTF-8")
    }

    /// The document from its stored form; `None` when it is not of this kind.
    #[must_use]
    pub fn load(&self, stored: &str) -> Option<Element> {
        Element::parse(format!("<{0}>{stored}</{0}>", self.root).as_bytes()).ok()
    }

    /// Writes the answer to a read.
    pub fn write(&self, out: &mut Vec<u8>, stored: &str) {
        let mut xml = Writer::document(out);
        xml.open_root(self.root);
        xml.stored(stored);
        xml.close(self.root);
    }

    /// Writes a page of a listing: stored documents in order of their ids, and where to go on.
    pub fn write_list<'a>(
        &self,
        out: &mut Vec<u8>,
        entries: impl Iterator<Item = &'a str>,
        token: Option<&str>,
        next_token: Option<&str>,
    ) {
        let Some(op) = self.list else { return };
        let crate::ops::State::UnsetDocument(root, _) = op.row().state else { return };
        let mut xml = Writer::document(out);
        xml.open_root(root);
        for stored in entries {
            xml.open(self.root);
            xml.stored(stored);
            xml.close(self.root);
        }
        xml.boolean("IsTruncated", next_token.is_some());
        xml.optional("ContinuationToken", token);
        xml.optional("NextContinuationToken", next_token);
        xml.close(root);
    }
}
