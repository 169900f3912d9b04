//! Signature version 4 of the suite's own: header, query, chunks, trailers, forms.
//!
//! Invariant: shares no line with the server's. Any thread.

use crate::{
    date::amz,
    digest::{hex, hmac, sha256_hex},
};

/// Whose signature, for which region, at which time.
#[derive(Clone, Debug)]
pub struct Signer {
    pub access_key: String,
    pub secret: String,
    pub region: String,
    pub service: String,
    /// Seconds since 1970.
    pub unix_s: u64,
}

/// What is signed.
pub struct Signable<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    /// Lower-case names; all of them are signed.
    pub headers: &'a [(String, String)],
    pub payload: &'a str,
}

fn decode(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// Percent-encodes all but unreserved bytes and those in `keep`.
pub fn encode(bytes: &[u8], keep: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.as_bytes().contains(&byte);
    let one = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(one).collect()
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(&decode(name), ""), encode(&decode(value), "")))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

impl Signer {
    /// `day/region/service/aws4_request`
    pub fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", &amz(self.unix_s)[..8], self.region, self.service)
    }

    /// The hex signature of a string to sign.
    pub fn sign_text(&self, text: &str) -> String {
        let start = format!("AWS4{}", self.secret).into_bytes();
        let day = amz(self.unix_s)[..8].to_owned();
        let key = [&day, &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(start, |key, part| hmac(&key, part.as_bytes()));
        hex(&hmac(&key, text.as_bytes()))
    }

    /// The names that are signed, and the signature.
    pub fn sign(&self, what: &Signable<'_>) -> (String, String) {
        let mut headers = what.headers.to_vec();
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let words = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{}\n", words(value))).collect();
        let request = format!(
            "{}\n{}\n{}\n{lines}\n{names}\n{}",
            what.method,
            encode(&decode(what.path), "/"),
            canonical_query(what.query),
            what.payload
        );
        let hash = sha256_hex(request.as_bytes());
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{hash}", amz(self.unix_s), self.scope());
        (names, self.sign_text(&text))
    }

    /// The body in chunks of `chunk_bytes`, each signed behind the one before when `seed` is there, and a
    /// trailer of one line when asked for.
    pub fn chunked(
        &self,
        seed: Option<&str>,
        body: &[u8],
        chunk_bytes: usize,
        trailer: Option<&str>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut previous = seed.map(str::to_owned);
        let last: &[u8] = b"";
        for chunk in body.chunks(chunk_bytes).chain([last]) {
            let signature = previous.take().map(|previous| {
                let (empty, hash) = (sha256_hex(b""), sha256_hex(chunk));
                let head = format!("AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}", amz(self.unix_s), self.scope());
                self.sign_text(&format!("{head}\n{previous}\n{empty}\n{hash}"))
            });
            let extension =
                signature.as_ref().map(|text| format!(";chunk-signature={text}")).unwrap_or_default();
            out.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
            out.extend(chunk);
            if !chunk.is_empty() {
                out.extend(b"\r\n");
            }
            previous = signature;
        }
        if let Some(line) = trailer {
            out.extend(format!("{line}\r\n").bytes());
            if let Some(previous) = previous {
                let hash = sha256_hex(format!("{line}\n").as_bytes());
                let head = format!("AWS4-HMAC-SHA256-TRAILER\n{}\n{}", amz(self.unix_s), self.scope());
                let signature = self.sign_text(&format!("{head}\n{previous}\n{hash}"));
                out.extend(format!("x-amz-trailer-signature:{signature}\r\n").bytes());
            }
        }
        out.extend(b"\r\n");
        out
    }
}
