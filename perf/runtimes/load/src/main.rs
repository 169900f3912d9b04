//! The load: keep-alive connections that ask, read the whole answer, and ask again.
//!
//! Invariant: the same for every server; it checks that each answer is complete. Measurement code.

use bytes::Bytes;
use common::Args;
use std::{cell::Cell, rc::Rc};
use stria_base::CoreId;
use stria_runtime::{Core, CoreConfig, run};

const REQUEST: &[u8] =
    b"GET /bucket/object HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n";

fn main() {
    let args = Args::parse();
    let config = CoreConfig { pin_cpu: Some(args.cpu), ..CoreConfig::new(CoreId(0)) };
    run(config, async |core| {
        let answers = Rc::new(Cell::new(0u64));
        for _ in 0..args.connections {
            core.spawn(ask(core.clone(), args.port, args.body, answers.clone()));
        }
        core.sleep(args.seconds * 1_000_000_000).await;
        println!("{}", answers.get());
    })
    .expect("the core runs");
}

async fn ask(core: Core, port: u16, body: usize, answers: Rc<Cell<u64>>) {
    let mut stream = core.connect(([127, 0, 0, 1], port).into()).await.expect("connected");
    loop {
        stream.send_bytes(Bytes::from_static(REQUEST)).await.expect("sent");
        let mut left = None;
        while left != Some(0) {
            let part = stream.recv().await.expect("an answer");
            assert!(!part.is_empty(), "the server closed");
            let here = match left {
                Some(_) => part.len(),
                None => {
                    let head = part.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head");
                    part.len() - head - 4
                }
            };
            left = Some(left.unwrap_or(body) - here);
        }
        answers.set(answers.get() + 1);
    }
}
