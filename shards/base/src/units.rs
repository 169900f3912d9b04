//! Binary units. Sizes in the code are bytes in `u64` unless a name says otherwise.

/// 1,024 bytes.
pub const KIB: u64 = 1 << 10;
/// 1,048,576 bytes.
pub const MIB: u64 = 1 << 20;
/// 1,073,741,824 bytes.
pub const GIB: u64 = 1 << 30;

/// Rounds `bytes` up to a multiple of `align` (a power of two).
///
/// # Panics
/// When `align` is not a power of two, or the result does not fit in 64 bits.
#[must_use]
pub const fn align_up(bytes: u64, align: u64) -> u64 {
    assert!(align.is_power_of_two());
    match bytes.checked_add(align - 1) {
        Some(sum) => sum & !(align - 1),
        None => panic!("align_up overflows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_to_the_block() {
        assert_eq!(align_up(0, 4096), 0);
        assert_eq!(align_up(1, 4096), 4096);
        assert_eq!(align_up(4096, 4096), 4096);
        assert_eq!(align_up(4097, 4096), 8192);
    }
}
