//! Writes the XML of responses straight into an output buffer.
//!
//! Invariant: text is escaped here and nowhere else; a control character leaves as a numeric reference,
//! as S3 itself sends it. Any core. Owner: `net/s3`.

/// The namespace of S3's documents.
pub const S3_NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document being written.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Starts a document at the end of `out`.
    pub fn document(out: &'o mut Vec<u8>) -> Self {
        out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { out }
    }

    /// Continues a document whose declaration was sent before (white-space keep-alive).
    pub fn fragment(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// `<name>`
    pub fn open(&mut self, name: &str) {
        self.raw("<");
        self.raw(name);
        self.raw(">");
    }

    /// `<name xmlns="namespace">`; the namespace is a constant of ours.
    pub fn open_with_namespace(&mut self, name: &str, namespace: &'static str) {
        self.raw("<");
        self.raw(name);
        self.raw(" xmlns=\"");
        self.raw(namespace);
        self.raw("\">");
    }

    /// The root element of an S3 response.
    pub fn open_root(&mut self, name: &str) {
        self.open_with_namespace(name, S3_NAMESPACE);
    }

    /// `</name>`
    pub fn close(&mut self, name: &str) {
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    /// Text inside the open element.
    pub fn characters(&mut self, text: &str) {
        escape(text, self.out);
    }

    /// Markup of ours inside the open element.
    pub fn constant(&mut self, markup: &'static str) {
        self.raw(markup);
    }

    /// Markup this writer made before, which was stored.
    pub fn stored(&mut self, markup: &str) {
        self.raw(markup);
    }

    /// `<name>text</name>`
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(text, self.out);
        self.close(name);
    }

    /// `<name>text</name>` for text of ours, which holds nothing to escape.
    pub fn word(&mut self, name: &str, text: &'static str) {
        self.open(name);
        self.raw(text);
        self.close(name);
    }

    /// `<name>text</name>` when there is a text.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// `<name>bytes</name>`; invalid UTF-8 is replaced.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.text(name, &String::from_utf8_lossy(bytes));
    }

    /// `<name>number</name>`
    pub fn number(&mut self, name: &str, number: u64) {
        self.open(name);
        self.digits(number);
        self.close(name);
    }

    /// `<name>true</name>` or `false`.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.word(name, if value { "true" } else { "false" });
    }

    /// A number inside the open element.
    pub fn digits(&mut self, mut number: u64) {
        const DIGITS_MAX: usize = 20;
        let mut digits = [0u8; DIGITS_MAX];
        let mut start = DIGITS_MAX;
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[start..]);
    }

    /// `<name>"tag"</name>` with the quotes S3 puts around an entity tag.
    pub fn etag(&mut self, name: &str, tag: &str) {
        self.open(name);
        self.raw("&quot;");
        escape(tag, self.out);
        self.raw("&quot;");
        self.close(name);
    }

    /// The digits of an entity tag inside the open element, which hold nothing to escape.
    pub fn etag_digits(&mut self, tag: &crate::checksum::EtagText) {
        let quoted = tag.quoted();
        self.out.extend_from_slice(&quoted[1..quoted.len() - 1]);
    }

    /// `<name>2009-10-12T17:50:30.000Z</name>` from milliseconds since 1970.
    pub fn time(&mut self, name: &str, unix_ms: u64) {
        self.open(name);
        self.instant(unix_ms);
        self.close(name);
    }

    /// A time inside the open element.
    pub fn instant(&mut self, unix_ms: u64) {
        self.out.extend_from_slice(&stria_http::date::format_iso_ms(unix_ms));
    }
}

/// Bytes that may have to be escaped: markup, control characters, and the first byte of U+FFFE and U+FFFF.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        let control = (byte < 0x20 && byte != b'\n' as usize && byte != b'\t' as usize) || byte == 0x7f;
        table[byte] = control || matches!(byte as u8, b'&' | b'<' | b'>' | b'"' | 0xef);
        byte += 1;
    }
    table
};

/// Appends `text` with markup characters and control characters escaped. A line feed stays as it is; a
/// carriage return is escaped, since XML readers would turn it into a line feed.
fn escape(text: &str, out: &mut Vec<u8>) {
    use std::io::Write;
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(|&byte| SPECIAL[usize::from(byte)]) else {
        out.extend_from_slice(bytes);
        return;
    };
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate().skip(first) {
        let entity: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            b'\n' | b'\t' => continue,
            0..=0x1f | 0x7f => b"",
            // U+FFFE and U+FFFF are no characters of XML either.
            0xef if bytes[at + 1..].starts_with(b"\xbf\xbe") || bytes[at + 1..].starts_with(b"\xbf\xbf") => {
                out.extend_from_slice(&bytes[plain..at]);
                let _ = write!(out, "&#xFFF{:X};", bytes[at + 2] & 15);
                plain = at + 3;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        if entity.is_empty() {
            let _ = write!(out, "&#x{byte:X};");
        } else {
            out.extend_from_slice(entity);
        }
        plain = at + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut out = Vec::new();
        Writer::fragment(&mut out).text("Key", "a<b>&\"'\r\n\t\u{1f}\u{7f}\u{fffe}\u{ffff}\u{fffd}é");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "<Key>a&lt;b&gt;&amp;&quot;'&#xD;\n\t&#x1F;&#x7F;&#xFFFE;&#xFFFF;\u{fffd}é</Key>"
        );
    }
}
