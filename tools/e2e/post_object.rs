//! POST Object: browser forms, their policies, their answers.

use std::fmt::Write;

use stria_s3::checksum::base64_encode;
use stria_sigv4::SigningKey;

use crate::{
    client::*,
    server::{ACCESS_KEY, SECRET_KEY},
};

const BOUNDARY: &str = "----stria-form";

/// A form being put together.
struct Form {
    fields: Vec<(String, String)>,
    file: Option<Vec<u8>>,
}

impl Form {
    /// Signed with a policy of these conditions beside those every form here needs.
    fn signed(bucket: &str, key: &str, conditions: &str) -> Self {
        Self::until("2099-01-01T00:00:00Z", bucket, key, conditions)
    }

    fn until(expiration: &str, bucket: &str, key: &str, conditions: &str) -> Self {
        let bucket = bucket.trim_start_matches('/');
        let credential = format!("{ACCESS_KEY}/20260101/us-east-1/s3/aws4_request");
        let policy = format!(
            r#"{{"expiration":"{expiration}","conditions":[{{"bucket":"{bucket}"}},["starts-with","$key",""],{{"x-amz-algorithm":"AWS4-HMAC-SHA256"}},{{"x-amz-credential":"{credential}"}},{{"x-amz-date":"20260101T000000Z"}}{conditions}]}}"#
        );
        let policy = base64_encode(policy.as_bytes());
        let signer = SigningKey::derive(SECRET_KEY.as_bytes(), "20260101", "us-east-1", "s3");
        let signature = String::from_utf8(signer.sign_hex(&[policy.as_bytes()]).to_vec()).expect("hex");
        let form = Self { fields: Vec::new(), file: None };
        form.with("key", key)
            .with("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
            .with("X-Amz-Credential", &credential)
            .with("X-Amz-Date", "20260101T000000Z")
            .with("Policy", &policy)
            .with("X-Amz-Signature", &signature)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    fn file(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.file = Some(content.into());
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for (name, value) in &self.fields {
            write!(
                text,
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .expect("into a string");
        }
        let mut out = text.into_bytes();
        if let Some(file) = &self.file {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\photos\\me.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
            );
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(file);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        out
    }

    fn post(&self, bucket: &str) -> Answer {
        send(bucket, &self.bytes())
    }
}

fn send(bucket: &str, body: &[u8]) -> Answer {
    let mut connection = Connection::open();
    let head = format!(
        "POST {bucket} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write(head.as_bytes());
    connection.write(body);
    connection.answer("POST")
}

#[test]
fn a_form_becomes_an_object() {
    let bucket = bucket("forms");
    // Inline, just above it, many pieces.
    for bytes in [0, 1, 5_000, 32 << 10, (32 << 10) + 1, 300_000, 9 << 20] {
        let content = body(bytes, 3);
        let answer =
            Form::signed(&bucket, "up/${filename}", "").file(content.clone()).post(&bucket).expect(204);
        assert_eq!(answer.must("etag"), format!("\"{}\"", md5_hex(&content)));
        assert!(answer.must("location").ends_with("/up/me.jpg"));
        get(&format!("{bucket}/up/me.jpg")).expect(200).expect_body(&content);
    }
    // Content that looks like the end of the form but is not.
    let tricky = format!("\r\n--{}\r\n--{BOUNDARY}", &BOUNDARY[..BOUNDARY.len() - 1]).into_bytes();
    let tricky = tricky[..tricky.len() - 3].to_vec();
    Form::signed(&bucket, "tricky", "").file(tricky.clone()).post(&bucket).expect(204);
    get(&format!("{bucket}/tricky")).expect(200).expect_body(&tricky);
}

#[test]
fn fields_become_headers_and_tags() {
    let bucket = bucket("form-fields");
    let conditions = r#",["starts-with","$Content-Type","text/"],["starts-with","$x-amz-meta-who",""],["eq","$acl","private"],["starts-with","$tagging",""],{"success_action_status":"201"}"#;
    let form = Form::signed(&bucket, "key", conditions)
        .with("Content-Type", "text/plain")
        .with("x-amz-meta-who", "me")
        .with("acl", "private")
        .with("tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>")
        .with("success_action_status", "201")
        .with("x-ignore-this", "whatever");
    let answer = form.file("hello").post(&bucket).expect(201);
    assert_eq!(answer.element("Key").as_deref(), Some("key"));
    assert_eq!(answer.element("Bucket").as_deref(), Some("form-fields"));
    assert_eq!(answer.element("ETag").as_deref(), Some("&quot;5d41402abc4b2a76b9719d911017c592&quot;"));
    let object = get(&format!("{bucket}/key")).expect(200).expect_body(b"hello");
    assert_eq!((object.must("content-type"), object.must("x-amz-meta-who")), ("text/plain", "me"));
    assert_eq!(object.must("x-amz-tagging-count"), "1");
}

#[test]
fn a_form_may_send_the_browser_elsewhere() {
    let bucket = bucket("form-redirect");
    let condition = r#",["starts-with","$success_action_redirect","http"]"#;
    let form = Form::signed(&bucket, "a b", condition)
        .with("success_action_redirect", "http://example.org/done?x=1");
    let answer = form.file("x").post(&bucket).expect(303);
    let place = answer.must("location");
    assert!(
        place.starts_with("http://example.org/done?x=1&bucket=form-redirect&key=a%20b&etag=%22"),
        "{place}"
    );
}

#[test]
fn policies_hold() {
    let bucket = bucket("form-policies");
    let denied = |form: Form| form.file("hello").post(&bucket).expect_error(403, "AccessDenied");
    denied(Form::until("2020-01-01T00:00:00Z", &bucket, "key", ""));
    denied(Form::signed(&bucket, "key", "").with("x-amz-meta-a", "not in the policy"));
    denied(Form::signed(&bucket, "key", r#",["eq","$key","other"]"#));
    denied(Form::signed(&bucket, "key", r#",{"x-amz-meta-a":"wanted"}"#));
    denied(Form::signed("another-bucket", "key", ""));
    denied(Form { fields: vec![("key".into(), "key".into())], file: None });
    let range = |range: &str| {
        Form::signed(&bucket, "key", &format!(r#",["content-length-range",{range}]"#)).file("hello")
    };
    range("5,5").post(&bucket).expect(204);
    range("6,10").post(&bucket).expect_error(400, "EntityTooSmall");
    range("0,4").post(&bucket).expect_error(400, "EntityTooLarge");
    let large =
        Form::signed(&bucket, "large", r#",["content-length-range",0,100000]"#).file(body(200_000, 1));
    large.post(&bucket).expect_error(400, "EntityTooLarge");
    get(&format!("{bucket}/large")).expect_error(404, "NoSuchKey");
    range("7,1").post(&bucket).expect_error(400, "InvalidPolicyDocument");
    let mut forged = Form::signed(&bucket, "key", "");
    forged.fields.iter_mut().find(|(name, _)| name == "Policy").expect("signed").1.insert_str(0, "AAAA");
    forged.file("x").post(&bucket).expect_error(403, "SignatureDoesNotMatch");
    let mut stranger = Form::signed(&bucket, "key", "");
    stranger.fields[2].1 = "NOBODY/20260101/us-east-1/s3/aws4_request".into();
    stranger.file("x").post(&bucket).expect_error(403, "InvalidAccessKeyId");
    Form::signed("/no-such-form-bucket", "key", "")
        .file("x")
        .post("/no-such-form-bucket")
        .expect_error(404, "NoSuchBucket");
}

#[test]
fn forms_that_are_none_leave_nothing() {
    let bucket = bucket("form-bad");
    Form::signed(&bucket, "key", "").post(&bucket).expect_error(400, "InvalidArgument");
    Form { fields: Vec::new(), file: Some(b"x".to_vec()) }.post(&bucket).expect_error(400, "InvalidArgument");
    send(&bucket, b"nonsense").expect_error(400, "MalformedPOSTRequest");
    let long = Form::signed(&bucket, "key", "").with("x-ignore-long", &"x".repeat(30 << 10)).file("x");
    long.post(&bucket).expect_error(400, "MaxPostPreDataLengthExceededError");
    Form::signed(&bucket, &"k".repeat(1_025), "")
        .file("x")
        .post(&bucket)
        .expect_error(400, "KeyTooLongError");
    let whole = Form::signed(&bucket, "cut", "").file(body(100_000, 1)).bytes();
    send(&bucket, &whole[..whole.len() - 20]).expect_error(400, "MalformedPOSTRequest");
    for key in ["key", "cut"] {
        get(&format!("{bucket}/{key}")).expect_error(404, "NoSuchKey");
    }
    still_serves();
}
