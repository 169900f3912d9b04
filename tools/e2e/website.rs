//! Websites of buckets: pages, redirects, errors as HTML, seen as a browser sees them.

use crate::{
    client::*,
    server::{self, WEBSITE_DOMAIN},
};

/// A bucket whose objects and listing are public, with this website.
fn site(name: &str, website: &str) -> String {
    let bucket = format!("/{name}");
    put(&bucket, "").with("x-amz-object-ownership", "ObjectWriter").expect(200);
    delete(&format!("{bucket}?publicAccessBlock")).expect(204);
    put(&format!("{bucket}?acl"), "").with("x-amz-acl", "public-read").expect(200);
    configure(&bucket, website);
    bucket
}

fn configure(bucket: &str, website: &str) {
    let document = format!("<WebsiteConfiguration>{website}</WebsiteConfiguration>");
    put(&format!("{bucket}?website"), document).expect(200);
}

fn public(target: &str, body: &str) {
    put(target, body).with("x-amz-acl", "public-read").with("content-type", "text/html").expect(200);
}

const INDEX: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>";

fn host(bucket: &str) -> String {
    format!("{}.{WEBSITE_DOMAIN}", &bucket[1..])
}

/// Asks as a browser does: nothing is signed.
fn ask(method: &'static str, bucket: &str, target: &str, lines: &str) -> Answer {
    let text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", host(bucket));
    let mut connection = Connection::open_to(server::shared());
    connection.write(text.as_bytes());
    connection.answer(method)
}

fn visit(bucket: &str, target: &str) -> Answer {
    ask("GET", bucket, target, "")
}

#[track_caller]
fn expect_redirect(answer: Answer, status: u16, location: &str) {
    assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{}", answer.text());
}

/// Status and code of a page of ours.
#[track_caller]
fn expect_page(answer: Answer, status: u16, code: &str) -> String {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.must("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.must("x-amz-error-code"), code);
    assert!(text.starts_with("<html>") && text.contains(&format!("<h1>{status} ")), "{text}");
    assert!(text.contains(&format!("<li>Code: {code}</li>")), "{text}");
    text
}

#[test]
fn directories_show_their_index() {
    let site = site("site-index", INDEX);
    public(&format!("{site}/index.html"), "home");
    public(&format!("{site}/dir/index.html"), "dir");
    public(&format!("{site}/dir/a%20page"), "a page");
    public(&format!("{site}/file"), "file");
    public(&format!("{site}/file/index.html"), "below a file");
    for (target, body) in [
        ("/", "home"),
        ("/?utm=x&versionId=none&acl", "home"),
        ("/dir/", "dir"),
        ("/dir/a%20page", "a page"),
        ("/index.html", "home"),
        ("/file", "file"),
        ("/file/", "below a file"),
    ] {
        let answer = visit(&site, target).expect(200).expect_body(body.as_bytes());
        assert_eq!(answer.must("content-type"), "text/html");
        let head = ask("HEAD", &site, target, "").expect(200);
        assert_eq!(head.must("content-length"), body.len().to_string());
    }
    expect_redirect(visit(&site, "/dir"), 302, "/dir/");
    expect_page(visit(&site, "/di"), 404, "NoSuchKey");
    expect_page(visit(&site, "/none/"), 404, "NoSuchKey");
    // The same host is no website to who asks for the API's.
    get(&format!("{site}/index.html")).expect(200).expect_body(b"home");
}

#[test]
fn conditions_and_ranges_work_as_for_objects() {
    let site = site("site-ranges", INDEX);
    public(&format!("{site}/index.html"), "0123456789");
    let whole = visit(&site, "/").expect(200);
    let etag = whole.must("etag").to_owned();
    let part = ask("GET", &site, "/", "Range: bytes=2-4\r\n").expect(206).expect_body(b"234");
    assert_eq!(part.must("content-range"), "bytes 2-4/10");
    ask("GET", &site, "/", &format!("If-None-Match: {etag}\r\n")).expect(304);
    expect_page(ask("GET", &site, "/", "If-Match: \"x\"\r\n"), 412, "PreconditionFailed");
    expect_page(ask("GET", &site, "/", "Range: bytes=20-\r\n"), 416, "InvalidRange");
}

#[test]
fn errors_are_pages() {
    let site = site("site-errors", INDEX);
    let text = expect_page(visit(&site, "/%3Cscript%3E%26"), 404, "NoSuchKey");
    assert!(text.contains("<li>Message: The specified key does not exist.</li>"), "{text}");
    assert!(text.contains("<li>Key: &lt;script&gt;&amp;</li>"), "{text}");
    assert!(!text.contains("<script>"), "{text}");
    expect_page(visit(&site, "/%zz"), 400, "InvalidURI");
    expect_page(visit(&site, &format!("/{}", "k".repeat(1025))), 400, "KeyTooLongError");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = ask(method, &site, "/k", "Content-Length: 0\r\n");
        assert_eq!(answer.must("allow"), "GET, HEAD");
        expect_page(answer, 405, "MethodNotAllowed");
    }
    let text = expect_page(visit("/site-nowhere", "/"), 404, "NoSuchBucket");
    assert!(text.contains("<li>BucketName: site-nowhere</li>"), "{text}");
    put("/site-unset", "").expect(200);
    expect_page(visit("/site-unset", "/"), 404, "NoSuchWebsiteConfiguration");
    still_serves();
}

#[test]
fn a_visitor_is_nobody() {
    let site = site("site-private", INDEX);
    put(&format!("{site}/index.html"), "secret").expect(200);
    expect_page(visit(&site, "/"), 403, "AccessDenied");
    // Nor does a signature help.
    let mut signed = get("/").with("host", &host(&site)).send();
    assert_eq!(signed.status, 403);
    // Who may not list is not told what is there.
    put(&format!("{site}?acl"), "").with("x-amz-acl", "private").expect(200);
    expect_page(visit(&site, "/none"), 403, "AccessDenied");
    public(&format!("{site}/index.html"), "open");
    visit(&site, "/").expect(200).expect_body(b"open");
    // A bucket without lists shows nothing but its redirects.
    put("/site-closed", "").expect(200);
    configure("/site-closed", INDEX);
    put("/site-closed/index.html", "x").expect(200);
    expect_page(visit("/site-closed", "/"), 403, "AccessDenied");
    configure(
        "/site-closed",
        "<RedirectAllRequestsTo><HostName>x.example</HostName></RedirectAllRequestsTo>",
    );
    signed = visit("/site-closed", "/a");
    expect_redirect(signed, 301, "http://x.example/a");
}

#[test]
fn a_document_for_errors() {
    let document = format!("{INDEX}<ErrorDocument><Key>oops.html</Key></ErrorDocument>");
    let site = site("site-error-document", &document);
    let text = expect_page(visit(&site, "/none"), 404, "NoSuchKey");
    assert!(text.contains("Attempting to Retrieve a Custom Error Document"), "{text}");
    assert!(text.contains("<li>Key: oops.html</li>"), "{text}");
    public(&format!("{site}/oops.html"), "oops");
    put(&format!("{site}/secret"), "x").expect(200);
    for (target, status) in [("/none", 404), ("/secret", 403)] {
        // The document is whole, whatever was asked of what is not there.
        let answer = ask("GET", &site, target, "Range: bytes=0-0\r\nIf-None-Match: *\r\n");
        let answer = answer.expect(status).expect_body(b"oops");
        assert_eq!(answer.must("content-type"), "text/html");
        assert_eq!(ask("HEAD", &site, target, "").expect(status).must("content-length"), "4");
    }
    visit(&site, "/oops.html").expect(200);
    // Large ones come from disk.
    let large = "o".repeat(300_000);
    public(&format!("{site}/oops.html"), &large);
    visit(&site, "/none").expect(404).expect_body(large.as_bytes());
}

#[test]
fn objects_say_where_they_went() {
    let site = site("site-moved", INDEX);
    let location = "https://elsewhere.example/?a=b";
    let moved = put(&format!("{site}/old"), "x").with("x-amz-website-redirect-location", location);
    moved.with("x-amz-acl", "public-read").expect(200);
    expect_redirect(visit(&site, "/old"), 301, location);
    expect_redirect(ask("HEAD", &site, "/old", ""), 301, location);
    // As an object it is one.
    get(&format!("{site}/old")).expect(200).expect_body(b"x");
    // Who may not read it is not told.
    put(&format!("{site}/hidden"), "x").with("x-amz-website-redirect-location", location).expect(200);
    expect_page(visit(&site, "/hidden"), 403, "AccessDenied");
}

#[test]
fn everything_is_sent_elsewhere() {
    let all = "<RedirectAllRequestsTo><HostName>www.example</HostName><Protocol>https</Protocol></RedirectAllRequestsTo>";
    let site = site("site-all", all);
    public(&format!("{site}/a"), "a");
    expect_redirect(visit(&site, "/a"), 301, "https://www.example/a");
    expect_redirect(visit(&site, "/"), 301, "https://www.example/");
    expect_redirect(
        visit(&site, "/a%20b/%C3%A9%0D%0Ax:y"),
        301,
        "https://www.example/a%20b/%C3%A9%0D%0Ax%3Ay",
    );
}

#[test]
fn rules_of_redirects() {
    let rule = |condition: &str, redirect: &str| {
        let condition =
            if condition.is_empty() { String::new() } else { format!("<Condition>{condition}</Condition>") };
        format!("<RoutingRule>{condition}<Redirect>{redirect}</Redirect></RoutingRule>")
    };
    let prefix = |text: &str| format!("<KeyPrefixEquals>{text}</KeyPrefixEquals>");
    let error = |status: u16| format!("<HttpErrorCodeReturnedEquals>{status}</HttpErrorCodeReturnedEquals>");
    let rules = [
        rule(&prefix("docs/"), "<ReplaceKeyPrefixWith>documents/</ReplaceKeyPrefixWith>"),
        rule(
            &prefix("one"),
            "<ReplaceKeyWith>all.html</ReplaceKeyWith><HttpRedirectCode>302</HttpRedirectCode>",
        ),
        rule(&prefix("host"), "<HostName>h.example</HostName><Protocol>https</Protocol>"),
        rule(&(prefix("gone/") + &error(404)), "<ReplaceKeyWith>archive.html</ReplaceKeyWith>"),
        rule(&error(403), "<HostName>login.example</HostName><HttpRedirectCode>307</HttpRedirectCode>"),
    ];
    let website = format!("{INDEX}<RoutingRules>{}</RoutingRules>", rules.concat());
    let site = site("site-rules", &website);
    public(&format!("{site}/docs/a"), "never seen");
    public(&format!("{site}/gone/still-here"), "here");
    put(&format!("{site}/secret"), "x").expect(200);
    let own = format!("http://{}", host(&site));
    expect_redirect(visit(&site, "/docs/a%20b"), 301, &format!("{own}/documents/a%20b"));
    expect_redirect(visit(&site, "/docs/"), 301, &format!("{own}/documents/"));
    expect_redirect(visit(&site, "/ones"), 302, &format!("{own}/all.html"));
    expect_redirect(visit(&site, "/host/x"), 301, "https://h.example/host/x");
    visit(&site, "/gone/still-here").expect(200).expect_body(b"here");
    expect_redirect(visit(&site, "/gone/x"), 301, &format!("{own}/archive.html"));
    expect_page(visit(&site, "/other"), 404, "NoSuchKey");
    expect_redirect(visit(&site, "/secret"), 307, "http://login.example/secret");
    // Without a condition a rule is for all.
    configure(&site, &format!("{INDEX}<RoutingRules>{}</RoutingRules>", rule("", "<HostName>h</HostName>")));
    expect_redirect(visit(&site, "/"), 301, "http://h/");
}

#[test]
fn pages_for_other_origins() {
    let site = site("site-cors", INDEX);
    let rule = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>";
    put(&format!("{site}?cors"), rule).expect(200);
    public(&format!("{site}/font"), "f");
    let answer = ask("GET", &site, "/font", "Origin: http://page.example\r\n").expect(200);
    assert_eq!(answer.must("access-control-allow-origin"), "*");
}

#[test]
fn one_domain_is_not_two_things() {
    let folder = tempfile::tempdir().expect("a directory");
    let flags = ["--website-domain".to_owned(), server::DOMAIN.to_uppercase()];
    let said = server::refused_with(folder.path(), &flags);
    assert!(said.contains("website-domain") && said.contains("domain"), "{said}");
}
