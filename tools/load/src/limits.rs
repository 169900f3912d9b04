//! Memory under load and many idle connections: the server at its bounds answers, and does not grow.
//!
//! Invariant: memory is what the kernel counts for the process (VmHWM), not what the server believes.

use std::{
    io,
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    ledger::Content,
    options::Options,
    random::Random,
    server::{Server, Setup},
};

const BUDGET: &str = "256M";
const BUDGET_KIB: u64 = 256 << 10;
/// Connections and the size of their bodies: few with large ones, then more than there are buffers for.
const LOADS: &[(usize, usize)] = &[(64, 16 << 20), (1_000, 1 << 20)];
/// Bodies that differ; connections beyond share them.
const BODIES: u64 = 16;
const LOAD: Duration = Duration::from_secs(15);
const IDLE_CONNECTIONS: usize = 10_000;

/// What the load got for answers.
#[derive(Default)]
struct Answers {
    puts: AtomicU64,
    gets: AtomicU64,
    slow_downs: AtomicU64,
    others: AtomicU64,
    broken: AtomicU64,
}

/// `limits`: true when both bounds held.
///
/// # Errors
/// When the server cannot be run.
pub fn run(options: &Options) -> io::Result<bool> {
    let home = options.data.join(format!("limits-{}", options.seed));
    std::fs::create_dir_all(&home)?;
    let mut setup = Setup::new(&options.binary, &home.join("data"))?;
    setup.flags = ["--memory", BUDGET].map(str::to_owned).to_vec();
    let log = home.join("server.log");
    let (mut server, _) = setup.start(2, &log)?;
    println!("limits: budget {BUDGET}, fresh server RSS {} MiB", server.status_kib("VmRSS") / 1024);
    Client::new(setup.listen).request("PUT", "/bucket", b"")?;
    let mut large = true;
    for (connections, bytes) in LOADS {
        large &= under_load(&setup, &mut server, options.seed, *connections, *bytes);
    }
    drop(server);
    std::fs::remove_dir_all(&home)?;
    std::fs::create_dir_all(&home)?;
    let (mut server, _) = setup.start(2, &log)?;
    let idle = idle_connections(&setup, &mut server)?;
    drop(server);
    std::fs::remove_dir_all(&home)?;
    Ok(large && idle)
}

/// Connections that put and get bodies as fast as they are let.
fn under_load(setup: &Setup, server: &mut Server, seed: u64, connections: usize, bytes: usize) -> bool {
    let answers = Answers::default();
    let bodies: Vec<_> = (0..BODIES).map(|nth| Random::new(seed ^ nth).bytes(bytes)).collect();
    let end = Instant::now() + LOAD;
    thread::scope(|scope| {
        for connection in 0..connections {
            let (answers, body) = (&answers, &bodies[connection % bodies.len()]);
            scope.spawn(move || put_and_get(setup, connection, body, end, answers));
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let peak_kib = server.status_kib("VmHWM");
    println!(
        "limits: {connections} connections of {} MiB for {} s: {} PUT, {} GET, {} SlowDown, {} other, {} broken",
        bytes >> 20,
        LOAD.as_secs(),
        count(&answers.puts),
        count(&answers.gets),
        count(&answers.slow_downs),
        count(&answers.others),
        count(&answers.broken)
    );
    println!("limits: RSS peak {} MiB of {} MiB", peak_kib / 1024, BUDGET_KIB / 1024);
    let alive = server.is_alive() && serves(setup);
    println!("limits: afterwards {}", if alive { "alive and serving" } else { "NOT SERVING" });
    let good = count(&answers.others) == 0 && count(&answers.puts) > 0 && count(&answers.gets) > 0;
    alive && good && peak_kib <= BUDGET_KIB
}

fn put_and_get(setup: &Setup, connection: usize, body: &[u8], end: Instant, answers: &Answers) {
    let mut client = Client::new(setup.listen);
    let expected = Content::of(body);
    let (target, mut stored) = (format!("/bucket/{connection}"), false);
    let mut nth = 0;
    while Instant::now() < end {
        nth += 1;
        let get = stored && nth % 2 == 0;
        let outcome =
            if get { client.request("GET", &target, b"") } else { client.request("PUT", &target, body) };
        let counter = match outcome {
            Ok(response) if response.is_success() && get => {
                let same = Content::of(&response.body) == expected;
                if same { &answers.gets } else { &answers.others }
            }
            Ok(response) if response.is_success() => {
                stored = true;
                &answers.puts
            }
            Ok(response) if response.status == 503 => {
                // What any S3 client does when asked to slow down.
                thread::sleep(Duration::from_millis(20));
                &answers.slow_downs
            }
            Ok(_) => &answers.others,
            // A refusal in the middle of a body may reach the client as a reset.
            Err(_) => &answers.broken,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a small object comes back within a second.
fn serves(setup: &Setup) -> bool {
    let mut client = Client::new(setup.listen);
    let begun = Instant::now();
    let put = client.request("PUT", "/bucket/small", b"small").is_ok_and(|response| response.is_success());
    let got = client.request("GET", "/bucket/small", b"").is_ok_and(|response| response.body == b"small");
    put && got && begun.elapsed() < Duration::from_secs(1)
}

/// 10,000 connections that say nothing, and one that works.
fn idle_connections(setup: &Setup, server: &mut Server) -> io::Result<bool> {
    Client::new(setup.listen).request("PUT", "/bucket", b"")?;
    let before_kib = server.status_kib("VmRSS");
    let begun = Instant::now();
    let mut held = Vec::with_capacity(IDLE_CONNECTIONS);
    while held.len() < IDLE_CONNECTIONS {
        match TcpStream::connect(setup.listen) {
            Ok(stream) => held.push(stream),
            Err(error) => {
                println!("limits: connection {} failed: {error}", held.len());
                break;
            }
        }
    }
    println!("limits: {} idle connections after {} ms", held.len(), begun.elapsed().as_millis());
    thread::sleep(Duration::from_millis(500));
    let open = held.iter().filter(|stream| is_open(stream)).count();
    let alive = server.is_alive() && serves(setup);
    let per_connection = (server.status_kib("VmRSS") - before_kib) * 1024 / open.max(1) as u64;
    println!(
        "limits: {open} still open, RSS {} MiB ({per_connection} B per connection), {}",
        server.status_kib("VmRSS") / 1024,
        if alive { "serving" } else { "NOT SERVING" }
    );
    drop(held);
    thread::sleep(Duration::from_millis(500));
    let after = server.is_alive() && serves(setup);
    let peak_kib = server.status_kib("VmHWM");
    println!(
        "limits: after they left {}, RSS peak {} MiB",
        if after { "serving" } else { "NOT SERVING" },
        peak_kib / 1024
    );
    Ok(open == IDLE_CONNECTIONS && alive && after && peak_kib <= BUDGET_KIB)
}

/// Whether the peer has not closed.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let silent = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
    stream.set_nonblocking(true).is_ok() && stream.peek(&mut byte).is_err_and(silent)
}
