//! The responder and the disk loop on compio, with the ring flags its builder offers.
//!
//! Invariant: same flags and same work as its siblings. Measurement code, one core.

use common::{Args, Meter, next_offset, parse, plan, response};
use compio::{
    buf::{BufResult, IoBuf, IoBufMut, SetLen},
    driver::ProactorBuilder,
    fs::OpenOptions,
    io::{AsyncRead, AsyncReadAtExt, AsyncWriteAtExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{RuntimeBuilder, spawn},
};
use std::{mem::MaybeUninit, rc::Rc, sync::atomic::AtomicU64};

fn main() {
    let args = Args::parse();
    common::pin(args.cpu);
    let mut ring = ProactorBuilder::new();
    ring.coop_taskrun(true).taskrun_flag(true);
    let runtime = RuntimeBuilder::new().with_proactor(ring).build().expect("a runtime");
    runtime.block_on(async {
        match args.command.as_str() {
            "http" => http(&args).await,
            _ => disk(&args).await,
        }
    });
}

async fn http(args: &Args) {
    let response: &'static [u8] = response(args.body).leak();
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await.expect("a port");
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        stream.set_nodelay(true).expect("connected");
        spawn(serve(stream, response)).detach();
    }
}

async fn serve(mut stream: TcpStream, response: &'static [u8]) {
    let (mut rest, mut buf) = (Vec::new(), Vec::with_capacity(16 << 10));
    loop {
        buf.clear();
        let BufResult(outcome, filled) = stream.read(buf).await;
        buf = filled;
        let Ok(count @ 1..) = outcome else { return };
        rest.extend_from_slice(&buf[..count]);
        let (requests, used) = parse(&rest);
        rest.drain(..used);
        for _ in 0..requests {
            if stream.write_all(response).await.0.is_err() {
                return;
            }
        }
    }
}

/// Aligned for O_DIRECT.
struct Buf(Vec<Block>);
#[repr(align(4096))]
#[derive(Clone)]
#[expect(dead_code, reason = "read and written through its address")]
struct Block([u8; 4096]);

impl IoBuf for Buf {
    fn as_init(&self) -> &[u8] {
        // SAFETY: the blocks are contiguous plain bytes.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 4096) }
    }
}

impl SetLen for Buf {
    unsafe fn set_len(&mut self, _: usize) {}
}

impl IoBufMut for Buf {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the blocks are contiguous plain bytes.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 4096) }
    }
}

async fn disk(args: &Args) {
    let plan = plan(&args.mode);
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(0o40000);
    let file = Rc::new(options.open(&args.path).await.expect("opened"));
    let issued = Rc::new(AtomicU64::new(0));
    let meter = Meter::start();
    let tasks: Vec<_> = (0..plan.tasks)
        .map(|_| {
            let (file, issued, ops) = (file.clone(), issued.clone(), args.ops);
            spawn(async move {
                let mut buf = Buf(vec![Block([0; 4096]); plan.bytes / 4096]);
                while let Some(offset) = next_offset(plan, ops, &issued) {
                    let BufResult(outcome, back) = if plan.write {
                        (&*file).write_all_at(buf, offset).await
                    } else {
                        file.read_exact_at(buf, offset).await
                    };
                    outcome.expect("transferred");
                    buf = back;
                    if plan.durable {
                        file.sync_data().await.expect("flushed");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    meter.done(args.ops);
}
