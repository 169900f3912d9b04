//! Every operation of the S3 API, one row each: the router, the documentation and authorisation derive
//! from this table. A later issue changes a row's state or adds rows; it never rewrites the router.
//!
//! Invariant: for one method and scope, two rows differ in their discriminators, so at most one row is
//! the most specific match of a request. Any core. Owner: `net/s3`. Source: the AWS S3 API reference.

use stria_http::Method;

use crate::code::ErrorCode;

/// What an operation acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The service: no bucket in the request.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

/// What this server does with an operation today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is a handler.
    Implemented,
    /// Reads a sub-resource that cannot be set yet. Once authorised, and the bucket (in object scope:
    /// the object) found, the answer is this error, as on a bucket where it was never set.
    UnsetError(ErrorCode),
    /// As above, answered with 200 and this document: root element and its content.
    UnsetDocument(&'static str, &'static str),
    /// Recognised and refused with 501 NotImplemented.
    NotYet,
}

/// A header whose presence selects an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderMark {
    /// No header is asked for.
    None,
    /// `x-amz-copy-source`
    CopySource,
    /// `x-amz-write-offset-bytes`
    WriteOffset,
    /// `Content-Type: multipart/form-data`
    FormData,
    /// `Content-Type: application/x-www-form-urlencoded`
    FormUrlEncoded,
    /// `x-amz-request-route`
    RequestRoute,
}

impl HeaderMark {
    /// The mark's bit in a set of marks.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::None => 0,
            Self::CopySource => 1,
            Self::WriteOffset => 2,
            Self::FormData => 4,
            Self::FormUrlEncoded => 8,
            Self::RequestRoute => 16,
        }
    }
}

macro_rules! sub_resources {
    ($($name:ident $text:literal)*) => {
        /// A query parameter that selects an operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum SubResource { $(#[doc = $text] $name,)* }

        impl SubResource {
            /// All of them, in the order of their bits.
            pub const ALL: &'static [SubResource] = &[$(SubResource::$name,)*];

            /// The parameter's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The sub-resource a decoded parameter name stands for.
            #[must_use]
            pub fn from_name(name: &[u8]) -> Option<Self> {
                match std::str::from_utf8(name) {
                    $(Ok($text) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

sub_resources! {
    Abac "abac"
    Accelerate "accelerate"
    Acl "acl"
    Analytics "analytics"
    Annotation "annotation"
    Annotations "annotations"
    Attributes "attributes"
    Cors "cors"
    Delete "delete"
    Encryption "encryption"
    Id "id"
    IntelligentTiering "intelligent-tiering"
    Inventory "inventory"
    LegalHold "legal-hold"
    Lifecycle "lifecycle"
    ListType "list-type"
    Location "location"
    Logging "logging"
    MetadataConfiguration "metadataConfiguration"
    MetadataInventoryTable "metadataInventoryTable"
    MetadataJournalTable "metadataJournalTable"
    MetadataAnnotationTable "metadataAnnotationTable"
    MetadataTable "metadataTable"
    Metrics "metrics"
    Notification "notification"
    ObjectLock "object-lock"
    OwnershipControls "ownershipControls"
    PartNumber "partNumber"
    Policy "policy"
    PolicyStatus "policyStatus"
    PublicAccessBlock "publicAccessBlock"
    RenameObject "renameObject"
    Replication "replication"
    RequestPayment "requestPayment"
    Restore "restore"
    Retention "retention"
    Select "select"
    Session "session"
    Tagging "tagging"
    Torrent "torrent"
    UploadId "uploadId"
    Uploads "uploads"
    Versioning "versioning"
    Versions "versions"
    Website "website"
}

/// A set of sub-resources, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubResourceSet(u64);

const _: () = assert!(SubResource::ALL.len() <= 64);

impl SubResourceSet {
    /// Of these.
    #[must_use]
    pub const fn of(list: &[SubResource]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Adds one.
    pub fn insert(&mut self, one: SubResource) {
        self.0 |= 1 << one as u8;
    }

    /// Whether all of `self` are in `other`.
    #[must_use]
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Those of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The first in the order of the table.
    #[must_use]
    pub fn first(self) -> Option<SubResource> {
        SubResource::ALL.get(self.0.trailing_zeros() as usize).copied()
    }

    /// How many.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The operation.
    pub op: Op,
    /// Its method.
    pub method: Method,
    /// What it acts on.
    pub scope: Scope,
    /// Query parameters that must be there.
    pub query: SubResourceSet,
    /// Sub-resource names that may be there as plain parameters.
    pub allowed: SubResourceSet,
    /// The header that must be there.
    pub header: HeaderMark,
    /// What this server does with it.
    pub state: State,
}

macro_rules! operations {
    ($($op:ident $method:ident $scope:ident [$($query:ident)*] [$($allowed:ident)*] $header:ident $state:expr;)*) => {
        /// An operation of the S3 API, by the name IAM policies and SDKs use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Op { $(#[doc = stringify!($op)] $op,)* }

        impl Op {
            /// The operation's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$op => stringify!($op),)* }
            }

            /// Its row.
            #[must_use]
            pub fn row(self) -> &'static Operation {
                &OPERATIONS[self as usize]
            }
        }

        /// The table, in the order of [`Op`].
        pub static OPERATIONS: &[Operation] = &[$(Operation {
            op: Op::$op,
            method: Method::$method,
            scope: Scope::$scope,
            query: SubResourceSet::of(&[$(SubResource::$query,)*]),
            allowed: SubResourceSet::of(&[$(SubResource::$allowed,)*]),
            header: HeaderMark::$header,
            state: $state,
        },)*];
    };
}

const IMPLEMENTED: State = State::Implemented;
const NOT_YET: State = State::NotYet;

const fn unset(code: ErrorCode) -> State {
    State::UnsetError(code)
}

const fn document(root: &'static str, content: &'static str) -> State {
    State::UnsetDocument(root, content)
}

// name, method, scope, [parameters that must be there], [that may be there too], header, state.
#[rustfmt::skip]
operations! {
    // Service.
    ListBuckets Get Service [] [] None IMPLEMENTED;
    QueryApi Post Service [] [] FormUrlEncoded NOT_YET;
    WriteGetObjectResponse Post Service [] [] RequestRoute NOT_YET;
    // Buckets.
    CreateBucket Put Bucket [] [] None IMPLEMENTED;
    HeadBucket Head Bucket [] [] None IMPLEMENTED;
    DeleteBucket Delete Bucket [] [] None IMPLEMENTED;
    GetBucketLocation Get Bucket [Location] [] None IMPLEMENTED;
    ListObjects Get Bucket [] [] None IMPLEMENTED;
    ListObjectsV2 Get Bucket [ListType] [] None IMPLEMENTED;
    ListObjectVersions Get Bucket [Versions] [] None IMPLEMENTED;
    ListMultipartUploads Get Bucket [Uploads] [] None IMPLEMENTED;
    DeleteObjects Post Bucket [Delete] [] None IMPLEMENTED;
    PostObject Post Bucket [] [] FormData IMPLEMENTED;
    CreateSession Get Bucket [Session] [] None NOT_YET;
    // Sub-resources of buckets.
    GetBucketAbac Get Bucket [Abac] [] None NOT_YET;
    PutBucketAbac Put Bucket [Abac] [] None NOT_YET;
    GetBucketAccelerateConfiguration Get Bucket [Accelerate] [] None document("AccelerateConfiguration", "");
    PutBucketAccelerateConfiguration Put Bucket [Accelerate] [] None IMPLEMENTED;
    GetBucketAcl Get Bucket [Acl] [] None IMPLEMENTED;
    PutBucketAcl Put Bucket [Acl] [] None IMPLEMENTED;
    GetBucketAnalyticsConfiguration Get Bucket [Analytics Id] [] None unset(ErrorCode::NoSuchConfiguration);
    ListBucketAnalyticsConfigurations Get Bucket [Analytics] [] None document("ListBucketAnalyticsConfigurationResult", "<IsTruncated>false</IsTruncated>");
    PutBucketAnalyticsConfiguration Put Bucket [Analytics Id] [] None IMPLEMENTED;
    DeleteBucketAnalyticsConfiguration Delete Bucket [Analytics Id] [] None IMPLEMENTED;
    GetBucketCors Get Bucket [Cors] [] None unset(ErrorCode::NoSuchCORSConfiguration);
    PutBucketCors Put Bucket [Cors] [] None IMPLEMENTED;
    DeleteBucketCors Delete Bucket [Cors] [] None IMPLEMENTED;
    GetBucketEncryption Get Bucket [Encryption] [] None unset(ErrorCode::ServerSideEncryptionConfigurationNotFoundError);
    PutBucketEncryption Put Bucket [Encryption] [] None NOT_YET;
    DeleteBucketEncryption Delete Bucket [Encryption] [] None NOT_YET;
    GetBucketIntelligentTieringConfiguration Get Bucket [IntelligentTiering Id] [] None unset(ErrorCode::NoSuchConfiguration);
    ListBucketIntelligentTieringConfigurations Get Bucket [IntelligentTiering] [] None document("ListBucketIntelligentTieringConfigurationsOutput", "<IsTruncated>false</IsTruncated>");
    PutBucketIntelligentTieringConfiguration Put Bucket [IntelligentTiering Id] [] None IMPLEMENTED;
    DeleteBucketIntelligentTieringConfiguration Delete Bucket [IntelligentTiering Id] [] None IMPLEMENTED;
    GetBucketInventoryConfiguration Get Bucket [Inventory Id] [] None unset(ErrorCode::NoSuchConfiguration);
    ListBucketInventoryConfigurations Get Bucket [Inventory] [] None document("ListInventoryConfigurationsResult", "<IsTruncated>false</IsTruncated>");
    PutBucketInventoryConfiguration Put Bucket [Inventory Id] [] None IMPLEMENTED;
    DeleteBucketInventoryConfiguration Delete Bucket [Inventory Id] [] None IMPLEMENTED;
    GetBucketLifecycleConfiguration Get Bucket [Lifecycle] [] None unset(ErrorCode::NoSuchLifecycleConfiguration);
    PutBucketLifecycleConfiguration Put Bucket [Lifecycle] [] None IMPLEMENTED;
    DeleteBucketLifecycle Delete Bucket [Lifecycle] [] None IMPLEMENTED;
    GetBucketLogging Get Bucket [Logging] [] None document("BucketLoggingStatus", "");
    PutBucketLogging Put Bucket [Logging] [] None IMPLEMENTED;
    CreateBucketMetadataConfiguration Post Bucket [MetadataConfiguration] [] None NOT_YET;
    GetBucketMetadataConfiguration Get Bucket [MetadataConfiguration] [] None NOT_YET;
    DeleteBucketMetadataConfiguration Delete Bucket [MetadataConfiguration] [] None NOT_YET;
    UpdateBucketMetadataInventoryTableConfiguration Put Bucket [MetadataInventoryTable] [] None NOT_YET;
    UpdateBucketMetadataJournalTableConfiguration Put Bucket [MetadataJournalTable] [] None NOT_YET;
    UpdateBucketMetadataAnnotationTableConfiguration Put Bucket [MetadataAnnotationTable] [] None NOT_YET;
    CreateBucketMetadataTableConfiguration Post Bucket [MetadataTable] [] None NOT_YET;
    GetBucketMetadataTableConfiguration Get Bucket [MetadataTable] [] None NOT_YET;
    DeleteBucketMetadataTableConfiguration Delete Bucket [MetadataTable] [] None NOT_YET;
    GetBucketMetricsConfiguration Get Bucket [Metrics Id] [] None unset(ErrorCode::NoSuchConfiguration);
    ListBucketMetricsConfigurations Get Bucket [Metrics] [] None document("ListMetricsConfigurationsResult", "<IsTruncated>false</IsTruncated>");
    PutBucketMetricsConfiguration Put Bucket [Metrics Id] [] None IMPLEMENTED;
    DeleteBucketMetricsConfiguration Delete Bucket [Metrics Id] [] None IMPLEMENTED;
    GetBucketNotificationConfiguration Get Bucket [Notification] [] None document("NotificationConfiguration", "");
    PutBucketNotificationConfiguration Put Bucket [Notification] [] None IMPLEMENTED;
    GetObjectLockConfiguration Get Bucket [ObjectLock] [] None unset(ErrorCode::ObjectLockConfigurationNotFoundError);
    PutObjectLockConfiguration Put Bucket [ObjectLock] [] None NOT_YET;
    GetBucketOwnershipControls Get Bucket [OwnershipControls] [] None unset(ErrorCode::OwnershipControlsNotFoundError);
    PutBucketOwnershipControls Put Bucket [OwnershipControls] [] None IMPLEMENTED;
    DeleteBucketOwnershipControls Delete Bucket [OwnershipControls] [] None IMPLEMENTED;
    GetBucketPolicy Get Bucket [Policy] [] None unset(ErrorCode::NoSuchBucketPolicy);
    PutBucketPolicy Put Bucket [Policy] [] None NOT_YET;
    DeleteBucketPolicy Delete Bucket [Policy] [] None NOT_YET;
    GetBucketPolicyStatus Get Bucket [PolicyStatus] [] None unset(ErrorCode::NoSuchBucketPolicy);
    GetPublicAccessBlock Get Bucket [PublicAccessBlock] [] None unset(ErrorCode::NoSuchPublicAccessBlockConfiguration);
    PutPublicAccessBlock Put Bucket [PublicAccessBlock] [] None IMPLEMENTED;
    DeletePublicAccessBlock Delete Bucket [PublicAccessBlock] [] None IMPLEMENTED;
    GetBucketReplication Get Bucket [Replication] [] None unset(ErrorCode::ReplicationConfigurationNotFoundError);
    PutBucketReplication Put Bucket [Replication] [] None IMPLEMENTED;
    DeleteBucketReplication Delete Bucket [Replication] [] None IMPLEMENTED;
    GetBucketRequestPayment Get Bucket [RequestPayment] [] None document("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>");
    PutBucketRequestPayment Put Bucket [RequestPayment] [] None IMPLEMENTED;
    GetBucketTagging Get Bucket [Tagging] [] None unset(ErrorCode::NoSuchTagSet);
    PutBucketTagging Put Bucket [Tagging] [] None IMPLEMENTED;
    DeleteBucketTagging Delete Bucket [Tagging] [] None IMPLEMENTED;
    GetBucketVersioning Get Bucket [Versioning] [] None document("VersioningConfiguration", "");
    PutBucketVersioning Put Bucket [Versioning] [] None IMPLEMENTED;
    GetBucketWebsite Get Bucket [Website] [] None unset(ErrorCode::NoSuchWebsiteConfiguration);
    PutBucketWebsite Put Bucket [Website] [] None IMPLEMENTED;
    DeleteBucketWebsite Delete Bucket [Website] [] None IMPLEMENTED;
    // Objects.
    PutObject Put Object [] [] None IMPLEMENTED;
    AppendObject Put Object [] [] WriteOffset NOT_YET;
    CopyObject Put Object [] [] CopySource IMPLEMENTED;
    GetObject Get Object [] [PartNumber] None IMPLEMENTED;
    HeadObject Head Object [] [PartNumber] None IMPLEMENTED;
    DeleteObject Delete Object [] [] None IMPLEMENTED;
    RenameObject Put Object [RenameObject] [] None NOT_YET;
    // Parts.
    CreateMultipartUpload Post Object [Uploads] [] None IMPLEMENTED;
    UploadPart Put Object [UploadId PartNumber] [] None IMPLEMENTED;
    UploadPartCopy Put Object [UploadId PartNumber] [] CopySource IMPLEMENTED;
    CompleteMultipartUpload Post Object [UploadId] [] None IMPLEMENTED;
    AbortMultipartUpload Delete Object [UploadId] [] None IMPLEMENTED;
    ListParts Get Object [UploadId] [] None IMPLEMENTED;
    // Sub-resources of objects.
    GetObjectAcl Get Object [Acl] [] None IMPLEMENTED;
    PutObjectAcl Put Object [Acl] [] None IMPLEMENTED;
    GetObjectAttributes Get Object [Attributes] [] None IMPLEMENTED;
    GetObjectLegalHold Get Object [LegalHold] [] None unset(ErrorCode::NoSuchObjectLockConfiguration);
    PutObjectLegalHold Put Object [LegalHold] [] None NOT_YET;
    GetObjectRetention Get Object [Retention] [] None unset(ErrorCode::NoSuchObjectLockConfiguration);
    PutObjectRetention Put Object [Retention] [] None NOT_YET;
    GetObjectTagging Get Object [Tagging] [] None IMPLEMENTED;
    PutObjectTagging Put Object [Tagging] [] None IMPLEMENTED;
    DeleteObjectTagging Delete Object [Tagging] [] None IMPLEMENTED;
    GetObjectTorrent Get Object [Torrent] [] None NOT_YET;
    RestoreObject Post Object [Restore] [] None NOT_YET;
    SelectObjectContent Post Object [Select] [] None NOT_YET;
    UpdateObjectEncryption Put Object [Encryption] [] None NOT_YET;
    PutObjectAnnotation Put Object [Annotation] [] None NOT_YET;
    GetObjectAnnotation Get Object [Annotation] [] None NOT_YET;
    DeleteObjectAnnotation Delete Object [Annotation] [] None NOT_YET;
    ListObjectAnnotations Get Object [Annotations] [] None NOT_YET;
    // Cross-origin questions of browsers.
    PreflightService Options Service [] [] None IMPLEMENTED;
    PreflightBucket Options Bucket [] [] None IMPLEMENTED;
    PreflightObject Options Object [] [] None IMPLEMENTED;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_by_their_discriminators() {
        for (at, row) in OPERATIONS.iter().enumerate() {
            assert_eq!(row.op as usize, at);
            assert_eq!(row.op.row().op, row.op);
            for other in &OPERATIONS[..at] {
                let same = (row.method, row.scope, row.query, row.header)
                    == (other.method, other.scope, other.query, other.header);
                assert!(!same, "{} and {}", row.op.name(), other.op.name());
            }
        }
    }

    #[test]
    fn sub_resources_have_their_own_names() {
        for (at, &one) in SubResource::ALL.iter().enumerate() {
            assert_eq!(one as usize, at);
            assert_eq!(SubResource::from_name(one.name().as_bytes()), Some(one));
        }
        assert_eq!(SubResource::from_name(b"Acl"), None);
    }

    #[test]
    fn state_of_every_operation() {
        let names = |want: fn(&State) -> bool| {
            let rows = OPERATIONS.iter().filter(|row| want(&row.state));
            rows.map(|row| row.op.name()).collect::<Vec<_>>().join(" ")
        };
        expect_test::expect!["ListBuckets CreateBucket HeadBucket DeleteBucket GetBucketLocation ListObjects ListObjectsV2 ListObjectVersions ListMultipartUploads DeleteObjects PostObject PutBucketAccelerateConfiguration GetBucketAcl PutBucketAcl PutBucketAnalyticsConfiguration DeleteBucketAnalyticsConfiguration PutBucketCors DeleteBucketCors PutBucketIntelligentTieringConfiguration DeleteBucketIntelligentTieringConfiguration PutBucketInventoryConfiguration DeleteBucketInventoryConfiguration PutBucketLifecycleConfiguration DeleteBucketLifecycle PutBucketLogging PutBucketMetricsConfiguration DeleteBucketMetricsConfiguration PutBucketNotificationConfiguration PutBucketOwnershipControls DeleteBucketOwnershipControls PutPublicAccessBlock DeletePublicAccessBlock PutBucketReplication DeleteBucketReplication PutBucketRequestPayment PutBucketTagging DeleteBucketTagging PutBucketVersioning PutBucketWebsite DeleteBucketWebsite PutObject CopyObject GetObject HeadObject DeleteObject CreateMultipartUpload UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload ListParts GetObjectAcl PutObjectAcl GetObjectAttributes GetObjectTagging PutObjectTagging DeleteObjectTagging PreflightService PreflightBucket PreflightObject"].assert_eq(&names(|state| *state == State::Implemented));
    }
}
