//! The responder and the disk loop on monoio, with the ring flags its builder lets through.
//!
//! Invariant: same flags and same work as its siblings. Measurement code, one core.

use common::{Args, Meter, next_offset, parse, plan, response};
use monoio::{
    IoUringDriver, RuntimeBuilder,
    fs::OpenOptions,
    io::{AsyncReadRent, AsyncWriteRentExt},
    net::{TcpListener, TcpStream},
};
use std::{os::unix::fs::OpenOptionsExt, rc::Rc, sync::atomic::AtomicU64};

fn main() {
    let args = Args::parse();
    common::pin(args.cpu);
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
    let builder = RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring);
    let mut runtime = builder.build().expect("a runtime");
    runtime.block_on(async {
        match args.command.as_str() {
            "http" => http(&args).await,
            _ => disk(&args).await,
        }
    });
}

async fn http(args: &Args) {
    let response: &'static [u8] = response(args.body).leak();
    let listener = TcpListener::bind(("127.0.0.1", args.port)).expect("a port");
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        stream.set_nodelay(true).expect("connected");
        monoio::spawn(serve(stream, response));
    }
}

async fn serve(mut stream: TcpStream, response: &'static [u8]) {
    let (mut rest, mut buf) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let outcome;
        (outcome, buf) = stream.read(buf).await;
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

// SAFETY: the vector's memory does not move while the runtime holds it, and all of it is initialised.
unsafe impl monoio::buf::IoBuf for Buf {
    fn read_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
    fn bytes_init(&self) -> usize {
        self.0.len() * 4096
    }
}

// SAFETY: as above.
unsafe impl monoio::buf::IoBufMut for Buf {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
    fn bytes_total(&mut self) -> usize {
        self.0.len() * 4096
    }
    unsafe fn set_init(&mut self, _: usize) {}
}

async fn disk(args: &Args) {
    let plan = plan(&args.mode);
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    let file = Rc::new(options.open(&args.path).await.expect("opened"));
    let issued = Rc::new(AtomicU64::new(0));
    let meter = Meter::start();
    let tasks: Vec<_> = (0..plan.tasks)
        .map(|_| {
            let (file, issued, ops) = (file.clone(), issued.clone(), args.ops);
            monoio::spawn(async move {
                let mut buf = Buf(vec![Block([0; 4096]); plan.bytes / 4096]);
                while let Some(offset) = next_offset(plan, ops, &issued) {
                    let outcome;
                    (outcome, buf) = if plan.write {
                        file.write_all_at(buf, offset).await
                    } else {
                        file.read_exact_at(buf, offset).await
                    };
                    outcome.expect("transferred");
                    if plan.durable {
                        file.sync_data().await.expect("flushed");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    meter.done(args.ops);
}
