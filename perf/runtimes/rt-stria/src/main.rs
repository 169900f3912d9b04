//! The responder and the disk loop on our own runtime.
//!
//! Invariant: same flags and same work as its siblings. Measurement code, one core.

use bytes::Bytes;
use common::{Args, Meter, Plan, next_offset, parse, plan, response};
use std::{cell::Cell, rc::Rc, sync::atomic::AtomicU64};
use stria_base::CoreId;
use stria_env::sync::Notify;
use stria_runtime::{Backend, Core, CoreConfig, File, OpenOptions, TcpStream, run};

fn main() {
    let args = Args::parse();
    let backend = match std::env::var("BACKEND").as_deref() {
        Ok("epoll") => Backend::Epoll,
        _ => Backend::Uring,
    };
    let spin_us = std::env::var("SPIN_US").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let config = CoreConfig { backend, pin_cpu: Some(args.cpu), spin_us, ..CoreConfig::new(CoreId(0)) };
    run(config, async |core| match args.command.as_str() {
        "http" => http(core, &args).await,
        _ => disk(core, &args).await,
    })
    .expect("the core runs");
}

async fn http(core: Core, args: &Args) {
    let response = Bytes::from(response(args.body));
    let listener = core.listen(([127, 0, 0, 1], args.port).into()).expect("a port");
    loop {
        let stream = listener.accept().await.expect("accepted");
        core.spawn(serve(stream, response.clone()));
    }
}

async fn serve(mut stream: TcpStream, response: Bytes) {
    let mut rest = Vec::new();
    loop {
        let Ok(part) = stream.recv().await else { return };
        if part.is_empty() {
            return;
        }
        let requests = if rest.is_empty() {
            let (requests, used) = parse(&part);
            rest.extend_from_slice(&part[used..]);
            requests
        } else {
            rest.extend_from_slice(&part);
            let (requests, used) = parse(&rest);
            rest.drain(..used);
            requests
        };
        drop(part);
        for _ in 0..requests {
            if stream.send_bytes(response.clone()).await.is_err() {
                return;
            }
        }
    }
}

async fn disk(core: Core, args: &Args) {
    let plan = plan(&args.mode);
    let options = OpenOptions { direct: true, ..OpenOptions::default() };
    let file = core.open_file(args.path.as_ref(), options).expect("opened");
    let issued = Rc::new(AtomicU64::new(0));
    let left = Rc::new(Cell::new(plan.tasks));
    let done = Rc::new(Notify::default());
    let meter = Meter::start();
    for _ in 0..plan.tasks {
        let work = work(core.clone(), file.clone(), plan, args.ops, issued.clone());
        let (left, done) = (left.clone(), done.clone());
        core.spawn(async move {
            work.await;
            left.set(left.get() - 1);
            done.notify_all();
        });
    }
    while left.get() > 0 {
        done.notified().await;
    }
    meter.done(args.ops);
}

async fn work(core: Core, file: File, plan: Plan, ops: u64, issued: Rc<AtomicU64>) {
    let mut buf = core.buf(plan.bytes).expect("room");
    while let Some(offset) = next_offset(plan, ops, &issued) {
        let outcome;
        (outcome, buf) = match (plan.write, plan.durable) {
            (false, _) => file.read_at(buf, offset).await,
            (true, false) => file.write_at(buf, offset, false).await,
            (true, true) => file.write_at_and_flush(buf, offset).await,
        };
        outcome.expect("transferred");
    }
}
