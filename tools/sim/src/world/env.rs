//! One simulated core's view of the world.

use std::{
    cell::Cell,
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

/// A buffer. Ordinary memory: nothing here needs alignment.
#[derive(Debug)]
pub struct SimBuf {
    bytes: Vec<u8>,
    len: usize,
}

impl SimBuf {
    /// A buffer of `bytes` zeros.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes.next_multiple_of(BLOCK_BYTES as usize)], len: bytes }
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
        Some(SimBuf::zeroed(bytes))
    }
}
