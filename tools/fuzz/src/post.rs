//! Targets of browser forms and their policies.
//!
//! Invariant: a form and its file are the same however the bytes arrive in pieces; a policy that is over admits
//! nothing. Owner: the S3 group.

use stria_http::head;
use stria_s3::post::{Form, FormReader, PolicyInput, check_policy};

/// The end of the calendar, seconds since 1970: every date of a policy lies before.
const LATE_UNIX_S: u64 = 1 << 60;

fn reader() -> FormReader {
    let head =
        head::parse(b"POST /b HTTP/1.1\r\nhost: h\r\ncontent-type: multipart/form-data; boundary=xx\r\n\r\n");
    let (head, _) = head.expect("a head").expect("a whole one");
    FormReader::new(&head).expect("a boundary")
}

/// What a form comes to when it arrives in pieces of `step` bytes.
fn form_of(bytes: &[u8], step: usize) -> Option<(Form, Vec<u8>, bool)> {
    let (mut reader, mut pieces) = (reader(), bytes.chunks(step));
    let (form, mut file, rest) = loop {
        match reader.feed(pieces.next()?) {
            Ok(None) => {}
            Ok(Some(found)) => break found,
            Err(_) => return None,
        }
    };
    let mut body = Vec::new();
    file.take(&rest, &mut body);
    for piece in pieces {
        file.take(piece, &mut body);
    }
    Some((form, body, file.is_over()))
}

/// A form, its boundary being `xx`.
pub fn post_form(bytes: &[u8]) {
    let (whole, split) = (form_of(bytes, bytes.len().max(1)), form_of(bytes, 7));
    if let (Some(whole), Some(split)) = (whole, split) {
        assert_eq!(whole, split, "pieces make another form");
    }
}

/// A policy in base64, of a form with a few fields.
pub fn post_policy(bytes: &[u8]) {
    let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let fields = vec![field("key", "a/b"), field("acl", "private"), field("x-amz-meta-a", "1")];
    let form = Form { fields, file_name: String::new() };
    let input = PolicyInput { form: &form, bucket: "bucket", key: "a/b", now_unix_s: 0 };
    let _ = check_policy(bytes, &input);
    let late = PolicyInput { now_unix_s: LATE_UNIX_S, ..input };
    assert!(check_policy(bytes, &late).is_err(), "a policy that is over");
}
