//! One fault at a time, of every kind, in every structure on a volume: each is made up for, reported or refused.
//!
//! Invariant: no cell of the table may serve wrong bytes, bring back what was replaced, or lose what was
//! acknowledged without saying so; any that does is a panic. Runs on the simulator's thread.

mod history;
mod places;

use std::{cell::RefCell, collections::BTreeSet, fmt::Write, ops::ControlFlow, rc::Rc};

use stria_base::PgId;
use stria_store::{BodyRef, FlushMethod, StoreConfig, StoreError, SyncPolicy, read_extents};

use self::{
    history::{History, Promised},
    places::Place,
};
use crate::{
    crash::machine,
    model::Key,
    node::{self, Machine, Node},
    oplog,
    value::{Value, is_body},
    world::{DiskImage, Injected, PAGE_BYTES, Rng, SimDisk, World},
};

/// Kinds of faults, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flip,
    Zeros,
    Garbage,
    Stale,
    Misdirected,
    Operation(Injected),
}

const KINDS: [(Kind, &str); 9] = [
    (Kind::Flip, "bit flip"),
    (Kind::Zeros, "zeros"),
    (Kind::Garbage, "garbage"),
    (Kind::Stale, "stale"),
    (Kind::Misdirected, "misdirected"),
    (Kind::Operation(Injected::LoseWrite), "lost write"),
    (Kind::Operation(Injected::HalveWrite), "half a write"),
    (Kind::Operation(Injected::FailRead), "read error"),
    (Kind::Operation(Injected::FailWrite), "write error"),
];

/// Bits flipped in each structure.
const FLIPS: u64 = 24;
/// Writes of one place that are struck in turn.
const WRITES_MAX: u64 = 8;

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    MadeUpFor,
    ReadError,
    NeedsRepair,
    WriteError,
    Refused,
}

impl Outcome {
    fn letter(self) -> char {
        match self {
            Self::MadeUpFor => 'C',
            Self::ReadError => 'E',
            Self::NeedsRepair => 'R',
            Self::WriteError => 'W',
            Self::Refused => 'S',
        }
    }
}

fn config() -> StoreConfig {
    StoreConfig {
        cores: 1,
        pg_count: 2,
        sync: SyncPolicy::Always,
        flush_method: FlushMethod::Flush,
        checkpoint_log_bytes: 1 << 40,
        index_bytes_max: u64::MAX,
    }
}

/// What the history leaves when nothing goes wrong, and an older state of the drive.
struct Sound {
    places: Vec<Place>,
    image: DiskImage,
    older: DiskImage,
    promised: Promised,
}

/// The whole table, as text for docs/reliability.md.
///
/// # Panics
/// At a fault that is neither made up for nor reported.
#[must_use]
pub fn table() -> String {
    let sound = sound();
    let mut text = String::from("| structure |");
    for (_, name) in KINDS {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(KINDS.len()));
    for nth in 0..sound.places.len() {
        let _ = write!(text, "\n| {} |", sound.places[nth].name);
        for (kind, _) in KINDS {
            let letters: Vec<String> =
                cell(&sound, nth, kind).into_iter().map(|outcome| outcome.letter().to_string()).collect();
            let _ = write!(text, " {} |", letters.join(" "));
        }
    }
    text.push('\n');
    text
}

fn open(machine: &Machine) -> Result<Node, StoreError> {
    machine.world.run(node::open(machine.clone(), config())).expect("opening ends")
}

/// A machine whose store is at the point where faults of writes begin.
fn begun() -> (Machine, History, DiskImage) {
    let world = World::new(11);
    let machine = machine(&world, vec![DiskImage::default()], None);
    let node = open(&machine).expect("there are no faults");
    let history = History { node, promised: Rc::default() };
    let running = history.clone();
    world.run(running.begin()).expect("the history ends");
    let older = machine.disks[0].image();
    (machine, history, older)
}

fn go_on(machine: &Machine, history: &History) {
    let running = history.clone();
    machine.world.run(running.go_on()).expect("the history ends");
}

fn sound() -> Sound {
    let (machine, history, older) = begun();
    go_on(&machine, &history);
    let places = places::all(&history.node, &machine.disks[0]);
    let promised = history.promised.take();
    assert_eq!(promised.failed, 0, "nothing fails without a fault");
    drop(history);
    let image = end(&machine);
    Sound { places, image, older, promised }
}

/// Ends the process; what it wrote stays.
fn end(machine: &Machine) -> DiskImage {
    machine.world.kill_all();
    machine.disks[0].process_kill();
    let flushing = machine.disks[0].reopened();
    machine
        .world
        .run(async move { stria_env::Disk::flush(&flushing).await })
        .expect("it ends")
        .expect("no faults");
    machine.disks[0].image()
}

/// Everything that one kind of fault in one structure leads to.
fn cell(sound: &Sound, nth: usize, kind: Kind) -> BTreeSet<Outcome> {
    let place = &sound.places[nth];
    oplog::begin(format!("stria-sim --faults: {kind:?} in {}", place.name));
    let mut outcomes = BTreeSet::new();
    match kind {
        Kind::Flip => {
            let bytes = place.bytes.end - place.bytes.start;
            let mut rng = Rng::new(nth as u64);
            for flip in 0..FLIPS {
                // Spread over the structure, its first and its last byte among them.
                let at = place.bytes.start + flip * (bytes - 1) / (FLIPS - 1);
                let bit = 1 << rng.below(8);
                outcomes.insert(at_rest(sound, |disk| disk.poke(at, &[disk.peek(at, 1)[0] ^ bit])));
            }
        }
        Kind::Zeros => {
            outcomes.insert(at_rest(sound, |disk| replace(disk, place, |byte, _| *byte = 0)));
        }
        Kind::Garbage => {
            let mut rng = Rng::new(nth as u64);
            outcomes.insert(at_rest(sound, |disk| replace(disk, place, |byte, _| *byte = rng.bits() as u8)));
        }
        Kind::Stale => {
            let older = machine(&World::new(1), vec![sound.older.clone()], None).disks[0].clone();
            outcomes.insert(at_rest(sound, |disk| {
                replace(disk, place, |byte, at| *byte = older.peek(at, 1)[0]);
            }));
        }
        Kind::Misdirected => {
            let is_elsewhere = |other: &&Place| other.pages().start != place.pages().start;
            for other in sound.places.iter().filter(is_elsewhere) {
                outcomes.insert(at_rest(sound, |disk| {
                    let from = other.bytes.start / PAGE_BYTES as u64 * PAGE_BYTES as u64;
                    let page = disk.peek(from, PAGE_BYTES);
                    disk.poke((place.pages().start * PAGE_BYTES) as u64, &page);
                }));
            }
        }
        Kind::Operation(Injected::FailRead) => {
            outcomes.insert(at_rest(sound, |disk| disk.inject(Injected::FailRead, place.pages(), 0)));
        }
        Kind::Operation(fault) => {
            for passes in 0..WRITES_MAX {
                let Some(outcome) = struck(place, fault, passes) else { break };
                outcomes.insert(outcome);
            }
        }
    }
    assert!(!outcomes.is_empty(), "{kind:?} strikes nothing in {}", place.name);
    outcomes
}

fn replace(disk: &SimDisk, place: &Place, mut with: impl FnMut(&mut u8, u64)) {
    let mut bytes = disk.peek(place.bytes.start, (place.bytes.end - place.bytes.start) as usize);
    for (byte, at) in bytes.iter_mut().zip(place.bytes.start..) {
        with(byte, at);
    }
    disk.poke(place.bytes.start, &bytes);
}

/// A fault of what lies there.
fn at_rest(sound: &Sound, hurt: impl FnOnce(&SimDisk)) -> Outcome {
    let machine = machine(&World::new(3), vec![sound.image.clone()], None);
    hurt(&machine.disks[0]);
    judge(&machine, &sound.promised)
}

/// A fault of a write while the store runs, the `passes`-th there. `None` when there is no such write.
fn struck(place: &Place, fault: Injected, passes: u64) -> Option<Outcome> {
    let (machine, history, _) = begun();
    machine.disks[0].inject(fault, place.pages(), passes);
    go_on(&machine, &history);
    if machine.disks[0].is_armed() {
        return None;
    }
    let History { node, promised } = history;
    drop(node);
    let image = end(&machine);
    let promised: Rc<RefCell<Promised>> = promised;
    let machine = self::machine(&World::new(3), vec![image], None);
    let outcome = judge(&machine, &promised.borrow());
    let failed = promised.borrow().failed > 0;
    Some(if failed { outcome.max(Outcome::WriteError) } else { outcome })
}

/// Starts, reads everything, and says what became of the fault.
fn judge(machine: &Machine, promised: &Promised) -> Outcome {
    let node = match open(machine) {
        Ok(node) => node,
        // Refused, with a message that says which volume and what to do.
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Outcome::Refused;
        }
    };
    let found = {
        let node = node.clone();
        machine.world.run(async move { read_all(&node).await }).expect("reading ends")
    };
    let mut outcome = found.iter().map(|(_, _, read)| *read).max().unwrap_or(Outcome::MadeUpFor);
    for pg in (0..config().pg_count).map(PgId) {
        if node.needs_repair(pg) {
            outcome = outcome.max(Outcome::NeedsRepair);
        }
    }
    for (key, value, _) in &found {
        assert_eq!(promised.ever.get(&value.id), Some(&(*key, *value)), "a row nobody wrote");
    }
    for (key, allowed) in promised.now.iter().filter(|(key, _)| !node.needs_repair(key.0)) {
        let there = found.iter().find(|(of, _, _)| of == key).map(|(_, value, _)| value.id);
        assert!(allowed.contains(&there), "{key:?} is {there:?}, promised {allowed:?}, and nothing says so");
    }
    outcome
}

/// Every row and how its body reads.
///
/// # Panics
/// At a wrong byte.
async fn read_all(node: &Node) -> Vec<(Key, Value, Outcome)> {
    let (store, mut rows) = (&node.stores[0], Vec::new());
    for pg in store.pgs() {
        store.scan(pg, std::ops::Bound::Unbounded, |key, row| {
            let key = u16::from_be_bytes(key.try_into().expect("our keys have two bytes"));
            let value = Value::decode(row.meta).unwrap_or_else(|| panic!("metadata of {key} is not ours"));
            rows.push(((pg, key), value, row.body()));
            ControlFlow::Continue(())
        });
    }
    let mut found = Vec::new();
    for (key, value, body) in rows {
        let bytes = match &body {
            BodyRef::None => panic!("{key:?} has lost its body"),
            BodyRef::Inline(inline) => store.read_inline(inline).await.map(|bytes| bytes.to_vec()),
            BodyRef::Extents(body) => {
                read_extents(&node.volumes[0], body, 0, body.bytes).await.map(|bytes| bytes.to_vec())
            }
        };
        let outcome = match bytes {
            Ok(bytes) => {
                let right = bytes.len() == value.bytes as usize && is_body(value.body, 0, &bytes);
                assert!(right, "wrong bytes served of {key:?}");
                Outcome::MadeUpFor
            }
            Err(StoreError::Corrupt { .. } | StoreError::Io { .. }) => Outcome::ReadError,
            Err(error) => panic!("reading {key:?}: {error}"),
        };
        found.push((key, value, outcome));
    }
    found
}
