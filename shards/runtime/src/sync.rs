//! The atomics and cells of what two cores share, by one name, so that the model checker of `tools/loom` can put its
//! own in their place: it compiles `spsc.rs`, `parking.rs` and `returns.rs` as they are.
//!
//! Invariant: nothing here does anything but what std's type of the same name does.

pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

/// std's cell, reached through closures: that is where a model checker looks for races.
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}
