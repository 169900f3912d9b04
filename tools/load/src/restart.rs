//! How fast a restart is: fills a log, kills, times the replay.
//!
//! Invariant: what is timed is a replay of the whole log from the device, after a kill.

use std::{io, thread};

use crate::{
    client::Client,
    options::Options,
    random::Random,
    server::{Server, Setup},
};

/// Log to fill.
const LOG_BYTES: u64 = 1 << 30;
/// Largest object that lives in the log.
const OBJECT_BYTES: u64 = 32 << 10;
const CONNECTIONS: u64 = 16;
/// Log that a second of restart must get through at least.
const REPLAY_MIB_PER_S_MIN: f64 = 500.0;
const TRIALS: u32 = 5;

/// `restart`: true when replay is fast enough.
///
/// # Errors
/// When the server cannot be run.
pub fn run(options: &Options) -> io::Result<bool> {
    let home = options.data.join(format!("restart-{}", options.seed));
    std::fs::create_dir_all(&home)?;
    let mut setup = Setup::new(&options.binary, &home.join("data"))?;
    setup.flags = ["--sync", "none", "--memory", "2G"].map(str::to_owned).to_vec();
    let log = home.join("server.log");
    let (server, _) = setup.start(1, &log)?;
    fill(&setup, options.seed)?;
    server.kill()?;
    let mut speeds = Vec::new();
    for _ in 0..TRIALS {
        let (server, banner): (Server, _) = setup.start(1, &log)?;
        let mib = banner.log_bytes / 1048576.0;
        let speed = mib / (banner.replay_ms / 1000.0).max(0.001);
        println!(
            "restart: {mib:.0} MiB of log in {:.0} ms: {speed:.0} MiB/s; serving after {} ms, RSS {} MiB",
            banner.replay_ms,
            banner.ready.as_millis(),
            server.status_kib("VmRSS") / 1024
        );
        speeds.push(speed);
        server.kill()?;
    }
    speeds.sort_by(f64::total_cmp);
    let median = speeds[speeds.len() / 2];
    println!("restart: median {median:.0} MiB/s, demanded {REPLAY_MIB_PER_S_MIN:.0}");
    std::fs::remove_dir_all(&home)?;
    Ok(median >= REPLAY_MIB_PER_S_MIN)
}

fn fill(setup: &Setup, seed: u64) -> io::Result<()> {
    Client::new(setup.listen).request("PUT", "/bucket", b"")?;
    let each = LOG_BYTES / OBJECT_BYTES / CONNECTIONS;
    let filled: io::Result<Vec<()>> = thread::scope(|scope| {
        let fill = |connection: u64| {
            scope.spawn(move || {
                let mut client = Client::new(setup.listen);
                let body = Random::new(seed ^ connection).bytes(OBJECT_BYTES as usize);
                for nth in 0..each {
                    let response = client.request("PUT", &format!("/bucket/{connection}/{nth:06}"), &body)?;
                    if !response.is_success() {
                        return Err(io::Error::other(format!("PUT answered {}", response.status)));
                    }
                }
                Ok(())
            })
        };
        let running: Vec<_> = (0..CONNECTIONS).map(fill).collect();
        running.into_iter().map(|fill| fill.join().expect("a filler does not panic")).collect()
    });
    filled.map(drop)
}
