//! How fast a restart with many rows is: from the log alone, and from runs.
//!
//! Invariant: the same store is started each time, so that the figures compare. With `--before` another
//! program fills it and is timed first.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    options::Options,
    random::Random,
    server::{Server, Setup},
};

const OBJECT_BYTES: usize = 1 << 10;
const CONNECTIONS: u64 = 16;
const TRIALS: u32 = 3;

/// `index`: prints figures, demands nothing.
///
/// # Errors
/// When a server cannot be run.
pub fn run(options: &Options) -> io::Result<bool> {
    let home = options.data.join(format!("index-{}", options.seed));
    std::fs::create_dir_all(&home)?;
    let mut now = Setup::new(&options.binary, &home.join("data"))?;
    now.flags = ["--sync", "none", "--memory", "12G"].map(str::to_owned).to_vec();
    let before = options.before.as_ref().map(|binary| Setup { binary: binary.clone(), ..now.clone() });
    let log = home.join("server.log");
    let first = before.as_ref().unwrap_or(&now);
    let (server, _) = first.start(2, &log)?;
    let start = Instant::now();
    println!("index: idle RSS {} MiB", server.status_kib("VmRSS") / 1024);
    fill(first, options.seed, options.objects)?;
    println!(
        "index: {} objects of 1 KiB in {} s, RSS {} MiB",
        options.objects,
        start.elapsed().as_secs(),
        server.status_kib("VmRSS") / 1024
    );
    server.kill()?;
    if let Some(before) = &before {
        for _ in 0..TRIALS {
            timed("before, killed", before, &log)?.kill()?;
        }
    }
    timed("now, killed", &now, &log)?.kill()?;
    timed("now, killed", &now, &log)?.stop()?;
    for _ in 0..TRIALS {
        let server = timed("now, stopped", &now, &log)?;
        let start = Instant::now();
        server.stop()?;
        println!("index: the stop took {} ms", start.elapsed().as_millis());
    }
    std::fs::remove_dir_all(&home)?;
    Ok(true)
}

fn timed(what: &str, setup: &Setup, log: &std::path::Path) -> io::Result<Server> {
    let (server, banner) = setup.start(2, log)?;
    println!(
        "index: {what}: recovered in {:.0} ms ({:.0} MiB of log), serving after {} ms, RSS {} MiB, peak {} MiB",
        banner.replay_ms,
        banner.log_bytes / 1048576.0,
        banner.ready.as_millis(),
        server.status_kib("VmRSS") / 1024,
        server.status_kib("VmHWM") / 1024
    );
    // The first checkpoint, and whatever else follows a start, is not part of a stop.
    thread::sleep(Duration::from_secs(3));
    Ok(server)
}

fn fill(setup: &Setup, seed: u64, objects: u64) -> io::Result<()> {
    Client::new(setup.listen).request("PUT", "/bucket", b"")?;
    let each = objects / CONNECTIONS;
    let filled: io::Result<Vec<()>> = thread::scope(|scope| {
        let fill = |connection: u64| {
            scope.spawn(move || {
                let mut client = Client::new(setup.listen);
                let body = Random::new(seed ^ connection).bytes(OBJECT_BYTES);
                for nth in 0..each {
                    let key = format!("/bucket/folder-{connection:02}/{nth:09}");
                    let response = client.request("PUT", &key, &body)?;
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
