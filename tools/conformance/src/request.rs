//! Builds the bytes of a request from a line of a case file.
//!
//! Invariant: what the line does not say is what a correct client sends; a flag that is not known is an
//! error. Any thread.
//!
//! Flags: `@anonymous`, `@alt`, `@key`, `@secret`, `@region`, `@service`, `@skew SECONDS`, `@presign SECONDS`,
//! `@payload TEXT`, `@chunks BYTES`, `@trailer ALGORITHM`, `@utrailer ALGORITHM`, `@trailervalue TEXT`,
//! `@after HEADER` (not signed), `@unsigned NAME` (that header is not signed), `@query TEXT` (added behind the signature), `@replace A => B` (in the signed
//! head), `@replacebody A => B`, `@nolength`, `@expect`, `@end`, `@raw TEXT`, and those of forms in `form`.

use crate::{
    date, digest,
    expand::{Names, expand},
    form::Form,
    sign::{Signable, Signer, encode},
    target::Target,
};

const CHUNK_BYTES: usize = 64 << 10;

/// A request being put together.
#[derive(Default)]
pub struct Request {
    pub method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    after: Vec<String>,
    unsigned: Vec<String>,
    replaced: Vec<(String, String)>,
    replaced_body: Vec<(String, String)>,
    body: Vec<u8>,
    payload: Option<String>,
    presign: Option<String>,
    added_query: String,
    chunk_bytes: Option<usize>,
    trailer: Option<(String, bool)>,
    trailer_value: Option<String>,
    form: Option<Form>,
    is_anonymous: bool,
    has_no_length: bool,
    /// Head first, body behind `100 Continue`.
    pub expects: bool,
    /// The client says that nothing more comes.
    pub ends: bool,
    raw: Option<String>,
}

fn pair(text: &str, by: &str) -> Result<(String, String), String> {
    let (left, right) = text.split_once(by).ok_or_else(|| format!("no '{by}' in {text}"))?;
    Ok((left.trim().to_owned(), right.trim().to_owned()))
}

impl Request {
    /// Of a line's segments.
    ///
    /// # Errors
    /// What is not understood.
    pub fn parse(
        segments: &[String],
        names: &Names,
        target: &Target,
        signer: &mut Signer,
    ) -> Result<Self, String> {
        let start = expand(names, &segments[0]);
        let (method, place) = start.split_once(' ').ok_or_else(|| format!("no target: {start}"))?;
        let place = match place.strip_prefix("//") {
            Some(absolute) => format!("/{absolute}"),
            None if place == "/" => format!("/{}", names["bucket"]),
            None if place.starts_with("/?") => format!("/{}{}", names["bucket"], &place[1..]),
            None => format!("/{}{place}", names["bucket"]),
        };
        let (path, query) = place.split_once('?').unwrap_or((&place, ""));
        let mut request =
            Self { method: method.into(), path: path.into(), query: query.into(), ..Self::default() };
        for segment in &segments[1..] {
            if let Some(flag) = segment.strip_prefix('@') {
                let (name, value) = flag.split_once(' ').unwrap_or((flag, ""));
                request.flag(name, &expand(names, value), target, signer)?;
            } else if let Some(body) = segment.strip_prefix('=') {
                request.body = expand(names, body).into_bytes();
            } else {
                let (name, value) = pair(&expand(names, segment), ":")?;
                request.headers.push((name.to_ascii_lowercase(), value));
            }
        }
        if let Some(form) = request.form.take() {
            let (kind, body) = form.encode(signer, &names["bucket"]);
            request.headers.push(("content-type".into(), kind));
            request.body = body;
            request.is_anonymous = true;
        }
        Ok(request)
    }

    fn flag(&mut self, name: &str, value: &str, target: &Target, signer: &mut Signer) -> Result<(), String> {
        let number = || value.parse::<i64>().map_err(|_| format!("@{name} {value}: no number"));
        match name {
            "anonymous" => self.is_anonymous = true,
            "alt" => {
                let (access_key, secret) = target.alt.clone().ok_or("no second account")?;
                (signer.access_key, signer.secret) = (access_key, secret);
            }
            "key" => signer.access_key = value.into(),
            "secret" => signer.secret = value.into(),
            "region" => signer.region = value.into(),
            "service" => signer.service = value.into(),
            "skew" => signer.unix_s = date::now().saturating_add_signed(number()?),
            "presign" => self.presign = Some(value.into()),
            "payload" => self.payload = Some(value.into()),
            "chunks" => self.chunk_bytes = Some(number()? as usize),
            "trailer" => self.trailer = Some((value.into(), true)),
            "utrailer" => self.trailer = Some((value.into(), false)),
            "trailervalue" => self.trailer_value = Some(value.into()),
            "after" => self.after.push(value.into()),
            "unsigned" => self.unsigned.push(value.into()),
            "query" => self.added_query = value.into(),
            "replace" => self.replaced.push(pair(value, "=>")?),
            "replacebody" => self.replaced_body.push(pair(value, "=>")?),
            "nolength" => self.has_no_length = true,
            "expect" => self.expects = true,
            "end" => self.ends = true,
            "raw" => self.raw = Some(value.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0")),
            _ => self.form.get_or_insert_default().flag(name, value)?,
        }
        Ok(())
    }

    fn payload(&self) -> String {
        let streaming = match (&self.trailer, self.chunk_bytes) {
            (Some((_, true)), _) => Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            (Some((_, false)), _) => Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            (None, Some(_)) => Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            (None, None) => None,
        };
        let made = || streaming.map_or_else(|| digest::sha256_hex(&self.body), str::to_owned);
        self.payload.clone().unwrap_or_else(made)
    }

    fn is_chunked(&self) -> bool {
        self.trailer.is_some() || self.chunk_bytes.is_some()
    }

    fn add(&mut self, name: &str, value: &str) {
        if !self.headers.iter().any(|(known, _)| known == name) {
            self.headers.push((name.into(), value.into()));
        }
    }

    /// Head and body as they go over the wire.
    pub fn encode(mut self, host: &str, signer: &Signer) -> (Vec<u8>, Vec<u8>) {
        if let Some(raw) = &self.raw {
            return (raw.clone().into_bytes(), self.body);
        }
        self.add("host", host);
        let trailer = self.trailer.as_ref().map(|(algorithm, _)| format!("x-amz-checksum-{algorithm}"));
        if self.is_chunked() {
            self.add("x-amz-decoded-content-length", &self.body.len().to_string());
            self.add("content-encoding", "aws-chunked");
        }
        if let Some(name) = &trailer {
            self.add("x-amz-trailer", name);
        }
        let is_unsigned = |(name, _): &mut (String, String)| self.unsigned.contains(name);
        let aside = self.headers.extract_if(.., is_unsigned).map(|(name, value)| format!("{name}: {value}"));
        self.after.extend(aside);
        let signature = if self.is_anonymous { String::new() } else { self.sign(signer) };
        let body = self.framed(signer, &signature, trailer.as_deref());
        let mark = if self.query.is_empty() && self.added_query.is_empty() { "" } else { "?" };
        let mut head =
            format!("{} {}{mark}{}{} HTTP/1.1\r\n", self.method, self.path, self.query, self.added_query);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        for line in &self.after {
            head.push_str(&format!("{line}\r\n"));
        }
        if self.expects {
            head.push_str("expect: 100-continue\r\n");
        }
        let has_body = !body.is_empty() || matches!(self.method.as_str(), "PUT" | "POST");
        if has_body && !self.has_no_length {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        for (from, to) in &self.replaced {
            head = head.replacen(from, to, 1);
        }
        (head.into_bytes(), body)
    }

    fn framed(&self, signer: &Signer, signature: &str, trailer: Option<&str>) -> Vec<u8> {
        let mut body = self.body.clone();
        if self.is_chunked() {
            let is_signed = self.trailer.as_ref().is_none_or(|(_, signed)| *signed);
            let line = self.trailer.as_ref().zip(trailer).map(|((algorithm, _), name)| {
                let made = || digest::base64(&digest::raw(algorithm, &self.body).unwrap_or_default());
                format!("{name}:{}", self.trailer_value.clone().unwrap_or_else(made))
            });
            let chunk_bytes = self.chunk_bytes.unwrap_or(CHUNK_BYTES);
            body = signer.chunked(is_signed.then_some(signature), &self.body, chunk_bytes, line.as_deref());
        }
        if self.replaced_body.is_empty() {
            return body;
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        self.replaced_body.iter().fold(text, |text, (from, to)| text.replacen(from, to, 1)).into_bytes()
    }

    fn sign(&mut self, signer: &Signer) -> String {
        let credential = format!("{}/{}", signer.access_key, signer.scope());
        let stamp = date::amz(signer.unix_s);
        if let Some(seconds) = self.presign.clone() {
            let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
            let mut names = names;
            names.sort_unstable();
            let fields = [
                ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
                ("X-Amz-Credential", &credential),
                ("X-Amz-Date", &stamp),
                ("X-Amz-Expires", &seconds),
                ("X-Amz-SignedHeaders", &names.join(";")),
            ];
            for (name, value) in fields {
                let mark = if self.query.is_empty() { "" } else { "&" };
                self.query.push_str(&format!("{mark}{name}={}", encode(value.as_bytes(), "")));
            }
            let payload = self.payload.clone().unwrap_or_else(|| "UNSIGNED-PAYLOAD".into());
            let (_, signature) = self.signature(signer, &payload);
            self.query.push_str(&format!("&X-Amz-Signature={signature}"));
            return signature;
        }
        let payload = self.payload();
        self.add("x-amz-date", &stamp);
        self.add("x-amz-content-sha256", &payload);
        let (names, signature) = self.signature(signer, &payload);
        let value =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
        self.headers.push(("authorization".into(), value));
        signature
    }

    fn signature(&self, signer: &Signer, payload: &str) -> (String, String) {
        signer.sign(&Signable {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            payload,
        })
    }
}
