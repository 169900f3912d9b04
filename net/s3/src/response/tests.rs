//! The documents, as text.

use super::*;
use crate::checksum::{Algorithm, EtagText, Hasher};
use crate::code::ErrorCode;
use crate::content::StorageClass;
use crate::ops::Op;

const OWNER: Owner<'_> = Owner { id: "0a1b", display_name: "stria" };
const TIME: u64 = 1_255_369_830_000;

fn check(write: impl Fn(&mut Vec<u8>), expected: expect_test::Expect) {
    let mut out = Vec::new();
    write(&mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    let body = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").expect("a declaration");
    // Every document must be readable by the reader of requests.
    struct Ignore;
    impl crate::xml::Visitor for Ignore {
        fn open(&mut self, _: &crate::xml::Path) -> Result<(), crate::xml::XmlError> {
            Ok(())
        }
        fn close(&mut self, _: &crate::xml::Path, _: &str) -> Result<(), crate::xml::XmlError> {
            Ok(())
        }
    }
    crate::xml::read(text.as_bytes(), &mut Ignore).expect("well-formed");
    expected.assert_eq(&body.replace("><", ">\n<"));
}

#[test]
fn buckets() {
    let buckets = [BucketEntry { name: "bkt", created_unix_ms: TIME, region: None }];
    check(
        |out| list_buckets(out, OWNER, buckets, None, None),
        expect_test::expect![[r#"
        <ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Owner>
        <ID>0a1b</ID>
        <DisplayName>stria</DisplayName>
        </Owner>
        <Buckets>
        <Bucket>
        <Name>bkt</Name>
        <CreationDate>2009-10-12T17:50:30.000Z</CreationDate>
        </Bucket>
        </Buckets>
        </ListAllMyBucketsResult>"#]],
    );
    check(
        |out| bucket_location(out, "us-east-1"),
        expect_test::expect![[r#"
        <LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        </LocationConstraint>"#]],
    );
    check(
        |out| bucket_location(out, "eu-west-1"),
        expect_test::expect![[
            r#"<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-1</LocationConstraint>"#
        ]],
    );
}

fn entry<'a>(key: &'a str, owner: Option<Owner<'a>>) -> Contents<'a> {
    Contents {
        key,
        last_modified_unix_ms: TIME,
        etag: EtagText::new(&[0xab; 16], 2),
        checksum: Some((Algorithm::Crc64Nvme, ChecksumType::FullObject)),
        size_bytes: 5,
        storage_class: StorageClass::Standard,
        owner,
    }
}

#[test]
fn objects() {
    let result = ListObjectsResult {
        bucket: "bkt",
        prefix: "",
        marker: "",
        delimiter: Some("/"),
        max_keys: 2,
        is_truncated: true,
        next_marker: Some("b/"),
        encode_url: false,
        contents: &[entry("a<\u{1f}\r", Some(OWNER))],
        common_prefixes: &["b/"],
    };
    check(
        |out| list_objects(out, &result),
        expect_test::expect![[r#"
        <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Name>bkt</Name>
        <Prefix>
        </Prefix>
        <Marker>
        </Marker>
        <NextMarker>b/</NextMarker>
        <MaxKeys>2</MaxKeys>
        <Delimiter>/</Delimiter>
        <IsTruncated>true</IsTruncated>
        <Contents>
        <Key>a&lt;&#x1F;&#xD;</Key>
        <LastModified>2009-10-12T17:50:30.000Z</LastModified>
        <ETag>&quot;abababababababababababababababab-2&quot;</ETag>
        <ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>
        <ChecksumType>FULL_OBJECT</ChecksumType>
        <Size>5</Size>
        <Owner>
        <ID>0a1b</ID>
        <DisplayName>stria</DisplayName>
        </Owner>
        <StorageClass>STANDARD</StorageClass>
        </Contents>
        <CommonPrefixes>
        <Prefix>b/</Prefix>
        </CommonPrefixes>
        </ListBucketResult>"#]],
    );
}

#[test]
fn objects_v2() {
    let result = ListObjectsV2Result {
        bucket: "bkt",
        prefix: "p q/",
        delimiter: None,
        start_after: Some("+"),
        continuation_token: None,
        next_continuation_token: Some("token"),
        max_keys: 1,
        encode_url: true,
        contents: &[entry("p q/é+\u{1}", None)],
        common_prefixes: &[],
    };
    check(
        |out| list_objects_v2(out, &result),
        expect_test::expect![[r#"
        <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Name>bkt</Name>
        <Prefix>p%20q/</Prefix>
        <StartAfter>%2B</StartAfter>
        <NextContinuationToken>token</NextContinuationToken>
        <KeyCount>1</KeyCount>
        <MaxKeys>1</MaxKeys>
        <EncodingType>url</EncodingType>
        <IsTruncated>true</IsTruncated>
        <Contents>
        <Key>p%20q/%C3%A9%2B%01</Key>
        <LastModified>2009-10-12T17:50:30.000Z</LastModified>
        <ETag>&quot;abababababababababababababababab-2&quot;</ETag>
        <ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>
        <ChecksumType>FULL_OBJECT</ChecksumType>
        <Size>5</Size>
        <StorageClass>STANDARD</StorageClass>
        </Contents>
        </ListBucketResult>"#]],
    );
}

#[test]
fn multipart_uploads() {
    check(
        |out| create_upload(out, "bkt", "k&", "u1"),
        expect_test::expect![[r#"
        <InitiateMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Bucket>bkt</Bucket>
        <Key>k&amp;</Key>
        <UploadId>u1</UploadId>
        </InitiateMultipartUploadResult>"#]],
    );
    let checksum = Hasher::of(Algorithm::Crc32, b"123456789");
    let result = CompleteResult {
        location: "http://h/bkt/k",
        bucket: "bkt",
        key: "k",
        etag: "abc-2",
        checksum: Some((checksum, ChecksumType::Composite, 2)),
    };
    check(
        |out| complete_upload(out, &result, false),
        expect_test::expect![[r#"
        <CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Location>http://h/bkt/k</Location>
        <Bucket>bkt</Bucket>
        <Key>k</Key>
        <ETag>&quot;abc-2&quot;</ETag>
        <ChecksumCRC32>y/Q5Jg==-2</ChecksumCRC32>
        <ChecksumType>COMPOSITE</ChecksumType>
        </CompleteMultipartUploadResult>"#]],
    );
}

#[test]
fn uploads() {
    let uploads = [UploadEntry {
        key: "k",
        upload_id: "u1",
        initiator: OWNER,
        owner: OWNER,
        storage_class: StorageClass::Standard,
        initiated_unix_ms: TIME,
        checksum: None,
    }];
    let result = ListUploadsResult {
        bucket: "bkt",
        prefix: "",
        delimiter: None,
        key_marker: "",
        upload_id_marker: "",
        next: Some(("k", "u1")),
        max_uploads: 1,
        encode_url: false,
        uploads: &uploads,
        common_prefixes: &[],
    };
    check(
        |out| list_uploads(out, &result),
        expect_test::expect![[r#"
        <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Bucket>bkt</Bucket>
        <KeyMarker>
        </KeyMarker>
        <UploadIdMarker>
        </UploadIdMarker>
        <NextKeyMarker>k</NextKeyMarker>
        <NextUploadIdMarker>u1</NextUploadIdMarker>
        <Prefix>
        </Prefix>
        <MaxUploads>1</MaxUploads>
        <IsTruncated>true</IsTruncated>
        <Upload>
        <Key>k</Key>
        <UploadId>u1</UploadId>
        <Initiator>
        <ID>0a1b</ID>
        <DisplayName>stria</DisplayName>
        </Initiator>
        <Owner>
        <ID>0a1b</ID>
        <DisplayName>stria</DisplayName>
        </Owner>
        <StorageClass>STANDARD</StorageClass>
        <Initiated>2009-10-12T17:50:30.000Z</Initiated>
        </Upload>
        </ListMultipartUploadsResult>"#]],
    );
}

#[test]
fn parts() {
    let checksum = Hasher::of(Algorithm::Crc32, b"123456789");
    let parts = [PartEntry {
        part_number: 1,
        last_modified_unix_ms: TIME,
        etag: "abc",
        size_bytes: 5,
        checksum: Some(checksum),
    }];
    let result = ListPartsResult {
        bucket: "bkt",
        key: "k",
        upload_id: "u1",
        part_number_marker: 0,
        next_part_number_marker: None,
        max_parts: 1000,
        encode_url: false,
        initiator: OWNER,
        owner: OWNER,
        storage_class: StorageClass::Standard,
        checksum: Some((Algorithm::Crc32, ChecksumType::Composite)),
        parts: &parts,
    };
    check(
        |out| list_parts(out, &result),
        expect_test::expect![[r#"
        <ListPartsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Bucket>bkt</Bucket>
        <Key>k</Key>
        <UploadId>u1</UploadId>
        <Initiator>
        <ID>0a1b</ID>
        <DisplayName>stria</DisplayName>
        </Initiator>
        <Owner>
        <ID>0a1b</ID>
        <DisplayName>stria</DisplayName>
        </Owner>
        <StorageClass>STANDARD</StorageClass>
        <PartNumberMarker>0</PartNumberMarker>
        <MaxParts>1000</MaxParts>
        <IsTruncated>false</IsTruncated>
        <ChecksumAlgorithm>CRC32</ChecksumAlgorithm>
        <ChecksumType>COMPOSITE</ChecksumType>
        <Part>
        <PartNumber>1</PartNumber>
        <LastModified>2009-10-12T17:50:30.000Z</LastModified>
        <ETag>&quot;abc&quot;</ETag>
        <Size>5</Size>
        <ChecksumCRC32>y/Q5Jg==</ChecksumCRC32>
        </Part>
        </ListPartsResult>"#]],
    );
}

#[test]
fn deletes_and_copies() {
    let error = crate::S3Error::from(ErrorCode::AccessDenied);
    let outcomes = [
        DeleteOutcome::Deleted { key: "a", version_id: None, delete_marker: None },
        DeleteOutcome::Failed { key: "b", version_id: Some("null"), error: &error },
    ];
    check(
        |out| delete_objects(out, outcomes, false),
        expect_test::expect![[r#"
        <DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Deleted>
        <Key>a</Key>
        </Deleted>
        <Error>
        <Key>b</Key>
        <VersionId>null</VersionId>
        <Code>AccessDenied</Code>
        <Message>Access Denied</Message>
        </Error>
        </DeleteResult>"#]],
    );
    check(
        |out| delete_objects(out, outcomes, true),
        expect_test::expect![[r#"
        <DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Error>
        <Key>b</Key>
        <VersionId>null</VersionId>
        <Code>AccessDenied</Code>
        <Message>Access Denied</Message>
        </Error>
        </DeleteResult>"#]],
    );
    let result = CopyResult { etag: "abc", last_modified_unix_ms: TIME, checksum: None, checksum_type: None };
    check(
        |out| copy_result(out, &result, false),
        expect_test::expect![[r#"
        <CopyObjectResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <LastModified>2009-10-12T17:50:30.000Z</LastModified>
        <ETag>&quot;abc&quot;</ETag>
        </CopyObjectResult>"#]],
    );
}

#[test]
fn sub_resources_never_set() {
    let mut documents = Vec::new();
    for row in crate::ops::OPERATIONS {
        let mut out = Vec::new();
        assert_eq!(unset_document(&mut out, row), matches!(row.state, State::UnsetDocument(..)));
        documents.extend((!out.is_empty()).then_some(row.op.name()));
    }
    assert!(documents.contains(&"GetBucketVersioning") && !documents.contains(&"GetObject"));
    check(
        |out| assert!(unset_document(out, Op::GetBucketVersioning.row())),
        expect_test::expect![[r#"
        <VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        </VersioningConfiguration>"#]],
    );
}
