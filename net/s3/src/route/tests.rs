//! Routes as a table: request line in, operation, bucket and key out.

use proptest::prelude::*;

use super::*;

fn head_of(request: &str, lines: &str) -> Head {
    let text = format!("{request} HTTP/1.1\r\nHost: s3.local:9000\r\n{lines}\r\n");
    stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0
}

fn describe(head: &Head, config: &RouteConfig) -> String {
    match route(head, config) {
        Ok(route) => {
            let part = |text: Option<&str>| text.map_or(String::new(), |text| format!(" {text:?}"));
            format!("{}{}{}", route.op().name(), part(route.bucket.as_deref()), part(route.key.as_deref()))
        }
        Err(error) => format!("{} {}", error.status(), error.code.name()),
    }
}

fn check(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (request, lines, want) in cases {
        let got = describe(&head_of(request, lines), &RouteConfig::default());
        if got != *want {
            wrong.push(format!("{request} {lines:?}: want {want}, got {got}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn operations_of_this_server() {
    check(&[
        ("GET /", "", "ListBuckets"),
        ("GET /?x-id=ListBuckets", "", "ListBuckets"),
        ("PUT /bkt", "", "CreateBucket \"bkt\""),
        ("PUT /bkt/", "", "CreateBucket \"bkt\""),
        ("HEAD /bkt", "", "HeadBucket \"bkt\""),
        ("DELETE /bkt", "", "DeleteBucket \"bkt\""),
        ("GET /bkt?location", "", "GetBucketLocation \"bkt\""),
        ("GET /bkt?location=", "", "GetBucketLocation \"bkt\""),
        ("GET /bkt?prefix=a&delimiter=/", "", "ListObjects \"bkt\""),
        ("GET /bkt?list-type=2&prefix=a", "", "ListObjectsV2 \"bkt\""),
        ("GET /bkt?uploads&prefix=a", "", "ListMultipartUploads \"bkt\""),
        ("POST /bkt?delete", "", "DeleteObjects \"bkt\""),
        ("PUT /bkt/k", "", "PutObject \"bkt\" \"k\""),
        ("GET /bkt/k?versionId=null&partNumber=3", "", "GetObject \"bkt\" \"k\""),
        ("GET /bkt/k?id=5&cache=no", "", "GetObject \"bkt\" \"k\""),
        ("HEAD /bkt/k?partNumber=1", "", "HeadObject \"bkt\" \"k\""),
        ("DELETE /bkt/k?versionId=1", "", "DeleteObject \"bkt\" \"k\""),
        ("PUT /bkt/k", "x-amz-copy-source: /a/b\r\n", "CopyObject \"bkt\" \"k\""),
        ("POST /bkt/k?uploads", "", "CreateMultipartUpload \"bkt\" \"k\""),
        ("PUT /bkt/k?partNumber=1&uploadId=x", "", "UploadPart \"bkt\" \"k\""),
        ("PUT /bkt/k?partNumber=1&uploadId=x", "X-Amz-Copy-Source: a/b\r\n", "UploadPartCopy \"bkt\" \"k\""),
        ("POST /bkt/k?uploadId=x", "", "CompleteMultipartUpload \"bkt\" \"k\""),
        ("DELETE /bkt/k?uploadId=x", "", "AbortMultipartUpload \"bkt\" \"k\""),
        ("GET /bkt/k?uploadId=x", "", "ListParts \"bkt\" \"k\""),
    ]);
}

#[test]
fn sub_resources_never_become_the_plain_operation() {
    for (method, scope, path) in [
        ("GET", Scope::Bucket, "/bkt"),
        ("PUT", Scope::Bucket, "/bkt"),
        ("DELETE", Scope::Bucket, "/bkt"),
        ("HEAD", Scope::Bucket, "/bkt"),
        ("GET", Scope::Object, "/bkt/k"),
        ("PUT", Scope::Object, "/bkt/k"),
        ("DELETE", Scope::Object, "/bkt/k"),
        ("HEAD", Scope::Object, "/bkt/k"),
    ] {
        for &one in SubResource::ALL {
            let head = head_of(&format!("{method} {path}?{}=2", one.name()), "");
            let plain = SubResourceSet::of(&[one]).is_subset(IGNORED_ALONE);
            match route(&head, &RouteConfig::default()) {
                Ok(route) => {
                    assert_eq!(route.operation.scope, scope);
                    let named = uses(route.operation, one)
                        || SubResourceSet::of(&[one]).is_subset(route.operation.allowed);
                    assert!(named || plain, "{method} ?{} became {}", one.name(), route.op().name());
                }
                Err(error) => assert!(matches!(error.status(), 400 | 405), "{error}"),
            }
        }
    }
}

#[test]
fn combinations_that_are_no_operation() {
    check(&[
        ("GET /bkt?acl&policy", "", "400 InvalidArgument"),
        ("GET /bkt?uploads&versions", "", "400 InvalidArgument"),
        ("GET /bkt?list-type=1", "", "400 InvalidArgument"),
        ("GET /bkt?list-type=2&versions", "", "400 InvalidArgument"),
        ("GET /bkt/k?acl&acl", "", "400 InvalidArgument"),
        ("PUT /bkt/k?partNumber=1", "", "400 InvalidArgument"),
        ("PUT /bkt/k?uploadId=x", "", "400 InvalidArgument"),
        ("PUT /bkt/k?uploads", "", "405 MethodNotAllowed"),
        ("GET /bkt/k?uploads", "", "405 MethodNotAllowed"),
        ("DELETE /bkt?acl", "", "405 MethodNotAllowed"),
        ("DELETE /bkt/k?acl", "", "405 MethodNotAllowed"),
        ("DELETE /bkt?delete", "", "405 MethodNotAllowed"),
        ("HEAD /bkt?acl", "", "405 MethodNotAllowed"),
        ("HEAD /", "", "405 MethodNotAllowed"),
        ("PUT /", "", "405 MethodNotAllowed"),
        ("DELETE /", "", "405 MethodNotAllowed"),
        ("POST /", "", "405 MethodNotAllowed"),
        ("POST /bkt", "", "405 MethodNotAllowed"),
        ("POST /bkt/k", "", "405 MethodNotAllowed"),
        ("PATCH /bkt/k", "", "405 MethodNotAllowed"),
        ("get /bkt/k", "", "405 MethodNotAllowed"),
        ("GET /bkt?%zz", "", "400 InvalidURI"),
        ("GET /bkt?%61cl", "", "GetBucketAcl \"bkt\""),
    ]);
}

#[test]
fn operations_that_are_not_there_yet_are_recognised() {
    check(&[
        ("GET /bkt?acl", "", "GetBucketAcl \"bkt\""),
        ("GET /bkt/k?acl", "", "GetObjectAcl \"bkt\" \"k\""),
        ("GET /bkt?versions", "", "ListObjectVersions \"bkt\""),
        ("GET /bkt?analytics", "", "ListBucketAnalyticsConfigurations \"bkt\""),
        ("GET /bkt?analytics&id=7", "", "GetBucketAnalyticsConfiguration \"bkt\""),
        ("PUT /bkt/k", "x-amz-write-offset-bytes: 0\r\n", "AppendObject \"bkt\" \"k\""),
        ("PUT /bkt/k?renameObject", "", "RenameObject \"bkt\" \"k\""),
        ("POST /bkt/k?select&select-type=2", "", "SelectObjectContent \"bkt\" \"k\""),
        ("POST /bkt", "Content-Type: Multipart/Form-Data; boundary=x\r\n", "PostObject \"bkt\""),
        ("POST /", "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n", "QueryApi"),
        ("POST /WriteGetObjectResponse", "x-amz-request-route: r\r\n", "WriteGetObjectResponse"),
        ("OPTIONS *", "", "PreflightService"),
        ("OPTIONS /bkt/k", "", "PreflightObject \"bkt\" \"k\""),
    ]);
}

#[test]
fn keys_are_bytes_as_sent() {
    check(&[
        ("GET /bkt//", "", "GetObject \"bkt\" \"/\""),
        ("GET /bkt//a//b/", "", "GetObject \"bkt\" \"/a//b/\""),
        ("GET /bkt/../x", "", "GetObject \"bkt\" \"../x\""),
        ("GET /bkt/./x/..", "", "GetObject \"bkt\" \"./x/..\""),
        ("GET /bkt/%2e%2e/%2F", "", "GetObject \"bkt\" \"..//\""),
        ("GET /bkt/a+b%20c%2B", "", "GetObject \"bkt\" \"a+b c+\""),
        ("GET /bkt/%25%32%35", "", "GetObject \"bkt\" \"%25\""),
        ("GET /bkt/%F0%9F%98%80", "", "GetObject \"bkt\" \"😀\""),
        ("GET /bkt/a\\b%5C", "", "GetObject \"bkt\" \"a\\\\b\\\\\""),
        ("GET /bkt/%00", "", "GetObject \"bkt\" \"\\0\""),
        ("GET /bkt/%FF", "", "400 InvalidURI"),
        ("GET /bkt/%C0%AE", "", "400 InvalidURI"),
        ("GET /bkt/%ED%A0%80", "", "400 InvalidURI"),
        ("GET /bkt/%", "", "400 InvalidURI"),
        ("GET /bkt/%4", "", "400 InvalidURI"),
        ("GET /bkt/%u0041", "", "400 InvalidURI"),
        ("GET //k", "", "400 InvalidBucketName"),
        ("GET /Bkt/k", "", "400 InvalidBucketName"),
        ("GET /../k", "", "400 InvalidBucketName"),
        ("GET /bkt%2Fk", "", "400 InvalidBucketName"),
        ("GET /%62kt", "", "ListObjects \"bkt\""),
        (&format!("GET /bkt/{}", "k".repeat(1025)), "", "400 KeyTooLongError"),
    ]);
    let longest = head_of(&format!("GET /bkt/{}", "k".repeat(1024)), "");
    assert_eq!(route(&longest, &RouteConfig::default()).expect("fits").key().len(), 1024);
}

#[test]
fn buckets_from_the_host_name() {
    let config = RouteConfig {
        base_domains: vec!["s3.local".into(), "obj.example.org".into()],
        ..RouteConfig::default()
    };
    for (host, path, want) in [
        ("s3.local", "/bkt/k", "GetObject \"bkt\" \"k\""),
        ("S3.LOCAL:9000", "/", "ListBuckets"),
        ("bkt.s3.local", "/", "ListObjects \"bkt\""),
        ("bkt.s3.local:9000", "/k", "GetObject \"bkt\" \"k\""),
        ("bkt.s3.local", "//k", "GetObject \"bkt\" \"/k\""),
        ("BKT.S3.Local", "/k", "GetObject \"bkt\" \"k\""),
        ("my.bkt.obj.example.org.", "/k", "GetObject \"my.bkt\" \"k\""),
        ("xs3.local", "/bkt/k", "GetObject \"bkt\" \"k\""),
        (".s3.local", "/bkt/k", "GetObject \"bkt\" \"k\""),
        ("a.s3.local", "/k", "400 InvalidBucketName"),
        ("127.0.0.1:9000", "/bkt/k", "GetObject \"bkt\" \"k\""),
        ("[::1]:9000", "/bkt/k", "GetObject \"bkt\" \"k\""),
    ] {
        let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0;
        assert_eq!(describe(&head, &config), want, "{host}{path}");
    }
}

proptest! {
    /// Every key a client can encode arrives byte for byte.
    #[test]
    fn keys_round_trip(key in "\\PC{1,40}|[\\x00-\\x7f]{1,40}", double in any::<bool>()) {
        let mut path = b"/bkt/".to_vec();
        stria_http::percent::encode(key.as_bytes(), stria_http::percent::Keep::Slash, &mut path);
        let query = if double { "?versionId=1" } else { "" };
        let head = head_of(&format!("GET {}{query}", String::from_utf8(path).expect("ASCII")), "");
        let config = RouteConfig::default();
        let route = route(&head, &config).expect("a good key");
        prop_assert_eq!(route.key(), key);
    }
}

#[test]
fn websites_are_told_by_their_host() {
    let domain = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let config = |base: &[&str], website: &[&str]| RouteConfig {
        base_domains: domain(base),
        website_domains: domain(website),
    };
    let bucket = |host: &str, config: &RouteConfig| {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0;
        website_bucket(&head, config).map(Cow::into_owned)
    };
    let below = config(&["s3.test"], &["web.s3.test"]);
    assert_eq!(bucket("bkt.WEB.s3.test:80", &below).as_deref(), Some("bkt"));
    assert_eq!(bucket("bkt.s3.test", &below), None);
    assert_eq!(bucket("web.s3.test", &below), None);
    let above = config(&["s3.web.test"], &["web.test"]);
    assert_eq!(bucket("bkt.web.test", &above).as_deref(), Some("bkt"));
    assert_eq!(bucket("bkt.s3.web.test", &above), None, "the endpoint's own hosts stay its own");
    assert_eq!(bucket("bkt.web.test", &config(&["s3.test"], &[])), None);
}
