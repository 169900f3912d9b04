//! Digests and the texts they are sent as, written apart from the server's so that a shared mistake shows.
//!
//! Invariant: equal input gives equal output; nothing here knows a request. Any thread.

use aws_lc_rs::{digest, hmac};
use md5::{Digest, Md5};
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

/// Reflected polynomials.
const CRC32: u64 = 0xedb8_8320;
const CRC32C: u64 = 0x82f6_3b78;
const CRC64_NVME: u64 = 0x9a6c_9329_ac4b_c9b5;

/// A CRC with all bits set before and inverted after, as all three of S3's are.
fn crc(polynomial: u64, bits: u32, data: &[u8]) -> u64 {
    let mut table = [0u64; 256];
    for (byte, entry) in table.iter_mut().enumerate() {
        *entry =
            (0..8).fold(byte as u64, |value, _| (value >> 1) ^ if value & 1 == 1 { polynomial } else { 0 });
    }
    let all = u64::MAX >> (64 - bits);
    data.iter().fold(all, |value, byte| (value >> 8) ^ table[((value ^ u64::from(*byte)) & 0xff) as usize])
        ^ all
}

/// The raw digest of an algorithm by the name S3 gives it in header names.
pub fn raw(algorithm: &str, data: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm {
        "crc32" => (crc(CRC32, 32, data) as u32).to_be_bytes().to_vec(),
        "crc32c" => (crc(CRC32C, 32, data) as u32).to_be_bytes().to_vec(),
        "crc64nvme" => crc(CRC64_NVME, 64, data).to_be_bytes().to_vec(),
        "sha1" => digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data).as_ref().to_vec(),
        "sha256" => digest::digest(&digest::SHA256, data).as_ref().to_vec(),
        "sha512" => digest::digest(&digest::SHA512, data).as_ref().to_vec(),
        "xxhash64" => XxHash64::oneshot(0, data).to_be_bytes().to_vec(),
        "xxhash3" => XxHash3_64::oneshot(data).to_be_bytes().to_vec(),
        "xxhash128" => XxHash3_128::oneshot(data).to_be_bytes().to_vec(),
        "md5" => Md5::digest(data).to_vec(),
        _ => return None,
    })
}

/// Hex of SHA-256.
pub fn sha256_hex(data: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, data).as_ref())
}

/// HMAC-SHA256.
pub fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for piece in bytes.chunks(3) {
        let all = piece.iter().fold(0u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for at in 0..4 {
            let letter = char::from(LETTERS[(all >> (18 - 6 * at) & 63) as usize]);
            out.push(if at <= piece.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        let hex_of = |name| hex(&raw(name, b"123456789").expect("known"));
        assert_eq!(hex_of("crc32"), "cbf43926");
        assert_eq!(hex_of("crc32c"), "e3069283");
        assert_eq!(hex_of("crc64nvme"), "ae8b14860a799888");
        assert_eq!(hex(&raw("xxhash64", b"").expect("known")), "ef46db3751d8e999");
        assert_eq!(hex(&raw("xxhash3", b"").expect("known")), "2d06800538d394c2");
        assert_eq!(hex(&raw("xxhash128", b"").expect("known")), "99aa06d3014798d86001c324468d497f");
        assert_eq!(hex_of("md5"), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(
            (base64(b"a"), base64(b"ab"), base64(b"abc")),
            ("YQ==".into(), "YWI=".into(), "YWJj".into())
        );
    }
}
