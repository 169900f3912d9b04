//! Files: direct and buffered, exact reads, durability calls, foreign buffers.

use super::{go, on_each_backend};
use crate::{Core, CoreConfig, File, OpenOptions, SlabBuf};
use std::{
    io,
    path::PathBuf,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Waker},
};

on_each_backend!(
    what_is_written_is_read,
    what_is_written_directly_is_read,
    a_read_past_the_end_is_an_error,
    many_operations_at_once,
    write_and_flush_in_one_go,
    a_failed_write_is_reported_with_its_flush,
    growth_reads_as_zeros,
    a_dropped_write_still_happens,
    the_core_may_end_during_a_write,
    a_buffer_of_another_core_is_written,
);

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("stria-runtime-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self, core: &Core, direct: bool) -> File {
        let options = OpenOptions { direct, create: true, read_only: false };
        core.open_file(&self.0, options).expect("opened")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn filled(core: &Core, bytes: usize, seed: u8) -> SlabBuf {
    let mut buf = core.buf(bytes).expect("room");
    for (index, byte) in buf.iter_mut().enumerate() {
        *byte = (index as u8).wrapping_mul(31) ^ (index >> 8) as u8 ^ seed;
    }
    buf
}

async fn round_trips(core: Core, direct: bool) {
    let scratch = Scratch::new();
    let file = scratch.open(&core, direct);
    let mut offset = 0;
    for (seed, bytes) in [4096, 16 << 10, 64 << 10, 1 << 20, 4 << 20].into_iter().enumerate() {
        for dsync in [false, true] {
            let (written, buf) = file.write_at(filled(&core, bytes, seed as u8), offset, dsync).await;
            written.expect("written");
            let (read, back) = file.read_at(core.buf(bytes).expect("room"), offset).await;
            read.expect("read");
            assert!(back[..] == buf[..]);
            offset += bytes as u64;
        }
    }
    let in_kernel = core.backend() != crate::ActiveBackend::Epoll;
    assert!(!in_kernel || core.stats().slab_chunks_registered == 2, "fixed buffers were in play");
    file.fdatasync().await.expect("flushed");
    assert_eq!(file.len_bytes().expect("a file"), offset);
}

fn what_is_written_is_read(config: CoreConfig) {
    go(config, async |core| round_trips(core, false).await);
}

fn what_is_written_directly_is_read(config: CoreConfig) {
    go(config, async |core| round_trips(core, true).await);
}

fn a_read_past_the_end_is_an_error(config: CoreConfig) {
    go(config, async |core| {
        let scratch = Scratch::new();
        let file = scratch.open(&core, false);
        file.write_at(filled(&core, 6_000, 1), 0, false).await.0.expect("written");
        let (outcome, buf) = file.read_at(core.buf(8_192).expect("room"), 0).await;
        assert_eq!(outcome.expect_err("short").kind(), io::ErrorKind::UnexpectedEof);
        assert!(buf[..6_000] == filled(&core, 6_000, 1)[..]);
        let (outcome, buf) = file.read_at(buf, 1 << 30).await;
        assert_eq!(outcome.expect_err("nothing there").kind(), io::ErrorKind::UnexpectedEof);
        let read_only = core
            .open_file(&scratch.0, OpenOptions { read_only: true, ..OpenOptions::default() })
            .expect("opened");
        assert!(read_only.write_at(buf, 0, false).await.0.is_err());
    });
}

fn many_operations_at_once(config: CoreConfig) {
    go(config, async |core| {
        let scratch = Scratch::new();
        let file = scratch.open(&core, true);
        let left = std::rc::Rc::new(std::cell::Cell::new(500));
        for n in 0..500u64 {
            let (core, file, left) = (core.clone(), file.clone(), left.clone());
            core.clone().spawn(async move {
                let (written, buf) = file.write_at(filled(&core, 4096, n as u8), n * 4096, false).await;
                written.expect("written");
                let (read, back) = file.read_at(core.buf(4096).expect("room"), n * 4096).await;
                read.expect("read");
                assert!(back[..] == buf[..]);
                left.set(left.get() - 1);
            });
        }
        while left.get() > 0 {
            core.sleep(super::MS).await;
        }
        let stats = core.stats();
        assert_eq!((stats.operations_in_flight, stats.slab_used_bytes, stats.cq_overflows), (0, 0, 0));
    });
}

fn write_and_flush_in_one_go(config: CoreConfig) {
    go(config, async |core| {
        let scratch = Scratch::new();
        let file = scratch.open(&core, true);
        let (outcome, buf) = file.write_at_and_flush(filled(&core, 8_192, 3), 4_096).await;
        outcome.expect("durable");
        let (read, back) = file.read_at(core.buf(8_192).expect("room"), 4_096).await;
        read.expect("read");
        assert!(back[..] == buf[..]);
    });
}

fn a_failed_write_is_reported_with_its_flush(config: CoreConfig) {
    go(config, async |core| {
        let scratch = Scratch::new();
        drop(scratch.open(&core, false));
        let options = OpenOptions { read_only: true, ..OpenOptions::default() };
        let file = core.open_file(&scratch.0, options).expect("opened");
        let (outcome, _buf) = file.write_at_and_flush(filled(&core, 4096, 3), 0).await;
        assert_eq!(outcome.expect_err("read only").raw_os_error(), Some(libc::EBADF));
    });
}

fn growth_reads_as_zeros(config: CoreConfig) {
    go(config, async |core| {
        let scratch = Scratch::new();
        let file = scratch.open(&core, true);
        file.fallocate(0, 8 << 20).await.expect("reserved");
        assert_eq!(file.len_bytes().expect("a file"), 8 << 20);
        file.zero_fill(0, (2 << 20) + 4096).await.expect("filled");
        let (read, buf) = file.read_at(filled(&core, 4 << 20, 9), 0).await;
        read.expect("read");
        assert!(buf.iter().all(|&byte| byte == 0));
    });
}

fn a_dropped_write_still_happens(config: CoreConfig) {
    go(config, async |core| {
        let scratch = Scratch::new();
        let file = scratch.open(&core, true);
        {
            let mut write = pin!(file.write_at(filled(&core, 1 << 20, 5), 0, false));
            assert!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(core.stats().slab_used_bytes, 1 << 20, "the buffer is the operation's");
        while core.stats().operations_in_flight > 0 {
            core.sleep(super::MS).await;
        }
        assert_eq!(core.stats().slab_used_bytes, 0);
        let (read, back) = file.read_at(core.buf(1 << 20).expect("room"), 0).await;
        read.expect("read");
        assert!(back[..] == filled(&core, 1 << 20, 5)[..]);
    });
}

fn the_core_may_end_during_a_write(config: CoreConfig) {
    let scratch = std::sync::Arc::new(Scratch::new());
    let shared = scratch.clone();
    go(config, async move |core| {
        let file = shared.open(&core, true);
        for n in 0..8 {
            let mut write = Box::pin(file.write_at(filled(&core, 1 << 20, n as u8), n << 20, true));
            assert!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    });
    let written = std::fs::metadata(&scratch.0).expect("created").len();
    assert_eq!(written, 8 << 20, "the end of the core waited for the writes");
}

fn a_buffer_of_another_core_is_written(config: CoreConfig) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (back, returned) = std::sync::mpsc::channel::<()>();
    let other = std::thread::Builder::new().spawn(move || {
        go(config, async move |core| {
            sender.send(filled(&core, 64 << 10, 8)).expect("received");
            returned.recv().expect("the other core is done");
            assert_eq!(core.stats().slab_used_bytes, 0, "the buffer came home");
        });
    });
    let buf = receiver.recv().expect("a buffer");
    go(config, async move |core| {
        let scratch = Scratch::new();
        let file = scratch.open(&core, true);
        let (written, buf) = file.write_at(buf, 0, false).await;
        written.expect("written");
        let (read, copy) = file.read_at(core.buf(64 << 10).expect("room"), 0).await;
        read.expect("read");
        assert!(copy[..] == buf[..]);
    });
    back.send(()).expect("the other core waits");
    other.expect("a thread").join().expect("no panic");
}
