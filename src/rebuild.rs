//! `stria rebuild-index`: the index written anew from runs that verify and from the log.
//!
//! Invariant: holds the data directory; what counted before counts until the new checkpoint is whole, so that a crash
//! in between changes nothing. Runs on one core of its own.

use stria_store::{RebuildReport, rebuild};

use crate::{
    config::Config,
    offline::{hold, on_core, open_disks, write_index},
    serve::ServeError,
};

/// How it is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether checkpoints that verify are believed.
    pub trusts_runs: bool,
    /// Whether nothing is written.
    pub is_dry: bool,
}

/// Rebuilds the index of the store of `config.data`.
///
/// # Errors
/// When it cannot be read or written; it is then as it was.
pub fn rebuild_index(config: &Config, options: Options) -> Result<RebuildReport, ServeError> {
    let opened = hold(&config.data)?;
    if !options.is_dry {
        opened.unsettle()?;
    }
    let (uuid, paths) = (opened.uuid(), opened.paths.clone());
    let pg_count = opened.record.as_ref().map_or(0, |record| record.pg_count);
    let report = on_core(async move |env| {
        let disks = open_disks(&env, &paths).await?;
        let (replayed, report) = rebuild(&env, uuid, disks.clone(), options.trusts_runs).await?;
        if !options.is_dry {
            write_index(&env, pg_count, disks, replayed, &[]).await?;
        }
        Ok(report)
    });
    drop(opened);
    report
}

/// The report as lines for a person.
#[must_use]
pub fn lines(report: &RebuildReport) -> Vec<String> {
    let numbers = |pgs: &[stria_base::PgId]| {
        let numbers: Vec<String> = pgs.iter().map(|pg| pg.0.to_string()).collect();
        numbers.join(", ")
    };
    let mut lines = vec![
        format!("kept            {} placement groups, whose checkpoint verifies", report.kept.len()),
        format!(
            "rebuilt         {} placement groups from the log, {} rows",
            report.rebuilt.len(),
            report.rows
        ),
    ];
    if !report.incomplete.is_empty() {
        lines.push(format!(
            "incomplete      placement groups {}: frames of the log are lost, rows may be missing; they stay read-only until `stria fsck --repair --accept-loss N`",
            numbers(&report.incomplete)
        ));
    }
    if !report.may_have_deleted.is_empty() {
        lines.push(format!(
            "note            placement groups {}: the number of cores changed in their life; objects may be back whose deletion was cleaned away",
            numbers(&report.may_have_deleted)
        ));
    }
    lines
}
