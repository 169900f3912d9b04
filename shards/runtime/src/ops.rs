//! The operation slab: what is in flight, who waits for it, and what it owns.
//!
//! Invariant: an entry is freed only after its last completion, and only then are its buffers dropped.
//! `user_data` is generation and index, so a completion of an operation that is gone is recognised.
//! One core.

use crate::{
    mapping::Mapping,
    net::AcceptQueue,
    slab::SlabBuf,
    sys::{Completion, SockAddr},
    wake::Waiter,
};
use bytes::Bytes;
use std::{rc::Rc, task::Waker};

/// `user_data` of completions nobody waits for.
pub(crate) const USER_DATA_IGNORED: u64 = u64::MAX;
/// `user_data` of the wake-up event.
pub(crate) const USER_DATA_WAKE: u64 = u64::MAX - 1;

const FREE_END: u32 = u32::MAX;

/// A descriptor, closed when the last user is gone: its handle and every operation in flight on it.
pub(crate) struct OwnedFd {
    pub(crate) fd: i32,
    /// To be told before the number is reused.
    pub(crate) forget: Option<std::rc::Weak<crate::core::Inner>>,
}

impl Drop for OwnedFd {
    fn drop(&mut self) {
        if let Some(core) = self.forget.as_ref().and_then(std::rc::Weak::upgrade) {
            core.forget_fd(self.fd);
        }
        // SAFETY: we own the descriptor, and no operation in flight names it any more.
        unsafe { libc::close(self.fd) };
    }
}

/// The vectors of one send. Boxed, because the kernel reads them by address.
pub(crate) struct SendVectors {
    pub(crate) message: libc::msghdr,
    pub(crate) parts: [libc::iovec; 2],
}

/// What an operation keeps alive.
#[expect(dead_code, reason = "fields are held for their lifetime, not read")]
pub(crate) enum OpData {
    None,
    Accept(Rc<OwnedFd>, Rc<AcceptQueue>),
    Connect(Rc<OwnedFd>, Box<SockAddr>),
    Recv(Rc<OwnedFd>),
    RecvInto(Rc<OwnedFd>, SlabBuf),
    Send(Rc<OwnedFd>, Bytes),
    SendMsg(Rc<OwnedFd>, [Bytes; 2], Box<SendVectors>),
    File(Rc<OwnedFd>),
    FileBuf(Rc<OwnedFd>, SlabBuf),
    FileMap(Rc<OwnedFd>, Rc<Mapping>),
}

impl OpData {
    /// File operations run to their end; socket operations may never end by themselves.
    fn cancel_when_dropped(&self) -> bool {
        !matches!(self, Self::None | Self::File(_) | Self::FileBuf(..) | Self::FileMap(..))
    }
}

enum State {
    Free {
        next: u32,
    },
    InFlight,
    /// A receive that found no free buffer and waits for one.
    Starved,
    Done(Completion),
}

struct Entry {
    generation: u32,
    state: State,
    detached: bool,
    waiter: Waiter,
    data: OpData,
}

/// What the core must do after a change, outside any borrow.
pub(crate) enum After {
    Nothing,
    Wake(Waiter),
    /// Wake, and end the operation: it brings more than is asked for.
    Throttle(Waiter),
    /// Drop these; give the receive buffer back.
    Discard(OpData, Option<u16>),
    /// The receive waits for a buffer.
    Starve,
    /// Unknown operation.
    Stale,
}

pub(crate) struct OpSlab {
    entries: Vec<Entry>,
    free: u32,
    in_flight: u64,
}

impl OpSlab {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), free: FREE_END, in_flight: 0 }
    }

    /// Operations the kernel or the pool still knows, and starved receives.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) fn insert(&mut self, data: OpData) -> u64 {
        self.in_flight += 1;
        let index = if self.free == FREE_END {
            assert!(self.entries.len() < FREE_END as usize);
            self.entries.push(Entry {
                generation: 0,
                state: State::InFlight,
                detached: false,
                waiter: Waiter::None,
                data: OpData::None,
            });
            (self.entries.len() - 1) as u32
        } else {
            self.free
        };
        let entry = &mut self.entries[index as usize];
        if let State::Free { next } = entry.state {
            self.free = next;
        }
        entry.state = State::InFlight;
        entry.detached = false;
        entry.data = data;
        u64::from(entry.generation) << 32 | u64::from(index)
    }

    fn get(&mut self, id: u64) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(id as u32 as usize)?;
        (entry.generation == (id >> 32) as u32 && !matches!(entry.state, State::Free { .. })).then_some(entry)
    }

    fn release(&mut self, id: u64) -> OpData {
        let index = id as u32;
        let entry = &mut self.entries[index as usize];
        // The top generation is skipped: with it, user_data could equal the reserved values.
        entry.generation = (entry.generation + 1) % (u32::MAX - 1);
        entry.state = State::Free { next: self.free };
        entry.waiter = Waiter::None;
        self.free = index;
        std::mem::replace(&mut entry.data, OpData::None)
    }

    /// Applies a completion.
    pub(crate) fn complete(&mut self, completion: Completion) -> After {
        let id = completion.user_data;
        let Some(entry) = self.get(id) else { return After::Stale };
        if let OpData::Accept(_, queue) = &entry.data {
            queue.push(completion.result);
            if completion.more && queue.is_full() {
                return After::Throttle(std::mem::take(&mut entry.waiter));
            }
        }
        if completion.more {
            return After::Wake(std::mem::take(&mut entry.waiter));
        }
        if completion.result == -libc::ENOBUFS && !entry.detached && matches!(entry.data, OpData::Recv(_)) {
            entry.state = State::Starved;
            return After::Starve;
        }
        self.in_flight -= 1;
        let entry = &mut self.entries[id as u32 as usize];
        if entry.detached {
            let data = self.release(id);
            return After::Discard(data, completion.buffer);
        }
        entry.state = State::Done(completion);
        After::Wake(std::mem::take(&mut entry.waiter))
    }

    /// The descriptor of a receive that waits for a buffer and may be started again, now in flight.
    pub(crate) fn restart_starved(&mut self, id: u64) -> Option<i32> {
        let entry = self.get(id)?;
        let (State::Starved, OpData::Recv(fd)) = (&entry.state, &entry.data) else { return None };
        let fd = fd.fd;
        entry.state = State::InFlight;
        Some(fd)
    }

    /// The outcome, or the waker noted.
    pub(crate) fn poll(&mut self, id: u64, waker: &Waker) -> Option<(Completion, OpData)> {
        let entry = self.get(id).expect("a handle's operation exists");
        if let State::Done(completion) = entry.state {
            return Some((completion, self.release(id)));
        }
        entry.waiter.set(waker);
        None
    }

    /// The socket of an operation in flight that may never end by itself.
    pub(crate) fn socket_of(&mut self, id: u64) -> Option<i32> {
        match &self.get(id)?.data {
            OpData::Accept(fd, _)
            | OpData::Connect(fd, _)
            | OpData::Recv(fd)
            | OpData::RecvInto(fd, _)
            | OpData::Send(fd, _)
            | OpData::SendMsg(fd, ..) => Some(fd.fd),
            OpData::None | OpData::File(_) | OpData::FileBuf(..) | OpData::FileMap(..) => None,
        }
    }

    /// Whether the operation has completed for good.
    pub(crate) fn is_done(&mut self, id: u64) -> bool {
        self.get(id).is_some_and(|entry| matches!(entry.state, State::Done(_)))
    }

    /// The handle is gone: what to discard now, or whether to cancel what is in flight.
    pub(crate) fn detach(&mut self, id: u64) -> (After, bool) {
        let entry = self.get(id).expect("a handle's operation exists");
        match entry.state {
            State::Done(completion) => (After::Discard(self.release(id), completion.buffer), false),
            State::Starved => {
                self.in_flight -= 1;
                (After::Discard(self.release(id), None), false)
            }
            State::InFlight => {
                entry.detached = true;
                entry.waiter = Waiter::None;
                (After::Nothing, entry.data.cancel_when_dropped())
            }
            State::Free { .. } => unreachable!("`get` refuses free entries"),
        }
    }

    /// Whether the kernel or the pool still knows an operation. Starved receives do not count.
    pub(crate) fn any_in_flight(&self) -> bool {
        self.in_flight > 0 && self.entries.iter().any(|entry| matches!(entry.state, State::InFlight))
    }

    /// The socket operations in flight, for the end: they may never end by themselves.
    pub(crate) fn endless_ids(&self) -> Vec<u64> {
        let endless =
            self.entries.iter().enumerate().filter(|(_, entry)| {
                matches!(entry.state, State::InFlight) && entry.data.cancel_when_dropped()
            });
        endless.map(|(index, entry)| u64::from(entry.generation) << 32 | index as u64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(id: u64) -> Completion {
        Completion::new(id, 0)
    }

    #[test]
    fn a_stale_completion_is_recognised() {
        let mut ops = OpSlab::new();
        let first = ops.insert(OpData::None);
        assert!(matches!(ops.complete(done(first)), After::Wake(_)));
        assert!(ops.poll(first, Waker::noop()).is_some());
        let second = ops.insert(OpData::None);
        assert_eq!(first as u32, second as u32, "the slot is reused");
        assert!(matches!(ops.complete(done(first)), After::Stale));
        assert!(ops.poll(second, Waker::noop()).is_none(), "the stale one completed nothing");
        assert!(matches!(ops.complete(done(USER_DATA_IGNORED)), After::Stale));
    }

    #[test]
    fn a_detached_operation_keeps_its_data_until_the_completion() {
        let mut ops = OpSlab::new();
        let map = Rc::new(Mapping::new(4096).expect("memory"));
        let fd = Rc::new(OwnedFd { fd: -1, forget: None });
        let id = ops.insert(OpData::FileMap(fd, map.clone()));
        assert!(matches!(ops.detach(id), (After::Nothing, false)));
        assert_eq!((Rc::strong_count(&map), ops.in_flight()), (2, 1));
        assert!(matches!(ops.complete(done(id)), After::Discard(..)));
        assert_eq!((Rc::strong_count(&map), ops.in_flight()), (1, 0));
    }
}
