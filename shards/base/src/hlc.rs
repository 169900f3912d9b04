//! Hybrid logical clock: 48 bits of wall milliseconds, 16 bits of counter (Kulkarni et al., 2014).
//!
//! Invariant: `HlcClock::now` never returns a stamp twice nor one below an earlier one, whatever the
//! wall clock does; across restarts the caller feeds the stored high-water mark to `observe`.

/// A time stamp, ordered. `0` means "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(pub u64);

impl Hlc {
    /// From wall milliseconds since 1970 and a counter.
    #[must_use]
    pub const fn new(wall_ms: u64, counter: u16) -> Self {
        Self((wall_ms << 16) | counter as u64)
    }
    /// Wall milliseconds since 1970.
    #[must_use]
    pub const fn wall_ms(self) -> u64 {
        self.0 >> 16
    }
    /// The counter within the millisecond.
    #[must_use]
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }
}

/// Largest lead of a remote stamp over the local wall clock that is believed.
pub const HLC_SKEW_MS_MAX: u64 = 500;

/// A remote stamp lies too far in the future to be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkewTooLarge {
    /// How far ahead it is, in milliseconds.
    pub ahead_ms: u64,
}

/// One core's clock. Owned by that core.
#[derive(Clone, Debug, Default)]
pub struct HlcClock {
    last: u64,
}

impl HlcClock {
    /// The next stamp, given the wall clock in milliseconds.
    pub fn now(&mut self, wall_ms: u64) -> Hlc {
        self.last = Hlc::new(wall_ms, 0).0.max(self.last + 1);
        Hlc(self.last)
    }

    /// Never go below a stamp read back from our own disk.
    pub fn observe(&mut self, seen: Hlc) {
        self.last = self.last.max(seen.0);
    }

    /// Merges a stamp from another node.
    ///
    /// # Errors
    /// [`SkewTooLarge`] when it leads the wall clock by more than [`HLC_SKEW_MS_MAX`]; nothing changes.
    pub fn update(&mut self, remote: Hlc, wall_ms: u64) -> Result<Hlc, SkewTooLarge> {
        let ahead_ms = remote.wall_ms().saturating_sub(wall_ms);
        if ahead_ms > HLC_SKEW_MS_MAX {
            return Err(SkewTooLarge { ahead_ms });
        }
        self.observe(remote);
        Ok(self.now(wall_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_repeats_and_never_goes_back() {
        let mut clock = HlcClock::default();
        let (first, second) = (clock.now(1_000), clock.now(1_000));
        let back = clock.now(10);
        assert!(first < second && second < back);
        assert_eq!((second.wall_ms(), second.counter()), (1_000, 1));
    }

    #[test]
    fn a_stamp_half_a_second_ahead_is_refused() {
        let mut clock = HlcClock::default();
        assert!(clock.update(Hlc::new(1_500, 0), 1_000).is_ok());
        let before = clock.now(1_000);
        assert_eq!(clock.update(Hlc::new(1_501, 0), 1_000), Err(SkewTooLarge { ahead_ms: 501 }));
        assert!(clock.now(1_000).0 == before.0 + 1);
    }
}
