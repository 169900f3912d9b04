//! Replication of a bucket: what a configuration may look like, and what its fields need of each other.
//!
//! Invariant: a document that passes is one S3 would keep; whether its buckets are there the server decides. Any core.
//! Owner: `net/s3`. Source: AWS S3 API reference, "PutBucketReplication", "ReplicationRule" and "Destination"; user
//! guide, "Replication configuration file elements". Deliberately absent: execution (background jobs).

use std::collections::BTreeSet;

use super::{
    checks::{check_id, malformed, request},
    documents::{ENABLED_DISABLED, TAG},
    schema::{
        Content::{self, Number, Of, OneOf, Text},
        Field, maybe, one, some,
    },
    tags::{OBJECT_TAGS_MAX, TagSet},
    tree::Element,
};
use crate::{bucket_name, code::ErrorCode, content::StorageClass, error::S3Error};

const RULES_MAX: u16 = 1000;
const PREFIX_BYTES_MAX: usize = 1024;
/// The only threshold S3 knows.
const REPLICATION_MINUTES: Content = Of(&[one("Minutes", Number(15, 15))]);
const SWITCH: Content = Of(&[one("Status", ENABLED_DISABLED)]);
const ARN_OF_BUCKET: &str = "arn:aws:s3:::";

/// `ReplicationConfiguration`
pub const REPLICATION: Content =
    Of(&[one("Role", Text), Field { name: "Rule", min: 1, max: RULES_MAX, content: RULE }]);

const RULE: Content = Of(&[
    maybe("ID", Text),
    maybe("Priority", Number(0, i32::MAX as i64)),
    maybe("Prefix", Text),
    maybe(
        "Filter",
        Of(&[
            maybe("Prefix", Text),
            maybe("Tag", TAG),
            maybe("And", Of(&[maybe("Prefix", Text), some("Tag", TAG)])),
        ]),
    ),
    one("Status", ENABLED_DISABLED),
    maybe("DeleteMarkerReplication", SWITCH),
    maybe("ExistingObjectReplication", SWITCH),
    maybe(
        "SourceSelectionCriteria",
        Of(&[maybe("SseKmsEncryptedObjects", SWITCH), maybe("ReplicaModifications", SWITCH)]),
    ),
    one("Destination", DESTINATION),
]);

const DESTINATION: Content = Of(&[
    one("Bucket", Text),
    maybe("Account", Text),
    maybe("StorageClass", Text),
    maybe("AccessControlTranslation", Of(&[one("Owner", OneOf(&["Destination"]))])),
    maybe("EncryptionConfiguration", Of(&[maybe("ReplicaKmsKeyID", Text)])),
    maybe("ReplicationTime", Of(&[one("Status", ENABLED_DISABLED), one("Time", REPLICATION_MINUTES)])),
    maybe("Metrics", Of(&[one("Status", ENABLED_DISABLED), maybe("EventThreshold", REPLICATION_MINUTES)])),
]);

/// The rules each for itself, then their ids and priorities among each other.
pub fn check(document: &mut Element) -> Result<(), S3Error> {
    let role = document.text_of("Role").unwrap_or_default();
    if !role.starts_with("arn:") || role.split(':').count() < 6 {
        return Err(S3Error::argument(
            "Invalid Role specified in replication configuration",
            "Role",
            role.as_bytes(),
        ));
    }
    let (mut ids, mut priorities, mut filtered) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for rule in document.all("Rule") {
        check_id(rule.text_of("ID"), &mut ids)?;
        scope(rule)?;
        destination(rule)?;
        filtered.insert(rule.child("Filter").is_some());
        if rule.text_of("Priority").is_some_and(|priority| !priorities.insert(priority.to_owned())) {
            return Err(request("Priority must be unique. Found same priority for more than one rule"));
        }
    }
    if filtered.len() > 1 {
        return Err(request("Rules with Filter and rules without it cannot be combined."));
    }
    let mut at = 0;
    for rule in document.children.iter_mut().filter(|child| child.name == "Rule") {
        if rule.text_of("ID").is_none_or(str::is_empty) {
            rule.children.retain(|child| child.name != "ID");
            let text = std::iter::from_fn(|| {
                at += 1;
                Some(format!("rule-{at}"))
            })
            .find(|id| !ids.contains(id));
            let text = text.expect("more numbers than rules");
            rule.children.insert(0, Element { name: "ID".into(), text, children: Vec::new() });
        }
    }
    Ok(())
}

/// To which objects it applies. `Filter` is the mark of the second schema, which asks for more.
fn scope(rule: &Element) -> Result<(), S3Error> {
    let Some(filter) = rule.child("Filter") else {
        return prefix(rule.text_of("Prefix").ok_or_else(malformed)?);
    };
    if rule.child("Prefix").is_some() || filter.children.len() > 1 {
        return Err(malformed());
    }
    if rule.child("Priority").is_none() {
        return Err(request("Priority must be specified for this version of the replication configuration."));
    }
    let Some(markers) = rule.child("DeleteMarkerReplication") else {
        return Err(request(
            "DeleteMarkerReplication must be specified for this version of the replication configuration.",
        ));
    };
    let conditions = filter.child("And").unwrap_or(filter);
    prefix(conditions.text_of("Prefix").unwrap_or_default())?;
    let tags: Vec<Element> = conditions.all("Tag").cloned().collect();
    if !tags.is_empty() && markers.text_of("Status") == Some("Enabled") {
        return Err(request("Delete marker replication is not supported if any Tag filter is specified."));
    }
    let set = Element { name: "TagSet".into(), text: String::new(), children: tags };
    let document = Element { name: "Tagging".into(), text: String::new(), children: vec![set] };
    TagSet::of(&document, OBJECT_TAGS_MAX).map(drop)
}

fn prefix(text: &str) -> Result<(), S3Error> {
    if text.len() > PREFIX_BYTES_MAX {
        return Err(S3Error::new(ErrorCode::InvalidArgument, "Prefix is longer than 1024 bytes"));
    }
    Ok(())
}

/// Where replicas go.
fn destination(rule: &Element) -> Result<(), S3Error> {
    let destination = rule.child("Destination").ok_or_else(malformed)?;
    if bucket_of(destination).is_none() {
        return Err(S3Error::new(ErrorCode::InvalidArgument, "Invalid bucket ARN."));
    }
    let class = destination.text_of("StorageClass");
    if class.is_some_and(|class| StorageClass::from_name(class.as_bytes()).is_none()) {
        return Err(malformed());
    }
    let account = destination.text_of("Account");
    if account.is_some_and(|account| account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit())) {
        return Err(S3Error::new(ErrorCode::InvalidArgument, "The account id is not well formed"));
    }
    if destination.child("AccessControlTranslation").is_some() && account.is_none() {
        return Err(request("Account must be specified if AccessControlTranslation is specified."));
    }
    let criteria = rule.child("SourceSelectionCriteria");
    let encrypted = criteria.and_then(|criteria| criteria.child("SseKmsEncryptedObjects"));
    let wants_key = encrypted.is_some_and(|one| one.text_of("Status") == Some("Enabled"));
    let key = destination.child("EncryptionConfiguration").and_then(|one| one.text_of("ReplicaKmsKeyID"));
    if wants_key && key.is_none_or(str::is_empty) {
        return Err(request("ReplicaKmsKeyID must be specified if SseKmsEncryptedObjects is enabled."));
    }
    if destination.child("EncryptionConfiguration").is_some() && encrypted.is_none() {
        return Err(request("SseKmsEncryptedObjects must be specified if EncryptionConfiguration is."));
    }
    let in_time =
        destination.child("ReplicationTime").is_some_and(|one| one.text_of("Status") == Some("Enabled"));
    let metrics = destination.child("Metrics");
    let counts = metrics.is_some_and(|one| one.text_of("Status") == Some("Enabled"));
    if in_time && !counts {
        return Err(request("Metrics must be enabled if ReplicationTime is."));
    }
    Ok(())
}

/// The bucket a destination names; `None` when that is no ARN of one.
fn bucket_of(destination: &Element) -> Option<&str> {
    let name = destination.text_of("Bucket")?.strip_prefix(ARN_OF_BUCKET)?;
    bucket_name::is_valid(name).then_some(name)
}

/// The buckets replicas go to, in the order of the rules.
pub fn destinations(document: &Element) -> impl Iterator<Item = &str> {
    document.all("Rule").filter_map(|rule| rule.child("Destination")).filter_map(bucket_of)
}
