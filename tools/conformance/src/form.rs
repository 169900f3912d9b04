//! Browser forms of POST Object, with a policy that is signed.
//!
//! Invariant: fields come in the order of the line; the file is last unless said otherwise. Any thread.
//!
//! Flags: `@field name=value`, `@condition JSON` (adds a policy), `@expires SECONDS` (from now), `@policy TEXT`
//! (instead of the one made), `@signature TEXT`, `@file TEXT`, `@filename TEXT`, `@nofile`, `@tail name=value`.

use crate::{date, digest, sign::Signer};

const BOUNDARY: &str = "----conformance-form";
const EXPIRES_S: i64 = 3600;

/// A form being put together.
#[derive(Default)]
pub struct Form {
    fields: Vec<(String, String)>,
    tail: Vec<(String, String)>,
    conditions: Option<Vec<String>>,
    expires_s: Option<i64>,
    policy: Option<String>,
    signature: Option<String>,
    file: String,
    filename: String,
    has_no_file: bool,
}

impl Form {
    /// Adds what a flag says.
    ///
    /// # Errors
    /// When it is not known.
    pub fn flag(&mut self, name: &str, value: &str) -> Result<(), String> {
        let pair = || {
            let (name, value) = value.split_once('=').ok_or_else(|| format!("no '=' in {value}"))?;
            Ok::<_, String>((name.to_owned(), value.to_owned()))
        };
        match name {
            "field" => self.fields.push(pair()?),
            "tail" => self.tail.push(pair()?),
            "condition" => self.conditions.get_or_insert_default().push(value.into()),
            "expires" => self.expires_s = Some(value.parse().map_err(|_| format!("@expires {value}"))?),
            "policy" => self.policy = Some(value.into()),
            "signature" => self.signature = Some(value.into()),
            "file" => self.file = value.into(),
            "filename" => self.filename = value.into(),
            "nofile" => self.has_no_file = true,
            _ => return Err(format!("unknown flag @{name}")),
        }
        Ok(())
    }

    /// The content type and the body.
    pub fn encode(mut self, signer: &Signer, bucket: &str) -> (String, Vec<u8>) {
        if let Some(conditions) = self.conditions.take() {
            self.sign(&conditions, signer, bucket);
        }
        let part = |(name, value): &(String, String)| {
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let mut body: String = self.fields.iter().map(part).collect();
        if !self.has_no_file {
            let name = if self.filename.is_empty() { "f.txt" } else { &self.filename };
            body.push_str(&format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/plain\r\n\r\n{}\r\n",
                self.file
            ));
        }
        body.extend(self.tail.iter().map(part));
        body.push_str(&format!("--{BOUNDARY}--\r\n"));
        (format!("multipart/form-data; boundary={BOUNDARY}"), body.into_bytes())
    }

    fn sign(&mut self, conditions: &[String], signer: &Signer, bucket: &str) {
        let credential = format!("{}/{}", signer.access_key, signer.scope());
        let (stamp, expires_s) = (date::amz(signer.unix_s), self.expires_s.unwrap_or(EXPIRES_S));
        let expiration = date::iso(date::now().saturating_add_signed(expires_s));
        let own = format!(
            r#"{{"bucket":"{bucket}"}},{{"x-amz-algorithm":"AWS4-HMAC-SHA256"}},{{"x-amz-credential":"{credential}"}},{{"x-amz-date":"{stamp}"}}"#
        );
        let all =
            conditions.iter().fold(own, |all, one| if one.is_empty() { all } else { format!("{all},{one}") });
        let made = format!(r#"{{"expiration":"{expiration}","conditions":[{all}]}}"#);
        let policy = digest::base64(self.policy.take().unwrap_or(made).as_bytes());
        let signature = self.signature.take().unwrap_or_else(|| signer.sign_text(&policy));
        for (name, value) in [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &credential),
            ("x-amz-date", &stamp),
            ("policy", &policy),
            ("x-amz-signature", &signature),
        ] {
            self.fields.push((name.into(), value.into()));
        }
    }
}
