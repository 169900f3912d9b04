//! Errors as HTML, for visitors of websites.

use stria_http::response::reason;

use crate::{error::S3Error, xml::Writer};

/// What an error page shows.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPage<'a> {
    /// The error.
    pub error: &'a S3Error,
    /// What kept the document for errors from being shown instead.
    pub second: Option<&'a S3Error>,
    /// Same as the header `x-amz-request-id`.
    pub request_id: &'a str,
    /// Same as the header `x-amz-id-2`.
    pub host_id: &'a str,
}

/// Appends the page of an error.
pub fn error_page(out: &mut Vec<u8>, page: &ErrorPage<'_>) {
    let status = page.error.status();
    let title = format!("{status} {}", reason(status));
    let mut html = Writer::fragment(out);
    html.constant("<html>\n<head>");
    html.text("title", &title);
    html.constant("</head>\n<body>\n");
    html.text("h1", &title);
    html.constant("\n<ul>\n");
    lines(&mut html, page.error);
    line(&mut html, "RequestId", page.request_id);
    line(&mut html, "HostId", page.host_id);
    html.constant("</ul>\n");
    if let Some(second) = page.second {
        html.text("h3", "An Error Occurred While Attempting to Retrieve a Custom Error Document");
        html.constant("\n<ul>\n");
        lines(&mut html, second);
        html.constant("</ul>\n");
    }
    html.constant("<hr/>\n</body>\n</html>\n");
}

fn lines(html: &mut Writer<'_>, error: &S3Error) {
    line(html, "Code", error.code.name());
    line(html, "Message", error.message());
    for detail in &error.details {
        line(html, detail.name, &String::from_utf8_lossy(&detail.value));
    }
}

fn line(html: &mut Writer<'_>, name: &'static str, text: &str) {
    html.constant("<li>");
    html.constant(name);
    html.constant(": ");
    html.characters(text);
    html.constant("</li>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::ErrorCode;

    #[test]
    fn a_page_holds_no_markup_of_the_request() {
        let error = S3Error::from(ErrorCode::NoSuchKey).with("Key", b"<script>&\xff");
        let second = S3Error::from(ErrorCode::AccessDenied);
        let mut out = Vec::new();
        let page = ErrorPage { error: &error, second: Some(&second), request_id: "R", host_id: "H" };
        error_page(&mut out, &page);
        expect_test::expect![[r#"
            <html>
            <head><title>404 Not Found</title></head>
            <body>
            <h1>404 Not Found</h1>
            <ul>
            <li>Code: NoSuchKey</li>
            <li>Message: The specified key does not exist.</li>
            <li>Key: &lt;script&gt;&amp;�</li>
            <li>RequestId: R</li>
            <li>HostId: H</li>
            </ul>
            <h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>
            <ul>
            <li>Code: AccessDenied</li>
            <li>Message: Access Denied</li>
            </ul>
            <hr/>
            </body>
            </html>
        "#]]
        .assert_eq(&String::from_utf8(out).expect("UTF-8"));
    }
}
