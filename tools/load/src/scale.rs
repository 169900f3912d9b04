//! What a filled store costs: starts, and the CPU of each operation over random keys.
//!
//! Invariant: only reads and overwrites, so that every run finds the objects the fill left. The keys are those of
//! `examples/fill.rs`.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    options::Options,
    random::Random,
    server::{Metrics, Server, Setup},
};

const CONNECTIONS: u64 = 16;
/// Clock ticks of /proc, microseconds each.
const TICK_US: f64 = 10_000.0;

/// `scale`: prints figures, demands nothing.
///
/// # Errors
/// When the server cannot be run or answers an error.
pub fn run(options: &Options) -> io::Result<bool> {
    let mut setup = Setup::new(&options.binary, &options.data)?;
    setup.flags = ["--sync", "none", "--memory"].map(str::to_owned).to_vec();
    setup.flags.push(options.memory.clone());
    if let Some(index) = &options.index_memory {
        setup.flags.extend(["--index-memory".to_owned(), index.clone()]);
    }
    let log = options.data.join("scale.log");
    let server = start("start", &setup, options, &log)?;
    // The first checkpoint, and whatever else follows a start.
    thread::sleep(Duration::from_secs(3));
    let body = vec![7; options.object_bytes as usize];
    let one = |what, count, call: &(dyn Fn(&mut Client, &mut Random) -> io::Result<()> + Sync)| {
        phase(what, &setup, &server, options.seed, count, call)
    };
    for _ in 0..2 {
        one("GET", 40_000, &|client, random| {
            done(client.request("GET", &key(random, options.objects), b"")?)
        })?;
        one("PUT", 20_000, &|client, random| {
            done(client.request("PUT", &key(random, options.objects), &body)?)
        })?;
        one("LIST of 1,000", 400, &|client, random| {
            let after = key(random, options.objects).replacen("/bucket/", "", 1).replace('/', "%2F");
            done(client.request("GET", &format!("/bucket?list-type=2&start-after={after}"), b"")?)
        })?;
        one("GET of no key", 20_000, &|client, random| {
            let missing = format!("{}x", key(random, options.objects));
            client.request("GET", &missing, b"").map(drop)
        })?;
    }
    println!("scale: RSS {} MiB, peak {} MiB", rss(&server), server.status_kib("VmHWM") / 1024);
    figures(&setup)?;
    let begun = Instant::now();
    server.stop()?;
    println!("scale: the stop took {} ms", begun.elapsed().as_millis());
    start("start after a stop", &setup, options, &log)?.kill()?;
    start("start after a kill", &setup, options, &log)?.stop()?;
    Ok(true)
}

fn rss(server: &Server) -> u64 {
    server.status_kib("VmRSS") / 1024
}

fn done(response: crate::client::Response) -> io::Result<()> {
    if response.is_success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("answered {}", response.status)))
    }
}

fn key(random: &mut Random, objects: u64) -> String {
    let nth = random.below(objects);
    format!("/bucket/folder-{:02}/{:09}", nth % 16, nth / 16)
}

fn start(what: &str, setup: &Setup, options: &Options, log: &std::path::Path) -> io::Result<Server> {
    let begun = Instant::now();
    let (server, banner) = setup.start(2, log)?;
    let ready = begun.elapsed();
    let mut random = Random::new(1);
    done(Client::new(setup.listen).request("GET", &key(&mut random, options.objects), b"")?)?;
    println!(
        "scale: {what}: recovered in {:.0} ms ({:.0} MiB of log), serving after {} ms, first byte after {} ms, RSS {} MiB, peak {} MiB",
        banner.replay_ms,
        banner.log_bytes / 1_048_576.0,
        ready.as_millis(),
        begun.elapsed().as_millis(),
        rss(&server),
        server.status_kib("VmHWM") / 1024
    );
    Ok(server)
}

fn cpu_ticks(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    number(11) + number(12)
}

fn phase(
    what: &str,
    setup: &Setup,
    server: &Server,
    seed: u64,
    count: u64,
    call: &(dyn Fn(&mut Client, &mut Random) -> io::Result<()> + Sync),
) -> io::Result<()> {
    let (ticks, begun) = (cpu_ticks(server), Instant::now());
    let outcome: io::Result<Vec<()>> = thread::scope(|scope| {
        let one = |connection: u64| {
            scope.spawn(move || {
                let (mut client, mut random) =
                    (Client::new(setup.listen), Random::new(seed ^ connection << 32));
                (0..count / CONNECTIONS).try_for_each(|_| call(&mut client, &mut random))
            })
        };
        let running: Vec<_> = (0..CONNECTIONS).map(one).collect();
        running.into_iter().map(|one| one.join().expect("a client does not panic")).collect()
    });
    outcome?;
    let (seconds, cpu_us) = (begun.elapsed().as_secs_f64(), (cpu_ticks(server) - ticks) * TICK_US);
    println!(
        "scale: {what}: {:.1} us CPU each, {:.0} a second, {count} with {CONNECTIONS} connections",
        cpu_us / count as f64,
        count as f64 / seconds
    );
    Ok(())
}

/// Figures of the index, summed over cores.
fn figures(setup: &Setup) -> io::Result<()> {
    let metrics = Metrics::read(setup)?;
    for name in [
        "stria_rows",
        "stria_rows_in_memory",
        "stria_pgs_paged",
        "stria_index_bytes",
        "stria_index_cache_bytes",
        "stria_index_block_reads_total",
        "stria_index_block_hits_total",
        "stria_index_filter_denials_total",
        "stria_index_filter_misses_total",
        "stria_checkpoints_total",
        "stria_checkpoint_bytes_total",
        "stria_runs",
    ] {
        println!("scale: {name} {}", metrics.sum(name));
    }
    Ok(())
}
