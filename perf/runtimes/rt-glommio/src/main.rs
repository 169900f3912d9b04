//! The responder and the disk loop on glommio.
//!
//! Invariant: same flags and same work as its siblings. Measurement code, one core.

use common::{Args, Meter, next_offset, parse, plan, response};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::{
    LocalExecutorBuilder, Placement,
    io::OpenOptions,
    net::{TcpListener, TcpStream},
};
use std::{rc::Rc, sync::atomic::AtomicU64};

fn main() {
    let args = Args::parse();
    let executor = LocalExecutorBuilder::new(Placement::Fixed(args.cpu)).make().expect("an executor");
    executor.run(async {
        match args.command.as_str() {
            "http" => http(&args).await,
            _ => disk(&args).await,
        }
    });
}

async fn http(args: &Args) {
    let response: Rc<[u8]> = response(args.body).into();
    let listener = TcpListener::bind(("127.0.0.1", args.port)).expect("a port");
    loop {
        let stream = listener.accept().await.expect("accepted");
        stream.set_nodelay(true).expect("connected");
        glommio::spawn_local(serve(stream, response.clone())).detach();
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

async fn disk(args: &Args) {
    let plan = plan(&args.mode);
    let file = OpenOptions::new().read(true).write(true).dma_open(&args.path).await.expect("opened");
    let file = Rc::new(file);
    let issued = Rc::new(AtomicU64::new(0));
    let meter = Meter::start();
    let tasks: Vec<_> = (0..plan.tasks)
        .map(|_| {
            let (file, issued, ops) = (file.clone(), issued.clone(), args.ops);
            glommio::spawn_local(async move {
                while let Some(offset) = next_offset(plan, ops, &issued) {
                    if plan.write {
                        let buf = file.alloc_dma_buffer(plan.bytes);
                        assert_eq!(file.write_at(buf, offset).await.expect("written"), plan.bytes);
                    } else {
                        let read = file.read_at_aligned(offset, plan.bytes).await.expect("read");
                        assert_eq!(read.len(), plan.bytes);
                    }
                    if plan.durable {
                        file.fdatasync().await.expect("flushed");
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
