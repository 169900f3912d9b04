//! `stria info`: what the options mean, what the data directory holds, how well it is.
//!
//! Invariant: reads only. Beside a running server it asks the admin port instead of the volumes. Main thread; may
//! block.

use std::{cell::RefCell, fmt::Write, rc::Rc};

use stria_base::CoreId;
use stria_runtime::{CoreConfig, run};
use stria_store::{VolumeHead, read_head};

use crate::{
    admin_client,
    config::{Config, print_duration, print_size},
    datadir::{DataDir, DataDirError},
    open::{VolumePath, open_disk},
    real_env::RealEnv,
    serve::{ServeError, kept_store},
};

/// All of it as text.
///
/// # Errors
/// When the data directory is there and cannot be read.
pub fn info(config: &Config) -> Result<String, ServeError> {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<15} {value}");
    };
    line("stria", env!("CARGO_PKG_VERSION").to_owned());
    line("durability", format!("sync {}", config.sync));
    line("cores", config.cores.to_string());
    line("memory", print_size(config.memory_bytes));
    line("index memory", print_size(config.index_bytes));
    line(
        "io_uring",
        stria_runtime::probe().map_or_else(|missing| format!("not usable: {missing}"), |_| "usable".into()),
    );
    line("scrubbing", scrubbing(config));
    line("data directory", config.data.display().to_string());
    if !config.data.join("store.json").exists() {
        line("store", "none yet; the first `stria serve` makes it".to_owned());
        return Ok(out);
    }
    match DataDir::hold(&config.data) {
        Ok(directory) => offline(&directory, &mut line)?,
        Err(DataDirError::Held { pid, .. }) => beside(config, pid, &mut line),
        Err(error) => return Err(error.into()),
    }
    Ok(out)
}

fn scrubbing(config: &Config) -> String {
    let readback = match config.scrub_readback {
        0 => "no write is read back".to_owned(),
        n => format!("1 in {n} writes read back"),
    };
    format!(
        "every byte within {}, copies and index every {}, at most {} % of a drive's time, {readback}",
        print_duration(config.scrub_period_s),
        print_duration(config.scrub_light_period_s),
        config.scrub_share
    )
}

/// Of a directory nobody serves.
fn offline(directory: &DataDir, line: &mut impl FnMut(&str, String)) -> Result<(), ServeError> {
    let (record, paths) = kept_store(directory)?;
    line("store", format!("{} (format {})", record.uuid, record.format));
    line("placement", format!("{} placement groups on {} volumes", record.pg_count, record.volumes.len()));
    for path in &paths {
        let bytes = path.bytes.or_else(|| std::fs::metadata(&path.path).ok().map(|m| m.len())).unwrap_or(0);
        line(&format!("  volume {}", path.id.0), format!("{} ({})", path.path.display(), print_size(bytes)));
    }
    let heads = heads(paths)?;
    for head in heads.iter().flatten() {
        let Some(info) = &head.info else { continue };
        let scrub = info.scrub;
        line(
            &format!("  scrub {}", info.identity.volume.0),
            format!("every byte {}, copies and index {}", ago(scrub.deep_done_ms), ago(scrub.light_done_ms)),
        );
        if head.needs_repair() {
            line("  WARNING", "copies in its header do not verify: `stria fsck --repair` writes them".into());
        }
    }
    let entries = heads.iter().flatten().filter_map(|head| head.manifest.as_ref()).flat_map(|m| &m.entries);
    let read_only: Vec<u16> = entries.filter(|entry| entry.needs_repair).map(|entry| entry.pg.0).collect();
    if !read_only.is_empty() {
        line(
            "READ-ONLY",
            format!("placement groups {read_only:?} need repair: `stria fsck` says what is lost"),
        );
    }
    let meta = stria_meta::MetaStore::open(&directory.meta_path())?;
    line("buckets", meta.snapshot().buckets.len().to_string());
    for bucket in meta.snapshot().buckets.values() {
        line(&format!("  {}", bucket.name), String::new());
    }
    Ok(())
}

/// The heads of all volumes, `None` for one that cannot be read.
///
/// # Errors
/// When the reactor cannot start.
pub fn heads(paths: Vec<VolumePath>) -> Result<Vec<Option<VolumeHead>>, ServeError> {
    let found = Rc::new(RefCell::new(Vec::new()));
    let result = found.clone();
    run(CoreConfig::new(CoreId(0)), async move |core| {
        let env = RealEnv::new(core);
        for path in &paths {
            let head = match open_disk(&env, path).await {
                Ok(disk) => read_head(&env, &disk).await.ok(),
                Err(_) => None,
            };
            result.borrow_mut().push(head);
        }
    })
    .map_err(ServeError::Reactor)?;
    Ok(found.take())
}

/// Of a directory a server serves.
fn beside(config: &Config, pid: Option<u32>, line: &mut impl FnMut(&str, String)) {
    let served = pid.map_or_else(|| "by another process".to_owned(), |pid| format!("by process {pid}"));
    line("served", served);
    let ask = |path| admin_client::ask(config.admin_listen, "GET", path);
    let (health, scrub) = match (ask("/health"), ask("/scrub")) {
        (Ok(health), Ok(scrub)) => (health, scrub),
        (Err(error), _) | (_, Err(error)) => return line("state", format!("not known: {error}")),
    };
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let (health, scrub) = (read(&health), read(&scrub));
    line("state", health["status"].as_str().unwrap_or("not known").to_owned());
    let read_only = health["placement_groups_needing_repair"].as_u64().unwrap_or(0);
    if read_only > 0 {
        line(
            "READ-ONLY",
            format!("{read_only} placement groups need repair: stop the server, run `stria fsck`"),
        );
    }
    for core in scrub["cores"].as_array().into_iter().flatten() {
        let at = |name: &str| core[name].as_u64().unwrap_or(0);
        line(
            &format!("  scrub core {}", at("core")),
            format!(
                "every byte {}, copies and index {}; {} verified since start",
                ago(at("deep_done_ms")),
                ago(at("light_done_ms")),
                print_size(at("bytes_verified"))
            ),
        );
    }
    let damage = scrub["damage"].as_array().cloned().unwrap_or_default();
    line("damage", if damage.is_empty() { "none known".into() } else { damage.len().to_string() });
    for one in damage {
        line("", one["text"].as_str().unwrap_or_default().to_owned());
    }
}

#[expect(clippy::disallowed_methods, reason = "a line for a person, on no data core")]
fn ago(then_ms: u64) -> String {
    if then_ms == 0 {
        return "never yet".to_owned();
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = now.as_secs().saturating_sub(then_ms / 1000);
    let unit = [86_400, 3_600, 60, 1].into_iter().find(|unit| seconds >= *unit).unwrap_or(1);
    format!("{} ago", print_duration(seconds / unit * unit))
}
