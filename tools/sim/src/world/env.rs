//! One simulated core's view of the world.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    ops::{Deref, DerefMut},
    rc::Rc,
};

use stria_base::CoreId;
use stria_env::{Env, IoBuf, disk::BLOCK_BYTES};

use super::{disk::SimDisk, executor::World};

/// One core.
#[derive(Clone)]
pub struct SimEnv {
    world: Rc<World>,
    core: CoreId,
    /// One in this many requests for a buffer is refused; 0 for none.
    refuse_one_in: Rc<Cell<u64>>,
}

/// A buffer. Ordinary memory: nothing here needs alignment. As in the product, what it was last used for is
/// still in it.
#[derive(Debug)]
pub struct SimBuf {
    bytes: Vec<u8>,
    len: usize,
}

/// Buffers of one capacity that are kept for the next use.
const BUFFERS_KEPT_MAX: usize = 16;

thread_local! {
    /// Returned buffers by the binary logarithm of their capacity.
    static RETURNED: RefCell<[Vec<Vec<u8>>; 64]> = const { RefCell::new([const { Vec::new() }; 64]) };
}

impl SimBuf {
    /// A buffer of `bytes`, with whatever is in it.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let capacity = bytes.next_multiple_of(BLOCK_BYTES as usize);
        let class = capacity.next_power_of_two();
        let returned = RETURNED.with_borrow_mut(|returned| returned[class.ilog2() as usize].pop());
        let mut all = returned.unwrap_or_else(|| vec![0; class]);
        // The capacity shows: it follows from what was asked for, not from what was returned.
        all.resize(capacity, 0);
        Self { bytes: all, len: bytes }
    }

    /// Forgets returned buffers: what a run finds in a buffer must come from the run.
    pub(super) fn forget_returned() {
        RETURNED.with_borrow_mut(|returned| returned.iter_mut().for_each(Vec::clear));
    }
}

impl Drop for SimBuf {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let class = bytes.len().next_power_of_two();
        // While the thread ends there is nowhere to return it to.
        let _ = RETURNED.try_with(|returned| {
            let kept = &mut returned.borrow_mut()[class.ilog2() as usize];
            if kept.len() < BUFFERS_KEPT_MAX {
                kept.push(bytes);
            }
        });
    }
}

impl Deref for SimBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for SimBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for SimBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl IoBuf for SimBuf {
    fn capacity(&self) -> usize {
        self.bytes.len()
    }
    fn set_len(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes.len(), "{bytes} exceeds the capacity {}", self.bytes.len());
        self.len = bytes;
    }
}

impl SimEnv {
    /// Core `core` of `world`.
    #[must_use]
    pub fn new(world: Rc<World>, core: u16) -> Self {
        Self { world, core: CoreId(core), refuse_one_in: Rc::default() }
    }

    /// The world.
    #[must_use]
    pub fn world(&self) -> &Rc<World> {
        &self.world
    }

    /// From now on one in `n` requests for a buffer is refused; 0 for none.
    pub fn refuse_buffers(&self, n: u64) {
        self.refuse_one_in.set(n);
    }
}

impl Env for SimEnv {
    type Buf = SimBuf;
    type Disk = SimDisk;

    fn core(&self) -> CoreId {
        self.core
    }
    fn mono_ns(&self) -> u64 {
        self.world.now_ns()
    }
    fn wall_ms(&self) -> u64 {
        self.world.wall_ms()
    }
    fn random(&self) -> u64 {
        self.world.rng(super::Rng::bits)
    }
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.spawn(task);
    }
    fn sleep(&self, ns: u64) -> impl Future<Output = ()> + 'static {
        let world = self.world.clone();
        let at_ns = world.now_ns() + ns;
        async move { world.sleep_until(at_ns).await }
    }
    fn buf(&self, bytes: usize) -> Option<SimBuf> {
        let one_in = self.refuse_one_in.get();
        if one_in > 0 && self.world.rng(|rng| rng.chance(1, one_in)) {
            return None;
        }
        Some(SimBuf::new(bytes))
    }
}
