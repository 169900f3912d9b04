//! TCP: listeners and streams of one core.
//!
//! Invariant: bytes the kernel has delivered are never lost by dropping a future: a receive in flight
//! belongs to the stream, and the next receive takes what it brought. After an abandoned send the stream
//! refuses to send, because nobody knows what left. One core.

use crate::{
    core::{Core, Inner, OpHandle},
    ops::{OpData, OwnedFd, SendVectors},
    recv_buf::RecvBuf,
    slab::SlabBuf,
    sys::{self, Completion, SockAddr, Sys},
};
use bytes::{Buf, Bytes};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// Connections the kernel may hold for us before `accept`.
const BACKLOG: i32 = 4096;
/// Accepted connections nobody has asked for; above, the kernel's backlog holds them.
const ACCEPTED_MAX: usize = 256;
/// Bytes of one send or receive; longer ones take several.
const TRANSFER_BYTES_MAX: usize = 1 << 30;

fn new_socket(core: &Rc<Inner>, addr: &SockAddr) -> io::Result<Rc<OwnedFd>> {
    let nonblocking = if core.sockets_nonblocking() { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(addr.family(), libc::SOCK_STREAM | libc::SOCK_CLOEXEC | nonblocking, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(own(core, fd))
}

fn own(core: &Rc<Inner>, fd: i32) -> Rc<OwnedFd> {
    let forget = core.sockets_nonblocking().then(|| Rc::downgrade(core));
    Rc::new(OwnedFd { fd, forget })
}

/// Descriptors (or negated errnos) that a multishot accept brought.
#[derive(Default)]
pub(crate) struct AcceptQueue {
    results: RefCell<VecDeque<i32>>,
}

impl AcceptQueue {
    pub(crate) fn push(&self, result: i32) {
        // Our own cancellation is no news.
        if result != -libc::ECANCELED {
            self.results.borrow_mut().push_back(result);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.results.borrow().len() >= ACCEPTED_MAX
    }

    fn pop(&self) -> Option<i32> {
        self.results.borrow_mut().pop_front()
    }
}

impl Drop for AcceptQueue {
    fn drop(&mut self) {
        for fd in self.results.get_mut().drain(..).filter(|&fd| fd >= 0) {
            // SAFETY: accepted for us and handed to nobody.
            unsafe { libc::close(fd) };
        }
    }
}

/// A listening socket of this core. One task accepts.
pub struct TcpListener {
    core: Rc<Inner>,
    fd: Rc<OwnedFd>,
    queue: Rc<AcceptQueue>,
    accepting: RefCell<Option<OpHandle>>,
}

impl Core {
    /// Listens on `addr`; every core may listen on the same address, the kernel spreads connections.
    ///
    /// # Errors
    /// What the kernel says about the address.
    pub fn listen(&self, addr: SocketAddr) -> io::Result<TcpListener> {
        let addr = SockAddr::from(addr);
        let fd = new_socket(&self.0, &addr)?;
        sys::set_option(fd.fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        sys::set_option(fd.fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        // Accepted sockets inherit it, which saves a call per connection.
        sys::set_option(fd.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        // SAFETY: address and length belong together.
        let bound = unsafe { libc::bind(fd.fd, addr.as_ptr(), addr.bytes) };
        // SAFETY: no pointers.
        if bound < 0 || unsafe { libc::listen(fd.fd, BACKLOG) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let queue = Rc::new(AcceptQueue::default());
        Ok(TcpListener { core: self.0.clone(), fd, queue, accepting: RefCell::new(None) })
    }

    /// Connects to `addr`.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let addr = Box::new(SockAddr::from(addr));
        let fd = new_socket(&self.0, &addr)?;
        sys::set_option(fd.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        let sys = Sys::Connect { fd: fd.fd, addr: &raw const *addr };
        let (completion, data) = self.0.submit(&sys, OpData::Connect(fd.clone(), addr)).await;
        drop(data);
        sys::check(completion.result)?;
        Ok(TcpStream::new(self.0.clone(), fd))
    }
}

impl TcpListener {
    /// The next connection. Dropping the future loses none.
    ///
    /// # Errors
    /// Of the process (descriptors, memory): wait a little before the next call.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        loop {
            if let Some(result) = self.queue.pop() {
                let fd = sys::check(result)? as i32;
                return Poll::Ready(Ok(TcpStream::new(self.core.clone(), own(&self.core, fd))));
            }
            let mut accepting = self.accepting.borrow_mut();
            let operation = accepting.get_or_insert_with(|| {
                let data = OpData::Accept(self.fd.clone(), self.queue.clone());
                self.core.submit(&Sys::Accept { fd: self.fd.fd }, data)
            });
            let (completion, _) = ready!(operation.poll(context.waker()));
            *accepting = None;
            if self.core.closing.get() {
                return Poll::Ready(Err(io::Error::from_raw_os_error(-completion.result.min(-1))));
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn accepted_unseen(&self) -> usize {
        self.queue.results.borrow().len()
    }

    /// The address it is bound to (the port, when 0 was asked for).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        // SAFETY: room for any address, and its length.
        SockAddr::from_kernel(|addr, bytes| unsafe { libc::getsockname(self.fd.fd, addr, bytes) })
    }
}

/// A connected socket. Closed when dropped, after its operations have ended.
pub struct TcpStream {
    core: Rc<Inner>,
    fd: Rc<OwnedFd>,
    receiving: Option<OpHandle>,
    /// Start of what an abandoned `recv_into` had asked for, and where its operation in flight writes.
    into_start: usize,
    into_at: usize,
    /// Bytes received that nobody has seen.
    leftover: Option<RecvBuf>,
    /// The kernel said at the last receive that nothing more was there.
    expect_empty: bool,
    send_broken: Cell<bool>,
}

impl TcpStream {
    fn new(core: Rc<Inner>, fd: Rc<OwnedFd>) -> Self {
        Self {
            core,
            fd,
            receiving: None,
            into_start: 0,
            into_at: 0,
            leftover: None,
            expect_empty: false,
            send_broken: Cell::new(false),
        }
    }

    /// The next bytes, in a buffer that is taken only when they arrive; empty at the end of the stream.
    /// The future may be dropped (a timeout): the bytes come with the next call.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn recv(&mut self) -> io::Result<RecvBuf> {
        if let Some(leftover) = self.leftover.take() {
            return Ok(leftover);
        }
        poll_fn(|context| self.poll_recv(context)).await
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<io::Result<RecvBuf>> {
        loop {
            let operation = self.receiving.get_or_insert_with(|| {
                let sys = Sys::Recv { fd: self.fd.fd, expect_empty: self.expect_empty };
                self.core.submit(&sys, OpData::Recv(self.fd.clone()))
            });
            let (completion, data) = ready!(operation.poll(context.waker()));
            self.receiving = None;
            if let Some(outcome) = self.received(completion, data) {
                return Poll::Ready(outcome);
            }
        }
    }

    /// What an ended receive brought; `None` when it was cut off before any byte.
    fn received(&mut self, completion: Completion, data: OpData) -> Option<io::Result<RecvBuf>> {
        self.expect_empty = !completion.nonempty;
        if let OpData::RecvInto(_, buf) = data {
            let end = self.into_at + completion.result.max(0) as usize;
            if end > self.into_start {
                return Some(Ok(RecvBuf::slab(buf, self.into_start, end)));
            }
        }
        match completion.result {
            0 => {
                if let Some(index) = completion.buffer {
                    self.core.provide(index);
                }
                Some(Ok(RecvBuf::empty()))
            }
            result if result > 0 => {
                let index = completion.buffer.expect("the kernel names the buffer it filled");
                Some(Ok(RecvBuf::shared(self.core.clone(), index, result as usize)))
            }
            result if cut_off(result) && !self.core.closing.get() => None,
            result => Some(Err(io::Error::from_raw_os_error(-result))),
        }
    }

    /// Receives into `buf[from..to]`, whatever its visible length, and gives the count: `to - from` when
    /// `exact` (less only at the end of the stream), else whatever arrives first. The future may be
    /// dropped: the buffer returns when the kernel is done with it, and the bytes come with the next call.
    ///
    /// # Panics
    /// When the range is not within the capacity.
    pub async fn recv_into(
        &mut self,
        mut buf: SlabBuf,
        from: usize,
        to: usize,
        exact: bool,
    ) -> (io::Result<usize>, SlabBuf) {
        assert!(from <= to && to <= buf.capacity(), "{from}..{to} of {}", buf.capacity());
        if from == to {
            return (Ok(0), buf);
        }
        if self.receiving.is_some() && self.leftover.is_none() {
            match poll_fn(|context| self.poll_recv(context)).await {
                Ok(received) if received.is_empty() => return (Ok(0), buf),
                Ok(received) => self.leftover = Some(received),
                Err(error) => return (Err(error), buf),
            }
        }
        let at = from + self.take_leftover(&mut buf, from, to);
        if at == to || (at > from && !exact) {
            return (Ok(at - from), buf);
        }
        self.recv_direct(buf, from, at, to, exact).await
    }

    fn take_leftover(&mut self, buf: &mut SlabBuf, from: usize, to: usize) -> usize {
        let Some(leftover) = &mut self.leftover else { return 0 };
        let count = leftover.len().min(to - from);
        // SAFETY: from + count <= to <= capacity; the leftover's memory is another buffer.
        unsafe { std::ptr::copy_nonoverlapping(leftover.as_ptr(), buf.ptr().add(from), count) };
        leftover.advance(count);
        if leftover.is_empty() {
            self.leftover = None;
        }
        count
    }

    async fn recv_direct(
        &mut self,
        mut buf: SlabBuf,
        from: usize,
        mut at: usize,
        to: usize,
        exact: bool,
    ) -> (io::Result<usize>, SlabBuf) {
        loop {
            let bytes = (to - at).min(TRANSFER_BYTES_MAX) as u32;
            // SAFETY: at < to <= capacity.
            let ptr = unsafe { buf.ptr().add(at) };
            let sys = Sys::RecvInto { fd: self.fd.fd, ptr, bytes, all: exact };
            self.into_start = from;
            self.into_at = at;
            self.receiving = Some(self.core.submit(&sys, OpData::RecvInto(self.fd.clone(), buf)));
            let mut abandoned = CancelReceive(self);
            let (completion, data) = poll_fn(|context| abandoned.poll(context)).await;
            drop(abandoned);
            let OpData::RecvInto(_, returned) = data else { unreachable!("the operation's own data") };
            buf = returned;
            self.expect_empty = !completion.nonempty;
            match completion.result {
                0 => return (Ok(at - from), buf),
                result if result > 0 => at += result as usize,
                result if cut_off(result) && !self.core.closing.get() => {}
                result => return (Err(io::Error::from_raw_os_error(-result)), buf),
            }
            if at == to || (at > from && !exact) {
                return (Ok(at - from), buf);
            }
        }
    }

    /// Sends `head` and `body` with one call, whole. Sending after a dropped `send` is refused.
    ///
    /// # Errors
    /// Of the connection; `BrokenPipe` after an abandoned send.
    pub async fn send(&mut self, head: impl Into<Bytes>, body: Bytes) -> io::Result<()> {
        if self.send_broken.replace(true) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.send_parts(head.into(), body).await?;
        self.send_broken.set(false);
        Ok(())
    }

    /// Sends `bytes` whole.
    ///
    /// # Errors
    /// As [`TcpStream::send`].
    pub async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(Bytes::new(), bytes).await
    }

    async fn send_parts(&self, mut head: Bytes, mut body: Bytes) -> io::Result<()> {
        loop {
            if head.is_empty() {
                std::mem::swap(&mut head, &mut body);
            }
            if head.is_empty() {
                return Ok(());
            }
            let result = if body.is_empty() {
                self.send_one(&mut head).await
            } else {
                self.send_two(&mut head, &mut body).await
            };
            let mut sent = match result {
                result if cut_off(result) && !self.core.closing.get() => continue,
                result => sys::check(result)?,
            };
            let of_head = sent.min(head.len());
            head.advance(of_head);
            sent -= of_head;
            body.advance(sent);
        }
    }

    async fn send_one(&self, bytes: &mut Bytes) -> i32 {
        let length = bytes.len().min(TRANSFER_BYTES_MAX) as u32;
        let sys = Sys::Send { fd: self.fd.fd, ptr: bytes.as_ptr(), bytes: length };
        let data = OpData::Send(self.fd.clone(), std::mem::take(bytes));
        let (completion, data) = self.core.submit(&sys, data).await;
        let OpData::Send(_, returned) = data else { unreachable!("the operation's own data") };
        *bytes = returned;
        completion.result
    }

    async fn send_two(&self, head: &mut Bytes, body: &mut Bytes) -> i32 {
        let spare = self.core.send_vectors.borrow_mut().pop();
        let mut vectors = spare.unwrap_or_else(SendVectors::boxed);
        vectors.set(head, body);
        let sys = Sys::SendMsg { fd: self.fd.fd, message: &raw const vectors.message };
        let parts = [std::mem::take(head), std::mem::take(body)];
        let (completion, data) =
            self.core.submit(&sys, OpData::SendMsg(self.fd.clone(), parts, vectors)).await;
        let OpData::SendMsg(fd, [first, second], vectors) = data else {
            unreachable!("the operation's own data")
        };
        self.core.reclaim(OpData::SendMsg(fd, [Bytes::new(), Bytes::new()], vectors));
        *head = first;
        *body = second;
        completion.result
    }

    /// Says that nothing more will be sent; the peer sees the end of the stream.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn shutdown_write(&self) -> io::Result<()> {
        // SAFETY: no pointers.
        let rc = unsafe { libc::shutdown(self.fd.fd, libc::SHUT_WR) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Closes with a reset instead of an orderly end.
    pub fn abort(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let bytes = size_of::<libc::linger>() as libc::socklen_t;
        // SAFETY: reads one linger. Failure leaves an orderly close.
        unsafe {
            libc::setsockopt(self.fd.fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), bytes)
        };
    }

    /// The other end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        // SAFETY: room for any address, and its length.
        SockAddr::from_kernel(|addr, bytes| unsafe { libc::getpeername(self.fd.fd, addr, bytes) })
    }

    /// Our end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        // SAFETY: room for any address, and its length.
        SockAddr::from_kernel(|addr, bytes| unsafe { libc::getsockname(self.fd.fd, addr, bytes) })
    }
}

/// Whether an operation ended without having been tried to its end.
fn cut_off(result: i32) -> bool {
    result == -libc::ECANCELED || result == -libc::EINTR
}

/// Cancels the stream's receive when the future that wanted it is dropped; the stream keeps the outcome.
struct CancelReceive<'a>(&'a mut TcpStream);

impl CancelReceive<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Completion, OpData)> {
        let operation = self.0.receiving.as_mut().expect("set before the first poll");
        let outcome = ready!(operation.poll(context.waker()));
        self.0.receiving = None;
        Poll::Ready(outcome)
    }
}

impl Drop for CancelReceive<'_> {
    fn drop(&mut self) {
        if let Some(operation) = &self.0.receiving
            && !operation.is_done()
        {
            operation.cancel();
        }
    }
}

impl SendVectors {
    fn boxed() -> Box<Self> {
        // SAFETY: null pointers and zero lengths are valid in both structures.
        Box::new(unsafe { std::mem::zeroed() })
    }

    fn set(&mut self, head: &Bytes, body: &Bytes) {
        let part = |bytes: &Bytes| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len().min(TRANSFER_BYTES_MAX),
        };
        self.parts = [part(head), part(body)];
        self.message.msg_iov = self.parts.as_mut_ptr();
        self.message.msg_iovlen = self.parts.len();
    }
}
