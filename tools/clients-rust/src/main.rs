//! object_store, the client of DataFusion, Polars and delta-rs: put, get, ranges, list, delete, multipart,
//! copy, and the race of conditional puts that table formats build their commits on.
//!
//! Invariant: prints `RESULT` only at the end; every check before it panics when it does not hold.

use std::{process::Command, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectStore, PutMode, PutOptions, PutPayload,
    UpdateVersion,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    signer::Signer,
};

const KEYS: usize = 1000;
const RACERS: usize = 16;
const PART_BYTES: usize = 5 << 20;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let variable = |name: &str| std::env::var(name).expect("started by cargo xtask clients");
    let store = AmazonS3Builder::from_env()
        .with_endpoint(variable("STRIA_ENDPOINT"))
        .with_bucket_name("object-store")
        .with_allow_http(true)
        .build()
        .expect("a client");
    let store = Arc::new(store);
    create_bucket(&store).await;
    sizes_and_ranges(&store).await;
    listing(&store).await;
    multipart_and_copy(&store).await;
    conditions(&store).await;
    delete_all(&store).await;
    println!(
        "RESULT 0.12|put and get of 8 sizes, ranges, list of {KEYS} keys, multipart, copy, race of {RACERS} creates and updates, delete"
    );
}

/// object_store makes no buckets: a presigned PUT of the bucket's name does.
async fn create_bucket(store: &AmazonS3) {
    let put = "PUT".parse().expect("a method");
    let url = store.signed_url(put, &Path::from(""), Duration::from_secs(60)).await.expect("a URL");
    let status = Command::new("curl").args(["-sfS", "-X", "PUT", url.as_str()]).status();
    assert!(status.expect("curl").success(), "the bucket could not be made");
}

/// Bytes that depend on their place and on `seed`.
fn body(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| word()).collect()
}

async fn sizes_and_ranges(store: &AmazonS3) {
    for bytes in [0, 1, 4096, 32 << 10, (32 << 10) + 1, 256 << 10, 1 << 20, (3 << 20) + 7] {
        let (path, data) = (Path::from(format!("size/{bytes}")), body(bytes, 1));
        store.put(&path, data.clone().into()).await.expect("put");
        let got = store.get(&path).await.expect("get");
        assert_eq!(got.meta.size, bytes as u64);
        assert!(got.bytes().await.expect("body") == data, "{bytes} bytes came back changed");
    }
    let (path, data) = (Path::from(format!("size/{}", (3 << 20) + 7)), body((3 << 20) + 7, 1));
    let ranges = [0..1, 5..70_000, (1 << 20) - 1..(2 << 20) + 1];
    for (range, got) in ranges.iter().zip(store.get_ranges(&path, &ranges).await.expect("ranges")) {
        assert!(got == data[range.start as usize..range.end as usize], "{range:?}");
    }
    let suffix = GetOptions { range: Some(GetRange::Suffix(9)), ..GetOptions::default() };
    let got = store.get_opts(&path, suffix).await.expect("suffix").bytes().await.expect("body");
    assert!(got == data[data.len() - 9..], "suffix");
    assert!(matches!(store.head(&Path::from("missing")).await, Err(Error::NotFound { .. })));
    for key in ["with space", "plus+", "a=b", "per%cent", "ümlaut", "🦀"] {
        let path = Path::parse(format!("odd/{key}")).expect("a path");
        store.put(&path, key.to_owned().into()).await.expect("put");
        assert_eq!(store.get(&path).await.expect("get").bytes().await.expect("body"), key);
    }
}

async fn listing(store: &AmazonS3) {
    let names: Vec<Path> = (0..KEYS).map(|i| Path::from(format!("list/{:02}/{i:05}", i % 20))).collect();
    let puts = stream::iter(&names).map(|path| store.put(path, PutPayload::from_static(b"x")));
    puts.buffer_unordered(RACERS).try_collect::<Vec<_>>().await.expect("puts");
    let listed = store.list(Some(&Path::from("list"))).map_ok(|meta| meta.location);
    let listed: Vec<Path> = listed.try_collect().await.expect("list");
    let mut expected = names.clone();
    expected.sort();
    assert!(listed == expected, "{} keys listed", listed.len());
    let after = store.list_with_offset(Some(&Path::from("list")), &expected[KEYS - 3]);
    assert_eq!(after.count().await, 2);
    let folders = store.list_with_delimiter(Some(&Path::from("list"))).await.expect("list");
    assert_eq!((folders.common_prefixes.len(), folders.objects.len()), (20, 0));
}

async fn multipart_and_copy(store: &AmazonS3) {
    let (path, data) = (Path::from("multi"), body(2 * PART_BYTES + 77, 2));
    let mut upload = store.put_multipart(&path).await.expect("upload");
    let mut parts = Vec::new();
    for piece in 0..3 {
        let end = data.len().min((piece + 1) * PART_BYTES);
        parts.push(upload.put_part(data.slice(piece * PART_BYTES..end).into()));
    }
    futures::future::try_join_all(parts).await.expect("parts");
    upload.complete().await.expect("complete");
    assert!(store.get(&path).await.expect("get").bytes().await.expect("body") == data, "multipart");
    let copy = Path::from("multi copy");
    store.copy(&path, &copy).await.expect("copy");
    assert!(store.get(&copy).await.expect("get").bytes().await.expect("body") == data, "copy");
    let renamed = Path::from("multi renamed");
    store.rename(&copy, &renamed).await.expect("rename");
    assert!(matches!(store.head(&copy).await, Err(Error::NotFound { .. })));
    let mut upload = store.put_multipart(&Path::from("aborted")).await.expect("upload");
    upload.put_part(PutPayload::from_static(b"x")).await.expect("part");
    upload.abort().await.expect("abort");
    assert!(matches!(store.head(&Path::from("aborted")).await, Err(Error::NotFound { .. })));
}

async fn conditions(store: &Arc<AmazonS3>) {
    for round in 0..8 {
        let path = Path::from(format!("race/{round}"));
        let racers = (0..RACERS).map(|i| {
            let (store, path) = (store.clone(), path.clone());
            tokio::spawn(
                async move { store.put_opts(&path, i.to_string().into(), PutMode::Create.into()).await },
            )
        });
        let mut winners = Vec::new();
        for (i, result) in futures::future::join_all(racers).await.into_iter().enumerate() {
            match result.expect("a task") {
                Ok(put) => winners.push((i, put)),
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => panic!("a lost race ended with {error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "winners of race {round}");
        let (winner, put) = winners.remove(0);
        let got = store.get(&path).await.expect("get").bytes().await.expect("body");
        assert_eq!(got, winner.to_string(), "the body is the winner's");
        let version = UpdateVersion { e_tag: put.e_tag, version: None };
        let update: PutOptions = PutMode::Update(version).into();
        store.put_opts(&path, "second".into(), update.clone()).await.expect("update");
        let stale = store.put_opts(&path, "third".into(), update).await;
        assert!(matches!(stale, Err(Error::Precondition { .. })), "an update of what is gone: {stale:?}");
    }
}

async fn delete_all(store: &AmazonS3) {
    let all = store.list(None).map_ok(|meta| meta.location).boxed();
    let deleted = store.delete_stream(all).try_collect::<Vec<_>>().await.expect("delete");
    assert!(deleted.len() > KEYS);
    assert_eq!(store.list(None).count().await, 0);
}
