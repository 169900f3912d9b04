//! Sockets: sizes, races between receiving and time, abandoned futures, shortage of receive buffers.

use super::{MS, go, on_each_backend};
use crate::{Core, CoreConfig, RecvBufferConfig, TcpListener, TcpStream};
use bytes::Bytes;
use std::{
    cell::Cell,
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Waker},
};

on_each_backend!(
    echo_of_many_sizes,
    recv_into_takes_exactly_what_is_asked,
    bytes_after_a_timed_out_recv_come_with_the_next,
    bytes_after_a_dropped_recv_into_come_with_the_next,
    a_dropped_future_keeps_its_buffer_until_the_end,
    a_dropped_send_refuses_further_sends,
    two_hundred_connections,
    more_readers_than_receive_buffers,
    idle_readers_do_not_starve_a_busy_one,
    an_abort_is_a_reset,
    end_of_stream_is_empty,
    a_refused_connection_is_an_error,
    a_large_body_passes_a_slow_reader,
    accepted_connections_are_bounded,
);

pub(super) fn listen(core: &Core) -> TcpListener {
    core.listen("127.0.0.1:0".parse().expect("an address")).expect("a port")
}

pub(super) async fn pair(core: &Core) -> (TcpStream, TcpStream) {
    let listener = listen(core);
    let client = core.connect(listener.local_addr().expect("bound")).await.expect("connected");
    let server = listener.accept().await.expect("accepted");
    assert_eq!(client.local_addr().expect("bound"), server.peer_addr().expect("connected"));
    (client, server)
}

fn pattern(bytes: usize) -> Bytes {
    (0..bytes).map(|n| (n * 31 + (n >> 8)) as u8).collect()
}

async fn recv_exactly(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < bytes {
        let part = stream.recv().await.expect("received");
        assert!(!part.is_empty(), "the stream ends after {} of {bytes}", all.len());
        all.extend_from_slice(&part);
    }
    assert_eq!(all.len(), bytes);
    all
}

async fn echo(mut stream: TcpStream) {
    loop {
        match stream.recv().await {
            Ok(part) if part.is_empty() => return,
            Ok(part) => {
                let copy = Bytes::copy_from_slice(&part);
                drop(part);
                if stream.send_bytes(copy).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

fn echo_of_many_sizes(config: CoreConfig) {
    go(config, async |core| {
        let (mut client, server) = pair(&core).await;
        core.spawn(echo(server));
        for size in [1, 2, 100, 4095, 4096, 4097, 65_536, 300_000] {
            let sent = pattern(size);
            client.send(sent.slice(..size / 2).to_vec(), sent.slice(size / 2..)).await.expect("sent");
            assert_eq!(recv_exactly(&mut client, size).await, sent);
        }
    });
}

fn recv_into_takes_exactly_what_is_asked(config: CoreConfig) {
    go(config, async |core| {
        let (mut client, mut server) = pair(&core).await;
        let body = pattern(1 << 20);
        let sent = body.clone();
        core.spawn(async move {
            client.send(Vec::from("head"), sent).await.expect("sent");
            client.send_bytes(Bytes::from_static(b"tail")).await.expect("sent");
        });
        let head = server.recv().await.expect("a head");
        assert_eq!(&head[..4], b"head");
        let early = head.len() - 4;
        let mut buf = core.buf(1 << 20).expect("room");
        buf[..early].copy_from_slice(&head[4..]);
        drop(head);
        let (count, buf) = server.recv_into(buf, early, 1 << 20, true).await;
        assert_eq!(count.expect("received"), (1 << 20) - early);
        assert!(buf[..] == body[..]);
        assert_eq!(recv_exactly(&mut server, 4).await, b"tail");
        let (count, _buf) = server.recv_into(buf, 0, 10, true).await;
        assert_eq!(count.expect("end of stream"), 0);
    });
}

fn bytes_after_a_timed_out_recv_come_with_the_next(config: CoreConfig) {
    go(config, async |core| {
        let (mut client, mut server) = pair(&core).await;
        for round in 0..20u8 {
            assert!(core.timeout(MS / 2, server.recv()).await.is_err());
            client.send_bytes(Bytes::from(vec![round; 10])).await.expect("sent");
            assert_eq!(recv_exactly(&mut server, 10).await, [round; 10]);
            assert!(core.timeout(0, server.recv()).await.is_err());
            client.send_bytes(Bytes::from(vec![round; 10])).await.expect("sent");
            let (count, buf) = server.recv_into(core.buf(4096).expect("room"), 5, 15, true).await;
            assert_eq!((count.expect("received"), &buf[5..15]), (10, &[round; 10][..]));
        }
    });
}

fn bytes_after_a_dropped_recv_into_come_with_the_next(config: CoreConfig) {
    go(config, async |core| {
        let (mut client, mut server) = pair(&core).await;
        for round in 0..20u8 {
            if round % 2 == 0 {
                client.send_bytes(Bytes::from(vec![1; 7])).await.expect("sent");
            }
            let buf = core.buf(4096).expect("room");
            assert!(core.timeout(MS, server.recv_into(buf, 100, 200, true)).await.is_err());
            client.send_bytes(Bytes::from(vec![2; 5])).await.expect("sent");
            let expected: &[u8] =
                if round % 2 == 0 { &[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2] } else { &[2; 5] };
            assert_eq!(recv_exactly(&mut server, expected.len()).await, expected);
        }
        assert!(core.timeout(MS, server.recv()).await.is_err());
        // Each buffer comes back with its last completion; one that does not ends the test by its limit of time.
        while core.stats().slab_used_bytes > 0 {
            core.sleep(MS).await;
        }
    });
}

fn a_dropped_future_keeps_its_buffer_until_the_end(config: CoreConfig) {
    go(config, async |core| {
        let (_client, mut server) = pair(&core).await;
        {
            let receive = server.recv_into(core.buf(4096).expect("room"), 0, 4096, true);
            let mut receive = pin!(receive);
            assert!(receive.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        drop(server);
        let in_kernel = core.backend() != crate::ActiveBackend::Epoll;
        if in_kernel {
            assert_eq!(core.stats().slab_used_bytes, 4096, "not before the last completion");
        }
        while core.stats().slab_used_bytes > 0 || core.stats().operations_in_flight > 0 {
            core.sleep(MS).await;
        }
    });
}

fn a_dropped_send_refuses_further_sends(config: CoreConfig) {
    go(config, async |core| {
        let (mut client, _server) = pair(&core).await;
        let witness = Rc::new(Cell::new(0));
        let large = pattern(64 << 20);
        assert!(core.timeout(5 * MS, client.send_bytes(large.clone())).await.is_err());
        witness.set(1);
        let refused = client.send_bytes(Bytes::from_static(b"x")).await;
        assert_eq!(refused.expect_err("unknown state").kind(), io::ErrorKind::BrokenPipe);
        // The cancelled operation lets go of the bytes.
        while !large.is_unique() {
            core.sleep(MS).await;
        }
    });
}

fn two_hundred_connections(config: CoreConfig) {
    go(config, async |core| {
        let listener = listen(&core);
        let addr = listener.local_addr().expect("bound");
        let server = core.clone();
        core.spawn(async move {
            loop {
                let stream = listener.accept().await.expect("accepted");
                server.spawn(echo(stream));
            }
        });
        let done = Rc::new(Cell::new(0));
        for n in 0..200usize {
            let (client, done) = (core.clone(), done.clone());
            core.spawn(async move {
                let mut stream = client.connect(addr).await.expect("connected");
                for round in 0..10 {
                    let sent = pattern(n * 7 + round + 1);
                    stream.send_bytes(sent.clone()).await.expect("sent");
                    assert_eq!(recv_exactly(&mut stream, sent.len()).await, sent);
                }
                done.set(done.get() + 1);
            });
        }
        while done.get() < 200 {
            core.sleep(MS).await;
        }
        // A buffer that never comes back ends the test by its limit of time.
        while core.stats().recv_buffers_free < 256 {
            core.sleep(MS).await;
        }
    });
}

fn more_readers_than_receive_buffers(mut config: CoreConfig) {
    config.recv_buffers = RecvBufferConfig { count: 2, bytes: 64 };
    go(config, async |core| {
        let listener = listen(&core);
        let addr = listener.local_addr().expect("bound");
        let done = Rc::new(Cell::new(0));
        let mut clients = Vec::new();
        for n in 0..16usize {
            let client = core.connect(addr).await.expect("connected");
            let mut server = listener.accept().await.expect("accepted");
            let (core, done) = (core.clone(), done.clone());
            core.clone().spawn(async move {
                let mut received = 0;
                while received < 1_000 {
                    let part = server.recv().await.expect("received");
                    assert!(part.iter().all(|&byte| byte == n as u8));
                    received += part.len();
                    // Held across a pause, so that the others find none.
                    core.sleep(MS / 20).await;
                }
                done.set(done.get() + 1);
            });
            clients.push(client);
        }
        for (n, client) in clients.iter_mut().enumerate() {
            client.send_bytes(Bytes::from(vec![n as u8; 1_000])).await.expect("sent");
        }
        while done.get() < 16 {
            core.sleep(MS).await;
        }
        assert!(core.stats().recv_starved > 0, "the shortage was real");
        assert_eq!(core.stats().recv_buffers_free, 2);
    });
}

/// A receive that was restarted for a returned buffer and finds nothing must not keep the next from it.
fn idle_readers_do_not_starve_a_busy_one(mut config: CoreConfig) {
    config.recv_buffers = RecvBufferConfig { count: 1, bytes: 64 };
    go(config, async |core| {
        let (mut holder_client, mut holder) = pair(&core).await;
        holder_client.send_bytes(Bytes::from_static(b"hold")).await.expect("sent");
        let held = holder.recv().await.expect("received");
        let mut idle = Vec::new();
        for _ in 0..5 {
            let (client, mut server) = pair(&core).await;
            core.spawn(async move {
                let _ = server.recv().await;
            });
            idle.push(client);
        }
        let (mut client, mut server) = pair(&core).await;
        client.send_bytes(Bytes::from_static(b"busy")).await.expect("sent");
        assert!(core.timeout(3 * MS, server.recv()).await.is_err(), "no buffer is free");
        drop(held);
        let received = core.timeout(60_000 * MS, server.recv()).await.expect("in time").expect("received");
        assert_eq!(&received[..], b"busy");
    });
}

fn an_abort_is_a_reset(config: CoreConfig) {
    go(config, async |core| {
        let (client, mut server) = pair(&core).await;
        client.abort();
        let error = server.recv().await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut failed = false;
        for _ in 0..3 {
            failed |= server.send_bytes(Bytes::from_static(b"x")).await.is_err();
        }
        assert!(failed, "and no signal killed the process");
    });
}

fn end_of_stream_is_empty(config: CoreConfig) {
    go(config, async |core| {
        let (mut client, mut server) = pair(&core).await;
        client.send_bytes(Bytes::from_static(b"last")).await.expect("sent");
        client.shutdown_write().expect("connected");
        assert_eq!(recv_exactly(&mut server, 4).await, b"last");
        assert!(server.recv().await.expect("the end").is_empty());
        server.send_bytes(Bytes::from_static(b"reply")).await.expect("the other direction lives");
        assert_eq!(recv_exactly(&mut client, 5).await, b"reply");
        drop(server);
        assert!(client.recv().await.expect("the end").is_empty());
    });
}

fn a_refused_connection_is_an_error(config: CoreConfig) {
    go(config, async |core| {
        let mut addr = listen(&core).local_addr().expect("bound");
        core.sleep(MS).await;
        // Another test may be given the port again, but not on this address.
        addr.set_ip(std::net::Ipv4Addr::new(127, 0, 0, 9).into());
        let error = core.connect(addr).await.err().expect("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

fn a_large_body_passes_a_slow_reader(config: CoreConfig) {
    go(config, async |core| {
        let (mut client, mut server) = pair(&core).await;
        let body = pattern(32 << 20);
        let sent = body.clone();
        core.spawn(async move { client.send(sent.slice(..10), sent.slice(10..)).await.expect("sent") });
        core.sleep(5 * MS).await;
        let mut buf = core.buf(1 << 20).expect("room");
        for expected in body.chunks(1 << 20) {
            let count;
            (count, buf) = server.recv_into(buf, 0, 1 << 20, true).await;
            assert_eq!(count.expect("received"), 1 << 20);
            assert!(buf[..] == *expected);
        }
    });
}

fn accepted_connections_are_bounded(config: CoreConfig) {
    go(config, async |core| {
        let listener = listen(&core);
        let addr = listener.local_addr().expect("bound");
        // The first call starts the kernel accepting; then nobody asks for a while.
        let mut clients = vec![core.connect(addr).await.expect("connected")];
        let mut servers = vec![listener.accept().await.expect("accepted")];
        for _ in 0..600 {
            clients.push(core.connect(addr).await.expect("connected"));
        }
        core.sleep(5 * MS).await;
        // A multishot accept brings a few more before its cancellation takes effect.
        assert!(listener.accepted_unseen() < 400, "the kernel's backlog holds the rest");
        while servers.len() < clients.len() {
            servers.push(listener.accept().await.expect("accepted"));
        }
    });
}
