//! A keyed 64-bit hash of bytes: stable across releases, because PG placement depends on it.
//!
//! SipHash-1-3 (Aumasson and Bernstein, 2012; 1 compression and 3 finalisation rounds, as in CRUSH
//! implementations of this field). Written here because std's is not promised to stay the same.

/// Hash of `bytes` under `key`. Any core; no allocation.
#[must_use]
pub fn hash64(key: u64, bytes: &[u8]) -> u64 {
    let (k0, k1) = (key, key.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        absorb(&mut v, u64::from_le_bytes(word.try_into().expect("chunks_exact(8) yields 8 bytes")));
    }
    let mut last = [0u8; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    last[7] = bytes.len() as u8;
    absorb(&mut v, u64::from_le_bytes(last));
    v[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::hash64;

    #[test]
    fn never_changes_because_placement_is_stored() {
        let got: Vec<String> = ["", "a", "12345678", "photos/2026/11/a.jpg"]
            .iter()
            .map(|s| format!("{:016x}", hash64(1, s.as_bytes())))
            .collect();
        expect_test::expect![[r#"
            edff1f3ce3fcfa03
            c1310de43647f025
            220c531333ce35e8
            7eecdd3e7d6c9127"#]]
        .assert_eq(&got.join("\n"));
    }

    #[test]
    fn the_key_and_each_byte_matter() {
        assert_ne!(hash64(1, b"a"), hash64(2, b"a"));
        assert_ne!(hash64(1, b"a"), hash64(1, b"a\0"));
        assert_ne!(hash64(1, b"abcdefgh"), hash64(1, b"abcdefgi"));
    }
}
