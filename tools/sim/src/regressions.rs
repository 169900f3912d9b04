//! Bugs the simulator found in the store, each as a test of its own that says what happened.

use std::{future::Future, rc::Rc};

use bytes::Bytes;
use stria_base::{DataId, MIB, PgId};
use stria_env::Env;
use stria_store::{
    BodyRef, BodyWriter, Change, FlushMethod, NewBody, StoreConfig, StoreError, SyncPolicy, read_extents,
};

use crate::{
    node::{self, Machine, Node},
    value::{fill_body, is_body},
    world::{SimDisk, World},
};

fn machine(disk_segments: u64) -> Machine {
    let world = World::new(1);
    let disks = (0..3).map(|i| SimDisk::new(world.clone(), i, 4 * MIB + disk_segments * 2 * MIB)).collect();
    Machine { world, disks, formatted: Rc::default(), segment_log2: 21 }
}

fn config(cores: u16) -> StoreConfig {
    StoreConfig {
        cores,
        pg_count: 4,
        sync: SyncPolicy::Always,
        flush_method: FlushMethod::Durable,
        index_bytes_max: u64::MAX,
        checkpoint_log_bytes: 1 << 20,
    }
}

fn up(machine: &Machine, cores: u16) -> Node {
    run(machine, node::open(machine.clone(), config(cores))).expect("the node comes up")
}

fn run<T: 'static>(machine: &Machine, future: impl Future<Output = T> + 'static) -> T {
    machine.world.run(future).expect("it ends")
}

fn cut(machine: &Machine) {
    machine.world.kill_all();
    machine.disks.iter().for_each(SimDisk::power_cut);
}

fn stop(machine: &Machine, node: &Node) {
    let stores = node.stores.clone();
    run(machine, async move {
        for store in stores {
            store.shutdown().await.expect("no faults");
        }
    });
    cut(machine);
}

/// Puts a small row; `number` is its body.
fn put(machine: &Machine, node: &Node, pg: u16, key: &'static [u8], number: u64) -> Result<(), StoreError> {
    let store = node.store_of(PgId(pg)).clone();
    let mut body = vec![0; 100];
    fill_body(number, 0, &mut body);
    let body = NewBody::Inline { id: DataId(u128::from(number)), bytes: Bytes::from(body) };
    run(machine, async move {
        let _held = store.resolve(PgId(pg), &[key]).await?;
        let put = Change::Put { key: key.into(), meta: Box::default(), body };
        store.commit(PgId(pg), vec![put])?.wait().await.map(drop)
    })
}

/// Puts a row into PG 0 whose body, `number`, lies in extents; the key is the number.
fn put_large(machine: &Machine, node: &Node, number: u64) -> Result<(), StoreError> {
    let (store, volumes, env) = (node.stores[0].clone(), node.volumes[0].clone(), node.envs[0].clone());
    run(machine, async move {
        let mut writer = BodyWriter::new(volumes, DataId(u128::from(number)), Some(500_000));
        writer.give(store.allocate(500_000).await?.extents);
        let mut buf = env.buf(500_000).expect("none is refused");
        fill_body(number, 0, &mut buf);
        writer.push(buf).await?;
        let (body, _) = writer.finish().await.map_err(|(error, _)| error)?;
        let key = number.to_be_bytes();
        let put =
            Change::Put { key: key.into(), meta: Box::default(), body: NewBody::Extents(Box::new(body)) };
        store.commit(PgId(0), vec![put])?.wait().await.map(drop)
    })
}

fn is_there(node: &Node, pg: u16, key: &[u8]) -> bool {
    node.store_of(PgId(pg)).row(PgId(pg), key, |row| row.is_some())
}

/// Opening took a segment for the log before extents in use were known: on a full volume one of live bodies.
#[test]
fn a_full_volume_opens_again_and_again_with_its_bodies() {
    let machine = machine(6);
    let mut node = up(&machine, 1);
    let mut written = 0u64;
    loop {
        let number = written + 1;
        let done = put_large(&machine, &node, number);
        match done {
            Ok(()) => written += 1,
            Err(StoreError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(written > 3, "{written}");
    for _ in 0..10 {
        cut(&machine);
        node = up(&machine, 1);
    }
    for number in 1..=written {
        let body =
            node.stores[0].row(PgId(0), &number.to_be_bytes(), |row| match row.map(|row| row.body()) {
                Some(BodyRef::Extents(body)) => body,
                other => panic!("body {number} is {other:?}"),
            });
        let volumes = node.volumes[0].clone();
        let bytes = run(&machine, async move { read_extents(&volumes, &body, 0, 500_000).await });
        assert!(is_body(number, 0, &bytes.expect("it verifies")));
    }
}

/// After a change of the number of cores only the PGs of the core that read the log were suspected.
#[test]
fn rot_is_reported_by_the_pgs_new_owner() {
    let machine = machine(100);
    let node = up(&machine, 1);
    put(&machine, &node, 1, b"k", 1).expect("no faults");
    let place = node.store_of(PgId(1)).row(PgId(1), b"k", |row| match row.map(|row| row.body()) {
        Some(BodyRef::Inline(inline)) => inline.offset,
        other => panic!("{other:?}"),
    });
    put(&machine, &node, 1, b"proof", 2).expect("no faults");
    cut(&machine);
    let byte = machine.disks[0].peek(place, 1)[0];
    machine.disks[0].poke(place, &[byte ^ 1]);
    let node = up(&machine, 2);
    assert!(!is_there(&node, 1, b"k") && node.needs_repair(PgId(1)));
}

/// The map was written into one slot: the rot of it brought a map back without the newest log segment.
#[test]
fn rot_of_either_map_slot_loses_nothing() {
    for slot in [1u64 << 20, 2 << 20] {
        let machine = machine(100);
        let node = up(&machine, 1);
        put(&machine, &node, 0, b"k", 1).expect("no faults");
        cut(&machine);
        let byte = machine.disks[0].peek(slot, 1)[0];
        machine.disks[0].poke(slot, &[byte ^ 1]);
        let node = up(&machine, 1);
        assert!(is_there(&node, 0, b"k"), "slot at {slot}");
    }
}

/// A durable marker asked for the next one, ten times a second, for ever.
#[test]
fn an_idle_log_writes_one_marker() {
    let machine = machine(100);
    let node = up(&machine, 1);
    put(&machine, &node, 0, b"k", 1).expect("no faults");
    let env = node.envs[0].clone();
    run(&machine, async move { env.sleep(5_000_000_000).await });
    assert_eq!(node.stores[0].stats().frames, 2);
}

/// Every restart took a segment, also when nothing was written.
#[test]
fn restarts_take_no_space() {
    let machine = machine(8);
    for _ in 0..30 {
        let node = up(&machine, 1);
        stop(&machine, &node);
    }
    let node = up(&machine, 1);
    put(&machine, &node, 0, b"k", 1).expect("there is room");
}

/// A volume whose log was emptied by the core that took it over gave its generations out again: frames of the
/// earlier log behind the new one's end were read as its own.
#[test]
fn an_emptied_log_does_not_repeat_its_generations() {
    let machine = machine(100);
    let node = up(&machine, 2);
    for number in 1..6 {
        put(&machine, &node, 1, b"k", number).expect("no faults");
    }
    stop(&machine, &node);
    let node = up(&machine, 1);
    let cleaning = node.clone();
    let cleaned = run(&machine, async move {
        cleaning.tidy_up().await?;
        cleaning.clean_eagerly(0, 0, Some(1)).await
    });
    assert!(cleaned.expect("no faults"), "the log of volume 1 is freed");
    stop(&machine, &node);
    let node = up(&machine, 2);
    put(&machine, &node, 1, b"other", 9).expect("no faults");
    cut(&machine);
    let node = up(&machine, 2);
    assert!(is_there(&node, 1, b"other") && is_there(&node, 1, b"k") && !node.needs_repair(PgId(1)));
    assert_eq!(node.report.rot, 0);
}

/// A restart read the whole log, however often the node had been stopped in order.
#[test]
fn after_an_orderly_stop_nothing_is_replayed() {
    let machine = machine(100);
    let node = up(&machine, 2);
    for (number, key) in [(1, b"a"), (2, b"b"), (3, b"c")] {
        put(&machine, &node, number as u16, key, number).expect("no faults");
    }
    stop(&machine, &node);
    let node = up(&machine, 2);
    assert_eq!((node.report.frames, node.report.run_rows), (0, 3));
    assert!(is_there(&node, 1, b"a") && is_there(&node, 2, b"b") && is_there(&node, 3, b"c"));
    // A node of another number of cores settles, and then replays nothing either.
    stop(&machine, &node);
    let node = up(&machine, 3);
    assert!(!node.stores.iter().any(stria_store::Store::is_settled));
    let settling = node.clone();
    run(&machine, async move { settling.tidy_up().await }).expect("no faults");
    stop(&machine, &node);
    let node = up(&machine, 3);
    assert!(node.stores.iter().all(stria_store::Store::is_settled));
    assert_eq!((node.report.frames, node.report.run_rows), (0, 3));
}

/// Gives every superblock copy of a volume another format number, as another release would have written it.
fn reformat(machine: &Machine, volume: usize, format: u32) {
    for offset in [0, 4096, (4 << 20) - 8192, (4 << 20) - 4096] {
        let mut bytes = machine.disks[volume].peek(offset, 4096);
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        let epoch = u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes"));
        let hash = stria_base::hash::hash64(epoch, &bytes[..4080]);
        bytes[4080..4088].copy_from_slice(&hash.to_le_bytes());
        let crc = stria_base::checksum::crc32c(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&crc.to_le_bytes());
        machine.disks[volume].poke(offset, &bytes);
    }
}

/// Stores of the release before checkpoints open, and are replayed from the start once.
#[test]
fn a_store_of_format_1_opens_and_one_of_a_newer_format_does_not() {
    let machine = machine(100);
    let node = up(&machine, 1);
    put(&machine, &node, 0, b"k", 1).expect("no faults");
    cut(&machine);
    reformat(&machine, 0, 1);
    let node = up(&machine, 1);
    assert!(is_there(&node, 0, b"k") && node.report.frames > 0);
    assert_eq!(machine.disks[0].peek(8, 1), [2], "opening raises the format");
    stop(&machine, &node);
    let node = up(&machine, 1);
    assert!(is_there(&node, 0, b"k") && node.report.frames == 0);
    cut(&machine);
    reformat(&machine, 0, 3);
    let opened = run(&machine, node::open(machine.clone(), config(1)));
    assert!(matches!(opened, Err(StoreError::NewerFormat { found: 3, .. })));
}

/// A write error ended the log for good, although the rest of the drive was sound.
#[test]
fn a_log_leaves_a_segment_that_cannot_be_written_and_loses_nothing() {
    for method in [FlushMethod::Durable, FlushMethod::Flush] {
        let machine = machine(20);
        let config = StoreConfig { flush_method: method, ..config(1) };
        let mut node = run(&machine, node::open(machine.clone(), config)).expect("the node comes up");
        put(&machine, &node, 0, b"before", 1).expect("nothing is broken");
        machine.disks[0].break_range(4 * MIB, 2 * MIB);
        put(&machine, &node, 1, b"behind", 2).expect("the log goes on elsewhere");
        assert_eq!(node.stores[0].stats().log_moves, 1, "{method:?}");
        for number in 0..100 {
            put(&machine, &node, 2, b"often", number).expect("the new segment is sound");
        }
        assert_eq!(node.stores[0].stats().log_moves, 1, "{method:?}");
        cut(&machine);
        node = run(&machine, node::open(machine.clone(), config)).expect("the node comes up");
        for (pg, key) in [(0, &b"before"[..]), (1, b"behind"), (2, b"often")] {
            assert!(is_there(&node, pg, key), "{method:?}: {key:?}");
            assert_eq!(node.stores[0].pg_state(PgId(pg)), stria_store::PgState::Active);
        }
        // Nothing is left to write to.
        machine.disks[0].break_range(0, u64::MAX / 2);
        put(&machine, &node, 0, b"never", 3).expect_err("no segment takes it");
        assert!(node.stores[0].is_failed());
        assert!(is_there(&node, 0, b"before"), "reads go on");
    }
}

/// The number of its body, read as a client would read it; `None` when there is no row.
fn body_of(machine: &Machine, node: &Node, pg: u16, key: &'static [u8]) -> Option<u128> {
    let store = node.store_of(PgId(pg)).clone();
    run(machine, async move {
        let _held = store.resolve(PgId(pg), &[key]).await.expect("no faults");
        store.row(PgId(pg), key, |row| match row?.body() {
            BodyRef::Inline(inline) => Some(inline.id.0),
            other => panic!("{other:?}"),
        })
    })
}

/// After the number of cores had changed twice a log was replayed over runs that had taken in, from the log of another
/// core, what was newer; with the rows left to the runs there was nothing to compare with.
#[test]
fn runs_are_not_hidden_by_an_older_log() {
    let machine = machine(100);
    let up = |cores| {
        let config = StoreConfig { index_bytes_max: 1, ..config(cores) };
        run(&machine, node::open(machine.clone(), config)).expect("the node comes up")
    };
    let node = up(3);
    put(&machine, &node, 2, b"k", 1).expect("no faults");
    put(&machine, &node, 2, b"deleted", 4).expect("no faults");
    stop(&machine, &node);
    let node = up(3);
    put(&machine, &node, 2, b"k", 2).expect("no faults");
    put(&machine, &node, 2, b"deleted", 5).expect("no faults");
    cut(&machine);
    let node = up(1);
    put(&machine, &node, 2, b"k", 3).expect("no faults");
    let store = node.store_of(PgId(2)).clone();
    run(&machine, async move {
        let _held = store.resolve(PgId(2), &[b"deleted"]).await?;
        let delete = Change::Delete { key: (*b"deleted").into() };
        store.commit(PgId(2), vec![delete])?.wait().await.map(drop)
    })
    .expect("no faults");
    cut(&machine);
    let node = up(3);
    let stores = node.stores.clone();
    run(&machine, async move {
        for store in &stores {
            assert!(store.checkpoint().await?);
        }
        // Core 2 is cut off before its position moves.
        stores.iter().for_each(|store| store.all_reached(stria_store::Progress::Covered));
        stores[0].checkpoint().await
    })
    .expect("no faults");
    cut(&machine);
    let node = up(3);
    assert!(!node.store_of(PgId(2)).is_resident(PgId(2)), "rows are left to runs");
    assert_eq!(body_of(&machine, &node, 2, b"k"), Some(3));
    assert_eq!(body_of(&machine, &node, 2, b"deleted"), None);
}

/// Looking a key up in runs did not hold their space: a checkpoint replaced them, the next one wrote over them, and a
/// read that took its time found somebody else's bytes.
#[test]
fn runs_keep_their_space_while_a_key_is_looked_up() {
    let machine = machine(100);
    let config = StoreConfig { index_bytes_max: 0, ..config(1) };
    let node = run(&machine, node::open(machine.clone(), config)).expect("the node comes up");
    for number in 0..6 {
        put(&machine, &node, 0, b"k", number).expect("no faults");
        let store = node.stores[0].clone();
        run(&machine, async move { store.checkpoint().await }).expect("no faults");
    }
    assert!(!node.stores[0].is_resident(PgId(0)), "rows are left to runs");
    machine.disks[0].set_faults(crate::world::Faults { slow_one_in: 4, ..Default::default() });
    let looked_up: Rc<std::cell::Cell<Result<u32, u32>>> = Rc::new(std::cell::Cell::new(Ok(0)));
    let (store, env, counted) = (node.stores[0].clone(), node.envs[0].clone(), looked_up.clone());
    machine.world.spawn(async move {
        while let Ok(count) = counted.get() {
            let found = store.resolve(PgId(0), &[b"k"]).await;
            counted.set(if found.is_ok() { Ok(count + 1) } else { Err(count) });
            env.sleep(1_000).await;
        }
    });
    for number in 6..60 {
        put(&machine, &node, 0, b"other", number).expect("no faults");
        let store = node.stores[0].clone();
        run(&machine, async move { store.checkpoint().await }).expect("no faults");
    }
    assert!(looked_up.get().expect("every lookup succeeds") > 100, "{looked_up:?}");
    machine.world.kill_all();
}

/// Every block of a run is verified, also behind the first piece that is read.
#[test]
fn rot_far_inside_a_run_is_found() {
    let machine = machine(100);
    let node = up(&machine, 1);
    for number in 0..2_000u64 {
        let put =
            |key: Vec<u8>| Change::Put { key: key.into(), meta: Box::from([7; 300]), body: NewBody::None };
        let (store, key) = (node.stores[0].clone(), format!("key {number:06}").into_bytes());
        run(&machine, async move { store.commit(PgId(0), vec![put(key)])?.wait().await.map(drop) })
            .expect("no faults");
    }
    let store = node.stores[0].clone();
    run(&machine, async move { store.checkpoint().await }).expect("no faults");
    let (_, runs) = node.stores[0].checkpoint_extents();
    let (_, extent) = runs.iter().find(|(pg, _)| *pg == PgId(0)).expect("PG 0 has a run");
    assert!(extent.bytes > 600_000, "{} bytes are more than one read", extent.bytes);
    let at = extent.offset + u64::from(extent.bytes) * 3 / 4;
    let byte = machine.disks[0].peek(at, 1)[0];
    machine.disks[0].poke(at, &[byte ^ 1]);
    let store = node.stores[0].clone();
    run(&machine, async move { store.scrub_light().await }).expect("the pass ends");
    let found: Vec<_> = node.stores[0].damage().iter().map(|damage| damage.kind).collect();
    assert_eq!(found, [stria_store::DamageKind::Run]);
}

/// What was freed or taken while space was compared with rows is no damage.
#[test]
fn space_that_changes_hands_during_a_check_is_no_damage() {
    let machine = machine(100);
    let node = up(&machine, 1);
    (1..4).for_each(|number| put_large(&machine, &node, number).expect("there is room"));
    let (store, window) = (node.stores[0].clone(), node.stores[0].space_windows()[0]);
    store.begin_space_check(window);
    let looking = store.clone();
    let named = run(&machine, async move { looking.named_space(window).await }).expect("no faults");
    put_large(&machine, &node, 4).expect("there is room");
    let deleting = store.clone();
    run(&machine, async move {
        let delete = Change::Delete { key: 1u64.to_be_bytes().into() };
        deleting.commit(PgId(0), vec![delete])?.wait().await.map(drop)
    })
    .expect("no faults");
    store.end_space_check(window, vec![named]);
    assert_eq!(store.damage(), []);
}

/// A lost manifest gave way to a new one before the PGs that had moved to other cores were in theirs: after the next
/// cut nobody knew any more that they need repair.
#[test]
fn a_lost_manifest_is_remembered_until_every_pg_says_so() {
    let machine = machine(100);
    let node = up(&machine, 2);
    put(&machine, &node, 3, b"k", 1).expect("no faults");
    put(&machine, &node, 1, b"k", 2).expect("no faults");
    stop(&machine, &node);
    let (manifests, _) = node.stores[1].checkpoint_extents();
    for copy in &manifests {
        let byte = machine.disks[1].peek(copy.offset, 1)[0];
        machine.disks[1].poke(copy.offset, &[byte ^ 1]);
    }
    let node = up(&machine, 3);
    assert_eq!((0..4).map(|pg| node.needs_repair(PgId(pg))).collect::<Vec<_>>(), [false, true, false, true]);
    // Core 1 has a manifest again; core 0, whose PG 3 is now, is cut off before it has written its own.
    let store = node.stores[1].clone();
    assert!(run(&machine, async move { store.checkpoint().await }).expect("no faults"));
    cut(&machine);
    let node = up(&machine, 3);
    assert_eq!((0..4).map(|pg| node.needs_repair(PgId(pg))).collect::<Vec<_>>(), [false, true, false, true]);
    assert!(is_there(&node, 3, b"k") && is_there(&node, 1, b"k"), "what the log had is kept");
    let settling = node.clone();
    run(&machine, async move { settling.tidy_up().await }).expect("no faults");
    cut(&machine);
    let node = up(&machine, 3);
    assert_eq!((0..4).map(|pg| node.needs_repair(PgId(pg))).collect::<Vec<_>>(), [false, true, false, true]);
    assert!(is_there(&node, 3, b"k") && is_there(&node, 1, b"k"), "what the log had is kept");
}
