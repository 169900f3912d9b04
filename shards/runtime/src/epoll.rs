//! The portable back end: non-blocking sockets on epoll, files on a pool of threads.
//!
//! Invariant: a descriptor waits for at most one operation per direction; readiness is edge-triggered and
//! re-checked by trying. One core.

use crate::{
    ops::USER_DATA_WAKE,
    pool::Pool,
    recv_buf::RecvMemory,
    sys::{Completion, Sys, negated_errno},
    uring::Wait,
};
use std::{collections::VecDeque, io, mem::MaybeUninit, rc::Rc};

/// Operations tried at once per turn; more go to the next turn, so that a peer that always has data
/// cannot keep the core from its other work.
const INLINE_PER_TURN: u32 = 256;
const EVENTS_PER_WAIT: usize = 256;

/// An operation that waits for readiness.
type Waiting = Option<(u64, Sys)>;

#[derive(Default)]
struct FdState {
    registered: bool,
    reader: Waiting,
    writer: Waiting,
}

pub(crate) struct Epoll {
    epoll_fd: i32,
    event_fd: i32,
    slot: u16,
    pool_threads: u16,
    pool: Option<Pool>,
    fds: Vec<FdState>,
    deferred: VecDeque<(u64, Sys)>,
    inline_left: u32,
    recv_memory: Rc<RecvMemory>,
    recv_free: Vec<u16>,
    pub(crate) enters: u64,
}

enum Attempt {
    Done(Completion),
    WaitRead,
    WaitWrite,
}

impl Epoll {
    pub(crate) fn new(
        slot: u16,
        event_fd: i32,
        pool_threads: u16,
        recv_memory: Rc<RecvMemory>,
    ) -> io::Result<Self> {
        // SAFETY: no pointers.
        let epoll_fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll_fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let recv_free = (0..recv_memory.count).rev().collect();
        let epoll = Self {
            epoll_fd,
            event_fd,
            slot,
            pool_threads,
            pool: None,
            fds: Vec::new(),
            deferred: VecDeque::new(),
            inline_left: INLINE_PER_TURN,
            recv_memory,
            recv_free,
            enters: 0,
        };
        epoll.add(event_fd, libc::EPOLLIN as u32, USER_DATA_WAKE)?;
        Ok(epoll)
    }

    fn add(&self, fd: i32, events: u32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: reads one event.
        let rc = unsafe { libc::epoll_ctl(self.epoll_fd, libc::EPOLL_CTL_ADD, fd, &mut event) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Starts an operation; gives its completion when that is known at once.
    pub(crate) fn push(&mut self, user_data: u64, sys: &Sys) -> io::Result<Option<Completion>> {
        if matches!(sys, Sys::Read { .. } | Sys::Write { .. } | Sys::Fdatasync { .. } | Sys::Fallocate { .. })
        {
            if self.pool.is_none() {
                self.pool = Some(Pool::start(self.slot, self.pool_threads)?);
            }
            if let Some(pool) = &mut self.pool {
                pool.push(user_data, *sys);
            }
            return Ok(None);
        }
        if self.inline_left == 0 {
            self.deferred.push_back((user_data, *sys));
            return Ok(None);
        }
        self.inline_left -= 1;
        self.start(user_data, sys)
    }

    fn start(&mut self, user_data: u64, sys: &Sys) -> io::Result<Option<Completion>> {
        let attempt = if let Sys::Connect { fd, addr } = *sys {
            begin_connect(user_data, fd, addr)
        } else {
            self.attempt(user_data, sys)
        };
        let reading = match attempt {
            Attempt::Done(completion) => return Ok(Some(completion)),
            Attempt::WaitRead => true,
            Attempt::WaitWrite => false,
        };
        let fd = socket_of(sys);
        if self.fds.len() <= fd as usize {
            self.fds.resize_with(fd as usize + 1, FdState::default);
        }
        let state = &mut self.fds[fd as usize];
        let waiting = if reading { &mut state.reader } else { &mut state.writer };
        assert!(waiting.is_none(), "one operation per direction on descriptor {fd}");
        *waiting = Some((user_data, *sys));
        if !state.registered {
            state.registered = true;
            let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
            // Adding reports readiness that is already there, so nothing is missed since the attempt.
            self.add(fd, interest as u32, fd as u64)?;
        }
        Ok(None)
    }

    /// Ends an operation that waits for readiness. File operations run to their end.
    pub(crate) fn cancel(&mut self, user_data: u64, fd: i32) -> Option<Completion> {
        let cancelled = Some(Completion::new(user_data, -libc::ECANCELED));
        if let Some(position) = self.deferred.iter().position(|&(id, _)| id == user_data) {
            self.deferred.remove(position);
            return cancelled;
        }
        let state = self.fds.get_mut(fd as usize)?;
        for waiting in [&mut state.reader, &mut state.writer] {
            if waiting.is_some_and(|(id, _)| id == user_data) {
                *waiting = None;
                return cancelled;
            }
        }
        None
    }

    /// The descriptor is about to be closed.
    pub(crate) fn forget(&mut self, fd: i32) {
        if let Some(state) = self.fds.get_mut(fd as usize) {
            *state = FdState::default();
        }
    }

    pub(crate) fn provide(&mut self, index: u16) {
        self.recv_free.push(index);
    }

    pub(crate) fn has_completions(&self) -> bool {
        !self.deferred.is_empty() || self.pool.as_ref().is_some_and(Pool::has_results)
    }

    pub(crate) fn turn(&mut self, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        self.inline_left = INLINE_PER_TURN;
        for _ in 0..self.deferred.len().min(INLINE_PER_TURN as usize) {
            let Some((user_data, sys)) = self.deferred.pop_front() else { break };
            out.extend(self.start(user_data, &sys)?);
        }
        let timeout_ms = match wait {
            Wait::Block(limit) if out.is_empty() && !self.has_completions() => {
                // Rounded up, or the last fraction of a millisecond would be spent polling.
                limit.map_or(-1, |ns| i32::try_from(ns.div_ceil(1_000_000)).unwrap_or(i32::MAX))
            }
            _ => 0,
        };
        self.wait(timeout_ms, out)?;
        if let Some(pool) = &mut self.pool {
            pool.take_results(|user_data, result| out.push(Completion::new(user_data, result)));
        }
        Ok(())
    }

    fn wait(&mut self, timeout_ms: i32, out: &mut Vec<Completion>) -> io::Result<()> {
        self.enters += 1;
        let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; EVENTS_PER_WAIT];
        // SAFETY: room for EVENTS_PER_WAIT events.
        let count = unsafe {
            libc::epoll_wait(self.epoll_fd, events.as_mut_ptr().cast(), EVENTS_PER_WAIT as i32, timeout_ms)
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        for event in &events[..count as usize] {
            // SAFETY: the kernel wrote the first `count` events.
            let event = unsafe { event.assume_init() };
            if event.u64 == USER_DATA_WAKE {
                let mut value = 0u64;
                // SAFETY: eight writable bytes; the descriptor does not block.
                unsafe { libc::read(self.event_fd, (&raw mut value).cast(), 8) };
                continue;
            }
            self.ready(event.u64 as usize, event.events, out);
        }
        Ok(())
    }

    fn ready(&mut self, fd: usize, events: u32, out: &mut Vec<Completion>) {
        let broken = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        let readable = events & ((libc::EPOLLIN | libc::EPOLLRDHUP) as u32 | broken) != 0;
        let writable = events & (libc::EPOLLOUT as u32 | broken) != 0;
        for (direction_ready, reading) in [(readable, true), (writable, false)] {
            let state = &mut self.fds[fd];
            let waiting = if reading { &mut state.reader } else { &mut state.writer };
            if !direction_ready {
                continue;
            }
            let Some((user_data, sys)) = waiting.take() else { continue };
            let attempt = match sys {
                Sys::Connect { fd, .. } => Attempt::Done(Completion::new(user_data, socket_error(fd))),
                _ => self.attempt(user_data, &sys),
            };
            match attempt {
                Attempt::Done(completion) => out.push(completion),
                _ if reading => self.fds[fd].reader = Some((user_data, sys)),
                _ => self.fds[fd].writer = Some((user_data, sys)),
            }
        }
    }

    fn attempt(&mut self, user_data: u64, sys: &Sys) -> Attempt {
        let mut buffer = None;
        let (result, reading) = match *sys {
            Sys::Accept { fd } => (try_accept(fd), true),
            Sys::Recv { fd, .. } => {
                let Some(index) = self.recv_free.pop() else {
                    return Attempt::Done(Completion::new(user_data, -libc::ENOBUFS));
                };
                let result = try_recv(fd, self.recv_memory.address(index), self.recv_memory.bytes);
                if result > 0 {
                    buffer = Some(index);
                } else {
                    self.recv_free.push(index);
                }
                (result, true)
            }
            Sys::RecvInto { fd, ptr, bytes, .. } => (try_recv(fd, ptr, bytes), true),
            Sys::Send { fd, ptr, bytes } => {
                // SAFETY: the operation slab owns the bytes.
                let sent = unsafe { libc::send(fd, ptr.cast(), bytes as usize, libc::MSG_NOSIGNAL) };
                (negated_errno(sent), false)
            }
            Sys::SendMsg { fd, message } => {
                // SAFETY: the operation slab owns the vectors and the bytes.
                (negated_errno(unsafe { libc::sendmsg(fd, message, libc::MSG_NOSIGNAL) }), false)
            }
            _ => (-libc::EINVAL, true),
        };
        match result {
            // A signal may interrupt even calls that do not block; readiness will be reported again
            // only for new data, so the caller repeats.
            result if result == -libc::EINTR => self.attempt(user_data, sys),
            result if result == -libc::EAGAIN && reading => Attempt::WaitRead,
            result if result == -libc::EAGAIN => Attempt::WaitWrite,
            _ => Attempt::Done(Completion { buffer, ..Completion::new(user_data, result) }),
        }
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // SAFETY: we own the descriptor.
        unsafe { libc::close(self.epoll_fd) };
    }
}

fn socket_of(sys: &Sys) -> i32 {
    match *sys {
        Sys::Accept { fd }
        | Sys::Connect { fd, .. }
        | Sys::Recv { fd, .. }
        | Sys::RecvInto { fd, .. }
        | Sys::Send { fd, .. }
        | Sys::SendMsg { fd, .. }
        | Sys::Read { fd, .. }
        | Sys::Write { fd, .. }
        | Sys::Fdatasync { fd }
        | Sys::Fallocate { fd, .. } => fd,
    }
}

fn try_accept(fd: i32) -> i32 {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the peer's address is not asked for.
    let accepted = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    negated_errno(accepted as isize)
}

fn try_recv(fd: i32, ptr: *mut u8, bytes: u32) -> i32 {
    // SAFETY: the operation slab, or the receive buffers, own `bytes` writable bytes at `ptr`.
    negated_errno(unsafe { libc::recv(fd, ptr.cast(), bytes as usize, 0) })
}

fn begin_connect(user_data: u64, fd: i32, addr: *const crate::sys::SockAddr) -> Attempt {
    // SAFETY: the operation slab owns the address.
    let addr = unsafe { &*addr };
    // SAFETY: address and length belong together.
    let result = negated_errno(unsafe { libc::connect(fd, addr.as_ptr(), addr.bytes) } as isize);
    if result == -libc::EINPROGRESS {
        return Attempt::WaitWrite;
    }
    Attempt::Done(Completion::new(user_data, result))
}

fn socket_error(fd: i32) -> i32 {
    let mut value = 0i32;
    let mut bytes = size_of::<i32>() as libc::socklen_t;
    // SAFETY: writes at most four bytes.
    let rc = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut value).cast(), &mut bytes)
    };
    if rc < 0 { negated_errno(rc as isize) } else { -value }
}
