//! Who waits, and who sleeps: the two flags that say whether another core has to be woken.
//!
//! Invariant: of a side that announces and looks again, and a side that changes and looks for announcements, at least
//! one sees the other: a wake is never lost. Any thread. Checked by `cargo xtask loom`.

use crate::sync::{AtomicBool, AtomicU64, Ordering, fence};

/// A word that stands for whoever waits; 0 while nobody does.
#[derive(Default)]
pub(crate) struct WaitWord(AtomicU64);

impl WaitWord {
    /// Announces `word`. The caller must look at its condition once more afterwards.
    pub(crate) fn arm(&self, word: u64) {
        self.0.store(word, Ordering::Relaxed);
        // Pairs with the fence in `take`: either we see the other side's change, or it sees us.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn disarm(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// What `look` finds, else `word` is announced; looks again after that, because what came in between woke nobody.
    pub(crate) fn look_or_arm<T>(&self, word: u64, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        if let Some(found) = look() {
            return Some(found);
        }
        self.arm(word);
        let found = look()?;
        self.disarm();
        Some(found)
    }

    /// To be called after the change someone may wait for: the word to wake, or 0.
    pub(crate) fn take(&self) -> u64 {
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.0.swap(0, Ordering::AcqRel)
    }
}

/// To be called after the change a sleeper looks for: whether it sleeps and this call is the one that must wake it.
pub(crate) fn must_ring(sleeping: &AtomicBool) -> bool {
    // Pairs with `try_sleep`: either it sees the change, or we see that it sleeps.
    fence(Ordering::SeqCst);
    sleeping.load(Ordering::Relaxed) && sleeping.swap(false, Ordering::AcqRel)
}

/// Announces sleep. False when there is something to do: do not sleep.
pub(crate) fn try_sleep(sleeping: &AtomicBool, work: &AtomicBool) -> bool {
    sleeping.store(true, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    if work.load(Ordering::Relaxed) {
        sleeping.store(false, Ordering::Relaxed);
        return false;
    }
    true
}
