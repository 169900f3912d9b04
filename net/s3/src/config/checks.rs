//! What a schema cannot say about a configuration: fields that exclude or need each other, ranges with
//! an error of their own, names S3 fills in.
//!
//! Invariant: a document that passes is one S3 would keep. Any core. Owner: `net/s3`. Source: the AWS S3
//! API reference and user guide, one page per configuration.

use std::collections::BTreeSet;

use super::{
    tags::{BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, TagSet},
    tree::Element,
};
use crate::{bucket_name, code::ErrorCode, error::S3Error};

type Checked = Result<(), S3Error>;

const RULE_ID_CHARS_MAX: usize = 255;

pub(super) fn malformed() -> S3Error {
    ErrorCode::MalformedXML.into()
}

fn argument(message: &'static str) -> S3Error {
    S3Error::new(ErrorCode::InvalidArgument, message)
}

pub(super) fn request(message: &'static str) -> S3Error {
    S3Error::new(ErrorCode::InvalidRequest, message)
}

fn leaf(name: &str, text: String) -> Element {
    Element { name: name.to_owned(), text, children: Vec::new() }
}

fn number_of(element: &Element, name: &str) -> Option<i64> {
    element.text_of(name).and_then(|text| text.parse().ok())
}

/// Nothing beyond the schema.
pub fn nothing(_: &mut Element) -> Checked {
    Ok(())
}

/// Tags of a bucket.
pub fn tagging(document: &mut Element) -> Checked {
    TagSet::of(document, BUCKET_TAGS_MAX).map(drop)
}

/// A state must be named; deletes that need a second factor are not to be had.
pub fn versioning(document: &mut Element) -> Checked {
    if document.text_of("MfaDelete") == Some("Enabled") {
        let message = "Mfa Authentication must be used for this request";
        return Err(S3Error::new(ErrorCode::AccessDenied, message));
    }
    if document.child("Status").is_none() {
        return Err(ErrorCode::IllegalVersioningConfigurationException.into());
    }
    document.children.retain(|child| child.name == "Status");
    Ok(())
}

/// Switches left out are off.
pub fn public_access_block(document: &mut Element) -> Checked {
    for name in ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"] {
        if document.child(name).is_none() {
            document.children.push(leaf(name, "false".into()));
        }
    }
    Ok(())
}

/// Methods, wild cards, rule names.
pub fn cors(document: &mut Element) -> Checked {
    let mut ids = BTreeSet::new();
    for rule in document.all("CORSRule") {
        for method in rule.all("AllowedMethod") {
            if !["GET", "PUT", "HEAD", "POST", "DELETE"].contains(&method.text.as_str()) {
                let message = "Found unsupported HTTP method in CORS config.";
                return Err(request(message).with("Method", method.text.as_bytes()));
            }
        }
        if rule.all("AllowedOrigin").any(|origin| origin.text.matches('*').count() > 1) {
            return Err(request("AllowedOrigin can not have more than one wildcard."));
        }
        if rule.all("AllowedHeader").any(|header| header.text.matches('*').count() > 1) {
            return Err(request("AllowedHeader can not have more than one wildcard."));
        }
        if rule.all("ExposeHeader").any(|header| header.text.contains('*')) {
            return Err(request(
                "ExposeHeader contains wildcard. We currently do not support wildcard for ExposeHeader.",
            ));
        }
        check_id(rule.text_of("ID"), &mut ids)?;
    }
    Ok(())
}

pub(super) fn check_id(id: Option<&str>, seen: &mut BTreeSet<String>) -> Checked {
    let Some(id) = id else { return Ok(()) };
    if id.chars().count() > RULE_ID_CHARS_MAX {
        return Err(argument("ID length should not exceed allowed limit of 255"));
    }
    if !id.is_empty() && !seen.insert(id.to_owned()) {
        return Err(argument("Rule ID must be unique. Found same ID for more than one rule"));
    }
    Ok(())
}

/// An index document, or a redirect of everything, not both.
pub fn website(document: &mut Element) -> Checked {
    if let Some(all) = document.child("RedirectAllRequestsTo") {
        if document.children.len() > 1 {
            return Err(request(
                "RedirectAllRequestsTo cannot be provided in conjunction with other elements.",
            ));
        }
        let host = all.text_of("HostName").unwrap_or_default();
        return if host.is_empty() { Err(request("HostName must not be empty.")) } else { Ok(()) };
    }
    let Some(index) = document.child("IndexDocument") else {
        return Err(argument(
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
        ));
    };
    let suffix = index.text_of("Suffix").unwrap_or_default();
    if suffix.is_empty() || suffix.contains('/') {
        return Err(argument("The IndexDocument Suffix is not well formed"));
    }
    if document.child("ErrorDocument").is_some_and(|error| error.text_of("Key") == Some("")) {
        return Err(argument("The ErrorDocument Key is not well formed"));
    }
    let rules = document.child("RoutingRules").into_iter().flat_map(|rules| rules.all("RoutingRule"));
    rules.into_iter().try_for_each(routing_rule)
}

fn routing_rule(rule: &Element) -> Checked {
    if let Some(condition) = rule.child("Condition") {
        if condition.children.is_empty() {
            return Err(request(
                "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be present.",
            ));
        }
        let code = number_of(condition, "HttpErrorCodeReturnedEquals");
        if code.is_some_and(|code| !(400..600).contains(&code)) {
            return Err(request("The provided HTTP error code is not valid. Valid codes are 4XX or 5XX."));
        }
    }
    let redirect = rule.child("Redirect").ok_or_else(malformed)?;
    if redirect.children.is_empty() {
        return Err(request("Redirect cannot be empty."));
    }
    if redirect.child("ReplaceKeyWith").is_some() && redirect.child("ReplaceKeyPrefixWith").is_some() {
        return Err(request("You can only define ReplaceKeyPrefix or ReplaceKey but not both."));
    }
    let code = number_of(redirect, "HttpRedirectCode");
    if code.is_some_and(|code| !(301..400).contains(&code)) {
        return Err(request("The provided HTTP redirect code is not valid. Valid codes are 3XX except 300."));
    }
    Ok(())
}

/// The target is a bucket name; whether it exists the server decides.
pub fn logging(document: &mut Element) -> Checked {
    let Some(enabled) = document.child("LoggingEnabled") else { return Ok(()) };
    let target = enabled.text_of("TargetBucket").unwrap_or_default();
    if !bucket_name::is_valid(target) {
        return Err(ErrorCode::InvalidTargetBucketForLogging.into());
    }
    let format = enabled.child("TargetObjectKeyFormat");
    if format.is_some_and(|format| format.children.len() != 1) { Err(malformed()) } else { Ok(()) }
}

/// Destinations look like ARNs, names are unique, filters name prefix and suffix once each.
pub fn notification(document: &mut Element) -> Checked {
    let mut ids = BTreeSet::new();
    let count = document.children.len();
    for (at, rule) in document.children.iter_mut().enumerate() {
        let (target, service) = match rule.name.as_str() {
            "TopicConfiguration" => ("Topic", "arn:aws:sns:"),
            "QueueConfiguration" => ("Queue", "arn:aws:sqs:"),
            "CloudFunctionConfiguration" => ("CloudFunction", "arn:aws:lambda:"),
            _ => continue,
        };
        if !rule.text_of(target).unwrap_or_default().starts_with(service) {
            return Err(argument("The ARN is not well formed"));
        }
        let key = rule.child("Filter").and_then(|filter| filter.child("S3Key"));
        let mut names = BTreeSet::new();
        for filter in key.into_iter().flat_map(|key| key.all("FilterRule")) {
            let name = filter.text_of("Name").unwrap_or_default().to_ascii_lowercase();
            if !["prefix", "suffix"].contains(&name.as_str()) {
                return Err(argument("filter rule name must be either prefix or suffix"));
            }
            if !names.insert(name) {
                return Err(argument("Cannot specify more than one prefix or suffix rule in a filter."));
            }
        }
        match rule.text_of("Id") {
            Some(id) if !id.is_empty() => check_id(Some(id), &mut ids)?,
            _ => {
                rule.children.retain(|child| child.name != "Id");
                rule.children.insert(0, leaf("Id", format!("notification-{at}-of-{count}")));
            }
        }
    }
    Ok(())
}

/// One condition alone, or several in `And`.
pub fn filtered(document: &mut Element) -> Checked {
    check_id_text(document)?;
    match document.child("Filter") {
        Some(filter) if filter.children.len() != 1 => Err(malformed()),
        _ => Ok(()),
    }
}

/// A destination's bucket is an ARN.
pub fn inventory(document: &mut Element) -> Checked {
    check_id_text(document)?;
    let destination = document.child("Destination").and_then(|one| one.child("S3BucketDestination"));
    let bucket = destination.and_then(|one| one.text_of("Bucket")).unwrap_or_default();
    if bucket.strip_prefix("arn:aws:s3:::").is_none_or(|name| !bucket_name::is_valid(name)) {
        return Err(argument("Invalid bucket ARN."));
    }
    Ok(())
}

fn check_id_text(document: &Element) -> Checked {
    let id = document.text_of("Id").unwrap_or_default();
    let legal = id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if id.is_empty() || id.len() > 64 || !legal {
        let code = ErrorCode::InvalidConfigurationId;
        return Err(code.into());
    }
    Ok(())
}

/// Every rule of a lifecycle.
pub fn lifecycle(document: &mut Element) -> Checked {
    let mut ids = BTreeSet::new();
    for rule in document.all("Rule") {
        check_id(rule.text_of("ID"), &mut ids)?;
    }
    for (at, rule) in document.children.iter_mut().enumerate() {
        lifecycle_filter(rule)?;
        lifecycle_actions(rule)?;
        if rule.text_of("ID").is_none_or(str::is_empty) {
            rule.children.retain(|child| child.name != "ID");
            // S3 makes up a name; ours says which rule it was.
            let mut id = format!("rule-{at}");
            while !ids.insert(id.clone()) {
                id.push('-');
            }
            rule.children.insert(0, leaf("ID", id));
        }
    }
    Ok(())
}

fn lifecycle_filter(rule: &Element) -> Checked {
    let filter = match (rule.child("Prefix"), rule.child("Filter")) {
        (Some(_), None) => return Ok(()),
        (None, Some(filter)) => filter,
        _ => return Err(malformed()),
    };
    if filter.children.len() > 1 {
        return Err(malformed());
    }
    let and = filter.child("And");
    if and.is_some_and(|and| and.children.len() < 2) {
        return Err(malformed());
    }
    let conditions = and.unwrap_or(filter);
    let tags: Vec<Element> = conditions.all("Tag").cloned().collect();
    let set = Element { name: "TagSet".into(), text: String::new(), children: tags };
    TagSet::of(
        &Element { name: "Tagging".into(), text: String::new(), children: vec![set] },
        OBJECT_TAGS_MAX,
    )?;
    let least = number_of(conditions, "ObjectSizeGreaterThan");
    let most = number_of(conditions, "ObjectSizeLessThan");
    if let (Some(least), Some(most)) = (least, most)
        && most <= least.saturating_add(1)
    {
        return Err(request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'"));
    }
    let markers = rule.child("Expiration").is_some_and(|e| e.child("ExpiredObjectDeleteMarker").is_some());
    let parts = rule.child("AbortIncompleteMultipartUpload").is_some();
    if conditions.child("Tag").is_some() && markers {
        return Err(request("'ExpiredObjectDeleteMarker' cannot be specified with tags."));
    }
    if conditions.child("Tag").is_some() && parts {
        return Err(request("AbortIncompleteMultipartUpload cannot be specified with Tags"));
    }
    Ok(())
}

fn lifecycle_actions(rule: &Element) -> Checked {
    let actions = [
        "Expiration",
        "Transition",
        "NoncurrentVersionExpiration",
        "NoncurrentVersionTransition",
        "AbortIncompleteMultipartUpload",
    ];
    if !rule.children.iter().any(|child| actions.contains(&child.name.as_str())) {
        return Err(request("At least one action needs to be specified in a rule"));
    }
    if let Some(expiration) = rule.child("Expiration") {
        when(expiration, "'Days' for Expiration action must be a positive integer", 1)?;
        if expiration.children.len() != 1 {
            return Err(malformed());
        }
    }
    for transition in rule.all("Transition") {
        when(transition, "'Days' in Transition action must be nonnegative", 0)?;
        if transition.children.len() != 2 {
            return Err(malformed());
        }
    }
    if number_of_child(rule, "NoncurrentVersionExpiration", "NoncurrentDays").is_some_and(|days| days < 1) {
        let message = "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer";
        return Err(argument(message));
    }
    if rule
        .all("NoncurrentVersionTransition")
        .any(|one| number_of(one, "NoncurrentDays").is_some_and(|d| d < 0))
    {
        return Err(argument("'NoncurrentDays' in NoncurrentVersionTransition action must be nonnegative"));
    }
    for (action, least) in [("NoncurrentVersionExpiration", 1), ("NoncurrentVersionTransition", 1)] {
        let kept = rule.all(action).filter_map(|one| number_of(one, "NewerNoncurrentVersions"));
        if kept.into_iter().any(|count| !(least..=100).contains(&count)) {
            return Err(argument("'NewerNoncurrentVersions' must be between 1 and 100"));
        }
    }
    let abort = number_of_child(rule, "AbortIncompleteMultipartUpload", "DaysAfterInitiation");
    if abort.is_some_and(|days| days < 1) {
        let message =
            "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer";
        return Err(argument(message));
    }
    lifecycle_order(rule)
}

fn number_of_child(rule: &Element, child: &str, name: &str) -> Option<i64> {
    rule.child(child).and_then(|child| number_of(child, name))
}

/// Days in range, or a date at midnight.
fn when(action: &Element, message: &'static str, least: i64) -> Checked {
    if number_of(action, "Days").is_some_and(|days| days < least) {
        return Err(argument(message));
    }
    if action.text_of("Date").is_some_and(|date| date.get(11..19) != Some("00:00:00")) {
        return Err(argument("'Date' must be at midnight GMT"));
    }
    Ok(())
}

/// Expiration comes after every transition, all by days or all by date, one transition to a class.
fn lifecycle_order(rule: &Element) -> Checked {
    let expiration = rule.child("Expiration");
    let dated: BTreeSet<bool> = rule
        .all("Transition")
        .chain(expiration)
        .filter(|action| action.child("ExpiredObjectDeleteMarker").is_none())
        .map(|action| action.child("Date").is_some())
        .collect();
    if dated.len() > 1 {
        return Err(request(
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule",
        ));
    }
    let mut classes = BTreeSet::new();
    for transition in rule.all("Transition") {
        if !classes.insert(transition.text_of("StorageClass")) {
            return Err(request("Duplicate 'StorageClass' in Transition actions of a lifecycle rule"));
        }
        let days = number_of(transition, "Days");
        let expires = expiration.and_then(|expiration| number_of(expiration, "Days"));
        if let (Some(days), Some(expires)) = (days, expires)
            && expires <= days
        {
            return Err(argument(
                "'Days' in the Expiration action must be greater than 'Days' in the Transition action",
            ));
        }
    }
    Ok(())
}
