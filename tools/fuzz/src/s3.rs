//! Targets of `net/s3`.
//!
//! Invariant: what the parsers accept is inside S3's limits, and reading back what we wrote gives the
//! same. Owner: the wire group.

use stria_http::percent::{Keep, encode};
use stria_http::{Head, head};
use stria_s3::request::{CompleteMultipartUpload, CreateBucket, DeleteObjects};
use stria_s3::{RouteConfig, bucket_name, request};

fn head_of(line: &[u8]) -> Option<Head> {
    let text = [line, b" HTTP/1.1\r\nHost: h\r\nx-amz-meta-a: b\r\n\r\n"].concat();
    head::parse(&text).ok().flatten().map(|(head, _)| head)
}

/// A request line: what is routed has a legal bucket and key, and routes again to the same when its key
/// is encoded anew; the typed requests survive its query.
pub fn route(line: &[u8]) {
    let config = RouteConfig { base_domains: vec!["s3.local".into()], ..RouteConfig::default() };
    let Some(head) = head_of(line) else {
        return;
    };
    let Ok(route) = stria_s3::route(&head, &config) else {
        return;
    };
    if let Some(bucket) = &route.bucket {
        assert!(bucket_name::is_valid(bucket));
    }
    if let Some(key) = &route.key {
        assert!((1..=1024).contains(&key.len()));
        let mut again = [head.method_bytes(), b" /", route.bucket().as_bytes(), b"/"].concat();
        encode(key.as_bytes(), Keep::Slash, &mut again);
        again.push(b'?');
        again.extend_from_slice(head.query());
        if let Some(again) = head_of(&again) {
            let again = stria_s3::route(&again, &config).expect("routed before");
            assert_eq!((again.op(), again.key()), (route.op(), route.key()));
        }
    }
    let _ = request::ListObjects::parse(&route);
    let _ = request::ListMultipartUploads::parse(&route);
    let _ = request::ListBuckets::parse(&route);
    let _ = request::ListParts::parse(&route, &head);
    let _ = request::GetObject::parse(&route, &head, false);
    let _ = request::UploadPart::parse(&route, &head, false);
    if let Ok(list) = request::ListObjectsV2::parse(&route) {
        assert!(list.max_keys <= 1000);
    }
}

/// Bodies of DeleteObjects.
pub fn xml_delete(body: &[u8]) {
    if let Ok(request) = DeleteObjects::parse_xml(body) {
        assert!((1..=1000).contains(&request.entries.len()));
        assert!(request.entries.iter().all(|entry| !entry.key.is_empty()));
    }
}

/// Bodies of CompleteMultipartUpload.
pub fn xml_complete(body: &[u8]) {
    if let Ok(parts) = CompleteMultipartUpload::parse_xml(body) {
        assert!((1..=10_000).contains(&parts.len()));
        assert!(parts.windows(2).all(|pair| pair[0].part_number < pair[1].part_number));
        assert!(parts[0].part_number >= 1 && parts[parts.len() - 1].part_number <= 10_000);
    }
}

/// Bodies of CreateBucket.
pub fn xml_create_bucket(body: &[u8]) {
    let head = head_of(b"PUT /bkt").expect("well-formed");
    if let Ok(request) = CreateBucket::parse(&head, body) {
        assert!(request.location.is_none_or(|location| !location.is_empty()));
    }
}
