//! The I/O memory of one core: aligned buffers in size classes, carved from chunks of 4 MiB.
//!
//! Invariant: a buffer has one owner: a [`SlabBuf`], its chunk's free list, or the return stack. A buffer
//! dropped on its home core goes to the free list without an atomic operation; dropped elsewhere it is
//! pushed on a lock-free stack which the home core takes whole (no pop, hence no ABA). The memory is
//! unmapped by whoever returns the last buffer after the core has ended. A chunk whose buffers are all
//! free may serve another class. One core allocates; any thread may drop.

use crate::{
    mapping::Mapping,
    returns::{NONE, Returns},
};
use std::{
    cell::{Cell, UnsafeCell},
    io,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};
use stria_env::{IoBuf, disk::BLOCK_BYTES};

/// Buffer sizes in bytes. A request is served from the smallest that holds it and has a free buffer.
pub const CLASS_BYTES: [usize; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
pub(crate) const CHUNK_BYTES: usize = 4 << 20;
const SLOTS_PER_CHUNK: u32 = (CHUNK_BYTES / CLASS_BYTES[0]) as u32;
/// Huge pages need this alignment.
const ALIGN_BYTES: usize = 2 << 20;

const _: () = assert!((CLASS_BYTES[0] as u64).is_multiple_of(BLOCK_BYTES));
const _: () = assert!(CLASS_BYTES[CLASS_BYTES.len() - 1] == CHUNK_BYTES);

struct Chunk {
    class: u8,
    registered: bool,
    /// Slots below this were carved; above it the chunk is untouched in its present class.
    carved: u16,
    used: u16,
    free: u32,
    previous: u32,
    next: u32,
}

struct Home {
    chunks: Box<[Chunk]>,
    /// Per class, a list of the chunks that have a free slot and a used one.
    partial: [u32; CLASS_BYTES.len()],
    /// Those the ring knows are taken first: their pages need not be pinned for each operation.
    free_registered: Vec<u32>,
    free_chunks: Vec<u32>,
    used_bytes: u64,
    out: i64,
    refused: u64,
}

pub(crate) struct Shared {
    _map: Mapping,
    base: NonNull<u8>,
    returns: Returns,
    home: UnsafeCell<Home>,
    /// Tells a test whether the memory is still there.
    #[cfg(test)]
    alive: std::sync::Arc<()>,
}

thread_local! {
    static HOME: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

/// The home core's end of the slab.
pub(crate) struct Slab(NonNull<Shared>);

impl Slab {
    /// Reserves address space for `budget_bytes`, rounded down to chunks, at least one.
    pub(crate) fn new(budget_bytes: usize) -> io::Result<Self> {
        assert!(HOME.get().is_null(), "a thread is home to one slab");
        let chunk_count = (budget_bytes / CHUNK_BYTES).max(1);
        let map = Mapping::new(chunk_count * CHUNK_BYTES + ALIGN_BYTES)?;
        let pad = map.ptr().align_offset(ALIGN_BYTES);
        // SAFETY: the mapping is ALIGN_BYTES longer than the chunks, and pad < ALIGN_BYTES.
        let base = unsafe { map.ptr().add(pad) };
        let chunk = |_| Chunk {
            class: 0,
            registered: false,
            carved: 0,
            used: 0,
            free: NONE,
            previous: NONE,
            next: NONE,
        };
        let home = Home {
            chunks: (0..chunk_count).map(chunk).collect(),
            partial: [NONE; CLASS_BYTES.len()],
            free_registered: Vec::new(),
            free_chunks: (0..chunk_count as u32).rev().collect(),
            used_bytes: 0,
            out: 0,
            refused: 0,
        };
        let shared = Box::new(Shared {
            _map: map,
            base,
            returns: Returns::new(chunk_count * SLOTS_PER_CHUNK as usize),
            home: UnsafeCell::new(home),
            #[cfg(test)]
            alive: std::sync::Arc::default(),
        });
        let shared = NonNull::from(Box::leak(shared));
        HOME.set(shared.as_ptr());
        Ok(Self(shared))
    }

    fn shared(&self) -> &Shared {
        // SAFETY: freed only by `drop` below or by a buffer returned after it.
        unsafe { self.0.as_ref() }
    }

    /// A buffer of at least `bytes`, or `None` at the budget.
    pub(crate) fn take(&self, bytes: usize) -> Option<SlabBuf> {
        let shared = self.shared();
        shared.drain_returned();
        let fitting = CLASS_BYTES.iter().position(|&class_bytes| class_bytes >= bytes)?;
        // SAFETY: this is the home thread and no other reference to `home` is alive.
        let home = unsafe { &mut *shared.home.get() };
        let found = (fitting..CLASS_BYTES.len()).find_map(|class| home.take(shared, class));
        let Some((id, class)) = found else {
            home.refused += 1;
            return None;
        };
        Some(SlabBuf {
            ptr: shared.address(id, class),
            shared: self.0,
            id,
            bytes: bytes as u32,
            capacity: CLASS_BYTES[class] as u32,
            registered: home.chunks[(id / SLOTS_PER_CHUNK) as usize].registered,
        })
    }

    /// Address range of a chunk, for registration.
    pub(crate) fn chunk(&self, index: u32) -> NonNull<u8> {
        self.shared().address(index * SLOTS_PER_CHUNK, 0)
    }

    pub(crate) fn chunk_count(&self) -> u32 {
        (self.shared().returns.buffers() / SLOTS_PER_CHUNK as usize) as u32
    }

    /// Notes that the ring knows the chunk; buffers taken from now on say so.
    pub(crate) fn set_registered(&self, index: u32) {
        // SAFETY: home thread, no other reference to `home` alive.
        let home = unsafe { &mut *self.shared().home.get() };
        home.chunks[index as usize].registered = true;
        if let Some(at) = home.free_chunks.iter().rposition(|&free| free == index) {
            home.free_chunks.remove(at);
            home.free_registered.push(index);
        }
    }

    /// Takes back what other threads returned; bytes handed out, requests refused.
    pub(crate) fn usage(&self) -> (u64, u64) {
        self.shared().drain_returned();
        // SAFETY: home thread, no other reference to `home` alive.
        let home = unsafe { &*self.shared().home.get() };
        (home.used_bytes, home.refused)
    }

    pub(crate) fn owns(&self, buf: &SlabBuf) -> bool {
        self.0 == buf.shared
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if std::ptr::eq(HOME.get(), self.0.as_ptr()) {
            HOME.set(std::ptr::null());
        }
        let shared = self.shared();
        let head = shared.returns.close();
        // SAFETY: home thread; buffers dropped from now on do not touch `home`.
        let home = unsafe { &mut *shared.home.get() };
        shared.take_back(home, head);
        let out = home.out;
        if shared.returns.settle(out) {
            // SAFETY: no buffer is out and the home core is done: the last reference.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

impl Shared {
    fn address(&self, id: u32, class: usize) -> NonNull<u8> {
        let chunk = (id / SLOTS_PER_CHUNK) as usize;
        let slot = (id % SLOTS_PER_CHUNK) as usize;
        // SAFETY: id names a slot of a chunk of this mapping.
        unsafe { self.base.add(chunk * CHUNK_BYTES + slot * CLASS_BYTES[class]) }
    }

    /// Home thread only.
    fn drain_returned(&self) {
        let head = self.returns.take();
        if head != NONE {
            // SAFETY: home thread, no other reference to `home` alive.
            self.take_back(unsafe { &mut *self.home.get() }, head);
        }
    }

    fn take_back(&self, home: &mut Home, mut id: u32) {
        while id != NONE {
            let next = self.returns.next(id);
            home.give_back(self, id);
            id = next;
        }
    }
}

impl Home {
    fn take(&mut self, shared: &Shared, class: usize) -> Option<(u32, usize)> {
        let index = match self.partial[class] {
            NONE => {
                let index = self.free_registered.pop().or_else(|| self.free_chunks.pop())?;
                let chunk = &mut self.chunks[index as usize];
                assert_eq!(chunk.used, 0, "a free chunk has no buffer out");
                chunk.class = class as u8;
                chunk.carved = 0;
                chunk.free = NONE;
                self.link_partial(index);
                index
            }
            index => index,
        };
        let slots = CHUNK_BYTES / CLASS_BYTES[class];
        let chunk = &mut self.chunks[index as usize];
        let id = if chunk.free == NONE {
            chunk.carved += 1;
            index * SLOTS_PER_CHUNK + u32::from(chunk.carved) - 1
        } else {
            let id = chunk.free;
            chunk.free = shared.returns.next(id);
            id
        };
        chunk.used += 1;
        assert!(usize::from(chunk.carved) <= slots && usize::from(chunk.used) <= slots);
        if usize::from(chunk.used) == slots {
            self.unlink_partial(index);
        }
        self.used_bytes += CLASS_BYTES[class] as u64;
        self.out += 1;
        Some((id, class))
    }

    fn give_back(&mut self, shared: &Shared, id: u32) {
        let index = id / SLOTS_PER_CHUNK;
        let chunk = &mut self.chunks[index as usize];
        let class = usize::from(chunk.class);
        let was_full = usize::from(chunk.used) == CHUNK_BYTES / CLASS_BYTES[class];
        assert!(chunk.used > 0, "buffer {id} returned twice");
        chunk.used -= 1;
        shared.returns.set_next(id, chunk.free);
        chunk.free = id;
        let empty = chunk.used == 0;
        self.used_bytes -= CLASS_BYTES[class] as u64;
        self.out -= 1;
        if was_full {
            self.link_partial(index);
        }
        if empty {
            self.unlink_partial(index);
            let registered = self.chunks[index as usize].registered;
            if registered { &mut self.free_registered } else { &mut self.free_chunks }.push(index);
        }
    }

    fn link_partial(&mut self, index: u32) {
        let class = usize::from(self.chunks[index as usize].class);
        let head = std::mem::replace(&mut self.partial[class], index);
        let chunk = &mut self.chunks[index as usize];
        chunk.previous = NONE;
        chunk.next = head;
        if head != NONE {
            self.chunks[head as usize].previous = index;
        }
    }

    fn unlink_partial(&mut self, index: u32) {
        let Chunk { class, previous, next, .. } = self.chunks[index as usize];
        match previous {
            NONE => self.partial[usize::from(class)] = next,
            previous => self.chunks[previous as usize].next = next,
        }
        if next != NONE {
            self.chunks[next as usize].previous = previous;
        }
    }
}

/// An aligned I/O buffer of a core's slab. May be sent to and dropped on any thread; it returns to the
/// core it came from. Its length starts as what was asked for.
pub struct SlabBuf {
    ptr: NonNull<u8>,
    shared: NonNull<Shared>,
    id: u32,
    bytes: u32,
    capacity: u32,
    registered: bool,
}

// SAFETY: sole owner of its memory; returning it is safe from any thread (see `Drop`).
unsafe impl Send for SlabBuf {}
// SAFETY: shared access only reads the memory.
unsafe impl Sync for SlabBuf {}

impl SlabBuf {
    /// Bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Changes the visible length. Bytes that become visible are whatever they were.
    ///
    /// # Panics
    /// When `bytes` exceeds the capacity.
    pub fn set_len(&mut self, bytes: usize) {
        assert!(bytes <= self.capacity as usize, "{bytes} bytes in a buffer of {}", self.capacity);
        self.bytes = bytes as u32;
    }

    /// First byte, for the kernel.
    pub(crate) fn ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Chunk in its slab, if the home ring knows it.
    pub(crate) fn registered_chunk(&self) -> Option<u16> {
        self.registered.then_some((self.id / SLOTS_PER_CHUNK) as u16)
    }
}

impl Deref for SlabBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: bytes <= capacity, mapped and initialised (the kernel gave zeros), owned by self.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.bytes as usize) }
    }
}

impl DerefMut for SlabBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.bytes as usize) }
    }
}

impl AsRef<[u8]> for SlabBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl IoBuf for SlabBuf {
    fn capacity(&self) -> usize {
        self.capacity as usize
    }
    fn set_len(&mut self, bytes: usize) {
        Self::set_len(self, bytes);
    }
}

impl Drop for SlabBuf {
    fn drop(&mut self) {
        // SAFETY: the slab outlives its buffers: it is freed only when none is out.
        let shared = unsafe { self.shared.as_ref() };
        if std::ptr::eq(HOME.get(), self.shared.as_ptr()) {
            // SAFETY: HOME says this is the home thread, and no other reference to `home` is alive,
            // because nothing in this module drops a buffer while it holds one.
            unsafe { &mut *shared.home.get() }.give_back(shared, self.id);
        } else if shared.returns.give(self.id) {
            // SAFETY: the home core is gone and this was the last buffer: the last reference.
            drop(unsafe { Box::from_raw(self.shared.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests;
