//! The documents of bucket configurations, one schema each.
//!
//! Invariant: data only; what a schema cannot say is in `checks`. Any core. Owner: `net/s3`. Source: the
//! AWS S3 API reference.

use super::schema::{
    Content::{self, Boolean, Date, Number, Of, OneOf, Text},
    Field, MANY, many, maybe, one, some,
};

pub(super) const ENABLED_DISABLED: Content = OneOf(&["Enabled", "Disabled"]);
const ENABLED_SUSPENDED: Content = OneOf(&["Enabled", "Suspended"]);
const DAYS: Content = Number(i32::MIN as i64, i32::MAX as i64);
const BYTES: Content = Number(0, i64::MAX);

pub(super) const TAG: Content = Of(&[one("Key", Text), one("Value", Text)]);

/// `Tagging`
pub const TAGGING: Content = Of(&[one("TagSet", Of(&[many("Tag", TAG)]))]);

/// `VersioningConfiguration`
pub const VERSIONING: Content =
    Of(&[maybe("Status", ENABLED_SUSPENDED), maybe("MfaDelete", ENABLED_DISABLED)]);

/// `AccelerateConfiguration`
pub const ACCELERATE: Content = Of(&[maybe("Status", ENABLED_SUSPENDED)]);

/// `RequestPaymentConfiguration`
pub const REQUEST_PAYMENT: Content = Of(&[one("Payer", OneOf(&["Requester", "BucketOwner"]))]);

/// `OwnershipControls`
pub const OWNERSHIP: Content = Of(&[one("Rule", Of(&[one("ObjectOwnership", OneOf(&OWNERSHIPS))]))]);

/// To whom objects of a bucket belong.
pub const OWNERSHIPS: [&str; 3] = ["BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"];

/// `PublicAccessBlockConfiguration`
pub const PUBLIC_ACCESS_BLOCK: Content = Of(&[
    maybe("BlockPublicAcls", Boolean),
    maybe("IgnorePublicAcls", Boolean),
    maybe("BlockPublicPolicy", Boolean),
    maybe("RestrictPublicBuckets", Boolean),
]);

/// `CORSConfiguration`. Methods are text here: S3 has an error of its own for a wrong one.
pub const CORS: Content = Of(&[Field {
    name: "CORSRule",
    min: 1,
    max: 100,
    content: Of(&[
        maybe("ID", Text),
        some("AllowedMethod", Text),
        some("AllowedOrigin", Text),
        many("AllowedHeader", Text),
        many("ExposeHeader", Text),
        maybe("MaxAgeSeconds", Number(0, i32::MAX as i64)),
    ]),
}]);

const PROTOCOL: Content = OneOf(&["http", "https"]);

/// `WebsiteConfiguration`
pub const WEBSITE: Content = Of(&[
    maybe("IndexDocument", Of(&[one("Suffix", Text)])),
    maybe("ErrorDocument", Of(&[one("Key", Text)])),
    maybe("RedirectAllRequestsTo", Of(&[one("HostName", Text), maybe("Protocol", PROTOCOL)])),
    maybe("RoutingRules", Of(&[Field { name: "RoutingRule", min: 1, max: 50, content: ROUTING_RULE }])),
]);

const ROUTING_RULE: Content = Of(&[
    maybe(
        "Condition",
        Of(&[maybe("KeyPrefixEquals", Text), maybe("HttpErrorCodeReturnedEquals", Number(0, 999))]),
    ),
    one(
        "Redirect",
        Of(&[
            maybe("HostName", Text),
            maybe("HttpRedirectCode", Number(0, 999)),
            maybe("Protocol", PROTOCOL),
            maybe("ReplaceKeyPrefixWith", Text),
            maybe("ReplaceKeyWith", Text),
        ]),
    ),
]);

const TRANSITION_CLASS: Content =
    OneOf(&["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "GLACIER_IR", "DEEP_ARCHIVE"]);

/// `LifecycleConfiguration`
pub const LIFECYCLE: Content = Of(&[Field {
    name: "Rule",
    min: 1,
    max: 1000,
    content: Of(&[
        maybe("ID", Text),
        maybe("Prefix", Text),
        maybe(
            "Filter",
            Of(&[
                maybe("Prefix", Text),
                maybe("Tag", TAG),
                maybe("ObjectSizeGreaterThan", BYTES),
                maybe("ObjectSizeLessThan", BYTES),
                maybe(
                    "And",
                    Of(&[
                        maybe("Prefix", Text),
                        many("Tag", TAG),
                        maybe("ObjectSizeGreaterThan", BYTES),
                        maybe("ObjectSizeLessThan", BYTES),
                    ]),
                ),
            ]),
        ),
        one("Status", ENABLED_DISABLED),
        maybe(
            "Expiration",
            Of(&[maybe("Date", Date), maybe("Days", DAYS), maybe("ExpiredObjectDeleteMarker", Boolean)]),
        ),
        many(
            "Transition",
            Of(&[maybe("Date", Date), maybe("Days", DAYS), one("StorageClass", TRANSITION_CLASS)]),
        ),
        maybe(
            "NoncurrentVersionExpiration",
            Of(&[one("NoncurrentDays", DAYS), maybe("NewerNoncurrentVersions", DAYS)]),
        ),
        many(
            "NoncurrentVersionTransition",
            Of(&[
                one("NoncurrentDays", DAYS),
                one("StorageClass", TRANSITION_CLASS),
                maybe("NewerNoncurrentVersions", DAYS),
            ]),
        ),
        maybe("AbortIncompleteMultipartUpload", Of(&[one("DaysAfterInitiation", DAYS)])),
    ]),
}]);

/// `BucketLoggingStatus`
pub const LOGGING: Content = Of(&[maybe(
    "LoggingEnabled",
    Of(&[
        one("TargetBucket", Text),
        one("TargetPrefix", Text),
        maybe("TargetGrants", Of(&[many("Grant", LOG_GRANT)])),
        maybe(
            "TargetObjectKeyFormat",
            Of(&[
                maybe("SimplePrefix", Of(&[])),
                maybe(
                    "PartitionedPrefix",
                    Of(&[maybe("PartitionDateSource", OneOf(&["EventTime", "DeliveryTime"]))]),
                ),
            ]),
        ),
    ]),
)]);

const LOG_GRANT: Content =
    Of(&[one("Grantee", GRANTEE), one("Permission", OneOf(&["FULL_CONTROL", "READ", "WRITE"]))]);

const GRANTEE: Content = Of(&[
    maybe("ID", Text),
    maybe("DisplayName", Text),
    maybe("EmailAddress", Text),
    maybe("URI", Text),
    maybe("Type", Text),
]);

const EVENT_FILTER: Field = maybe(
    "Filter",
    Of(&[one("S3Key", Of(&[many("FilterRule", Of(&[one("Name", Text), one("Value", Text)]))]))]),
);

/// `NotificationConfiguration`
pub const NOTIFICATION: Content = Of(&[
    many(
        "TopicConfiguration",
        Of(&[maybe("Id", Text), one("Topic", Text), some("Event", EVENT), EVENT_FILTER]),
    ),
    many(
        "QueueConfiguration",
        Of(&[maybe("Id", Text), one("Queue", Text), some("Event", EVENT), EVENT_FILTER]),
    ),
    many(
        "CloudFunctionConfiguration",
        Of(&[maybe("Id", Text), one("CloudFunction", Text), some("Event", EVENT), EVENT_FILTER]),
    ),
    maybe("EventBridgeConfiguration", Of(&[])),
]);

const EVENT: Content = OneOf(&[
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ObjectAcl:Put",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Put",
    "s3:ObjectTagging:Delete",
]);

const FILTER_ONE_OR_AND: Content =
    Of(&[maybe("Prefix", Text), maybe("Tag", TAG), maybe("And", PREFIX_AND_TAGS)]);
const PREFIX_AND_TAGS: Content = Of(&[maybe("Prefix", Text), some("Tag", TAG)]);

/// `AnalyticsConfiguration`
pub const ANALYTICS: Content = Of(&[
    one("Id", Text),
    maybe("Filter", FILTER_ONE_OR_AND),
    one(
        "StorageClassAnalysis",
        Of(&[maybe(
            "DataExport",
            Of(&[
                one("OutputSchemaVersion", OneOf(&["V_1"])),
                one(
                    "Destination",
                    Of(&[one(
                        "S3BucketDestination",
                        Of(&[
                            one("Format", OneOf(&["CSV"])),
                            maybe("BucketAccountId", Text),
                            one("Bucket", Text),
                            maybe("Prefix", Text),
                        ]),
                    )]),
                ),
            ]),
        )]),
    ),
]);

/// `IntelligentTieringConfiguration`
pub const INTELLIGENT_TIERING: Content = Of(&[
    one("Id", Text),
    maybe("Filter", FILTER_ONE_OR_AND),
    one("Status", ENABLED_DISABLED),
    Field {
        name: "Tiering",
        min: 1,
        max: 2,
        content: Of(&[
            one("AccessTier", OneOf(&["ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"])),
            one("Days", Number(90, 730)),
        ]),
    },
]);

/// `InventoryConfiguration`
pub const INVENTORY: Content = Of(&[
    one("Id", Text),
    one("IsEnabled", Boolean),
    one("IncludedObjectVersions", OneOf(&["All", "Current"])),
    one("Schedule", Of(&[one("Frequency", OneOf(&["Daily", "Weekly"]))])),
    maybe("Filter", Of(&[one("Prefix", Text)])),
    maybe("OptionalFields", Of(&[many("Field", INVENTORY_FIELD)])),
    one(
        "Destination",
        Of(&[one(
            "S3BucketDestination",
            Of(&[
                maybe("AccountId", Text),
                one("Bucket", Text),
                one("Format", OneOf(&["CSV", "ORC", "Parquet"])),
                maybe("Prefix", Text),
                maybe(
                    "Encryption",
                    Of(&[maybe("SSE-S3", Of(&[])), maybe("SSE-KMS", Of(&[one("KeyId", Text)]))]),
                ),
            ]),
        )]),
    ),
]);

const INVENTORY_FIELD: Content = OneOf(&[
    "Size",
    "LastModifiedDate",
    "StorageClass",
    "ETag",
    "IsMultipartUploaded",
    "ReplicationStatus",
    "EncryptionStatus",
    "ObjectLockRetainUntilDate",
    "ObjectLockMode",
    "ObjectLockLegalHoldStatus",
    "IntelligentTieringAccessTier",
    "BucketKeyStatus",
    "ChecksumAlgorithm",
    "ObjectAccessControlList",
    "ObjectOwner",
    "LifecycleExpirationDate",
]);

/// `MetricsConfiguration`
pub const METRICS: Content = Of(&[
    one("Id", Text),
    maybe(
        "Filter",
        Of(&[
            maybe("Prefix", Text),
            maybe("Tag", TAG),
            maybe("AccessPointArn", Text),
            maybe(
                "And",
                Of(&[
                    maybe("Prefix", Text),
                    Field { name: "Tag", min: 0, max: MANY, content: TAG },
                    maybe("AccessPointArn", Text),
                ]),
            ),
        ]),
    ),
]);
