//! Access control lists, public access and what nobody in particular may do.

use crate::{client::*, server::Server};

const FILE: &str = r#"
[[identity]]
name = "alice"
access_key = "AKALICE"
secret_key = "secret-of-alice"
canonical_id = "a11ce"
display_name = "Alice"

[[identity]]
name = "bob"
access_key = "AKBOB"
secret_key = "secret-of-bob"
canonical_id = "b0b"
email = "bob@example.com"
"#;

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

/// A server whose new buckets are as they were before ownership controls.
pub fn classic(folder: &std::path::Path) -> Server {
    let file = folder.join("stria.toml");
    std::fs::write(&file, FILE).expect("written");
    let flags = ["--config", file.to_str().expect("UTF-8"), "--bucket-defaults", "classic"];
    Server::start_with(&folder.join("data"), &flags)
}

pub fn alice(request: Request) -> Request {
    by("AKALICE", "secret-of-alice", request)
}

pub fn bob(request: Request) -> Request {
    by("AKBOB", "secret-of-bob", request)
}

fn by(access_key: &'static str, secret: &'static str, mut request: Request) -> Request {
    request.signer.access_key = access_key;
    request.signer.secret = secret;
    request
}

/// Sends a request that nobody signed.
pub fn unsigned(port: u16, request: &Request) -> Answer {
    let mark = if request.query.is_empty() { "" } else { "?" };
    let mut text = format!("{} {}{mark}{} HTTP/1.1\r\n", request.method, request.path, request.query);
    text += "host: 127.0.0.1\r\n";
    for (name, value) in &request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n", request.body.len());
    let mut connection = Connection::open_to(port);
    connection.write(text.as_bytes());
    connection.write(&request.body);
    connection.answer(request.method)
}

fn policy(owner: &str, grants: &[(&str, &str)]) -> String {
    let grants: String = grants
        .iter()
        .map(|(grantee, permission)| {
            format!("<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>")
        })
        .collect();
    format!(
        "<AccessControlPolicy><Owner><ID>{owner}</ID></Owner><AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
    )
}

#[test]
fn lists_are_kept_and_given_back() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = classic(folder.path());
    let port = server.ports.s3;
    alice(put("/bkt", "")).send_to(port).expect(200);
    alice(put("/bkt/k", "x")).send_to(port).expect(200);
    for target in ["/bkt?acl", "/bkt/k?acl"] {
        let read = || alice(get(target)).send_to(port).expect(200);
        assert_eq!(elements(&read().text(), "Permission"), ["FULL_CONTROL"]);
        let all = [
            ("<ID>b0b</ID>", "READ"),
            ("<EmailAddress>bob@example.com</EmailAddress>", "WRITE_ACP"),
            (&*format!("<URI>{ALL_USERS}</URI>"), "READ_ACP"),
        ];
        alice(put(target, policy("a11ce", &all))).send_to(port).expect(200);
        let text = read().text();
        assert_eq!(elements(&text, "Permission"), ["READ", "WRITE_ACP", "READ_ACP"]);
        assert_eq!(elements(&text, "ID"), ["a11ce", "b0b", "b0b"], "e-mail addresses become ids");
        assert_eq!(elements(&text, "URI"), [ALL_USERS]);
        assert_eq!(elements(&text, "DisplayName"), ["Alice", "bob", "bob"]);
        alice(put(target, read().body)).send_to(port).expect(200);
        alice(put(target, policy("b0b", &all))).send_to(port).expect_error(403, "AccessDenied");
        let stranger = policy("a11ce", &[("<ID>nobody</ID>", "READ")]);
        alice(put(target, stranger)).send_to(port).expect_error(400, "InvalidArgument");
        let unknown = policy("a11ce", &[("<EmailAddress>x@y</EmailAddress>", "READ")]);
        alice(put(target, unknown)).send_to(port).expect_error(400, "UnresolvableGrantByEmailAddress");
        let both = put(target, "").with("x-amz-acl", "private").with("x-amz-grant-read", "id=b0b");
        alice(both).send_to(port).expect_error(400, "InvalidRequest");
        alice(put(target, "")).send_to(port).expect_error(400, "MissingSecurityHeader");
        assert_eq!(elements(&read().text(), "Permission").len(), 3, "a refused list changes nothing");
        alice(put(target, "").with("x-amz-acl", "public-read")).send_to(port).expect(200);
        assert_eq!(elements(&read().text(), "Permission"), ["FULL_CONTROL", "READ"]);
        alice(put(target, "").with("x-amz-grant-full-control", "id=\"b0b\"")).send_to(port).expect(200);
        assert_eq!(elements(&read().text(), "Permission"), ["FULL_CONTROL"]);
    }
    // The body stays, and everything stays over a restart.
    bob(get("/bkt/k")).send_to(port).expect(200).expect_body(b"x");
    server.stop();
    let server = classic(folder.path());
    let text = bob(get("/bkt/k?acl")).send_to(server.ports.s3).expect(200).text();
    assert_eq!(elements(&text, "ID"), ["a11ce", "b0b"]);
    alice(put("/bkt/k?acl", "").with("x-amz-acl", "private")).send_to(server.ports.s3).expect(200);
    bob(get("/bkt/k")).send_to(server.ports.s3).expect_error(403, "AccessDenied");
}

#[test]
fn lists_come_with_writes() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = classic(folder.path());
    let port = server.ports.s3;
    alice(put("/bkt", "").with("x-amz-acl", "public-read-write")).send_to(port).expect(200);
    let grants = |target: &str| {
        let read = alice(get(&format!("{target}?acl"))).send_to(port).expect(200);
        elements(&read.text(), "Permission").join(" ")
    };
    assert_eq!(grants("/bkt"), "FULL_CONTROL READ WRITE");
    alice(put("/bkt/k", "x").with("x-amz-acl", "public-read")).send_to(port).expect(200);
    assert_eq!(grants("/bkt/k"), "FULL_CONTROL READ");
    unsigned(port, &get("/bkt/k")).expect(200).expect_body(b"x");
    alice(put("/bkt/copy", "").with("x-amz-copy-source", "/bkt/k")).send_to(port).expect(200);
    assert_eq!(grants("/bkt/copy"), "FULL_CONTROL", "a list is not copied");
    unsigned(port, &get("/bkt/copy")).expect_error(403, "AccessDenied");
    let copy = put("/bkt/copy", "").with("x-amz-copy-source", "/bkt/k").with("x-amz-grant-read", "id=b0b");
    alice(copy).send_to(port).expect(200);
    bob(get("/bkt/copy")).send_to(port).expect(200);

    // An upload's list is its beginning's.
    let started =
        alice(post("/bkt/up?uploads", "").with("x-amz-acl", "public-read")).send_to(port).expect(200);
    let id = started.element("UploadId").expect("an id");
    let part = alice(put(&format!("/bkt/up?partNumber=1&uploadId={id}"), "part")).send_to(port).expect(200);
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.must("etag")
    );
    bob(put(&format!("/bkt/up?partNumber=2&uploadId={id}"), "x"))
        .send_to(port)
        .expect_error(403, "AccessDenied");
    bob(delete(&format!("/bkt/up?uploadId={id}"))).send_to(port).expect_error(403, "AccessDenied");
    bob(post(&format!("/bkt/up?uploadId={id}"), list.clone()))
        .send_to(port)
        .expect_error(403, "AccessDenied");
    alice(post(&format!("/bkt/up?uploadId={id}"), list)).send_to(port).expect(200);
    unsigned(port, &get("/bkt/up")).expect(200).expect_body(b"part");

    // Versions have their own.
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    alice(put("/bkt?versioning", enabled)).send_to(port).expect(200);
    let version = |acl: &str| {
        let written = alice(put("/bkt/v", "x").with("x-amz-acl", acl)).send_to(port).expect(200);
        written.must("x-amz-version-id").to_owned()
    };
    let (old, new) = (version("private"), version("public-read"));
    let read = |id: &str| unsigned(port, &get(&format!("/bkt/v?versionId={id}"))).status;
    assert_eq!((read(&old), read(&new), unsigned(port, &get("/bkt/v")).status), (403, 200, 200));
    let change = |id: &str, acl: &str| {
        alice(put(&format!("/bkt/v?acl&versionId={id}"), "").with("x-amz-acl", acl)).send_to(port).expect(200)
    };
    assert_eq!(change(&old, "public-read").must("x-amz-version-id"), old);
    change(&new, "private");
    assert_eq!((read(&old), read(&new), unsigned(port, &get("/bkt/v")).status), (200, 403, 403));
    bob(delete(&format!("/bkt/v?versionId={old}"))).send_to(port).expect_error(403, "AccessDenied");
    bob(delete("/bkt/v")).send_to(port).expect(204);
}

#[test]
fn objects_belong_to_their_writers() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = classic(folder.path());
    let port = server.ports.s3;
    alice(put("/bkt", "").with("x-amz-acl", "public-read-write")).send_to(port).expect(200);
    bob(put("/bkt/his", "x")).send_to(port).expect(200);
    bob(get("/bkt/his")).send_to(port).expect(200);
    alice(get("/bkt/his")).send_to(port).expect_error(403, "AccessDenied");
    alice(put("/bkt/his?acl", "").with("x-amz-acl", "private"))
        .send_to(port)
        .expect_error(403, "AccessDenied");
    assert_eq!(bob(get("/bkt/his?acl")).send_to(port).expect(200).element("ID").as_deref(), Some("b0b"));
    let shared = || put("/bkt/shared", "x").with("x-amz-acl", "bucket-owner-full-control");
    let owner = || alice(get("/bkt/shared?acl")).send_to(port).expect(200).element("ID").expect("an owner");
    bob(shared()).send_to(port).expect(200);
    alice(get("/bkt/shared")).send_to(port).expect(200);
    assert_eq!(owner(), "b0b");
    let controls = |word: &str| {
        let rule = format!(
            "<OwnershipControls><Rule><ObjectOwnership>{word}</ObjectOwnership></Rule></OwnershipControls>"
        );
        alice(put("/bkt?ownershipControls", rule)).send_to(port)
    };
    controls("BucketOwnerPreferred").expect(200);
    bob(shared()).send_to(port).expect(200);
    assert_eq!(owner(), "a11ce");
    bob(get("/bkt/shared")).send_to(port).expect_error(403, "AccessDenied");
    controls("BucketOwnerEnforced").expect_error(400, "InvalidBucketAclWithObjectOwnership");
    alice(put("/bkt?acl", "").with("x-amz-acl", "private")).send_to(port).expect(200);
    controls("BucketOwnerEnforced").expect(200);
    alice(get("/bkt/his")).send_to(port).expect(200);
    bob(get("/bkt/his")).send_to(port).expect_error(403, "AccessDenied");
    get("/bkt/his").send_to(port).expect(200);
}

#[test]
fn what_is_blocked_is_not_public() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = classic(folder.path());
    let port = server.ports.s3;
    for (name, code) in [
        ("ownershipControls", "OwnershipControlsNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    ] {
        alice(put("/bkt", "")).send_to(port).expect(200);
        alice(get(&format!("/bkt?{name}"))).send_to(port).expect_error(404, code);
    }
    alice(put("/bkt/k", "x").with("x-amz-acl", "public-read")).send_to(port).expect(200);
    let block = |switch: &str| {
        let document = format!(
            "<PublicAccessBlockConfiguration><{switch}>true</{switch}></PublicAccessBlockConfiguration>"
        );
        alice(put("/bkt?publicAccessBlock", document)).send_to(port).expect(200);
    };
    block("BlockPublicAcls");
    unsigned(port, &get("/bkt/k")).expect(200);
    for acl in ["public-read", "public-read-write", "authenticated-read"] {
        for request in [put("/bkt?acl", ""), put("/bkt/k?acl", ""), put("/bkt/new", "x")] {
            alice(request.with("x-amz-acl", acl)).send_to(port).expect_error(403, "AccessDenied");
        }
    }
    alice(put("/bkt/new", "x").with("x-amz-grant-read", "id=b0b")).send_to(port).expect(200);
    block("IgnorePublicAcls");
    unsigned(port, &get("/bkt/k")).expect_error(403, "AccessDenied");
    bob(get("/bkt/k")).send_to(port).expect_error(403, "AccessDenied");
    bob(get("/bkt/new")).send_to(port).expect(200);
    alice(delete("/bkt?publicAccessBlock")).send_to(port).expect(204);
    unsigned(port, &get("/bkt/k")).expect(200);
}

#[test]
fn who_may_not_list_is_not_told_what_is_missing() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = classic(folder.path());
    let port = server.ports.s3;
    alice(put("/bkt", "")).send_to(port).expect(200);
    alice(put("/bkt/k", "x").with("x-amz-acl", "public-read")).send_to(port).expect(200);
    unsigned(port, &get("/bkt/k")).expect(200);
    unsigned(port, &get("/bkt/k?response-content-type=text/html")).expect_error(400, "InvalidRequest");
    unsigned(port, &get("/bkt/missing")).expect_error(403, "AccessDenied");
    alice(put("/bkt?acl", "").with("x-amz-acl", "public-read")).send_to(port).expect(200);
    unsigned(port, &get("/bkt/missing")).expect_error(404, "NoSuchKey");
    unsigned(port, &get("/no-such-bucket/k")).expect_error(404, "NoSuchBucket");
    unsigned(port, &get("/")).expect_error(403, "AccessDenied");
    unsigned(port, &put("/new-bucket", "")).expect_error(403, "AccessDenied");
    unsigned(port, &put("/bkt/k", "y")).expect_error(403, "AccessDenied");
    alice(put("/ckt", "")).send_to(port).expect(200);
    alice(put("/ckt/secret", "x")).send_to(port).expect(200);
    bob(put("/dkt", "")).send_to(port).expect(200);
    let copy = |source: &str| bob(put("/dkt/copy", "").with("x-amz-copy-source", source)).send_to(port);
    copy("/bkt/k").expect(200);
    copy("/ckt/secret").expect_error(403, "AccessDenied");
    copy("/ckt/missing").expect_error(403, "AccessDenied");
    // A form that nobody signed, into a bucket that everybody may write to.
    let form = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nformed\r\n--x\r\nContent-Disposition: form-data; name=\"acl\"\r\n\r\npublic-read\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbody\r\n--x--\r\n";
    let form = || post("/ckt", form).with("content-type", "multipart/form-data; boundary=x");
    unsigned(port, &form()).expect_error(403, "AccessDenied");
    alice(put("/ckt?acl", "").with("x-amz-acl", "public-read-write")).send_to(port).expect(200);
    unsigned(port, &form()).expect(204);
    bob(get("/ckt/formed")).send_to(port).expect(200).expect_body(b"body");
}

#[test]
fn new_buckets_are_closed_by_default() {
    let bucket = bucket("closed-by-default");
    let read = |name: &str| get(&format!("{bucket}?{name}")).expect(200).text();
    assert!(read("ownershipControls").contains("<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>"));
    assert_eq!(read("publicAccessBlock").matches("true").count(), 4);
    let open = |name: &str| put(&format!("/{name}"), "").with("x-amz-acl", "public-read");
    open("open-by-default").expect_error(400, "InvalidBucketAclWithObjectOwnership");
    open("open-by-default")
        .with("x-amz-object-ownership", "ObjectWriter")
        .expect_error(400, "InvalidBucketAclWithBlockPublicAccessError");
    put("/owned", "").with("x-amz-object-ownership", "BucketOwnerPreferred").expect(200);
    let owned = get("/owned?ownershipControls").expect(200);
    assert_eq!(owned.element("ObjectOwnership").as_deref(), Some("BucketOwnerPreferred"));
    put("/mine", "").with("x-amz-object-ownership", "Mine").expect_error(400, "InvalidArgument");
    unsigned(crate::server::shared(), &get(&bucket)).expect_error(403, "AccessDenied");
}
