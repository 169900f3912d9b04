//! POST Object: uploads by browser forms.
//!
//! Invariant: nothing of the form is used before its policy was verified and allowed all of it; the file is
//! stored as it arrives, and a form that is cut leaves nothing. Runs on the accepting core.

use stria_base::limits::PUT_BYTES_MAX;
use stria_engine::object::ObjectMeta;
use stria_http::{
    Head,
    percent::{Keep, encode},
};
use stria_s3::{
    ErrorCode, S3Error,
    checksum::{Algorithm, BodyHasher, ChecksumType, RequestChecksums},
    config::tags::{OBJECT_TAGS_MAX, TagSet},
    content::Content,
    post::{Form, FormFile, FormReader, PolicyInput, check_policy},
    response::post_response,
    route::check_key,
};

use super::{
    Request, acl, door, name_key,
    object_meta::{etag_text, put_content, stored_checksum},
    put_object::put_in,
    store_body::{Pieces, from_pieces},
    versions,
};
use crate::conn::{
    body::Body,
    failure::Failure,
    reply::{Reply, field},
};

/// Form fields that mean what the header of that name means.
const HEADER_FIELDS: [&str; 8] = [
    "acl",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "content-md5",
];

/// The file of a form, piece by piece.
struct FilePieces<'b, 'c> {
    body: &'b mut Body<'c>,
    file: FormFile,
    /// What came together with the fields.
    first: Option<Vec<u8>>,
}

impl Pieces for FilePieces<'_, '_> {
    async fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        if let Some(first) = self.first.take() {
            self.file.take(&first, out);
            return Ok(true);
        }
        let mut piece = [0; 8 << 10];
        let got = self.body.read_some(&mut piece).await?;
        self.file.take(&piece[..got], out);
        if got > 0 {
            return Ok(true);
        }
        if self.file.is_over() {
            Ok(false)
        } else {
            Err(S3Error::from(ErrorCode::MalformedPOSTRequest).into())
        }
    }
}

/// Stores the file of a form whose policy allows it.
pub async fn post_object(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let (form, file, first) = read_fields(request, body).await?;
    let key = key_of(&form)?;
    check_key(Some(&key))?;
    let allowed = door::admit_form(request.state, &form)?;
    let bounds = bounds(request, &form, &key)?;
    let request = &Request { allowed: &allowed, ..*request };
    let bucket = request.bucket()?;
    let head = as_head(&form)?;
    stria_s3::request::check_unsupported(&head)?;
    let mut meta = ObjectMeta::new(0, [0; 16]);
    meta.acl = acl::of_write(request, &head, &bucket)?;
    put_content(&mut meta, &Content::parse(&head, false)?)?;
    if let Some(document) = form.get("tagging") {
        meta.tags = TagSet::parse_document(document, OBJECT_TAGS_MAX)?.encode().into();
    }
    let place = request.place_of(&bucket, &key);
    let hasher = BodyHasher::new(RequestChecksums::parse(&head, false)?, None, Algorithm::Crc64Nvme);
    let bounds = bounds.map_or((0, PUT_BYTES_MAX), |(min, max)| (min, max.min(PUT_BYTES_MAX)));
    let pieces = FilePieces { body, file, first: Some(first) };
    let (stored, bytes) = from_pieces(request.state, &place, pieces, hasher, bounds).await?;
    meta.size = bytes;
    meta.etag.md5 = stored.digests.md5;
    meta.checksum = Some(stored_checksum(&stored.digests.checksum, ChecksumType::FullObject));
    let etag = etag_text(&meta.etag);
    let condition = stria_engine::precondition::WriteCondition::Always;
    let written = put_in(request, &bucket, place, meta, stored.body, condition).await;
    let written = written.map_err(|error| name_key(error.into(), &key))?;
    Ok(answer(request, &form, &key, etag.text(), |out| {
        if written.version.is_some() {
            versions::write_id(out, &bucket, written.version);
        }
    }))
}

/// The bounds of the file's length that the form's policy sets. Who sends none is nobody, and bound by the
/// bucket's list alone.
fn bounds(request: &Request<'_>, form: &Form, key: &str) -> Result<Option<(u64, u64)>, S3Error> {
    let Some(policy) = form.get("policy") else { return Ok(None) };
    let now_unix_s = request.state.now_ms() / 1000;
    check_policy(policy, &PolicyInput { form, bucket: request.route.bucket(), key, now_unix_s })
}

async fn read_fields(
    request: &Request<'_>,
    body: &mut Body<'_>,
) -> Result<(Form, FormFile, Vec<u8>), Failure> {
    let mut reader = FormReader::new(request.head)?;
    let mut piece = [0; 4096];
    loop {
        let got = body.read_some(&mut piece).await?;
        if got == 0 {
            return Err(S3Error::from(ErrorCode::MalformedPOSTRequest).into());
        }
        if let Some(found) = reader.feed(&piece[..got])? {
            return Ok(found);
        }
    }
}

/// The key, with the browser's file name where the form asks for it.
fn key_of(form: &Form) -> Result<String, S3Error> {
    let message = "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.";
    let key = form.text("key").filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| S3Error::argument(message, "key", b""))?;
    // Some browsers send the whole path of their own machine.
    let name = form.file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    Ok(key.replace("${filename}", name))
}

/// The fields that stand for headers, as a head: they are then parsed where headers are.
fn as_head(form: &Form) -> Result<Head, S3Error> {
    let mut text = b"POST / HTTP/1.1\r\nHost: form\r\n".to_vec();
    for (name, value) in &form.fields {
        let is_header = HEADER_FIELDS.contains(&name.as_str())
            || name.starts_with("x-amz-meta-")
            || name.starts_with("x-amz-checksum-")
            || name.starts_with("x-amz-grant-")
            || name.starts_with("x-amz-server-side-encryption")
            || name.starts_with("x-amz-object-lock-")
            || ["x-amz-storage-class", "x-amz-website-redirect-location"].contains(&name.as_str());
        if !is_header {
            continue;
        }
        let bad = || S3Error::argument("The value cannot stand in a header", "field", name.as_bytes());
        let legal = value.iter().all(|&byte| byte >= b' ' && byte != 0x7f)
            && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !legal {
            return Err(bad());
        }
        text.extend_from_slice(if name == "acl" { b"x-amz-acl" } else { name.as_bytes() });
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.trim_ascii());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    match stria_http::head::parse(&text) {
        Ok(Some((head, _))) => Ok(head),
        _ => Err(ErrorCode::MalformedPOSTRequest.into()),
    }
}

/// A redirect, or the status the form asks for: 204 unless it is 200 or 201.
fn answer(
    request: &Request<'_>,
    form: &Form,
    key: &str,
    etag: &str,
    more: impl FnOnce(&mut stria_http::response::Head<'_>),
) -> Reply {
    let to = request.to;
    let bucket = request.route.bucket();
    let mut encoded = Vec::new();
    encode(key.as_bytes(), Keep::Slash, &mut encoded);
    let host = String::from_utf8_lossy(request.head.host()).into_owned();
    let location = format!("http://{host}/{bucket}/{}", String::from_utf8_lossy(&encoded));
    let quoted = format!("\"{etag}\"");
    let redirect = form.text("success_action_redirect").or_else(|| form.text("redirect"));
    let is_url = |url: &&str| {
        (url.starts_with("http://") || url.starts_with("https://"))
            && url.bytes().all(|b| b.is_ascii_graphic())
    };
    if let Some(url) = redirect.filter(is_url) {
        let mut query = Vec::new();
        for (name, value) in [("bucket", bucket), ("key", key), ("etag", &quoted)] {
            query.extend_from_slice(if query.is_empty() { b"" } else { b"&" });
            query.extend_from_slice(name.as_bytes());
            query.push(b'=');
            encode(value.as_bytes(), Keep::Unreserved, &mut query);
        }
        let mark = if url.contains('?') { '&' } else { '?' };
        let target = format!("{url}{mark}{}", String::from_utf8_lossy(&query));
        return to.empty(303, |out| {
            field(out, "Location", target.as_bytes());
            field(out, "ETag", quoted.as_bytes());
            more(out);
        });
    }
    match form.text("success_action_status") {
        Some("201") => {
            let mut xml = Vec::with_capacity(512);
            post_response(&mut xml, &location, bucket, key, etag);
            to.bytes(201, Some("application/xml"), xml.into(), |out| {
                field(out, "Location", location.as_bytes());
                field(out, "ETag", quoted.as_bytes());
                more(out);
            })
        }
        status => to.empty(if status == Some("200") { 200 } else { 204 }, |out| {
            field(out, "Location", location.as_bytes());
            field(out, "ETag", quoted.as_bytes());
            more(out);
        }),
    }
}
