//! What every candidate shares: flags, the request parser, the response, the disk loop's plan.
//!
//! Invariant: nothing here differs between runtimes, so a difference in the result is the runtime's.
//! Measurement code, not part of the product.

use std::sync::atomic::{AtomicU64, Ordering};

/// Size of the file the disk loop works on.
pub const FILE_BYTES: u64 = 1 << 30;
/// Operations in flight.
pub const QUEUE_DEPTH: usize = 32;

/// `http --port P --body N --cpu C` or `disk --path F --mode M --ops N --cpu C`.
pub struct Args {
    pub command: String,
    pub port: u16,
    pub body: usize,
    pub cpu: usize,
    pub path: String,
    pub mode: String,
    pub ops: u64,
    pub connections: usize,
    pub seconds: u64,
}

impl Args {
    /// From the command line; anything unknown ends the process.
    pub fn parse() -> Self {
        let mut args = Self {
            command: String::new(),
            port: 18_080,
            body: 1024,
            cpu: 0,
            path: String::new(),
            mode: "rr4k".into(),
            ops: 10_000,
            connections: 32,
            seconds: 1,
        };
        let mut words = std::env::args().skip(1);
        args.command = words.next().expect("http or disk");
        while let Some(flag) = words.next() {
            let value = words.next().expect("a value after each flag");
            let number = || value.parse::<u64>().expect("a number");
            match flag.as_str() {
                "--port" => args.port = number() as u16,
                "--body" => args.body = number() as usize,
                "--cpu" => args.cpu = number() as usize,
                "--path" => args.path = value,
                "--mode" => args.mode = value,
                "--ops" => args.ops = number(),
                "--connections" => args.connections = number() as usize,
                "--seconds" => args.seconds = number(),
                _ => panic!("unknown flag {flag}"),
            }
        }
        args
    }
}

/// Pins the calling thread.
pub fn pin(cpu: usize) {
    // SAFETY: all zeros is a valid set, and the index is in range.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
    }
}

/// Requests complete in `bytes`, and the bytes they take.
pub fn parse(bytes: &[u8]) -> (usize, usize) {
    let (mut requests, mut used) = (0, 0);
    while used < bytes.len() {
        let mut headers = [httparse::EMPTY_HEADER; 24];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&bytes[used..]).expect("a good request") {
            httparse::Status::Complete(count) => {
                used += count;
                requests += 1;
            }
            httparse::Status::Partial => break,
        }
    }
    (requests, used)
}

/// Head and body of the one response there is.
pub fn response(body: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/octet-stream\r\nETag: \
         \"d41d8cd98f00b204e9800998ecf8427e\"\r\nContent-Length: {body}\r\n\r\n"
    );
    let mut all = head.into_bytes();
    all.resize(all.len() + body, b'x');
    all
}

/// What the disk loop does.
#[derive(Clone, Copy)]
pub struct Plan {
    pub write: bool,
    pub durable: bool,
    pub bytes: usize,
    pub tasks: usize,
}

/// By name: `rr4k`, `sw64k`, `durable`.
pub fn plan(mode: &str) -> Plan {
    let bulk = |write, bytes| Plan { write, durable: false, bytes, tasks: QUEUE_DEPTH };
    match mode {
        "rr4k" => bulk(false, 4096),
        "sw64k" => bulk(true, 64 << 10),
        "durable" => Plan { write: true, durable: true, bytes: 4096, tasks: 1 },
        _ => panic!("unknown mode {mode}"),
    }
}

/// The next offset of the plan, or `None` when all operations are given out.
pub fn next_offset(plan: Plan, ops: u64, issued: &AtomicU64) -> Option<u64> {
    let n = issued.fetch_add(1, Ordering::Relaxed);
    let blocks = FILE_BYTES / plan.bytes as u64;
    let block = if plan.write { n % blocks } else { mix(n) % blocks };
    (n < ops).then_some(block * plan.bytes as u64)
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (n >> 32)
}

/// Nanoseconds of CPU this process has used, kernel workers on its behalf included.
pub fn cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Prints the disk loop's line.
pub struct Meter(u64, std::time::Instant);

impl Meter {
    pub fn start() -> Self {
        Self(cpu_ns(), std::time::Instant::now())
    }

    pub fn done(self, ops: u64) {
        let (cpu, wall) = (cpu_ns() - self.0, self.1.elapsed().as_secs_f64());
        println!("cpu_us_per_op={:.2} ops_per_s={:.0}", cpu as f64 / ops as f64 / 1e3, ops as f64 / wall);
    }
}
