//! The io_uring back end: one ring per core, one `io_uring_enter` per turn.
//!
//! Invariant: the ring is created and used on its core's thread (SINGLE_ISSUER). Memory named by an
//! entry belongs to the operation slab, which the core keeps until the last completion. One core.

use crate::{
    config::CoreConfig,
    mapping::Mapping,
    ops::{USER_DATA_IGNORED, USER_DATA_WAKE},
    recv_buf::RecvMemory,
    slab::CHUNK_BYTES,
    sys::{Completion, Sys},
};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::{
    io,
    ptr::NonNull,
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

/// Completions per submission entry the ring holds.
const CQ_FACTOR: u32 = 8;
/// Group of the receive buffers.
const RECV_GROUP: u16 = 0;
/// The kernel's limit on registered buffers (IORING_MAX_REG_BUFFERS).
const REGISTERED_MAX: u32 = 1 << 14;

// Flags of io_uring_enter(2) and of receive requests, from linux/io_uring.h.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;
const ENTER_NO_IOWAIT: u32 = 128;
const RECV_POLL_FIRST: u16 = 1;

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GeteventsArg {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// How long a turn may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    /// At most so many nanoseconds; `None` without limit.
    Block(Option<u64>),
}

/// The kernel's view of the free receive buffers.
struct BufferRing {
    entries: Mapping,
    mask: u16,
    tail: u16,
}

pub(crate) struct Uring {
    ring: IoUring,
    buffers: BufferRing,
    recv_memory: Rc<RecvMemory>,
    event_fd: i32,
    no_iowait: bool,
    pub(crate) defer_taskrun: bool,
    pub(crate) coop_taskrun: bool,
    /// Entries of the sparse buffer table; 0 when registration is off or was refused.
    registered_max: u32,
    overflows_seen: u32,
    pub(crate) overflows: u64,
    pub(crate) enters: u64,
}

/// Builds the ring with the best flags this kernel takes.
pub(crate) fn build_ring(sq_entries: u32) -> io::Result<(IoUring, bool, bool)> {
    let mut last = io::ErrorKind::Unsupported.into();
    for (defer, coop) in [(true, true), (false, true), (false, false)] {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(sq_entries * CQ_FACTOR);
        if coop {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        }
        if defer {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        match builder.build(sq_entries) {
            Ok(ring) => return Ok((ring, defer, coop)),
            // Only an unknown flag is worth another try.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

impl Uring {
    pub(crate) fn new(
        config: &CoreConfig,
        recv_memory: Rc<RecvMemory>,
        chunks: u32,
        event_fd: i32,
    ) -> io::Result<Self> {
        let (ring, defer_taskrun, coop_taskrun) = build_ring(config.sq_entries.next_power_of_two())?;
        let buffers = BufferRing::new(&ring, &recv_memory)?;
        let registered_max = chunks.min(REGISTERED_MAX);
        let registers = config.slab.registered_bytes > 0
            && ring.submitter().register_buffers_sparse(registered_max).is_ok();
        let mut uring = Self {
            no_iowait: ring.params().is_feature_no_iowait(),
            ring,
            buffers,
            recv_memory,
            event_fd,
            defer_taskrun,
            coop_taskrun,
            registered_max: if registers { registered_max } else { 0 },
            overflows_seen: 0,
            overflows: 0,
            enters: 0,
        };
        for index in 0..uring.recv_memory.count {
            uring.provide(index);
        }
        uring.arm_wake()?;
        Ok(uring)
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        let poll = opcode::PollAdd::new(types::Fd(self.event_fd), libc::POLLIN as u32).multi(true);
        self.push_entry(poll.build().user_data(USER_DATA_WAKE))
    }

    /// Queues an operation; it reaches the kernel at the end of the turn.
    pub(crate) fn push(&mut self, user_data: u64, sys: &Sys) -> io::Result<()> {
        let entry = entry(sys, self.recv_memory.bytes).user_data(user_data);
        self.push_entry(entry)
    }

    /// Queues two operations of which the second starts after the first has succeeded in full.
    pub(crate) fn push_linked(&mut self, first: (u64, &Sys), second: (u64, &Sys)) -> io::Result<()> {
        let bytes = self.recv_memory.bytes;
        let pair = [
            entry(first.1, bytes).user_data(first.0).flags(squeue::Flags::IO_LINK),
            entry(second.1, bytes).user_data(second.0),
        ];
        let queue = self.ring.submission();
        let room = queue.capacity() - queue.len();
        drop(queue);
        if room < pair.len() {
            self.flush()?;
        }
        // SAFETY: the operation slab owns what the entries name until their completions.
        let pushed = unsafe { self.ring.submission().push_multiple(&pair) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    pub(crate) fn cancel(&mut self, user_data: u64) -> io::Result<()> {
        self.push_entry(opcode::AsyncCancel::new(user_data).build().user_data(USER_DATA_IGNORED))
    }

    fn push_entry(&mut self, entry: squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.flush()?;
        }
        // SAFETY: the operation slab owns what the entry names until its completion.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    /// Hands the queued entries to the kernel. The queue being full is the one case of a second enter
    /// in a turn.
    fn flush(&mut self) -> io::Result<()> {
        self.enters += 1;
        loop {
            match self.ring.submit() {
                Ok(_) if !self.ring.submission().is_full() => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives a receive buffer to the kernel.
    pub(crate) fn provide(&mut self, index: u16) {
        let address = self.recv_memory.address(index) as u64;
        self.buffers.push(index, address, self.recv_memory.bytes);
    }

    /// Makes a chunk of the slab known to the ring. False when the kernel refuses (memlock).
    pub(crate) fn register_chunk(&mut self, index: u32, ptr: NonNull<u8>) -> bool {
        if index >= self.registered_max {
            return false;
        }
        // SAFETY: the chunk is ours; the advice changes no contents. Refusal is harmless.
        unsafe { libc::madvise(ptr.as_ptr().cast(), CHUNK_BYTES, libc::MADV_HUGEPAGE) };
        let vector = libc::iovec { iov_base: ptr.as_ptr().cast(), iov_len: CHUNK_BYTES };
        // SAFETY: the slab outlives the ring, so the chunk stays mapped while it is registered.
        let done = unsafe { self.ring.submitter().register_buffers_update(index, &[vector], None) };
        if done.is_err() {
            self.registered_max = 0;
        }
        done.is_ok()
    }

    /// Whether a turn without waiting would find completions.
    pub(crate) fn has_completions(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Submits everything, waits if told so, and moves all completions to `out`.
    pub(crate) fn turn(&mut self, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        let (queued, overflow, taskrun) = {
            let mut queue = self.ring.submission();
            queue.sync();
            (queue.len() as u32, queue.cq_overflow(), queue.taskrun())
        };
        let block = match wait {
            Wait::Block(limit) if self.ring.completion().is_empty() && !overflow => Some(limit),
            _ => None,
        };
        if queued > 0 || overflow || taskrun || block.is_some() {
            self.enter(queued, block)?;
        }
        self.reap(out)
    }

    fn enter(&mut self, queued: u32, block: Option<Option<u64>>) -> io::Result<()> {
        self.enters += 1;
        let timespec = block
            .flatten()
            .map(|ns| types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32));
        let arg = GeteventsArg {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_us: 0,
            timespec: timespec.as_ref().map_or(0, |spec| std::ptr::from_ref(spec) as u64),
        };
        let mut flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
        if self.no_iowait {
            flags |= ENTER_NO_IOWAIT;
        }
        let wanted = u32::from(block.is_some());
        // SAFETY: `arg` and the time it points to live across the call; EXT_ARG has the matching layout.
        let entered = unsafe { self.ring.submitter().enter(queued, wanted, flags, Some(&arg)) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal, the time limit, or a completion queue to be emptied first: the next turn
                // submits the rest.
                Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn reap(&mut self, out: &mut Vec<Completion>) -> io::Result<()> {
        let mut rearm = false;
        let mut queue = self.ring.completion();
        for event in &mut queue {
            if event.user_data() == USER_DATA_WAKE {
                rearm |= !cqueue::more(event.flags());
                continue;
            }
            if event.user_data() == USER_DATA_IGNORED {
                continue;
            }
            out.push(Completion {
                user_data: event.user_data(),
                result: event.result(),
                buffer: cqueue::buffer_select(event.flags()),
                more: cqueue::more(event.flags()),
                nonempty: cqueue::sock_nonempty(event.flags()),
            });
        }
        let overflows = queue.overflow();
        drop(queue);
        self.overflows += u64::from(overflows.wrapping_sub(self.overflows_seen));
        self.overflows_seen = overflows;
        if rearm { self.arm_wake() } else { Ok(()) }
    }
}

impl BufferRing {
    fn new(ring: &IoUring, memory: &RecvMemory) -> io::Result<Self> {
        let bytes = usize::from(memory.count) * size_of::<types::BufRingEntry>();
        let entries = Mapping::new(bytes)?;
        let address = entries.ptr().as_ptr() as u64;
        // SAFETY: page-aligned zeroed memory for `count` entries, kept until after the ring is closed
        // (field order of `Uring`: the ring is dropped first).
        unsafe { ring.submitter().register_buf_ring_with_flags(address, memory.count, RECV_GROUP, 0)? };
        Ok(Self { entries, mask: memory.count - 1, tail: 0 })
    }

    fn push(&mut self, index: u16, address: u64, bytes: u32) {
        let base = self.entries.ptr().as_ptr().cast::<types::BufRingEntry>();
        // SAFETY: the masked position is inside the ring; the kernel does not read it before the tail
        // moves past it, and holds at most `count` buffers, so the position is not in use.
        let entry = unsafe { &mut *base.add(usize::from(self.tail & self.mask)) };
        entry.set_addr(address);
        entry.set_len(bytes);
        entry.set_bid(index);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `base` is the start of the registered ring; the tail field is a u16 the kernel reads
        // with acquire order.
        let tail = unsafe { &*types::BufRingEntry::tail(base).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

fn entry(sys: &Sys, recv_bytes: u32) -> squeue::Entry {
    match *sys {
        Sys::Accept { fd } => opcode::AcceptMulti::new(types::Fd(fd)).flags(libc::SOCK_CLOEXEC).build(),
        Sys::Connect { fd, addr } => {
            // SAFETY: the operation slab owns the address.
            let addr = unsafe { &*addr };
            opcode::Connect::new(types::Fd(fd), addr.as_ptr(), addr.bytes).build()
        }
        Sys::Recv { fd, expect_empty } => opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), recv_bytes)
            .buf_group(RECV_GROUP)
            .ioprio(if expect_empty { RECV_POLL_FIRST } else { 0 })
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
        Sys::RecvInto { fd, ptr, bytes, all } => opcode::Recv::new(types::Fd(fd), ptr, bytes)
            .flags(if all { libc::MSG_WAITALL } else { 0 })
            .build(),
        Sys::Send { fd, ptr, bytes } => {
            opcode::Send::new(types::Fd(fd), ptr, bytes).flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build()
        }
        Sys::SendMsg { fd, message } => opcode::SendMsg::new(types::Fd(fd), message)
            .flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32)
            .build(),
        Sys::Read { fd, ptr, bytes, offset, chunk } => match chunk {
            Some(chunk) => opcode::ReadFixed::new(types::Fd(fd), ptr, bytes, chunk).offset(offset).build(),
            None => opcode::Read::new(types::Fd(fd), ptr, bytes).offset(offset).build(),
        },
        Sys::Write { fd, ptr, bytes, offset, dsync, chunk } => {
            let flags = if dsync { libc::RWF_DSYNC } else { 0 };
            match chunk {
                Some(chunk) => opcode::WriteFixed::new(types::Fd(fd), ptr, bytes, chunk)
                    .offset(offset)
                    .rw_flags(flags)
                    .build(),
                None => opcode::Write::new(types::Fd(fd), ptr, bytes).offset(offset).rw_flags(flags).build(),
            }
        }
        Sys::Fdatasync { fd } => opcode::Fsync::new(types::Fd(fd)).flags(types::FsyncFlags::DATASYNC).build(),
        Sys::Fallocate { fd, offset, bytes } => {
            opcode::Fallocate::new(types::Fd(fd), bytes).offset(offset).build()
        }
    }
}
