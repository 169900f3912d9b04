//! Judges an answer by a line of a case file.
//!
//! Invariant: what is not understood fails the case. Any thread.
//!
//! `200`, `404 NoSuchKey`, `200/204`, then: `=body`, `~part`, `!~part`, `<A/B>=one,two`, `<A>*3`, `<A>`, `!<A>`,
//! `name: value`, `name: *`, `name: ~part`, `!name`, `closed`, `continued`, `!continued`, `$x=header name`, `$x=<A>`.

use crate::{
    expand::{Names, expand},
    http::{Answer, Connection},
};

fn unescape(text: &str) -> String {
    let named =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    named.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What stands in each element of this path, in order.
pub fn elements(xml: &str, path: &str) -> Vec<String> {
    let (name, below) = path.split_once('/').map_or((path, None), |(name, below)| (name, Some(below)));
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let (mut found, mut rest) = (Vec::new(), xml);
    while let Some(at) = rest.find(&open) {
        rest = &rest[at + open.len()..];
        if !rest.starts_with(['>', ' ', '/']) {
            continue;
        }
        let Some(end) = rest.find('>') else { break };
        let is_empty = rest[..end].ends_with('/');
        rest = &rest[end + 1..];
        let length = if is_empty { Some(0) } else { rest.find(&close) };
        let Some(length) = length else { break };
        match below {
            Some(below) => found.extend(elements(&rest[..length], below)),
            None => found.push(unescape(&rest[..length])),
        }
        rest = &rest[length..];
    }
    found
}

/// Whether the answer is what `expected` says. Values that are kept go into `names`.
///
/// # Errors
/// What does not hold.
pub fn check(
    expected: &[String],
    method: &str,
    answer: &Answer,
    connection: &mut Connection,
    names: &mut Names,
) -> Result<(), String> {
    let (statuses, code) = expected[0].split_once(' ').unwrap_or((&expected[0], ""));
    if !statuses.split('/').any(|status| status.parse() == Ok(answer.status)) {
        return Err(format!("status {} instead of {statuses}", answer.status));
    }
    let text = answer.text();
    if answer.status >= 400 && method != "HEAD" {
        let found = elements(&text, "Error/Code");
        if !code.is_empty() && found != [code] {
            return Err(format!("code {found:?} instead of {code}"));
        }
        if elements(&text, "Error/Message").len() != 1 {
            return Err("an error without its document".into());
        }
    }
    for demand in &expected[1..] {
        if demand == "closed" {
            if !connection.is_closed() {
                return Err("the connection stays open".into());
            }
        } else if let Some(keep) = demand.strip_prefix('$') {
            let (name, from) = keep.split_once('=').ok_or_else(|| format!("not understood: {demand}"))?;
            let value = match from.strip_prefix("header ") {
                Some(header) => answer.header(header).map(str::to_owned),
                None => elements(&text, from.trim_matches(['<', '>'])).into_iter().next(),
            };
            names.insert(name.into(), value.ok_or_else(|| format!("nothing to keep: {demand}"))?);
        } else {
            one(&expand(names, demand), answer, &text)?;
        }
    }
    Ok(())
}

fn one(demand: &str, answer: &Answer, text: &str) -> Result<(), String> {
    let differs = |found: &str| Err(format!("found '{}', demanded '{}'", short(found), short(demand)));
    if let Some(body) = demand.strip_prefix('=') {
        if body == text { Ok(()) } else { differs(text) }
    } else if let Some(part) = demand.strip_prefix("!~") {
        if text.contains(part) { differs(part) } else { Ok(()) }
    } else if let Some(part) = demand.strip_prefix('~') {
        if text.contains(part) { Ok(()) } else { differs(text) }
    } else if demand == "continued" || demand == "!continued" {
        if answer.continued == (demand == "continued") { Ok(()) } else { differs("the opposite") }
    } else if let Some(path) = demand.strip_prefix("!<") {
        let found = elements(text, path.trim_end_matches('>'));
        if found.is_empty() { Ok(()) } else { differs(&found.join(",")) }
    } else if let Some(rest) = demand.strip_prefix('<') {
        let (path, rest) = rest.split_once('>').ok_or_else(|| format!("not understood: {demand}"))?;
        let found = elements(text, path);
        let holds = match (rest.strip_prefix('='), rest.strip_prefix('*')) {
            (Some(values), _) => !found.is_empty() && found.join(",") == values,
            (None, Some(count)) => count.parse() == Ok(found.len()),
            (None, None) => !found.is_empty(),
        };
        if holds { Ok(()) } else { differs(&found.join(",")) }
    } else if let Some(name) = demand.strip_prefix('!') {
        answer.header(name).map_or(Ok(()), differs)
    } else {
        let (name, value) = demand.split_once(':').ok_or_else(|| format!("not understood: {demand}"))?;
        let found = answer.header(name).ok_or_else(|| format!("no header {name}"))?;
        let value = value.trim();
        let holds = match value.strip_prefix('~') {
            Some(part) => found.contains(part),
            None => value == "*" || found == value,
        };
        if holds { Ok(()) } else { differs(found) }
    }
}

fn short(text: &str) -> String {
    const SHOWN: usize = 600;
    text.chars().take(SHOWN).collect()
}
