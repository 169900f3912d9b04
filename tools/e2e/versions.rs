//! Versioning: every write a version, delete markers, null versions, addressed reads and deletes, listings.

use crate::client::*;

fn set(bucket: &str, status: &str) {
    let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    put(&format!("{bucket}?versioning"), document).expect(200);
}

fn versioned(name: &str) -> String {
    let bucket = bucket(name);
    set(&bucket, "Enabled");
    bucket
}

/// (key, id, latest, marker) of each entry of a listing, in its order.
fn list(bucket: &str, query: &str) -> (Vec<(String, String, bool, bool)>, Answer) {
    let answer = get(&format!("{bucket}?{query}versions")).expect(200);
    let text = answer.text();
    let mut out = Vec::new();
    for chunk in text.split('<').zip(text.match_indices('<')).map(|(_, (at, _))| at) {
        let rest = &text[chunk..];
        let marker = rest.starts_with("<DeleteMarker>");
        if !marker && !rest.starts_with("<Version>") {
            continue;
        }
        let one = |name: &str| elements(rest, name).into_iter().next().expect("in every entry");
        out.push((one("Key"), one("VersionId"), one("IsLatest") == "true", marker));
    }
    (out, answer)
}

#[test]
fn the_state_of_a_bucket() {
    let bucket = bucket("versioning-state");
    let target = format!("{bucket}?versioning");
    for status in ["Enabled", "Suspended", "Enabled"] {
        set(&bucket, status);
        assert_eq!(get(&target).expect(200).element("Status").as_deref(), Some(status));
    }
    let refused = |content: &str, status, code| {
        put(&target, format!("<VersioningConfiguration>{content}</VersioningConfiguration>"))
            .expect_error(status, code);
    };
    refused("<Status>On</Status>", 400, "MalformedXML");
    refused("", 400, "IllegalVersioningConfigurationException");
    refused("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", 403, "AccessDenied");
}

#[test]
fn every_write_makes_a_version() {
    let bucket = versioned("all-versions");
    // Inline bodies and extents.
    for (name, bytes) in [("small", 50), ("large", 200_000)] {
        let target = format!("{bucket}/{name}");
        let ids: Vec<String> = (0..4)
            .map(|n| put(&target, body(bytes, n)).expect(200).must("x-amz-version-id").to_owned())
            .collect();
        let current = get(&target).expect(200);
        assert_eq!(current.must("x-amz-version-id"), ids[3]);
        current.expect_body(&body(bytes, 3));
        for (n, id) in ids.iter().enumerate() {
            let answer = get(&format!("{target}?versionId={id}")).expect(200);
            assert_eq!(answer.must("x-amz-version-id"), *id);
            answer.expect_body(&body(bytes, n as u64));
            head(&format!("{target}?versionId={id}")).expect(200);
        }
        let listed = list(&bucket, &format!("prefix={name}&")).0;
        let newest_first: Vec<&String> = ids.iter().rev().collect();
        assert_eq!(listed.iter().map(|entry| &entry.1).collect::<Vec<_>>(), newest_first);
        assert_eq!(listed.iter().map(|entry| entry.2).collect::<Vec<_>>(), [true, false, false, false]);
    }
    let keys = get(&format!("{bucket}?list-type=2")).expect(200);
    assert_eq!(elements(&keys.text(), "Key"), ["large", "small"], "a listing shows current objects only");
    let target = format!("{bucket}/small");
    get(&format!("{target}?versionId=0123456789abcdef0123456789abcdef")).expect_error(404, "NoSuchVersion");
    get(&format!("{target}?versionId=null")).expect_error(404, "NoSuchVersion");
    get(&format!("{target}?versionId=nonsense")).expect_error(400, "InvalidArgument");
    get(&format!("{target}?versionId=")).expect_error(400, "InvalidArgument");
    delete(&bucket).expect_error(409, "BucketNotEmpty");
}

#[test]
fn a_delete_marker_hides_and_its_removal_brings_back() {
    let bucket = versioned("delete-markers");
    let target = format!("{bucket}/key");
    let first = put(&target, "1").expect(200).must("x-amz-version-id").to_owned();
    let second = put(&target, "2").expect(200).must("x-amz-version-id").to_owned();
    let deleted = delete(&target).expect(204);
    assert_eq!(deleted.must("x-amz-delete-marker"), "true");
    let marker = deleted.must("x-amz-version-id").to_owned();
    let gone = get(&target).expect_error(404, "NoSuchKey");
    assert_eq!((gone.must("x-amz-delete-marker"), gone.must("x-amz-version-id")), ("true", marker.as_str()));
    let named = get(&format!("{target}?versionId={marker}")).expect_error(405, "MethodNotAllowed");
    assert_eq!((named.must("x-amz-delete-marker"), named.must("allow")), ("true", "DELETE"));
    head(&target).expect(404);
    get(&format!("{target}?versionId={first}")).expect(200).expect_body(b"1");
    assert!(elements(&get(&bucket).expect(200).text(), "Key").is_empty());
    assert_eq!(
        list(&bucket, "").0,
        [
            ("key".into(), marker.clone(), true, true),
            ("key".into(), second.clone(), false, false),
            ("key".into(), first.clone(), false, false)
        ]
    );
    put(&target, "x").with("if-match", "*").expect_error(404, "NoSuchKey");
    let removed = delete(&format!("{target}?versionId={marker}")).expect(204);
    assert_eq!(
        (removed.must("x-amz-delete-marker"), removed.must("x-amz-version-id")),
        ("true", marker.as_str())
    );
    get(&target).expect(200).expect_body(b"2");
    let removed = delete(&format!("{target}?versionId={second}")).expect(204);
    assert!(removed.header("x-amz-delete-marker").is_none());
    let back = get(&target).expect(200);
    assert_eq!(back.must("x-amz-version-id"), first);
    back.expect_body(b"1");
    assert_eq!(list(&bucket, "").0, [("key".into(), first.clone(), true, false)]);
    delete(&format!("{target}?versionId={second}")).expect(204);
    delete(&format!("{target}?versionId={first}")).expect(204);
    get(&target).expect_error(404, "NoSuchKey");
    assert!(list(&bucket, "").0.is_empty());
    delete(&bucket).expect(204);
}

#[test]
fn removing_an_older_version_leaves_the_current_one() {
    let bucket = versioned("version-older");
    let target = format!("{bucket}/key");
    let first = put(&target, body(100_000, 1)).expect(200).must("x-amz-version-id").to_owned();
    put(&target, body(100_000, 2)).expect(200);
    delete(&format!("{target}?versionId={first}")).expect(204);
    get(&target).expect(200).expect_body(&body(100_000, 2));
    get(&format!("{target}?versionId={first}")).expect_error(404, "NoSuchVersion");
}

#[test]
fn what_was_there_before_is_the_null_version() {
    for (name, bytes) in [("null-small", 10), ("null-large", 300_000), ("null-empty", 0)] {
        let bucket = bucket(name);
        let target = format!("{bucket}/key");
        let old =
            put(&target, body(bytes, 1)).with("x-amz-meta-a", "b").with("x-amz-tagging", "t=1").expect(200);
        assert!(old.header("x-amz-version-id").is_none());
        set(&bucket, "Enabled");
        assert_eq!(get(&target).expect(200).must("x-amz-version-id"), "null");
        assert_eq!(list(&bucket, "").0, [("key".into(), "null".into(), true, false)]);
        let new = put(&target, "new").expect(200).must("x-amz-version-id").to_owned();
        let null = get(&format!("{target}?versionId=null")).expect(200);
        assert_eq!((null.must("x-amz-version-id"), null.must("x-amz-meta-a")), ("null", "b"));
        assert_eq!((null.must("etag"), null.must("x-amz-tagging-count")), (old.must("etag"), "1"));
        null.expect_body(&body(bytes, 1));
        assert_eq!(
            list(&bucket, "").0,
            [("key".into(), new.clone(), true, false), ("key".into(), "null".into(), false, false)]
        );
        delete(&format!("{target}?versionId={new}")).expect(204);
        get(&target).expect(200).expect_body(&body(bytes, 1));
        delete(&format!("{target}?versionId=null")).expect(204);
        assert!(list(&bucket, "").0.is_empty());
        delete(&bucket).expect(204);
    }
}

#[test]
fn a_suspended_bucket_replaces_its_null_version() {
    let bucket = versioned("version-suspended");
    let target = format!("{bucket}/key");
    let kept = put(&target, "kept").expect(200).must("x-amz-version-id").to_owned();
    set(&bucket, "Suspended");
    for content in ["null 1", "null 2"] {
        assert_eq!(put(&target, content).expect(200).must("x-amz-version-id"), "null");
        get(&target).expect(200).expect_body(content.as_bytes());
    }
    let both =
        [("key".to_owned(), "null".to_owned(), true, false), ("key".into(), kept.clone(), false, false)];
    assert_eq!(list(&bucket, "").0, both);
    let deleted = delete(&target).expect(204);
    assert_eq!((deleted.must("x-amz-version-id"), deleted.must("x-amz-delete-marker")), ("null", "true"));
    assert_eq!(
        list(&bucket, "").0,
        [("key".into(), "null".into(), true, true), ("key".into(), kept.clone(), false, false)],
        "the marker replaced the null version"
    );
    set(&bucket, "Enabled");
    put(&target, "again").expect(200);
    assert_eq!(list(&bucket, "").0.len(), 3);
    delete(&format!("{target}?versionId=null")).expect(204);
    assert_eq!(list(&bucket, "").0.len(), 2);
    get(&format!("{target}?versionId={kept}")).expect(200).expect_body(b"kept");
}

#[test]
fn listings_of_versions_come_in_pages() {
    let bucket = versioned("version-pages");
    let mut all = Vec::new();
    for key in ["a", "b/1", "b/2", "c", "d\u{e9}"] {
        let encoded = key.replace('\u{e9}', "%C3%A9");
        for n in 0..3u8 {
            put(&format!("{bucket}/{encoded}"), [n]).expect(200);
        }
        delete(&format!("{bucket}/{encoded}")).expect(204);
        all.push(key);
    }
    let (whole, answer) = list(&bucket, "");
    assert_eq!(whole.len(), 20);
    assert_eq!(answer.element("IsTruncated").as_deref(), Some("false"));
    for page in [1, 2, 3, 7, 19, 20] {
        let mut seen = Vec::new();
        let mut marker = String::new();
        loop {
            let (entries, answer) = list(&bucket, &format!("{marker}max-keys={page}&"));
            assert!(entries.len() <= page);
            seen.extend(entries);
            if answer.element("IsTruncated").as_deref() == Some("false") {
                assert!(answer.element("NextKeyMarker").is_none());
                break;
            }
            let key = answer
                .element("NextKeyMarker")
                .expect("more")
                .replace('/', "%2F")
                .replace('\u{e9}', "%C3%A9");
            let id = answer.element("NextVersionIdMarker").expect("more");
            marker = format!("key-marker={key}&version-id-marker={id}&");
        }
        assert_eq!(seen, whole, "in pages of {page}");
    }
    let (rolled, answer) = list(&bucket, "delimiter=%2F&");
    assert_eq!(rolled.len(), 12);
    assert_eq!(elements(&answer.text(), "CommonPrefixes"), ["<Prefix>b/</Prefix>"]);
    assert_eq!(list(&bucket, "key-marker=b%2F2&").0.len(), 8);
    get(&format!("{bucket}?version-id-marker=x&versions")).expect_error(400, "InvalidArgument");
    assert!(list(&bucket, "max-keys=0&").0.is_empty());
}

#[test]
fn copies_uploads_and_tags_name_versions() {
    let bucket = versioned("version-copies");
    let target = format!("{bucket}/key");
    let first =
        put(&target, "first").with("x-amz-tagging", "v=1").expect(200).must("x-amz-version-id").to_owned();
    put(&target, "second").expect(200);
    let source = format!("{target}?versionId={first}");
    let copied = put(&format!("{bucket}/copy"), "").with("x-amz-copy-source", &source).expect(200);
    assert_eq!(copied.must("x-amz-copy-source-version-id"), first);
    copied.must("x-amz-version-id");
    get(&format!("{bucket}/copy")).expect(200).expect_body(b"first");
    put(&target, "").with("x-amz-copy-source", &source).expect(200);
    get(&target).expect(200).expect_body(b"first");
    let tags =
        |id: &str| elements(&get(&format!("{target}?tagging&versionId={id}")).expect(200).text(), "Value");
    assert_eq!(tags(&first), ["1"]);
    let document = "<Tagging><TagSet><Tag><Key>v</Key><Value>new</Value></Tag></TagSet></Tagging>";
    let tagged = put(&format!("{target}?tagging&versionId={first}"), document).expect(200);
    assert_eq!(tagged.must("x-amz-version-id"), first);
    assert_eq!(tags(&first), ["new"]);
    get(&format!("{target}?versionId={first}")).expect(200).expect_body(b"first");
    put(&format!("{target}?tagging"), document).expect(200);
    assert_eq!(head(&target).expect(200).must("x-amz-tagging-count"), "1");
    let id = post(&format!("{target}?uploads"), "").expect(200).element("UploadId").expect("an id");
    let etag = put(&format!("{target}?partNumber=1&uploadId={id}"), body(70_000, 5))
        .expect(200)
        .must("etag")
        .to_owned();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let done = post(&format!("{target}?uploadId={id}"), complete.clone()).expect(200);
    let again = post(&format!("{target}?uploadId={id}"), complete).expect(200);
    assert_eq!(again.must("x-amz-version-id"), done.must("x-amz-version-id"));
    put(&target, "over it").expect(200);
    let version = format!("{target}?versionId={}", done.must("x-amz-version-id"));
    get(&version).expect(200).expect_body(&body(70_000, 5));
    delete(&version).expect(204);
    get(&version).expect_error(404, "NoSuchVersion");
    let marker = delete(&target).expect(204).must("x-amz-version-id").to_owned();
    let of_marker = format!("{target}?versionId={marker}");
    put(&format!("{bucket}/copy"), "")
        .with("x-amz-copy-source", &of_marker)
        .expect_error(400, "InvalidRequest");
    put(&format!("{bucket}/copy"), "").with("x-amz-copy-source", &target).expect_error(404, "NoSuchKey");
}

#[test]
fn many_are_deleted_at_once() {
    let bucket = versioned("version-batch");
    let first = put(&format!("{bucket}/a"), "1").expect(200).must("x-amz-version-id").to_owned();
    put(&format!("{bucket}/a"), "2").expect(200);
    put(&format!("{bucket}/b"), "3").expect(200);
    let batch = |objects: String| {
        let document = format!("<Delete>{objects}</Delete>");
        let md5 = stria_s3::checksum::base64_encode(
            stria_s3::checksum::Hasher::of(stria_s3::checksum::Algorithm::Md5, document.as_bytes())
                .digest
                .as_bytes(),
        );
        post(&format!("{bucket}?delete"), document).with("content-md5", &md5).expect(200)
    };
    let answer = batch(format!(
        "<Object><Key>a</Key><VersionId>{first}</VersionId></Object><Object><Key>b</Key></Object><Object><Key>never</Key></Object>"
    ));
    assert_eq!(elements(&answer.text(), "Deleted").len(), 3);
    assert_eq!(
        elements(&answer.text(), "DeleteMarkerVersionId").len(),
        2,
        "a key that never was gets a marker too"
    );
    assert_eq!(list(&bucket, "").0.len(), 4);
    let all: String = list(&bucket, "")
        .0
        .iter()
        .map(|(key, id, ..)| format!("<Object><Key>{key}</Key><VersionId>{id}</VersionId></Object>"))
        .collect();
    batch(all);
    assert!(list(&bucket, "").0.is_empty());
    delete(&bucket).expect(204);
}

#[test]
fn concurrent_writes_of_a_key_are_all_kept() {
    let bucket = versioned("version-race");
    let target = format!("{bucket}/key");
    let writers: Vec<_> = (0..16u8)
        .map(|n| {
            let target = target.clone();
            std::thread::spawn(move || put(&target, [n; 20]).expect(200).must("x-amz-version-id").to_owned())
        })
        .collect();
    let mut ids: Vec<String> = writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
    let mut listed: Vec<String> = list(&bucket, "").0.into_iter().map(|entry| entry.1).collect();
    assert_eq!(get(&target).expect(200).must("x-amz-version-id"), listed[0]);
    ids.sort();
    listed.sort();
    assert_eq!(ids, listed);
}

#[test]
fn versions_survive_a_kill() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut server = crate::server::Server::start(folder.path());
    let port = server.ports.s3;
    put("/kept", "").send_to(port).expect(200);
    // One from before versioning, inline and in extents: both move when they are written over.
    for (name, bytes) in [("small", 100), ("large", 400_000)] {
        put(&format!("/kept/{name}"), body(bytes, 1)).send_to(port).expect(200);
    }
    let document = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    put("/kept?versioning", document).send_to(port).expect(200);
    let mut ids = Vec::new();
    for (name, bytes) in [("small", 100), ("large", 400_000)] {
        let answer = put(&format!("/kept/{name}"), body(bytes, 2)).send_to(port).expect(200);
        ids.push((name, bytes, answer.must("x-amz-version-id").to_owned()));
        put(&format!("/kept/{name}"), body(bytes, 3)).send_to(port).expect(200);
        delete(&format!("/kept/{name}")).send_to(port).expect(204);
    }
    server.signal("KILL");
    server.wait();
    let server = crate::server::Server::start(folder.path());
    let port = server.ports.s3;
    for (name, bytes, id) in ids {
        get(&format!("/kept/{name}")).send_to(port).expect_error(404, "NoSuchKey");
        let null = get(&format!("/kept/{name}?versionId=null")).send_to(port).expect(200);
        null.expect_body(&body(bytes, 1));
        get(&format!("/kept/{name}?versionId={id}")).send_to(port).expect(200).expect_body(&body(bytes, 2));
    }
    let listed = get("/kept?versions").send_to(port).expect(200);
    assert_eq!(elements(&listed.text(), "VersionId").len(), 8);
}

#[test]
fn a_page_may_begin_behind_a_null_version() {
    let bucket = versioned("version-null-pages");
    for key in ["a", "a-longer"] {
        let target = format!("{bucket}/{key}");
        put(&target, "1").expect(200);
        set(&bucket, "Suspended");
        put(&target, "null").expect(200);
        set(&bucket, "Enabled");
        put(&target, "3").expect(200);
    }
    let whole = list(&bucket, "").0;
    assert_eq!(whole[1].1, "null");
    assert_eq!(list(&bucket, "key-marker=a&version-id-marker=null&").0, whole[2..]);
    assert_eq!(list(&bucket, "key-marker=a-longer&version-id-marker=null&").0, whole[5..]);
}
