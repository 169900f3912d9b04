//! MD5 throughput by streams hashed together: `cargo run --release -p stria-md5lanes --example speed`.
//! Ordinary thread; nothing but this process' clock.

use std::hint::black_box;

use md5::Digest as _;
use stria_md5lanes::{Md5, update_together};

const BYTES: usize = 256 << 10;

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn seconds(mut work: impl FnMut()) -> f64 {
    work();
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = std::time::Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let bodies: Vec<Vec<u8>> = (0..16u8).map(|n| vec![n; BYTES]).collect();
    let gigabytes = |streams: usize, seconds: f64| (streams * BYTES) as f64 / 1e9 / seconds;
    let library = seconds(|| {
        black_box(md5::Md5::digest(&bodies[0]));
    });
    println!("md-5 crate, one stream: {:.2} GB/s", gigabytes(1, library));
    for count in [1, 2, 3, 4, 8, 9, 12, 16] {
        let took = seconds(|| {
            let mut hashers = vec![Md5::new(); count];
            let mut streams: Vec<_> =
                hashers.iter_mut().zip(&bodies).map(|(md5, body)| (md5, &body[..])).collect();
            update_together(&mut streams);
            black_box(hashers);
        });
        println!("{count:2} streams: {:.2} GB/s", gigabytes(count, took));
    }
}
