//! Policies of browser forms.
//!
//! Invariant: a form passes only when the policy is not over and names every field of it.

use serde_json::Value;
use stria_http::date::parse_iso;

use super::form::Form;
use crate::{checksum::base64_decode, code::ErrorCode, error::S3Error};

/// What a policy is held against.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInput<'a> {
    /// The form.
    pub form: &'a Form,
    /// The bucket of the request.
    pub bucket: &'a str,
    /// The key, file name filled in.
    pub key: &'a str,
    /// Now, seconds since 1970.
    pub now_unix_s: u64,
}

/// Fields no policy has to name.
const FREE: [&str; 5] = ["x-amz-signature", "signature", "awsaccesskeyid", "policy", "file"];

fn invalid(message: &'static str) -> S3Error {
    S3Error::new(ErrorCode::InvalidPolicyDocument, message)
}

fn denied(message: &'static str, what: &str) -> S3Error {
    S3Error::new(ErrorCode::AccessDenied, message).with("Condition", what.as_bytes())
}

/// Checks a form against its policy, given in base64. The bounds of the file's length, when it sets any.
///
/// # Errors
/// `InvalidPolicyDocument`, or `AccessDenied` when the policy is over, a condition fails, or a field is not named.
pub fn check_policy(policy: &[u8], input: &PolicyInput<'_>) -> Result<Option<(u64, u64)>, S3Error> {
    let compact: Vec<u8> = policy.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let json = base64_decode(&compact).ok_or_else(|| invalid("Invalid Policy: Invalid Base64 Encoding."))?;
    let document: Value =
        serde_json::from_slice(&json).map_err(|_| invalid("Invalid Policy: Invalid JSON."))?;
    let expiration = document.get("expiration").and_then(Value::as_str);
    let expiration = expiration.ok_or_else(|| invalid("Invalid Policy: Policy missing expiration."))?;
    let until = parse_iso(expiration.as_bytes());
    let until = until.ok_or_else(|| invalid("Invalid Policy: Invalid 'expiration' value."))?;
    let conditions = document.get("conditions").and_then(Value::as_array);
    let conditions = conditions.ok_or_else(|| invalid("Invalid Policy: Policy missing conditions."))?;
    if conditions.is_empty() {
        return Err(invalid("Invalid Policy: Policy missing conditions."));
    }
    if input.now_unix_s >= until {
        return Err(denied("Invalid according to Policy: Policy expired.", expiration));
    }
    let mut named = Vec::new();
    let mut length = None;
    for condition in conditions {
        match condition {
            Value::Object(pairs) => {
                for (key, value) in pairs {
                    let wanted = value.as_str();
                    let wanted = wanted.ok_or_else(|| {
                        invalid("Invalid Policy: Invalid Simple-Condition: value must be a string.")
                    })?;
                    check(input, key, wanted, false)?;
                    named.push(key.to_lowercase());
                }
            }
            Value::Array(parts) => {
                if let Some(bounds) = check_list(input, parts, &mut named)? {
                    length = Some(bounds);
                }
            }
            _ => return Err(invalid("Invalid Policy: Invalid condition.")),
        }
    }
    let extra = input.form.fields.iter().map(|(name, _)| name).find(|name| {
        !FREE.contains(&name.as_str()) && !name.starts_with("x-ignore-") && !named.contains(name)
    });
    match extra {
        Some(name) => Err(denied("Invalid according to Policy: Extra input fields", name)),
        None => Ok(length),
    }
}

/// `["eq", "$key", "value"]`, `["starts-with", …]` or `["content-length-range", min, max]`.
fn check_list(
    input: &PolicyInput<'_>,
    parts: &[Value],
    named: &mut Vec<String>,
) -> Result<Option<(u64, u64)>, S3Error> {
    let [operator, first, second] = parts else {
        return Err(invalid("Invalid Policy: Invalid condition: three parts are wanted."));
    };
    let operator = operator.as_str().map(str::to_lowercase).unwrap_or_default();
    if operator == "content-length-range" {
        let number = |value: &Value| {
            value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
        };
        let bad = || invalid("Invalid Policy: Invalid content-length-range.");
        let (min, max) = (number(first).ok_or_else(bad)?, number(second).ok_or_else(bad)?);
        return if min <= max { Ok(Some((min, max))) } else { Err(bad()) };
    }
    let starts = match operator.as_str() {
        "eq" => false,
        "starts-with" => true,
        _ => return Err(invalid("Invalid Policy: Invalid condition: unknown operation.")),
    };
    let field = first.as_str().and_then(|text| text.strip_prefix('$'));
    let field = field.ok_or_else(|| invalid("Invalid Policy: Invalid condition: a field begins with $."))?;
    let value = second.as_str();
    let value = value.ok_or_else(|| invalid("Invalid Policy: Invalid condition: value must be a string."))?;
    check(input, field, value, starts)?;
    named.push(field.to_lowercase());
    Ok(None)
}

fn check(input: &PolicyInput<'_>, field: &str, wanted: &str, starts: bool) -> Result<(), S3Error> {
    let name = field.to_lowercase();
    let sent = match name.as_str() {
        "bucket" => Some(input.bucket),
        "key" => Some(input.key),
        _ => input.form.text(&name),
    };
    let holds = match sent {
        // A list of content types matches when each of them does.
        Some(sent) if starts && name == "content-type" => {
            sent.split(',').all(|one| one.trim().starts_with(wanted))
        }
        Some(sent) if starts => sent.starts_with(wanted),
        Some(sent) => sent == wanted,
        None => starts && wanted.is_empty(),
    };
    if holds { Ok(()) } else { Err(denied("Invalid according to Policy: Policy Condition failed", field)) }
}
