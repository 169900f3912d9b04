//! Forms in one piece and byte by byte; policies that hold and policies that do not.

use super::*;
use crate::{ErrorCode, checksum::base64_encode};

fn reader() -> FormReader {
    let text = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=\"xyz\"\r\n\r\n";
    let head = stria_http::head::parse(text).expect("well-formed").expect("complete").0;
    FormReader::new(&head).expect("a boundary")
}

const FORM: &[u8] = b"--xyz\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\na/${filename}\r\n--xyz\r\nContent-Disposition: form-data; name=\"x\"\r\nContent-Type: text/plain\r\n\r\n\r\n--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;b.txt\"\r\nContent-Type: text/plain\r\n\r\nbody\r\n--xy\r\nend\r\n--xyz--\r\n";

fn read(piece_bytes: usize) -> (Form, Vec<u8>, bool) {
    let mut reader = reader();
    let mut pieces = FORM.chunks(piece_bytes);
    let (form, mut file, rest) = loop {
        let piece = pieces.next().expect("the form has a file");
        if let Some(found) = reader.feed(piece).expect("well-formed") {
            break found;
        }
    };
    let mut body = Vec::new();
    file.take(&rest, &mut body);
    for piece in pieces {
        file.take(piece, &mut body);
    }
    (form, body, file.is_over())
}

#[test]
fn a_form_is_read_however_it_is_cut() {
    for piece_bytes in [1, 2, 3, 7, 50, 10_000] {
        let (form, body, is_over) = read(piece_bytes);
        assert_eq!(form.get("key"), Some(&b"a/${filename}"[..]));
        assert_eq!((form.get("x"), form.file_name.as_str()), (Some(&b""[..]), "a;b.txt"));
        assert_eq!(
            (body.as_slice(), is_over),
            (&b"body\r\n--xy\r\nend"[..], true),
            "in pieces of {piece_bytes}"
        );
    }
}

#[test]
fn forms_that_are_none() {
    let fail = |bytes: &[u8]| reader().feed(bytes).map(|_| ()).map_err(|error| error.code);
    assert_eq!(fail(b"--xyz--\r\n"), Err(ErrorCode::InvalidArgument));
    assert_eq!(fail(b"--xyz\r\nContent-Type: x\r\n\r\n"), Err(ErrorCode::MalformedPOSTRequest));
    assert_eq!(fail(b"--xyzXX"), Err(ErrorCode::MalformedPOSTRequest));
    assert_eq!(fail(&vec![b'x'; 21 << 10]), Err(ErrorCode::MaxPostPreDataLengthExceededError));
    assert_eq!(fail(b"--xyz\r\nContent-Disp"), Ok(()));
    let mut cut = reader();
    let end = FORM.len() - 12;
    let (_, mut file, rest) = cut.feed(&FORM[..end]).expect("well-formed").expect("a file");
    file.take(&rest, &mut Vec::new());
    assert!(!file.is_over(), "a form that was cut is no upload");
}

fn policy(conditions: &str) -> Result<Option<(u64, u64)>, ErrorCode> {
    let form = Form {
        fields: vec![("key".into(), b"a/b".to_vec()), ("content-type".into(), b"text/plain".to_vec())],
        file_name: String::new(),
    };
    let input = PolicyInput { form: &form, bucket: "bkt", key: "a/b", now_unix_s: 1_000_000_000 };
    let json = format!("{{\"expiration\":\"2033-01-01T00:00:00Z\",\"conditions\":[{conditions}]}}");
    check_policy(base64_encode(json.as_bytes()).as_bytes(), &input).map_err(|error| error.code)
}

#[test]
fn conditions() {
    let rest = r#",["starts-with","$Content-Type","text/"]"#;
    let with = |condition: &str| policy(&format!("{condition}{rest}"));
    assert_eq!(with(r#"{"key":"a/b"}"#), Ok(None));
    assert_eq!(with(r#"["eq","$KEY","a/b"],{"bucket":"bkt"}"#), Ok(None));
    assert_eq!(with(r#"["starts-with","$key","a/"],["content-length-range",1,10]"#), Ok(Some((1, 10))));
    assert_eq!(with(r#"["starts-with","$key",""],["starts-with","$x-amz-meta-z",""]"#), Ok(None));
    assert_eq!(with(r#"{"key":"a/c"}"#), Err(ErrorCode::AccessDenied));
    assert_eq!(with(r#"{"key":"a/b"},{"bucket":"other"}"#), Err(ErrorCode::AccessDenied));
    assert_eq!(with(r#"{"key":"a/b"},{"acl":"private"}"#), Err(ErrorCode::AccessDenied));
    assert_eq!(policy(r#"{"key":"a/b"}"#), Err(ErrorCode::AccessDenied), "a field the policy does not name");
    for bad in [
        r#"["eq","key","a/b"]"#,
        r#"["like","$key","a"]"#,
        r#"["eq","$key"]"#,
        r#"["content-length-range",10,1]"#,
        r#"["content-length-range",-1,1]"#,
        r#"{"key":1}"#,
        "7",
        "",
    ] {
        assert_eq!(policy(bad), Err(ErrorCode::InvalidPolicyDocument), "{bad}");
    }
}

#[test]
fn documents() {
    let form = Form::default();
    let input = PolicyInput { form: &form, bucket: "b", key: "k", now_unix_s: 2_000_000_000 };
    let check = |json: &str| {
        check_policy(base64_encode(json.as_bytes()).as_bytes(), &input).map_err(|error| error.code)
    };
    assert_eq!(check("{"), Err(ErrorCode::InvalidPolicyDocument));
    assert_eq!(check(r#"{"conditions":[{"key":"k"}]}"#), Err(ErrorCode::InvalidPolicyDocument));
    assert_eq!(check(r#"{"expiration":"2040-01-01T00:00:00Z"}"#), Err(ErrorCode::InvalidPolicyDocument));
    let over = r#"{"expiration":"2020-01-01T00:00:00Z","conditions":[{"key":"k"}]}"#;
    assert_eq!(check(over), Err(ErrorCode::AccessDenied));
    assert_eq!(check_policy(b"!", &input).map_err(|error| error.code), Err(ErrorCode::InvalidPolicyDocument));
}
