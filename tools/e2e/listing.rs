//! Listing: byte order, exact pages, prefixes and delimiters, list after write (B-11).

use crate::client::*;

fn fill(bucket: &str, keys: &[&str]) {
    let mut connection = Connection::open();
    for key in keys {
        connection.write(&put(&format!("{bucket}/{key}"), *key).bytes());
        connection.answer("PUT").expect(200);
    }
}

#[test]
fn pages_of_every_size_give_every_key_once() {
    let bucket = bucket("pages");
    let mut names: Vec<String> = (0..300).map(|i| format!("k{:03}", (i * 7) % 300)).collect();
    fill(&bucket, &names.iter().map(String::as_str).collect::<Vec<_>>());
    names.sort();
    for page_keys in [1, 7, 100, 299, 300, 301, 1000] {
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let next = token.map(|token| format!("&continuation-token={token}")).unwrap_or_default();
            let page = get(&format!("{bucket}?list-type=2&max-keys={page_keys}{next}")).expect(200);
            let keys = elements(&page.text(), "Key");
            assert_eq!(page.element("KeyCount"), Some(keys.len().to_string()));
            found.extend(keys);
            token = page.element("NextContinuationToken");
            assert_eq!(page.element("IsTruncated"), Some(token.is_some().to_string()));
            if token.is_none() {
                break;
            }
            let escape = |token: String| token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
            token = token.map(escape);
        }
        assert_eq!(found, names, "pages of {page_keys}");
    }
}

#[test]
fn version_1_continues_by_marker() {
    let bucket = bucket("markers");
    fill(&bucket, &["a", "b", "c/1", "c/2", "d"]);
    let page = get(&format!("{bucket}?max-keys=2")).expect(200);
    assert_eq!(elements(&page.text(), "Key"), ["a", "b"]);
    assert_eq!(page.element("NextMarker"), None, "only with a delimiter");
    let page = get(&format!("{bucket}?marker=b")).expect(200);
    assert_eq!(elements(&page.text(), "Key"), ["c/1", "c/2", "d"]);
    let page = get(&format!("{bucket}?max-keys=3&delimiter=%2F")).expect(200);
    assert_eq!(page.element("NextMarker").as_deref(), Some("c/"));
    let page = get(&format!("{bucket}?delimiter=%2F&marker=c%2F")).expect(200);
    assert_eq!(elements(&page.text(), "Key"), ["d"]);
    assert!(!page.text().contains("<CommonPrefixes>"));
}

#[test]
fn delimiters_group_and_count() {
    let bucket = bucket("delimiters");
    fill(&bucket, &["a", "b/1", "b/2", "c/d/1", "c/e", "d", "e//x"]);
    for (query, keys, prefixes) in [
        ("delimiter=%2F", vec!["a", "d"], vec!["b/", "c/", "e/"]),
        ("delimiter=%2F&prefix=c%2F", vec!["c/e"], vec!["c/d/"]),
        ("delimiter=%2F&prefix=b", vec![], vec!["b/"]),
        ("prefix=b", vec!["b/1", "b/2"], vec![]),
        ("delimiter=%2F&start-after=b%2F1", vec!["d"], vec!["b/", "c/", "e/"]),
        ("start-after=c%2Fe", vec!["d", "e//x"], vec![]),
        ("delimiter=%2F%2F", vec!["a", "b/1", "b/2", "c/d/1", "c/e", "d"], vec!["e//"]),
        ("prefix=nothing", vec![], vec![]),
    ] {
        let page = get(&format!("{bucket}?list-type=2&{query}")).expect(200);
        let xml = page.text();
        let grouped: Vec<String> =
            elements(&xml, "CommonPrefixes").iter().flat_map(|group| elements(group, "Prefix")).collect();
        assert_eq!((elements(&xml, "Key"), grouped), (owned(&keys), owned(&prefixes)), "{query}");
        assert_eq!(page.element("KeyCount"), Some((keys.len() + prefixes.len()).to_string()), "{query}");
    }
    let page = get(&format!("{bucket}?list-type=2&delimiter=%2F&max-keys=2")).expect(200);
    assert_eq!(page.element("IsTruncated").as_deref(), Some("true"));
    assert_eq!((elements(&page.text(), "Key").len(), page.element("KeyCount").as_deref()), (1, Some("2")));
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn order_is_that_of_the_bytes() {
    let bucket = bucket("byte-order");
    let keys = ["%F0%9F%A6%80", "%C3%A4", "a", "Z", "a%20b", "a-b", "a%2Fb", "%EF%BF%BD", "~"];
    fill(&bucket, &keys);
    let listed = get(&format!("{bucket}?list-type=2")).expect(200).text();
    let found = elements(&listed, "Key");
    let mut sorted = found.clone();
    sorted.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    assert_eq!((found.len(), &found), (keys.len(), &sorted));
}

#[test]
fn a_list_sees_every_write_before_it() {
    let bucket = bucket("list-after-write");
    for i in 0..20 {
        put(&format!("{bucket}/{i:02}"), "x").expect(200);
        let listed = get(&format!("{bucket}?list-type=2")).expect(200).text();
        assert_eq!(elements(&listed, "Key").len(), i + 1);
    }
    for i in 0..20 {
        delete(&format!("{bucket}/{i:02}")).expect(204);
        let listed = get(&format!("{bucket}?list-type=2")).expect(200).text();
        assert_eq!(elements(&listed, "Key").len(), 19 - i);
    }
}

#[test]
fn url_encoding_on_request() {
    let bucket = bucket("encoding");
    fill(&bucket, &["a%20b%2Bc", "%01x"]);
    let listed = get(&format!("{bucket}?list-type=2&encoding-type=url")).expect(200);
    assert_eq!(listed.element("EncodingType").as_deref(), Some("url"));
    let keys = elements(&listed.text(), "Key");
    assert_eq!(keys[0], "%01x");
    assert!(keys[1] == "a+b%2Bc" || keys[1] == "a%20b%2Bc", "{keys:?}");
    let plain = get(&format!("{bucket}?list-type=2")).expect(200);
    assert!(!plain.body.contains(&1), "no raw control bytes in XML");
}

#[test]
fn bounds_of_max_keys() {
    let bucket = bucket("max-keys");
    fill(&bucket, &["a", "b"]);
    let none = get(&format!("{bucket}?list-type=2&max-keys=0")).expect(200);
    assert_eq!(
        (none.element("KeyCount").as_deref(), none.element("IsTruncated").as_deref()),
        (Some("0"), Some("false"))
    );
    let many = get(&format!("{bucket}?list-type=2&max-keys=5000")).expect(200);
    assert_eq!(elements(&many.text(), "Key").len(), 2);
    for wrong in ["-1", "x", "99999999999999999999"] {
        get(&format!("{bucket}?list-type=2&max-keys={wrong}")).expect_error(400, "InvalidArgument");
    }
    get(&format!("{bucket}?list-type=2&continuation-token=nonsense")).expect_error(400, "InvalidArgument");
}

#[test]
fn owners_when_asked() {
    let bucket = bucket("owners");
    fill(&bucket, &["a"]);
    let without = get(&format!("{bucket}?list-type=2")).expect(200);
    assert!(!without.text().contains("<Owner>"));
    let with = get(&format!("{bucket}?list-type=2&fetch-owner=true")).expect(200);
    assert!(with.text().contains("<Owner>"));
}
