//! Configurations of buckets: stored, given back, removed, refused as S3 does; CORS on real answers.

use crate::client::*;

fn xml(root: &str, content: &str) -> String {
    format!("<{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{content}</{root}>")
}

const CORS: &str = "<CORSRule><ID>web</ID><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>https://*.example.org</AllowedOrigin><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule>";

#[test]
fn every_kind_is_stored_and_given_back() {
    let bucket = bucket("configured");
    let target = bucket.trim_start_matches('/');
    let logging = format!(
        "<LoggingEnabled><TargetBucket>{target}</TargetBucket><TargetPrefix>log/</TargetPrefix></LoggingEnabled>"
    );
    for (name, root, content, status, deletable) in [
        (
            "tagging",
            "Tagging",
            "<TagSet><Tag><Key>a</Key><Value>1 2</Value></Tag></TagSet>",
            204,
            Some("NoSuchTagSet"),
        ),
        ("cors", "CORSConfiguration", CORS, 200, Some("NoSuchCORSConfiguration")),
        (
            "website",
            "WebsiteConfiguration",
            "<IndexDocument><Suffix>i.html</Suffix></IndexDocument>",
            200,
            Some("NoSuchWebsiteConfiguration"),
        ),
        (
            "lifecycle",
            "LifecycleConfiguration",
            "<Rule><ID>x</ID><Filter><Prefix>a/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>",
            200,
            Some("NoSuchLifecycleConfiguration"),
        ),
        (
            "ownershipControls",
            "OwnershipControls",
            "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>",
            200,
            Some("OwnershipControlsNotFoundError"),
        ),
        (
            "publicAccessBlock",
            "PublicAccessBlockConfiguration",
            "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets>",
            200,
            Some("NoSuchPublicAccessBlockConfiguration"),
        ),
        ("requestPayment", "RequestPaymentConfiguration", "<Payer>Requester</Payer>", 200, None),
        ("accelerate", "AccelerateConfiguration", "<Status>Enabled</Status>", 200, None),
        ("logging", "BucketLoggingStatus", &logging, 200, None),
        (
            "notification",
            "NotificationConfiguration",
            "<QueueConfiguration><Id>q</Id><Queue>arn:aws:sqs:eu-west-1:1:q</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration>",
            200,
            None,
        ),
    ] {
        let target = format!("{bucket}?{name}");
        put(&target, xml(root, content)).expect(status);
        let read = get(&target).expect(200);
        assert!(read.text().contains(content), "{name}: {}", read.text());
        assert!(read.text().contains(&format!("<{root} xmlns=")), "{name}: {}", read.text());
        put(&target, xml(root, "<Nonsense/>")).expect_error(400, "MalformedXML");
        put(&target, "<not xml").expect_error(400, "MalformedXML");
        assert!(get(&target).expect(200).text().contains(content), "a refused document changes nothing");
        put(&format!("/no-such-bucket?{name}"), xml(root, content)).expect_error(404, "NoSuchBucket");
        if let Some(code) = deletable {
            delete(&target).expect(204);
            delete(&target).expect(204);
            get(&target).expect_error(404, code);
        }
    }
}

#[test]
fn a_document_must_match_its_digests() {
    let target = bucket("config-digests") + "?cors";
    let document = xml("CORSConfiguration", CORS);
    put(&target, document.clone())
        .with("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")
        .expect_error(400, "BadDigest");
    put(&target, document).with("x-amz-checksum-crc32", "AAAAAA==").expect_error(400, "BadDigest");
    get(&target).expect_error(404, "NoSuchCORSConfiguration");
}

#[test]
fn configurations_by_id_are_listed_in_pages() {
    let bucket = bucket("config-ids");
    let document = |id: &str| xml("MetricsConfiguration", &format!("<Id>{id}</Id>"));
    for n in 0..120 {
        put(&format!("{bucket}?metrics&id=m{n:03}"), document(&format!("m{n:03}"))).expect(204);
    }
    put(&format!("{bucket}?metrics&id=a"), document("b")).expect_error(400, "InvalidConfigurationId");
    let first = get(&format!("{bucket}?metrics")).expect(200);
    assert_eq!(elements(&first.text(), "Id").len(), 100);
    assert_eq!(first.element("IsTruncated").as_deref(), Some("true"));
    let token = first.element("NextContinuationToken").expect("more follow");
    let second = get(&format!("{bucket}?continuation-token={token}&metrics")).expect(200);
    assert_eq!(elements(&second.text(), "Id").len(), 20);
    assert_eq!(second.element("IsTruncated").as_deref(), Some("false"));
    assert_eq!(get(&format!("{bucket}?id=m007&metrics")).expect(200).element("Id").as_deref(), Some("m007"));
    delete(&format!("{bucket}?id=m007&metrics")).expect(204);
    delete(&format!("{bucket}?id=m007&metrics")).expect_error(404, "NoSuchConfiguration");
    get(&format!("{bucket}?id=m007&metrics")).expect_error(404, "NoSuchConfiguration");
}

#[test]
fn logging_needs_a_target_bucket() {
    let bucket = bucket("config-logging");
    let document = |target: &str| {
        xml(
            "BucketLoggingStatus",
            &format!("<LoggingEnabled><TargetBucket>{target}</TargetBucket><TargetPrefix/></LoggingEnabled>"),
        )
    };
    put(&format!("{bucket}?logging"), document("no-such-target"))
        .expect_error(400, "InvalidTargetBucketForLogging");
    put(&format!("{bucket}?logging"), document("config-logging")).expect(200);
    put(&format!("{bucket}?logging"), xml("BucketLoggingStatus", "")).expect(200);
    assert!(!get(&format!("{bucket}?logging")).expect(200).text().contains("LoggingEnabled"));
}

#[test]
fn a_browser_is_told_what_the_rules_allow() {
    let bucket = bucket("cors");
    let target = format!("{bucket}/key");
    let origin = "https://www.example.org";
    put(&target, "x").expect(200);
    assert!(get(&target).with("origin", origin).expect(200).header("access-control-allow-origin").is_none());
    put(&format!("{bucket}?cors"), xml("CORSConfiguration", CORS)).expect(200);
    let answer = get(&target).with("origin", origin).expect(200);
    assert_eq!(answer.must("access-control-allow-origin"), origin);
    assert_eq!(answer.must("access-control-expose-headers"), "ETag");
    assert_eq!(answer.must("access-control-allow-credentials"), "true");
    assert!(answer.must("vary").contains("Origin"));
    let missing = get(&format!("{bucket}/missing")).with("origin", origin).expect_error(404, "NoSuchKey");
    assert_eq!(
        missing.must("access-control-allow-origin"),
        origin,
        "errors too, or a browser cannot read them"
    );
    let stranger = get(&target).with("origin", "https://elsewhere.net").expect(200);
    assert!(stranger.header("access-control-allow-origin").is_none());
    assert!(
        delete(&target).with("origin", origin).expect(204).header("access-control-allow-origin").is_none()
    );
}

#[test]
fn a_preflight_is_answered_without_a_signature() {
    let bucket = bucket("preflight");
    let ask = |target: &str, lines: &str| {
        let mut connection = Connection::open();
        connection.write(format!("OPTIONS {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}\r\n").as_bytes());
        connection.answer("OPTIONS")
    };
    let origin = "origin: https://www.example.org\r\n";
    let method = |name: &str| format!("{origin}access-control-request-method: {name}\r\n");
    ask(&bucket, &method("GET")).expect_error(403, "AccessForbidden");
    put(&format!("{bucket}?cors"), xml("CORSConfiguration", CORS)).expect(200);
    let key = format!("{bucket}/key");
    let answer =
        ask(&key, &format!("{}access-control-request-headers: X-Amz-Date\r\n", method("PUT"))).expect(200);
    assert_eq!(answer.must("access-control-allow-origin"), "https://www.example.org");
    assert_eq!(answer.must("access-control-allow-methods"), "GET, PUT");
    assert_eq!(answer.must("access-control-allow-headers"), "x-amz-date");
    assert_eq!(answer.must("access-control-max-age"), "60");
    ask(&key, &method("DELETE")).expect_error(403, "AccessForbidden");
    let other = format!("{}access-control-request-headers: content-type\r\n", method("PUT"));
    ask(&key, &other).expect_error(403, "AccessForbidden");
    ask(&key, origin).expect_error(400, "BadRequest");
    ask(&key, "").expect_error(400, "BadRequest");
    ask("/no-such-bucket/key", &method("GET")).expect_error(404, "NoSuchBucket");
}
