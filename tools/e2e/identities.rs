//! Several accounts in one namespace of buckets.

use crate::{
    client::*,
    server::{Server, refused_with},
};

const FILE: &str = r#"
[[identity]]
name = "alice"
access_key = "AKALICE"
secret_key = "secret-of-alice"
display_name = "Alice"
email = "alice@example.com"
account = "111122223333"

[[identity]]
name = "alice's robot"
access_key = "AKROBOT"
secret_key = "secret-of-robot"
account = "111122223333"

[[identity]]
name = "bob"
access_key = "AKBOB"
secret_key = "secret-of-bob"
canonical_id = "b0b"
tenant = "t"
"#;

fn by(access_key: &'static str, secret: &'static str, request: Request) -> Request {
    let mut request = request;
    request.signer.access_key = access_key;
    request.signer.secret = secret;
    request
}

fn alice(request: Request) -> Request {
    by("AKALICE", "secret-of-alice", request)
}

fn robot(request: Request) -> Request {
    by("AKROBOT", "secret-of-robot", request)
}

fn bob(request: Request) -> Request {
    by("AKBOB", "secret-of-bob", request)
}

#[test]
fn buckets_belong_to_accounts() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("stria.toml");
    std::fs::write(&file, FILE).expect("written");
    let flags = ["--config", file.to_str().expect("UTF-8")];
    let data = folder.path().join("data");
    let server = Server::start_with(&data, &flags);
    let port = server.ports.s3;
    alice(put("/hers", "")).send_to(port).expect(200);
    bob(put("/his", "")).send_to(port).expect(200);
    put("/roots", "").send_to(port).expect(200);
    let names = |request: Request| elements(&request.send_to(port).expect(200).text(), "Name");
    assert_eq!(names(alice(get("/"))), ["hers"]);
    assert_eq!(names(robot(get("/"))), ["hers"], "one account");
    assert_eq!(names(bob(get("/"))), ["his"]);
    assert_eq!(names(get("/")), ["roots"]);
    bob(put("/hers", "")).send_to(port).expect_error(409, "BucketAlreadyExists");
    robot(put("/hers", "")).send_to(port).expect(200);

    robot(put("/hers/key", "x")).send_to(port).expect(200);
    alice(get("/hers/key")).send_to(port).expect(200).expect_body(b"x");
    get("/hers/key").send_to(port).expect(200);
    for request in [
        get("/hers/key"),
        get("/hers"),
        get("/hers?acl"),
        get("/hers?versions"),
        put("/hers/key", "y"),
        put("/hers?cors", "<CORSConfiguration/>"),
        delete("/hers/key"),
        delete("/hers"),
        post("/hers/key?uploads", ""),
        put("/his/copy", "").with("x-amz-copy-source", "/hers/key"),
    ] {
        bob(request).send_to(port).expect_error(403, "AccessDenied");
    }
    assert_eq!(bob(head("/hers")).send_to(port).status, 403);
    alice(get("/hers/key")).send_to(port).expect(200).expect_body(b"x");
    let document = b"<Delete><Object><Key>key</Key></Object></Delete>";
    let md5 = stria_s3::checksum::base64_encode(
        stria_s3::checksum::Hasher::of(stria_s3::checksum::Algorithm::Md5, document).digest.as_bytes(),
    );
    let batch = post("/hers?delete", document.to_vec()).with("content-md5", &md5);
    bob(batch).send_to(port).expect_error(403, "AccessDenied");

    shown_owners(port);
    expected_owners(port);
    pages_of_buckets(port);

    server.stop();
    let server = Server::start_with(&data, &flags);
    let port = server.ports.s3;
    alice(get("/hers/key")).send_to(port).expect(200);
    bob(get("/hers/key")).send_to(port).expect_error(403, "AccessDenied");
}

#[test]
fn a_wrong_identity_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("stria.toml");
    let flags = ["--config".to_owned(), file.to_str().expect("UTF-8").to_owned()];
    for (text, said) in [
        ("[[identity]]\nname = \"a\"\naccess_key = \"k\"\n", "secret_key"),
        ("[[identity]]\nname = \"a\"\naccess_key = \"k\"\nsecret_key = \"\"\n", "a: secret_key"),
        ("[[identity]]\nname = \"a\"\naccess_key = \"k\"\nsecret_key = \"s\"\ncolour = 1\n", "colour"),
        (
            "[[identity]]\nname = \"a\"\naccess_key = \"k\"\nsecret_key = \"s\"\n[[identity]]\nname = \"b\"\naccess_key = \"k\"\nsecret_key = \"s\"\n",
            "b: access_key k belongs to another",
        ),
        ("identity = 1\n", "[[identity]]"),
    ] {
        std::fs::write(&file, text).expect("written");
        let message = refused_with(&folder.path().join("data"), &flags);
        assert!(message.contains(said) && message.lines().count() == 1, "{message}");
    }
}

/// Answers name the account that owns.
fn shown_owners(port: u16) {
    let acl = alice(get("/hers?acl")).send_to(port).expect(200);
    assert_eq!(acl.element("DisplayName").as_deref(), Some("Alice"));
    assert_eq!(bob(get("/his?acl")).send_to(port).expect(200).element("ID").as_deref(), Some("b0b"));
    let listed = bob(get("/")).send_to(port).expect(200);
    assert_eq!(listed.element("ID").as_deref(), Some("b0b"));
    by("AKBOB", "secret-of-alice", get("/")).send_to(port).expect_error(403, "SignatureDoesNotMatch");
}

/// A client may say whose bucket it wants.
fn expected_owners(port: u16) {
    let expecting =
        |owner: &str| alice(get("/hers").with("x-amz-expected-bucket-owner", owner)).send_to(port);
    expecting("111122223333").expect(200);
    expecting("444455556666").expect_error(403, "AccessDenied");
    let copy = |owner: &str| {
        let copy = put("/hers/copy", "").with("x-amz-copy-source", "/hers/key");
        alice(copy.with("x-amz-source-expected-bucket-owner", owner)).send_to(port)
    };
    copy("111122223333").expect(200);
    copy("444455556666").expect_error(403, "AccessDenied");
}

/// ListBuckets in pages, of one account.
fn pages_of_buckets(port: u16) {
    let names = |request: Request| elements(&request.send_to(port).expect(200).text(), "Name");
    for name in ["hers-1", "hers-2", "hers-3"] {
        alice(put(&format!("/{name}"), "")).send_to(port).expect(200);
    }
    let first = alice(get("/?max-buckets=2")).send_to(port).expect(200);
    assert_eq!(elements(&first.text(), "Name"), ["hers", "hers-1"]);
    let token = first.element("ContinuationToken").expect("more follow");
    let second = alice(get(&format!("/?continuation-token={token}&max-buckets=2"))).send_to(port).expect(200);
    assert_eq!(elements(&second.text(), "Name"), ["hers-2", "hers-3"]);
    assert!(second.element("ContinuationToken").is_none());
    assert_eq!(names(alice(get("/?prefix=hers-"))), ["hers-1", "hers-2", "hers-3"]);
}

#[test]
fn other_services_are_told_so_in_their_own_form() {
    let ask = |service: &'static str, region: &'static str, body: &str| {
        let mut request =
            post("/", body).with("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        (request.signer.service, request.signer.region) = (service, region);
        request
    };
    for (service, region) in [("iam", "us-east-1"), ("iam", ""), ("sts", "eu-west-1"), ("sns", "us-east-1")] {
        let answer = ask(service, region, "Action=ListUsers&Version=2010-05-08").expect(501);
        assert!(answer.text().contains("<ErrorResponse"), "{}", answer.text());
        assert_eq!(answer.element("Code").as_deref(), Some("NotImplemented"));
    }
    ask("iam", "", "Version=2010-05-08").expect_error(400, "InvalidRequest");
    ask("ec2", "us-east-1", "Action=x").expect_error(400, "AuthorizationHeaderMalformed");
    let mut other = ask("iam", "", "Action=ListUsers").parts();
    other.1 = b"Action=ListRoles".to_vec();
    let mut connection = Connection::open();
    connection.write(&[other.0, other.1].concat());
    connection.answer("POST").expect_error(403, "SignatureDoesNotMatch");
    let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 8\r\n\r\nAction=x";
    let mut connection = Connection::open();
    connection.write(head.as_bytes());
    connection.answer("POST").expect_error(403, "AccessDenied");
}
