//! The responder and the disk loop on tokio: current-thread, epoll. The disk loop uses its blocking pool,
//! which is all tokio has for files.
//!
//! Invariant: same flags and same work as its siblings. Measurement code, one core.

use common::{Args, Meter, next_offset, parse, plan, response};
use std::{
    os::unix::fs::{FileExt, OpenOptionsExt},
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

fn main() {
    let args = Args::parse();
    common::pin(args.cpu);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        match args.command.as_str() {
            "http" => http(&args).await,
            _ => disk(&args).await,
        }
    });
}

async fn http(args: &Args) {
    let response: Rc<[u8]> = response(args.body).into();
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await.expect("a port");
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        stream.set_nodelay(true).expect("connected");
        tokio::task::spawn_local(serve(stream, response.clone()));
    }
}

async fn serve(mut stream: TcpStream, response: Rc<[u8]>) {
    let (mut rest, mut buf) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let Ok(count @ 1..) = stream.read(&mut buf).await else { return };
        rest.extend_from_slice(&buf[..count]);
        let (requests, used) = parse(&rest);
        rest.drain(..used);
        for _ in 0..requests {
            if stream.write_all(&response).await.is_err() {
                return;
            }
        }
    }
}

/// Aligned for O_DIRECT.
#[repr(align(4096))]
#[derive(Clone)]
#[expect(dead_code, reason = "read and written through its address")]
struct Block([u8; 4096]);

async fn disk(args: &Args) {
    let plan = plan(&args.mode);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    let file = Arc::new(options.open(&args.path).expect("opened"));
    let issued = Arc::new(AtomicU64::new(0));
    let meter = Meter::start();
    let mut tasks = Vec::new();
    for _ in 0..plan.tasks {
        let (file, issued, ops) = (file.clone(), issued.clone(), args.ops);
        tasks.push(tokio::task::spawn_local(async move {
            let mut blocks = vec![Block([0; 4096]); plan.bytes / 4096];
            while let Some(offset) = next_offset(plan, ops, &issued) {
                let file = file.clone();
                blocks = tokio::task::spawn_blocking(move || {
                    // SAFETY: the blocks are contiguous plain bytes.
                    let bytes =
                        unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), plan.bytes) };
                    if plan.write {
                        file.write_all_at(bytes, offset).expect("written");
                    } else {
                        file.read_exact_at(bytes, offset).expect("read");
                    }
                    if plan.durable {
                        file.sync_data().expect("flushed");
                    }
                    blocks
                })
                .await
                .expect("no panic");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    meter.done(args.ops);
}
