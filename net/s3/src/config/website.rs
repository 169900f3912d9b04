//! What a bucket's website configuration says of a visit: where it is redirected, which key it means.
//!
//! Invariant: a location is made of bytes that can stand in a header, whatever key was asked for and
//! whatever the configuration holds. Runs on the accepting core, sans I/O. Owner: `net/s3`. Source: the AWS
//! S3 user guide, "Hosting a static website using Amazon S3", and the API reference of PutBucketWebsite.

use stria_http::percent::{Keep, encode};

use super::{named, tree::Element};

/// Status of a redirect that names none, and of an object that says where it went.
pub const MOVED_STATUS: u16 = 301;
/// Status of the redirect to a path with its last slash.
const FOUND_STATUS: u16 = 302;

/// A `WebsiteConfiguration`.
#[derive(Clone, Debug)]
pub struct Website(Element);

/// What a visitor asked for.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The Host header, with its port.
    pub host: &'a [u8],
    /// The key of the path, decoded: empty for `/`.
    pub key: &'a str,
}

/// Where a visitor is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301..=399
    pub status: u16,
    /// The Location header.
    pub location: Vec<u8>,
}

impl Website {
    /// From its stored form; `None` when it is none.
    #[must_use]
    pub fn load(stored: &str) -> Option<Self> {
        named("website")?.load(stored).map(Self)
    }

    /// Where every visit is sent, when the configuration redirects all.
    #[must_use]
    pub fn redirect_all(&self, visit: &Visit<'_>) -> Option<Redirect> {
        let to = self.0.child("RedirectAllRequestsTo")?;
        let mut location = base(to, visit);
        encode(visit.key.as_bytes(), Keep::Slash, &mut location);
        Some(Redirect { status: MOVED_STATUS, location })
    }

    /// What the first rule says that matches: before the object is looked at (`None`), or after it was
    /// answered with this error status.
    #[must_use]
    pub fn redirect(&self, visit: &Visit<'_>, error_status: Option<u16>) -> Option<Redirect> {
        let rules = self.0.child("RoutingRules")?;
        let rule = rules.all("RoutingRule").find(|rule| matches(rule, visit.key, error_status))?;
        let to = rule.child("Redirect")?;
        let mut location = base(to, visit);
        if let Some(key) = to.text_of("ReplaceKeyWith") {
            literal(key, &mut location);
        } else if let Some(prefix) = to.text_of("ReplaceKeyPrefixWith") {
            literal(prefix, &mut location);
            let rest = visit.key.strip_prefix(prefix_of(rule)).unwrap_or_default();
            encode(rest.as_bytes(), Keep::Slash, &mut location);
        } else {
            encode(visit.key.as_bytes(), Keep::Slash, &mut location);
        }
        let status = to.text_of("HttpRedirectCode").and_then(|code| code.parse().ok());
        Some(Redirect { status: status.unwrap_or(MOVED_STATUS), location })
    }

    /// The key a visit reads: the index document for what ends in a slash.
    #[must_use]
    pub fn key(&self, visit: &Visit<'_>) -> String {
        let is_directory = visit.key.is_empty() || visit.key.ends_with('/');
        if is_directory { format!("{}{}", visit.key, self.index()) } else { visit.key.to_owned() }
    }

    /// The index document a visit without its last slash may mean.
    #[must_use]
    pub fn index_below(&self, visit: &Visit<'_>) -> Option<String> {
        let is_directory = visit.key.is_empty() || visit.key.ends_with('/');
        (!is_directory).then(|| format!("{}/{}", visit.key, self.index()))
    }

    /// Where a visit is sent that left its last slash out, so that it has an [`Self::index_below`].
    #[must_use]
    pub fn with_slash(&self, visit: &Visit<'_>) -> Redirect {
        let mut location = b"/".to_vec();
        encode(visit.key.as_bytes(), Keep::Slash, &mut location);
        // What begins with two slashes would name a host.
        if location.starts_with(b"//") {
            location.splice(..2, *b"/%2F");
        }
        location.push(b'/');
        Redirect { status: FOUND_STATUS, location }
    }

    /// Key of the document for errors of the visitor's.
    #[must_use]
    pub fn error_document(&self) -> Option<&str> {
        self.0.child("ErrorDocument")?.text_of("Key")
    }

    fn index(&self) -> &str {
        self.0.child("IndexDocument").and_then(|index| index.text_of("Suffix")).unwrap_or_default()
    }
}

fn prefix_of(rule: &Element) -> &str {
    rule.child("Condition").and_then(|condition| condition.text_of("KeyPrefixEquals")).unwrap_or_default()
}

fn matches(rule: &Element, key: &str, error_status: Option<u16>) -> bool {
    let condition = rule.child("Condition");
    let wanted = condition.and_then(|condition| condition.text_of("HttpErrorCodeReturnedEquals"));
    let is_its_turn = match (wanted, error_status) {
        (None, None) => true,
        (Some(wanted), Some(status)) => wanted.parse() == Ok(status),
        _ => false,
    };
    is_its_turn && key.starts_with(prefix_of(rule))
}

/// `protocol://host/`; without a host of its own, the one that was asked.
fn base(to: &Element, visit: &Visit<'_>) -> Vec<u8> {
    let mut location = Vec::with_capacity(64 + visit.key.len());
    location.extend_from_slice(to.text_of("Protocol").unwrap_or("http").as_bytes());
    location.extend_from_slice(b"://");
    match to.text_of("HostName").filter(|host| !host.is_empty()) {
        Some(host) => literal(host, &mut location),
        None => location.extend_from_slice(visit.host),
    }
    location.push(b'/');
    location
}

/// Text of the configuration as its writer meant it (`#!/`, `?page=`), but for what cannot stand in a header.
fn literal(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            out.push(byte);
        } else {
            encode(&[byte], Keep::Unreserved, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stria_http::response::FieldValue;

    const RULES: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument><RoutingRules>\
        <RoutingRule><Condition><KeyPrefixEquals>old/</KeyPrefixEquals></Condition>\
        <Redirect><ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith></Redirect></RoutingRule>\
        <RoutingRule><Condition><KeyPrefixEquals>x</KeyPrefixEquals>\
        <HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition>\
        <Redirect><HostName>h.example</HostName><Protocol>https</Protocol><HttpRedirectCode>307</HttpRedirectCode>\
        <ReplaceKeyWith>a b?c=\u{e9}</ReplaceKeyWith></Redirect></RoutingRule>\
        <RoutingRule><Condition><HttpErrorCodeReturnedEquals>403</HttpErrorCodeReturnedEquals></Condition>\
        <Redirect><ReplaceKeyPrefixWith>#!/</ReplaceKeyPrefixWith></Redirect></RoutingRule>\
        </RoutingRules>";

    fn visit(key: &str) -> Visit<'_> {
        Visit { host: b"b.web:90", key }
    }

    #[test]
    fn rules_apply_at_their_turn() {
        let website = Website::load(RULES).expect("well-formed");
        let to = |key: &str, status| {
            let found = website.redirect(&visit(key), status)?;
            Some((found.status, String::from_utf8(found.location).expect("ASCII")))
        };
        assert_eq!(to("old/a b", None), Some((301, "http://b.web:90/new/a%20b".into())));
        assert_eq!(to("old/a?b", None), Some((301, "http://b.web:90/new/a%3Fb".into())));
        assert_eq!(to("old/", Some(404)), None);
        assert_eq!(to("x", None), None);
        assert_eq!(to("x", Some(404)), Some((307, "https://h.example/a%20b?c=%C3%A9".into())));
        assert_eq!(to("y", Some(404)), None);
        assert_eq!(to("y/\r\n", Some(403)), Some((301, "http://b.web:90/#!/y/%0D%0A".into())));
    }

    #[test]
    fn directories_have_an_index() {
        let website = Website::load(RULES).expect("well-formed");
        assert_eq!(website.key(&visit("")), "index.html");
        assert_eq!(website.key(&visit("a/")), "a/index.html");
        assert_eq!(website.key(&visit("a")), "a");
        assert_eq!(website.index_below(&visit("a")).as_deref(), Some("a/index.html"));
        assert_eq!(website.index_below(&visit("a/")), None);
        assert_eq!(website.with_slash(&visit("a b")).location, b"/a%20b/");
        assert_eq!(website.with_slash(&visit("/evil.example")).location, b"/%2Fevil.example/");
    }

    proptest! {
        #[test]
        fn locations_can_stand_in_a_header(
            key in proptest::collection::vec(any::<char>(), 0..20),
            text in proptest::collection::vec(any::<char>(), 0..20),
        ) {
            let (key, text): (String, String) = (key.into_iter().collect(), text.into_iter().collect());
            let leaf = |name: &str, text: &str| Element {
                name: name.to_owned(),
                text: text.to_owned(),
                children: Vec::new(),
            };
            let of = |name: &str, children| Element { name: name.to_owned(), text: String::new(), children };
            for replaced in ["ReplaceKeyWith", "ReplaceKeyPrefixWith", "HostName"] {
                let redirect = of("Redirect", vec![leaf(replaced, &text)]);
                let rules = of("RoutingRules", vec![of("RoutingRule", vec![redirect])]);
                let website = Website(of("WebsiteConfiguration", vec![rules]));
                let found = website.redirect(&visit(&key), None).expect("a rule for all");
                prop_assert!(FieldValue::new(&found.location).is_ok());
                prop_assert!(found.location.starts_with(b"http://"));
                if website.index_below(&visit(&key)).is_some() {
                    let found = website.with_slash(&visit(&key)).location;
                    prop_assert!(FieldValue::new(&found).is_ok() && !found.starts_with(b"//"));
                }
            }
        }
    }

    #[test]
    fn everything_moves() {
        let stored = "<RedirectAllRequestsTo><HostName>www.example</HostName></RedirectAllRequestsTo>";
        let website = Website::load(stored).expect("well-formed");
        let found = website.redirect_all(&visit("a/\u{e9}")).expect("a redirect");
        assert_eq!((found.status, &found.location[..]), (301, &b"http://www.example/a/%C3%A9"[..]));
        assert!(Website::load(RULES).expect("well-formed").redirect_all(&visit("")).is_none());
    }
}
