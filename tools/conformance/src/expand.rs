//! Names and functions in braces: `{bucket}`, `{md5:text}`, `{text:5242880}`.
//!
//! Invariant: braces that are neither stay as they are, so that JSON needs no escaping. Any thread.

use std::collections::BTreeMap;

use crate::{date, digest};

/// What a case knows by name.
pub type Names = BTreeMap<String, String>;

/// Letters that depend on their place.
fn text(count: usize) -> String {
    (0..count).map(|at| char::from(b'a' + ((at / 26 + at) % 26) as u8)).collect()
}

fn shifted(seconds: &str) -> Option<u64> {
    date::now().checked_add_signed(seconds.parse().ok()?)
}

/// The digest of the parts' digests, as S3 builds composite checksums and multipart ETags.
fn of_parts(algorithm: &str, parts: &str) -> Option<(Vec<u8>, usize)> {
    let digests: Option<Vec<Vec<u8>>> =
        parts.split("++").map(|part| digest::raw(algorithm, part.as_bytes())).collect();
    let digests = digests?;
    Some((digest::raw(algorithm, &digests.concat())?, digests.len()))
}

fn function(name: &str, argument: &str) -> Option<String> {
    Some(match name {
        "text" => text(argument.parse().ok()?),
        "repeat" => {
            let (count, what) = argument.split_once(':')?;
            what.repeat(count.parse().ok()?)
        }
        "http" => date::http(shifted(argument)?),
        "iso" => date::iso(shifted(argument)?),
        "amz" => date::amz(shifted(argument)?),
        "hex" => {
            let (algorithm, data) = argument.split_once(':')?;
            digest::hex(&digest::raw(algorithm, data.as_bytes())?)
        }
        "base64" => digest::base64(argument.as_bytes()),
        "composite" => {
            let (algorithm, parts) = argument.split_once(':')?;
            let (value, count) = of_parts(algorithm, parts)?;
            format!("{}-{count}", digest::base64(&value))
        }
        "etag" => {
            let (value, count) = of_parts("md5", argument)?;
            format!("\"{}-{count}\"", digest::hex(&value))
        }
        algorithm => digest::base64(&digest::raw(algorithm, argument.as_bytes())?),
    })
}

/// `text` with all names and functions replaced, innermost first.
pub fn expand(names: &Names, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut depth = 0;
        let end = rest.bytes().position(|byte| {
            depth += match byte {
                b'{' => 1,
                b'}' => -1,
                _ => 0,
            };
            depth == 0
        });
        let Some(end) = end else { break };
        let inner = expand(names, &rest[1..end]);
        let known = names.get(&inner).cloned();
        let known =
            known.or_else(|| inner.split_once(':').and_then(|(name, argument)| function(name, argument)));
        match known {
            Some(value) => out.push_str(&value),
            None => out.push_str(&format!("{{{inner}}}")),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}
