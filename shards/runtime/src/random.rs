//! Random bits of the kernel, drawn in batches so that a value costs no call.
//!
//! Invariant: a bit is given out once and erased from here. No generator of our own: what the kernel
//! promises is what we promise. One core.

/// Values per call. 256 bytes is the most the kernel promises to give in one uninterrupted piece.
const BATCH: usize = 32;
const _: () = assert!(BATCH * size_of::<u64>() <= 256);

#[derive(Default)]
pub(crate) struct Random {
    values: [u64; BATCH],
    left: usize,
}

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        if self.left == 0 {
            self.fill();
        }
        self.left -= 1;
        std::mem::take(&mut self.values[self.left])
    }

    fn fill(&mut self) {
        let bytes = size_of_val(&self.values);
        loop {
            // SAFETY: `bytes` writable bytes, for which every pattern is a value.
            let got = unsafe { libc::getrandom(self.values.as_mut_ptr().cast(), bytes, 0) };
            if got == bytes as isize {
                break;
            }
            // Interrupted while the kernel gathers its first entropy at boot; there is no other failure,
            // and going on without randomness would give out guessable ids.
            let error = std::io::Error::last_os_error();
            assert!(got >= 0 || error.kind() == std::io::ErrorKind::Interrupted, "getrandom: {error}");
        }
        self.left = BATCH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_value_once() {
        let mut random = Random::default();
        let seen: std::collections::BTreeSet<u64> = (0..10_000).map(|_| random.next()).collect();
        assert_eq!(seen.len(), 10_000);
        assert!(!seen.contains(&0), "an erased value was given out");
        let ones: u32 = seen.iter().map(|value| value.count_ones()).sum();
        assert!((310_000..330_000).contains(&ones), "{ones} of 640,000 bits");
    }
}
