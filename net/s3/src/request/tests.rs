//! Requests as tables: what is understood, and which error everything else gets.

use proptest::prelude::*;
use stria_http::Head;

use super::*;
use crate::RouteConfig;
use crate::checksum::{Algorithm, ChecksumType};
use crate::conditions::Tags;

fn head(request: &str, lines: &str) -> Head {
    let text = format!("{request} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0
}

/// Parses with `parse` and shows the result, or the code of the error.
fn show<T: std::fmt::Debug>(
    request: &str,
    lines: &str,
    parse: impl Fn(&crate::Route<'_>, &Head) -> Result<T, S3Error>,
) -> Result<T, ErrorCode> {
    let head = head(request, lines);
    let route = crate::route(&head, &RouteConfig::default()).expect("routes");
    parse(&route, &head).map_err(|error| error.code)
}

#[test]
fn create_bucket() {
    let parse = |lines: &str, body: &str| {
        CreateBucket::parse(&head("PUT /bkt", lines), body.as_bytes()).map_err(|error| error.code)
    };
    let xml = |inner: &str| {
        format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</CreateBucketConfiguration>"
        )
    };
    assert_eq!(parse("", ""), Ok(CreateBucket::default()));
    let location = xml("<LocationConstraint> eu-west-1 </LocationConstraint>");
    assert_eq!(parse("", &location).expect("good").location.as_deref(), Some("eu-west-1"));
    assert_eq!(parse("", &xml("<LocationConstraint/>")), Ok(CreateBucket::default()));
    for body in [
        "x",
        "<Other/>",
        &xml("<Foo/>"),
        &xml("<Tags><Tag/></Tags>"),
        &xml("<LocationConstraint/><LocationConstraint/>"),
    ] {
        assert_eq!(parse("", body), Err(ErrorCode::MalformedXML), "{body}");
    }
    assert_eq!(parse("x-amz-bucket-object-lock-enabled: True\r\n", ""), Err(ErrorCode::NotImplemented));
    let owned = parse("x-amz-object-ownership: ObjectWriter\r\n", "").map(|request| request.ownership);
    assert_eq!(owned, Ok(Some("ObjectWriter")));
    assert_eq!(parse("x-amz-object-ownership: Mine\r\n", ""), Err(ErrorCode::InvalidArgument));
    assert!(parse("x-amz-acl: private\r\nx-amz-bucket-object-lock-enabled: false\r\n", "").is_ok());
}

#[test]
fn promises_are_refused_not_ignored() {
    let parse = |lines: &str| PutObject::parse(&head("PUT /bkt/k", lines), false, false).map_err(|e| e.code);
    assert!(parse("x-amz-meta-a: b\r\n").is_ok());
    for (lines, code) in [
        ("x-amz-server-side-encryption: AES256\r\n", ErrorCode::NotImplemented),
        ("X-Amz-Server-Side-Encryption-Customer-Key: x\r\n", ErrorCode::NotImplemented),
        ("x-amz-object-lock-mode: COMPLIANCE\r\n", ErrorCode::NotImplemented),
        ("If-None-Match: \"a\"\r\n", ErrorCode::NotImplemented),
        ("x-amz-storage-class: FLOPPY\r\n", ErrorCode::InvalidStorageClass),
    ] {
        assert_eq!(parse(lines).map(|_| ()), Err(code), "{lines}");
    }
}

#[test]
fn lengths() {
    assert_eq!(stored_length(BodyFraming::Length(5), None), Ok(5));
    assert_eq!(stored_length(BodyFraming::Chunked, Some(7)), Ok(7));
    assert_eq!(stored_length(BodyFraming::Length(90), Some(7)), Ok(7));
    let code = |framing, decoded| stored_length(framing, decoded).map_err(|error| error.code);
    assert_eq!(code(BodyFraming::None, None), Err(ErrorCode::MissingContentLength));
    assert_eq!(code(BodyFraming::Chunked, None), Err(ErrorCode::MissingContentLength));
    assert_eq!(code(BodyFraming::Length(PUT_BYTES_MAX + 1), None), Err(ErrorCode::EntityTooLarge));
}

#[test]
fn get_object() {
    let parse = |query: &str, lines: &str| {
        show(&format!("GET /bkt/k{query}"), lines, |route, head| GetObject::parse(route, head, false))
    };
    let got = parse("?partNumber=3&versionId=null", "x-amz-checksum-mode: enabled\r\n").expect("good");
    assert_eq!(
        (got.part_number, got.version_id.as_deref(), got.checksum_mode),
        (Some(3), Some("null"), true)
    );
    assert_eq!(parse("", "Range: bytes=0-1,4-5\r\n").expect("ignored").range, None);
    for query in [
        "?partNumber=0",
        "?partNumber=10001",
        "?partNumber=x",
        "?partNumber=",
        "?partNumber=-1",
        "?versionId=",
    ] {
        assert_eq!(parse(query, "").map(|_| ()), Err(ErrorCode::InvalidArgument), "{query}");
    }
    let both = parse("?partNumber=1", "Range: bytes=0-1\r\n").map(|_| ());
    assert_eq!(both, Err(ErrorCode::InvalidRequest));
}

#[test]
fn delete_objects() {
    let xml = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet><Object><Key>a&amp;b&#x1;</Key></Object><Object><ETag>\"e\"</ETag><Key> c </Key><VersionId>null</VersionId><Size>5</Size><LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</LastModifiedTime></Object></Delete>";
    let request = DeleteObjects::parse_xml(xml.as_bytes()).expect("well-formed");
    assert!(request.quiet && request.entries.len() == 2);
    assert_eq!(request.entries[0].key, "a&b\u{1}");
    let second = &request.entries[1];
    assert_eq!((&*second.key, second.version_id.as_deref()), (" c ", Some("null")));
    assert_eq!(second.conditions.if_match, Some(Tags::List(vec!["e".into()])));
    assert_eq!(second.conditions.last_modified_unix_s, Some(784_111_777));
    let many = |n: usize| format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(n));
    assert!(DeleteObjects::parse_xml(many(1000).as_bytes()).is_ok());
    for bad in [
        "<Delete/>".into(),
        "<Delete><Object/></Delete>".into(),
        "<Delete><Object><Key></Key></Object></Delete>".into(),
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>".into(),
        "<Delete><Object><Key>a</Key><Foo/></Object></Delete>".into(),
        "<Delete><Object><Key><b/></Key></Object></Delete>".into(),
        "<Delete><Key>a</Key></Delete>".into(),
        "<Delete><Quiet>maybe</Quiet><Object><Key>a</Key></Object></Delete>".into(),
        "<Remove><Object><Key>a</Key></Object></Remove>".into(),
        many(1001),
    ] {
        let code = DeleteObjects::parse_xml(bad.as_bytes()).map_err(|error| error.code);
        assert_eq!(code, Err(ErrorCode::MalformedXML), "{bad:.80}");
    }
    let long = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "k".repeat(1025));
    let long = DeleteObjects::parse_xml(long.as_bytes()).expect("refused in its own entry");
    assert_eq!(long.entries[0].check().map_err(|error| error.code), Err(ErrorCode::KeyTooLongError));
}

#[test]
fn delete_objects_needs_a_digest() {
    let parse = |lines: &str, body: &str| {
        let head = head("POST /bkt?delete", lines);
        DeleteObjects::parse(&head, body.as_bytes(), false, &|_| None).map_err(|error| error.code)
    };
    let body = "<Delete><Object><Key>a</Key></Object></Delete>";
    let md5 = crate::checksum::Hasher::of(Algorithm::Md5, body.as_bytes()).to_base64();
    assert!(parse(&format!("Content-MD5: {md5}\r\n"), body).is_ok());
    let crc = crate::checksum::Hasher::of(Algorithm::Crc32, body.as_bytes()).to_base64();
    assert!(
        parse(&format!("x-amz-checksum-crc32: {crc}\r\nx-amz-sdk-checksum-algorithm: CRC32\r\n"), body)
            .is_ok()
    );
    assert_eq!(parse("", body), Err(ErrorCode::InvalidRequest));
    assert_eq!(parse(&format!("Content-MD5: {md5}\r\n"), "<Delete/>"), Err(ErrorCode::BadDigest));
}

#[test]
fn listings() {
    let v1 = |query: &str| show(&format!("GET /bkt?{query}"), "", |route, _| ListObjects::parse(route));
    let got = v1("prefix=a%2F+b&delimiter=%2F&marker=m&max-keys=5000&encoding-type=url").expect("good");
    assert_eq!(
        (&*got.prefix, got.delimiter.as_deref(), got.max_keys, got.encode_url),
        ("a/ b", Some("/"), 1000, true)
    );
    assert_eq!(v1("max-keys=0").expect("good").max_keys, 0);
    assert_eq!(v1("delimiter=").expect("good").delimiter, None);
    for bad in [
        "max-keys=-1",
        "max-keys=x",
        "max-keys=2147483648",
        "max-keys=+1",
        "max-keys=1.5",
        "encoding-type=foo",
        "prefix=%ff",
    ] {
        assert_eq!(v1(bad).map(|_| ()), Err(ErrorCode::InvalidArgument), "{bad}");
    }
    let v2 = |query: &str| {
        show(&format!("GET /bkt?list-type=2&{query}"), "", |route, _| ListObjectsV2::parse(route))
    };
    let token = ContinuationToken { after: "a/ü\u{1}".into() }.encode();
    let escaped = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let got = v2(&format!("continuation-token={escaped}&start-after=z&fetch-owner=true")).expect("good");
    assert_eq!((got.after(), got.fetch_owner), (Some("a/ü\u{1}"), true));
    assert_eq!(v2("start-after=z").expect("good").after(), Some("z"));
    for bad in ["continuation-token=", "continuation-token=abc", "continuation-token=AAAAAAAA"] {
        assert_eq!(v2(bad).map(|_| ()), Err(ErrorCode::InvalidArgument), "{bad}");
    }
    let uploads =
        show("GET /bkt?uploads&upload-id-marker=x", "", |route, _| ListMultipartUploads::parse(route));
    assert_eq!(uploads.expect("good").upload_id_marker, None, "means nothing without key-marker");
    let parts = show("GET /bkt/k?uploadId=u&part-number-marker=70000&max-parts=2", "", ListParts::parse);
    let parts = parts.expect("good");
    assert_eq!((&*parts.upload_id, parts.part_number_marker, parts.max_parts), ("u", u16::MAX, 2));
    let buckets = |query: &str| show(&format!("GET /?{query}"), "", |route, _| ListBuckets::parse(route));
    assert_eq!(buckets("max-buckets=5&prefix=a").expect("good").max_buckets, Some(5));
    for bad in ["max-buckets=0", "max-buckets=10001", "max-buckets=x"] {
        assert_eq!(buckets(bad).map(|_| ()), Err(ErrorCode::InvalidArgument), "{bad}");
    }
}

#[test]
fn copies() {
    let parse = |lines: &str| show("PUT /bkt/k", &format!("x-amz-copy-source: {lines}"), CopyObject::parse);
    let got =
        parse("/src/a%20b\r\nx-amz-metadata-directive: REPLACE\r\nContent-Type: a/b\r\n").expect("good");
    assert_eq!((&*got.source.key, got.metadata_directive), ("a b", Directive::Replace));
    for (lines, code) in [
        ("/bkt/k\r\n", ErrorCode::InvalidRequest),
        ("/src/k\r\nx-amz-metadata-directive: MOVE\r\n", ErrorCode::InvalidArgument),
        ("/src/k\r\nx-amz-tagging-directive: MERGE\r\n", ErrorCode::InvalidArgument),
        ("/src/k\r\nx-amz-copy-source: /other/k\r\n", ErrorCode::InvalidArgument),
        ("/src/k\r\nx-amz-checksum-algorithm: FOO\r\n", ErrorCode::InvalidRequest),
        ("src\r\n", ErrorCode::InvalidArgument),
    ] {
        assert_eq!(parse(lines).map(|_| ()), Err(code), "{lines}");
    }
    assert!(parse("/bkt/k\r\nx-amz-storage-class: STANDARD\r\n").is_ok());
    let part = show(
        "PUT /bkt/k?partNumber=7&uploadId=u",
        "x-amz-copy-source: src/k\r\nx-amz-copy-source-range: bytes=0-4\r\n",
        UploadPartCopy::parse,
    );
    let part = part.expect("good");
    assert_eq!((part.part_number, part.range.map(|range| range.last)), (7, Some(4)));
}

#[test]
fn multipart() {
    let create =
        |lines: &str| CreateMultipartUpload::parse(&head("POST /bkt/k?uploads", lines)).map_err(|e| e.code);
    let algorithm = |name: &str| format!("x-amz-checksum-algorithm: {name}\r\n");
    assert_eq!(create("").expect("good").checksum, None);
    let full = Some((Algorithm::Crc64Nvme, ChecksumType::FullObject));
    assert_eq!(create(&algorithm("crc64nvme")).expect("good").checksum, full);
    for bad in [
        algorithm("MD4"),
        algorithm("CRC64NVME") + "x-amz-checksum-type: COMPOSITE\r\n",
        algorithm("SHA256") + "x-amz-checksum-type: FULL_OBJECT\r\n",
        algorithm("CRC32") + "x-amz-checksum-type: SOME\r\n",
        "x-amz-checksum-type: COMPOSITE\r\n".into(),
    ] {
        assert_eq!(create(&bad).map(|_| ()), Err(ErrorCode::InvalidRequest), "{bad}");
    }
    let part = |query: &str| {
        show(&format!("PUT /bkt/k?{query}"), "", |route, head| UploadPart::parse(route, head, false))
    };
    assert_eq!(part("partNumber=10000&uploadId=u").expect("good").part_number, 10_000);
    assert_eq!(part("partNumber=10001&uploadId=u").map(|_| ()), Err(ErrorCode::InvalidArgument));
    assert_eq!(part("partNumber=1&uploadId=").map(|_| ()), Err(ErrorCode::NoSuchUpload));
}

#[test]
fn completions() {
    let body = |parts: &str| format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let part =
        |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>&quot;e&quot;</ETag></Part>");
    let parse = |body: &str| CompleteMultipartUpload::parse_xml(body.as_bytes()).map_err(|error| error.code);
    let with_checksum =
        "<Part><ETag>e</ETag><PartNumber>3</PartNumber><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>";
    let parts = parse(&body(&(part("1") + with_checksum))).expect("good");
    assert_eq!((parts[0].part_number, &*parts[0].etag, parts[1].part_number), (1, "e", 3));
    assert_eq!(parts[1].checksum.map(|checksum| checksum.algorithm), Some(Algorithm::Crc32));
    for (bad, code) in [
        (String::new(), ErrorCode::MissingRequestBodyError),
        (body(""), ErrorCode::MalformedXML),
        (body(&part("0")), ErrorCode::MalformedXML),
        (body(&part("10001")), ErrorCode::MalformedXML),
        (body(&part("x")), ErrorCode::MalformedXML),
        (body("<Part><PartNumber>1</PartNumber></Part>"), ErrorCode::MalformedXML),
        (
            body("<Part><PartNumber>1</PartNumber><ETag>e</ETag><ChecksumCRC32>x</ChecksumCRC32></Part>"),
            ErrorCode::MalformedXML,
        ),
        (body("<Other/>"), ErrorCode::MalformedXML),
        (body(&(part("2") + &part("1"))), ErrorCode::InvalidPartOrder),
        (body(&(part("1") + &part("1"))), ErrorCode::InvalidPartOrder),
    ] {
        assert_eq!(parse(&bad), Err(code), "{bad}");
    }
    let lines = "If-None-Match: *\r\nx-amz-mp-object-size: 12\r\nx-amz-checksum-crc32: y/Q5Jg==-2\r\nx-amz-checksum-type: COMPOSITE\r\n";
    let text = body(&part("1"));
    let request = show("POST /bkt/k?uploadId=u", lines, |route, head| {
        CompleteMultipartUpload::parse(route, head, text.as_bytes())
    });
    let request = request.expect("good");
    assert_eq!((request.object_bytes, request.checksum_type), (Some(12), Some(ChecksumType::Composite)));
    assert!(request.conditions.if_none_match.is_some() && request.checksum.is_some());
}

proptest! {
    #[test]
    fn tokens_round_trip(after in "\\PC{0,60}") {
        let token = ContinuationToken { after };
        prop_assert_eq!(ContinuationToken::decode(&token.encode()), Some(token));
    }

    #[test]
    fn any_body_is_survived(body in "[<>/&;a-zA-Z\"= ]{0,200}") {
        let _ = (DeleteObjects::parse_xml(body.as_bytes()), CompleteMultipartUpload::parse_xml(body.as_bytes()));
        let _ = CreateBucket::parse(&head("PUT /bkt", ""), body.as_bytes());
    }
}
