//! The rules of bucket names (AWS S3 user guide, "General purpose bucket naming rules").
//!
//! Invariant: a valid name is a DNS label sequence, so it can stand in a host name and never needs
//! escaping in XML, paths or logs. Any core. Owner: `net/s3`.

/// Whether `name` may name a bucket: 3 to 63 of `a-z 0-9 - .`, letter or digit at both ends, no two
/// dots in a row, no IPv4 address, none of the reserved prefixes and suffixes.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(b))
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..")
        && !is_ipv4(name)
        && !["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|prefix| name.starts_with(prefix))
        && !["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
}

fn is_ipv4(name: &str) -> bool {
    name.split('.').count() == 4
        && name.split('.').all(|octet| octet.len() <= 3 && octet.parse::<u8>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn good_and_bad_names() {
        for name in ["abc", "my-bucket", "a.b.c", "0aa", "1.2.3", "1.2.3.4.5", "999.1.1.1", &"a".repeat(63)] {
            assert!(is_valid(name), "{name}");
        }
        for name in [
            "",
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "192.168.5.4",
            "xn--abc",
            "sthree-x",
            "amzn-s3-demo-x",
            "x-s3alias",
            "x--ol-s3",
            "x.mrap",
            "x--x-s3",
            "x--table-s3",
            "a b",
            "a/b",
            "a%b",
            "äbc",
            "..",
            "a\0b",
            &"a".repeat(64),
        ] {
            assert!(!is_valid(name), "{name}");
        }
    }
}
