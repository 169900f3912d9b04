//! `stria inspect`: what lies on the volumes of a store, structure by structure.
//!
//! Invariant: writes nothing. Beside a running server it says that what it shows may be changing. Runs on one core of
//! its own.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use serde_json::{Value, json};
use stria_base::{BucketId, VolumeId};
use stria_engine::keys;
use stria_store::{
    BodyRef, CopyState, LogEntry, RowView, Segment, VolumeHead, each_frame, read_head, replay,
};

use crate::{
    config::print_size,
    offline::{self, Opened, name_of, on_core, open_disks},
    open::{OpenError, VolumePath},
    real_env::{RealDisk, RealEnv},
    scrub::hex,
    serve::ServeError,
};

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The copies of superblock, map and manifest, and what they say.
    Superblock,
    /// The segments.
    Map,
    /// The frames of the log.
    Log,
    /// One frame, by its number.
    Frame(u64),
    /// The runs of the index.
    Runs,
    /// The placement groups as the manifests have them.
    Manifest,
    /// Space and the rows that name it.
    Extents,
    /// The rows of one key: bucket and key.
    Key(String, Vec<u8>),
}

impl What {
    /// From the words after the path.
    #[must_use]
    pub fn parse(words: &[&str]) -> Option<Self> {
        match words {
            [] | ["superblock"] => Some(Self::Superblock),
            ["map"] => Some(Self::Map),
            ["log"] => Some(Self::Log),
            ["frame", number] => number.parse().ok().map(Self::Frame),
            ["runs"] => Some(Self::Runs),
            ["manifest"] => Some(Self::Manifest),
            ["extents"] => Some(Self::Extents),
            ["key", of] => {
                let (bucket, key) = of.split_once('/')?;
                Some(Self::Key(bucket.to_owned(), key.as_bytes().to_vec()))
            }
            _ => None,
        }
    }
}

/// Rows under columns. A column whose name ends in `bytes` holds sizes.
pub struct Table {
    /// What it shows.
    pub name: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Table {
    fn new(name: &'static str, columns: &'static [&'static str]) -> Self {
        Self { name, columns, rows: Vec::new() }
    }

    fn push(&mut self, row: Vec<Value>) {
        assert_eq!(row.len(), self.columns.len(), "a value per column of {}", self.name);
        self.rows.push(row);
    }

    /// For machines: a list of objects.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let object = |row: &Vec<Value>| {
            let fields =
                self.columns.iter().zip(row).map(|(name, value)| ((*name).to_owned(), value.clone()));
            Value::Object(fields.collect())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    /// For people: aligned, numbers to the right.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = |(column, value): (usize, &Value)| match value {
            Value::Number(bytes) if self.columns[column].ends_with("bytes") => {
                print_size(bytes.as_u64().unwrap_or(0))
            }
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        let cells: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().enumerate().map(text).collect()).collect();
        let width = |column: usize| {
            let widest = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            widest.max(self.columns[column].len())
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut out = format!("{}\n", self.name);
        let head: Vec<String> = self.columns.iter().map(|name| (*name).to_owned()).collect();
        for (nth, row) in std::iter::once(&head).chain(&cells).enumerate() {
            let mut line = String::from(" ");
            for (column, cell) in row.iter().enumerate() {
                let is_number = self.rows.first().is_some_and(|row| row[column].is_number());
                let width = widths[column];
                // The first row of values says which way a column leans.
                let _ = if is_number {
                    write!(line, " {cell:>width$} ")
                } else {
                    write!(line, " {cell:<width$} ")
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
            if nth == 0 && cells.is_empty() {
                out.push_str("  nothing\n");
            }
        }
        out
    }
}

/// What was asked for, and whether a server may be changing it meanwhile.
///
/// # Errors
/// When there is no store, or it cannot be read.
pub fn inspect(path: &Path, what: What) -> Result<(Vec<Table>, bool), ServeError> {
    let Opened { directory, record, mut paths, buckets, served_by } = offline::look(path)?;
    let is_alone = record.is_none();
    let tables = on_core(async move |env| {
        let disks = open_disks(&env, &paths).await?;
        let mut heads = Vec::new();
        for (path, (_, disk)) in paths.iter_mut().zip(&disks) {
            let head = read_head(&env, disk).await?;
            // A volume without its directory says itself which it is.
            if let (true, Some(info)) = (is_alone, &head.info) {
                path.id = info.identity.volume;
            }
            heads.push(head);
        }
        let disks = paths.iter().map(|path| path.id).zip(disks.into_iter().map(|(_, disk)| disk)).collect();
        show(&env, &what, &heads, disks, &paths, &buckets).await
    })?;
    drop(directory);
    Ok((tables, served_by.is_some()))
}

async fn show(
    env: &RealEnv,
    what: &What,
    heads: &[VolumeHead],
    disks: Vec<(VolumeId, RealDisk)>,
    paths: &[VolumePath],
    buckets: &BTreeMap<u64, String>,
) -> Result<Vec<Table>, OpenError> {
    Ok(match what {
        What::Superblock => vec![copies(heads, paths), superblocks(heads, paths)],
        What::Map => vec![maps(heads, paths)],
        What::Manifest => vec![manifests(heads, paths)],
        What::Runs => vec![runs(heads, paths)],
        What::Log => vec![log(env, heads, &disks).await?],
        What::Frame(number) => frame(env, heads, &disks, *number, buckets).await?,
        What::Extents => vec![extents(env, heads, disks, buckets).await?],
        What::Key(bucket, key) => vec![key_rows(env, heads, disks, buckets, bucket, key).await?],
    })
}

fn copies(heads: &[VolumeHead], paths: &[VolumePath]) -> Table {
    let mut table = Table::new("copies", &["volume", "of", "offset", "bytes", "state", "version"]);
    for (head, path) in heads.iter().zip(paths) {
        for copy in &head.copies {
            let state = match copy.state {
                CopyState::Counts => "counts",
                CopyState::Other => "older or interrupted",
                CopyState::Damaged => "DAMAGED",
            };
            table.push(vec![
                json!(path.id.0),
                json!(copy.kind.name()),
                json!(copy.offset),
                json!(copy.bytes),
                json!(state),
                json!(copy.version),
            ]);
        }
    }
    table
}

fn superblocks(heads: &[VolumeHead], paths: &[VolumePath]) -> Table {
    let mut table = Table::new("superblock", &["volume", "field", "value"]);
    for (head, path) in heads.iter().zip(paths) {
        let mut row = |field: &str, value: Value| table.push(vec![json!(path.id.0), json!(field), value]);
        let Some(info) = &head.info else {
            row("superblock", json!("no copy verifies"));
            continue;
        };
        row("store", json!(format!("{:032x}", info.identity.store_uuid)));
        row("placement groups", json!(info.identity.pg_count));
        row("epoch", json!(info.epoch));
        row("shut down in order", json!(info.clean));
        row("segment bytes", json!(info.geometry.segment_bytes()));
        row("writers", json!(format!("{:?}", info.writers)));
        row("highest stamp", json!(info.hlc_high.0));
        if let Some(position) = info.position {
            row("replay begins in generation", json!(position.generation));
            row("replay begins at byte", json!(position.offset));
            row("replay begins with frame", json!(position.next_seq));
        }
        if let Some(manifest) = info.manifest {
            row("manifest at", json!(format!("{} and {}", manifest.offsets[0], manifest.offsets[1])));
            row("manifest bytes", json!(manifest.bytes));
        }
        row("scrub goes on at", json!(format!("{:?}", info.scrub.next)));
        row("deep scrub ended, ms since 1970", json!(info.scrub.deep_done_ms));
        row("light scrub ended, ms since 1970", json!(info.scrub.light_done_ms));
    }
    table
}

fn maps(heads: &[VolumeHead], paths: &[VolumePath]) -> Table {
    let mut table = Table::new("map", &["volume", "segment", "offset", "use", "generation", "log_bytes"]);
    for (head, path) in heads.iter().zip(paths) {
        let (Some(info), Some(map)) = (&head.info, &head.map) else { continue };
        for (number, segment) in map.segments.iter().enumerate() {
            let offset = json!(info.geometry.offset(number as u32));
            let (what, generation, end) = match segment {
                Segment::Free => ("free", Value::Null, Value::Null),
                Segment::Extents => ("extents", Value::Null, Value::Null),
                Segment::Log { generation, end: None } => ("log, open", json!(generation), Value::Null),
                Segment::Log { generation, end: Some(end) } => ("log", json!(generation), json!(end)),
            };
            table.push(vec![json!(path.id.0), json!(number), offset, json!(what), generation, end]);
        }
    }
    table
}

fn manifests(heads: &[VolumeHead], paths: &[VolumePath]) -> Table {
    let mut table =
        Table::new("manifest", &["volume", "pg", "state", "version", "last_change", "runs", "rows", "bytes"]);
    for (head, path) in heads.iter().zip(paths) {
        for entry in head.manifest.iter().flat_map(|manifest| &manifest.entries) {
            table.push(vec![
                json!(path.id.0),
                json!(entry.pg.0),
                json!(if entry.needs_repair { "NEEDS REPAIR" } else { "active" }),
                json!(entry.version),
                json!(entry.pg_seq),
                json!(entry.runs.len()),
                json!(entry.runs.iter().map(|run| run.rows).sum::<u64>()),
                json!(entry.runs.iter().map(|run| run.bytes).sum::<u64>()),
            ]);
        }
    }
    table
}

fn runs(heads: &[VolumeHead], paths: &[VolumePath]) -> Table {
    let columns = &["volume", "pg", "run", "rows", "bytes", "index_bytes", "offset", "extents"];
    let mut table = Table::new("runs, the newest of a placement group first", columns);
    for (head, path) in heads.iter().zip(paths) {
        for entry in head.manifest.iter().flat_map(|manifest| &manifest.entries) {
            for run in &entry.runs {
                table.push(vec![
                    json!(path.id.0),
                    json!(entry.pg.0),
                    json!(format!("{:016x}", run.id)),
                    json!(run.rows),
                    json!(run.bytes),
                    json!(run.index_bytes),
                    json!(run.extents.first().map(|extent| extent.offset)),
                    json!(run.extents.len()),
                ]);
            }
        }
    }
    table
}

async fn log(
    env: &RealEnv,
    heads: &[VolumeHead],
    disks: &[(VolumeId, RealDisk)],
) -> Result<Table, OpenError> {
    let columns = &["volume", "segment", "generation", "offset", "frame", "records", "bytes", "durable_upto"];
    let mut table = Table::new("log, oldest frame first", columns);
    for (head, (id, disk)) in heads.iter().zip(disks) {
        let add = |entry: LogEntry| {
            let frame = entry.frame.as_ref();
            table.push(vec![
                json!(id.0),
                json!(entry.segment),
                json!(entry.generation),
                json!(entry.offset),
                frame.map_or(json!("DAMAGED"), |frame| json!(frame.seq)),
                json!(frame.map(|frame| frame.count)),
                json!(entry.bytes),
                json!(frame.map(|frame| frame.durable_upto)),
            ]);
        };
        each_frame(env, disk, head, add).await?;
    }
    Ok(table)
}

async fn frame(
    env: &RealEnv,
    heads: &[VolumeHead],
    disks: &[(VolumeId, RealDisk)],
    number: u64,
    buckets: &BTreeMap<u64, String>,
) -> Result<Vec<Table>, OpenError> {
    let columns = &["volume", "offset", "pg", "pg_seq", "hlc", "kind", "change", "seq", "body_bytes", "row"];
    let mut table = Table::new("frame", columns);
    for (head, (id, disk)) in heads.iter().zip(disks) {
        let add = |entry: LogEntry| {
            if entry.frame.as_ref().is_none_or(|frame| frame.seq != number) {
                return;
            }
            for record in &entry.records {
                for (key, is_delete, seq, body_bytes) in &record.changes {
                    table.push(vec![
                        json!(id.0),
                        json!(entry.offset),
                        json!(record.pg.0),
                        json!(record.pg_seq),
                        json!(record.hlc.0),
                        json!(if record.is_relocated { "moved by cleaning" } else { "written" }),
                        json!(if *is_delete { "delete" } else { "put" }),
                        json!(seq),
                        json!(body_bytes),
                        json!(name_of(key, buckets)),
                    ]);
                }
            }
        };
        each_frame(env, disk, head, add).await?;
    }
    Ok(vec![table])
}

fn uuid_of(heads: &[VolumeHead]) -> u128 {
    heads.iter().find_map(|head| head.info.as_ref()).map_or(0, |info| info.identity.store_uuid)
}

async fn extents(
    env: &RealEnv,
    heads: &[VolumeHead],
    disks: Vec<(VolumeId, RealDisk)>,
    buckets: &BTreeMap<u64, String>,
) -> Result<Table, OpenError> {
    let mut found = Vec::new();
    for (volume, manifest) in heads.iter().filter_map(|head| head.info.as_ref().zip(head.manifest.as_ref())) {
        for entry in &manifest.entries {
            let extents = entry.runs.iter().flat_map(|run| &run.extents);
            found.extend(extents.map(|extent| (*extent, entry.pg.0, "run".to_owned())));
        }
        for extent in volume.manifest.iter().flat_map(|named| named.extents(volume.identity.volume)) {
            found.push((extent, 0, "manifest".to_owned()));
        }
    }
    for pg in replay(env, uuid_of(heads), disks).await?.into_whole() {
        pg.each(|key, row| {
            if let BodyRef::Extents(body) = row.body() {
                found.extend(body.extents.iter().map(|extent| (*extent, pg.pg.0, name_of(key, buckets))));
            }
        });
    }
    found.sort();
    let mut table = Table::new("extents in use", &["volume", "offset", "bytes", "pg", "named_by"]);
    for (extent, pg, name) in found {
        table.push(vec![
            json!(extent.volume.0),
            json!(extent.offset),
            json!(extent.bytes),
            json!(pg),
            json!(name),
        ]);
    }
    Ok(table)
}

async fn key_rows(
    env: &RealEnv,
    heads: &[VolumeHead],
    disks: Vec<(VolumeId, RealDisk)>,
    buckets: &BTreeMap<u64, String>,
    bucket: &str,
    key: &[u8],
) -> Result<Table, OpenError> {
    let columns = &["row", "pg", "seq", "hlc", "kind", "bytes", "volume", "offset", "segment", "data_id"];
    let mut table = Table::new("rows of the key", columns);
    let Some((&number, _)) = buckets.iter().find(|(_, name)| *name == bucket) else { return Ok(table) };
    let bucket = BucketId(number);
    let is_it = |row: &[u8]| {
        keys::object_key(bucket, row).is_some_and(|found| found == key)
            || keys::version_of(bucket, row).is_some_and(|(found, _)| found == key)
    };
    for pg in replay(env, uuid_of(heads), disks).await?.into_whole() {
        pg.each(|found, row| {
            if is_it(found) {
                push_places(&mut table, &name_of(found, buckets), pg.pg.0, row);
            }
        });
    }
    Ok(table)
}

fn push_places(table: &mut Table, name: &str, pg: u16, row: RowView<'_>) {
    let mut push = |kind: &str, bytes: u64, volume: u16, offset: Value, id: Value| {
        table.push(vec![
            json!(name),
            json!(pg),
            json!(row.seq),
            json!(row.hlc.0),
            json!(kind),
            json!(bytes),
            json!(volume),
            offset,
            json!(row.home.segment),
            id,
        ]);
    };
    match row.body() {
        BodyRef::None => push("no body", 0, row.home.volume.0, Value::Null, Value::Null),
        BodyRef::Inline(inline) => {
            let id = json!(hex(&inline.id.0.to_be_bytes()));
            push("in the log", u64::from(inline.bytes), inline.volume.0, json!(inline.offset), id);
        }
        BodyRef::Extents(body) => {
            for extent in &body.extents {
                let id = json!(hex(&body.id.0.to_be_bytes()));
                push("extent", u64::from(extent.bytes), extent.volume.0, json!(extent.offset), id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what() {
        assert_eq!(What::parse(&[]), Some(What::Superblock));
        assert_eq!(What::parse(&["frame", "7"]), Some(What::Frame(7)));
        assert_eq!(What::parse(&["frame", "x"]), None);
        let key = What::Key("b".to_owned(), b"a/c".to_vec());
        assert_eq!(What::parse(&["key", "b/a/c"]), Some(key));
        assert_eq!(What::parse(&["key", "b"]), None);
    }

    #[test]
    fn columns_align_and_machines_get_numbers() {
        let mut table = Table::new("sizes", &["name", "bytes"]);
        table.push(vec![json!("a"), json!(2048)]);
        table.push(vec![json!("long name"), json!(7)]);
        assert_eq!(table.to_text(), "sizes\n  name       bytes\n  a          2 KiB\n  long name    7 B\n");
        assert_eq!(table.to_json(), json!([{"name": "a", "bytes": 2048}, {"name": "long name", "bytes": 7}]));
    }
}
