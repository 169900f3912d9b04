//! Every operation of the operations table, asked by everybody, under every public list: allowed or denied.
//!
//! Invariant: what is not named in [`allows`] is the owner's alone; an operation added to the table is asked here
//! without anybody writing a test.

use stria_s3::{
    checksum::{Algorithm, Hasher, base64_encode},
    ops::{HeaderMark, OPERATIONS, Operation, Scope, State, SubResource, SubResourceSet},
};

use crate::{acls, client::*};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Other,
    Owner,
}

const LISTS: [&str; 4] = ["private", "public-read", "public-read-write", "authenticated-read"];

/// What the list says, as the S3 documentation has it.
fn allows(operation: &str, who: Who, list: &str) -> bool {
    let reads = match list {
        "public-read" | "public-read-write" => true,
        "authenticated-read" => who == Who::Other,
        _ => false,
    };
    match operation {
        _ if who == Who::Owner => true,
        "HeadBucket"
        | "ListObjects"
        | "ListObjectsV2"
        | "ListObjectVersions"
        | "ListMultipartUploads"
        | "GetObject"
        | "HeadObject"
        | "GetObjectAttributes" => reads,
        "PutObject"
        | "CopyObject"
        | "DeleteObject"
        | "DeleteObjects"
        | "CreateMultipartUpload"
        | "PostObject" => list == "public-read-write",
        // Another's name is taken, which is no secret.
        "CreateBucket" | "ListBuckets" | "WriteGetObjectResponse" => who == Who::Other,
        _ => false,
    }
}

struct World {
    port: u16,
    upload: String,
}

impl World {
    /// The bucket, object and upload as the list has them, whatever was done to them before.
    fn restore(&mut self, list: &str) {
        let send = |request: Request| acls::alice(request).send_to(self.port).expect(200);
        send(put("/matrix", "").with("x-amz-acl", list));
        send(put("/matrix?acl", "").with("x-amz-acl", list));
        acls::alice(delete("/matrix?ownershipControls")).send_to(self.port).expect(204);
        acls::alice(delete("/matrix?publicAccessBlock")).send_to(self.port).expect(204);
        send(put("/matrix/key", "x").with("x-amz-acl", list));
        self.upload = send(post("/matrix/key?uploads", "")).element("UploadId").expect("an id");
    }

    fn ask(&self, row: &Operation, who: Who, list: &str) -> Answer {
        let mut request = request(row.method.as_str(), &self.target(row));
        request.body = body_of(row).into_bytes();
        request = match row.header {
            HeaderMark::None => request,
            HeaderMark::CopySource => request.with("x-amz-copy-source", "/readable/key"),
            HeaderMark::WriteOffset => request.with("x-amz-write-offset-bytes", "0"),
            HeaderMark::FormData => request.with("content-type", "multipart/form-data; boundary=x"),
            HeaderMark::FormUrlEncoded => request.with("content-type", "application/x-www-form-urlencoded"),
            HeaderMark::RequestRoute => request.with("x-amz-request-route", "x"),
        };
        request = match row.op.name() {
            "PutBucketAcl" | "PutObjectAcl" => request.with("x-amz-acl", list),
            "GetObjectAttributes" => request.with("x-amz-object-attributes", "ETag"),
            "DeleteObjects" => {
                let md5 = Hasher::of(Algorithm::Md5, &request.body);
                request.with("content-md5", &base64_encode(md5.digest.as_bytes()))
            }
            _ => request,
        };
        match who {
            Who::Nobody => acls::unsigned(self.port, &request),
            Who::Other => acls::bob(request).send_to(self.port),
            Who::Owner => acls::alice(request).send_to(self.port),
        }
    }

    fn target(&self, row: &Operation) -> String {
        let path = match row.scope {
            Scope::Service if row.header == HeaderMark::RequestRoute => "/WriteGetObjectResponse",
            Scope::Service => "/",
            Scope::Bucket => "/matrix",
            Scope::Object => "/matrix/key",
        };
        let named = SubResource::ALL.iter().filter(|one| SubResourceSet::of(&[**one]).is_subset(row.query));
        let query: Vec<String> = named
            .map(|one| match one.name() {
                "uploadId" => format!("uploadId={}", self.upload),
                "partNumber" => "partNumber=1".to_owned(),
                "list-type" => "list-type=2".to_owned(),
                "id" => "id=x".to_owned(),
                other => other.to_owned(),
            })
            .collect();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
    }
}

fn body_of(row: &Operation) -> String {
    match row.op.name() {
        "DeleteObjects" => "<Delete><Object><Key>key</Key></Object></Delete>".to_owned(),
        "PutObjectTagging" => "<Tagging><TagSet/></Tagging>".to_owned(),
        "CompleteMultipartUpload" => {
            let etag = "0".repeat(32);
            format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
            )
        }
        "PostObject" => "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nkey\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--x--\r\n".to_owned(),
        _ => String::new(),
    }
}

#[test]
fn everybody_may_what_the_lists_say_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = acls::classic(folder.path());
    let mut world = World { port: server.ports.s3, upload: String::new() };
    acls::alice(put("/readable", "")).send_to(world.port).expect(200);
    let readable = put("/readable/key", "x").with("x-amz-acl", "public-read");
    acls::alice(readable).send_to(world.port).expect(200);
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for list in LISTS {
        world.restore(list);
        for row in OPERATIONS {
            let name = row.op.name();
            for who in [Who::Nobody, Who::Other, Who::Owner] {
                // Preflight questions ask for nothing; a form is signed by itself; the Query API has no bucket.
                let is_other_matter = name.starts_with("Preflight")
                    || name == "QueryApi"
                    || (name == "PostObject" && who != Who::Nobody);
                if is_other_matter {
                    continue;
                }
                let answer = world.ask(row, who, list);
                let is_denied = answer.status == 403;
                asked += 1;
                if is_denied == allows(name, who, list) {
                    wrong.push(format!("{name} by {who:?} under {list}: {}", answer.status));
                }
                if row.state == State::NotYet && who == Who::Owner {
                    assert_eq!(answer.status, 501, "{name}");
                }
                if answer.status < 300 && !matches!(row.method.as_str(), "GET" | "HEAD") {
                    world.restore(list);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 1_000, "the table has more than a hundred operations");
}
