//! Which cross-origin requests a bucket allows.
//!
//! Invariant: the first rule that matches decides, and nothing is said to an origin no rule names. Any
//! core. Owner: `net/s3`. Source: AWS S3 user guide, "How does Amazon S3 evaluate the CORS configuration
//! on a bucket"; the Fetch standard for the header names.

use super::tree::Element;

/// A request of a browser, as far as CORS is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `Origin`
    pub origin: &'a str,
    /// The method of the request, or the one a preflight asks about.
    pub method: &'a str,
    /// Header names a preflight asks about, comma-separated.
    pub headers: &'a str,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// `Access-Control-Allow-Origin`: the origin, or `*`.
    pub origin: String,
    /// `Access-Control-Allow-Methods`
    pub methods: String,
    /// `Access-Control-Allow-Headers`: those asked about.
    pub headers: String,
    /// `Access-Control-Expose-Headers`
    pub expose: String,
    /// `Access-Control-Max-Age`, seconds.
    pub max_age: Option<String>,
}

/// The rule of a `CORSConfiguration` that allows what is asked.
#[must_use]
pub fn allowed(configuration: &Element, asked: &Asked<'_>) -> Option<Allowed> {
    configuration.all("CORSRule").find_map(|rule| by_rule(rule, asked))
}

fn by_rule(rule: &Element, asked: &Asked<'_>) -> Option<Allowed> {
    let pattern = rule.all("AllowedOrigin").find(|pattern| matches(&pattern.text, asked.origin))?;
    rule.all("AllowedMethod").find(|method| method.text == asked.method)?;
    let names = asked.headers.split(',').map(str::trim).filter(|name| !name.is_empty());
    let known = |name: &str| {
        let name = name.to_ascii_lowercase();
        rule.all("AllowedHeader").any(|pattern| matches(&pattern.text.to_ascii_lowercase(), &name))
    };
    if !names.clone().all(known) {
        return None;
    }
    Some(Allowed {
        origin: if pattern.text == "*" { "*".into() } else { asked.origin.to_owned() },
        methods: joined(rule, "AllowedMethod"),
        headers: names.map(str::to_ascii_lowercase).collect::<Vec<_>>().join(", "),
        expose: joined(rule, "ExposeHeader"),
        max_age: rule.text_of("MaxAgeSeconds").map(str::to_owned),
    })
}

fn joined(rule: &Element, name: &str) -> String {
    rule.all(name).map(|one| one.text.as_str()).collect::<Vec<_>>().join(", ")
}

/// A pattern with at most one `*`, which stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}
