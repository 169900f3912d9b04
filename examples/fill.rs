//! Fills a stopped store with small objects, many times as fast as clients could: for measurements at a size.
//!
//! `cargo run --release --example fill -- BUCKET OBJECTS BYTES --data DIR --cores N [other options of serve]`
//!
//! Invariant: objects are written through the engine, as requests would have it; the store is closed in order.
//! Runs on all data cores, each writing the objects of the PGs it owns.

use std::{cell::Cell, rc::Rc, thread};

use bytes::Bytes;
use stria::{
    config::{self, Config},
    datadir::DataDir,
    open::{Meeting, VolumePath, open},
    real_env::RealEnv,
    serve::kept_store,
};
use stria_base::{BucketId, CoreId, DataId, ids::pg_of};
use stria_engine::{
    Engine, EngineConfig, ObjectMeta,
    calls::{Operation, Place, PutObject},
    events::CountingSink,
    precondition::WriteCondition,
};
use stria_env::Env;
use stria_runtime::{CoreConfig, run};
use stria_store::NewBody;

/// Writes in flight on one core.
const WRITERS: u64 = 256;

/// What every core does.
#[derive(Clone)]
struct Job {
    config: Config,
    identity: (u128, u16),
    volumes: Vec<VolumePath>,
    bucket: (BucketId, u16),
    objects: u64,
    body: Bytes,
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, bucket, objects, bytes, flags @ ..] = &words[..] else {
        panic!("BUCKET OBJECTS BYTES [options]")
    };
    let number = |text: &String| text.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no number"));
    let command = config::flags_command(clap::Command::new("fill"));
    let flags = command.get_matches_from(std::iter::once("fill".to_owned()).chain(flags.iter().cloned()));
    let config = config::resolve(&flags, &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let directory = DataDir::hold(&config.data).unwrap_or_else(|error| panic!("{error}"));
    let (record, volumes) = kept_store(&directory).unwrap_or_else(|error| panic!("{error}"));
    let meta = stria_meta::MetaStore::open(&directory.meta_path()).unwrap_or_else(|error| panic!("{error}"));
    let found = meta.snapshot().buckets.get(bucket.as_str()).cloned().expect("the bucket exists");
    let job = Job {
        identity: (u128::from_str_radix(&record.uuid, 16).expect("a hexadecimal number"), record.pg_count),
        volumes,
        bucket: (found.bucket_id(), found.pgs),
        objects: number(objects),
        body: Bytes::from((0..number(bytes)).map(|at| (at * 31) as u8).collect::<Vec<u8>>()),
        config,
    };
    let meetings = Meeting::of(job.config.cores).into_iter();
    let fill = |(core, meeting): (u16, Meeting)| {
        let job = job.clone();
        thread::Builder::new().spawn(move || {
            run(CoreConfig::new(CoreId(core)), move |core| fill(RealEnv::new(core), job, meeting))
        })
    };
    let running: Vec<_> = (0..).zip(meetings).map(fill).collect();
    for core in running {
        core.expect("a thread").join().expect("no panic").expect("a core runs");
    }
}

async fn fill(env: RealEnv, job: Job, meeting: Meeting) {
    let index_bytes = job.config.index_bytes / u64::from(job.config.cores);
    let opened = open(&env, &job.config, job.identity, &job.volumes, false, meeting, index_bytes);
    let opened = opened.await.unwrap_or_else(|error| panic!("{error}"));
    let config = EngineConfig { cache_bytes_max: 0, index_bytes_max: usize::MAX };
    let engine = Engine::new(opened.store, opened.volumes, config, Box::new(CountingSink::default()));
    let (next, left) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(WRITERS)));
    for _ in 0..WRITERS {
        let (env, job, engine, next, left) =
            (env.clone(), job.clone(), engine.clone(), next.clone(), left.clone());
        env.clone().spawn(async move {
            while let Some(put) = next_of(&env, &job, &next) {
                put.run(&engine).await.unwrap_or_else(|error| panic!("{error}"));
            }
            left.set(left.get() - 1);
        });
    }
    let store = engine.store().clone();
    while left.get() > 0 {
        env.sleep(250_000_000).await;
        store.all_reached(store.checkpoint_progress());
        if store.checkpoint_due() {
            store.checkpoint().await.unwrap_or_else(|error| panic!("{error}"));
        }
    }
    store.shutdown().await.unwrap_or_else(|error| panic!("{error}"));
}

/// The next object of this core.
fn next_of(env: &RealEnv, job: &Job, next: &Cell<u64>) -> Option<PutObject> {
    loop {
        let nth = next.replace(next.get() + 1);
        if nth >= job.objects {
            return None;
        }
        let key = Bytes::from(format!("folder-{:02}/{:09}", nth % 16, nth / 16));
        let pg = pg_of(job.bucket.0, &key, job.bucket.1, job.identity.1);
        if pg.owner(job.config.cores) != env.core() {
            continue;
        }
        let id = DataId(u128::from(env.random()) << 64 | u128::from(env.random()));
        return Some(PutObject {
            place: Place { pg, bucket: job.bucket.0, key },
            meta: ObjectMeta::new(job.body.len() as u64, [7; 16]),
            body: NewBody::Inline { id, bytes: job.body.clone() },
            condition: WriteCondition::Always,
        });
    }
}
