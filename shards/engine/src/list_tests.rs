//! Listing against a naive model: one sorted set, filtered and rolled up.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{codec, object::ObjectMeta};

const BUCKET: BucketId = BucketId(5);

#[derive(Default)]
struct Rows(BTreeMap<PgId, BTreeMap<Box<[u8]>, Box<[u8]>>>);

impl RowScan for Rows {
    async fn scan(
        &self,
        pg: PgId,
        from: Bound<&[u8]>,
        mut row: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let Some(rows) = self.0.get(&pg) else { return Ok(()) };
        for (key, meta) in rows.range::<[u8], _>((from, Bound::Unbounded)) {
            if row(key, meta).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A page of rows that are all in memory: there is nothing to wait for.
fn page(rows: &Rows, bucket: BucketId, pgs: &[PgId], query: &ListQuery) -> (Vec<ListEntry>, bool) {
    let mut page = std::pin::pin!(super::page(rows, bucket, pgs, query));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match page.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok(page)) => page,
        other => panic!("{other:?}"),
    }
}

fn rows_of(keys_in: &BTreeSet<Vec<u8>>, pgs: u16) -> Rows {
    let mut rows = Rows::default();
    for (i, key) in keys_in.iter().enumerate() {
        let meta = codec::encode(&ObjectMeta::new(key.len() as u64, [0; 16]));
        let pg = PgId((stria_base::hash::hash64(1, key) % u64::from(pgs)) as u16);
        rows.0.entry(pg).or_default().insert(keys::object(BUCKET, key), meta.clone());
        // Rows of another bucket and of another kind lie all around.
        rows.0
            .entry(pg)
            .or_default()
            .insert(keys::object(BucketId(4 + 2 * (i as u64 % 2)), key), meta.clone());
        rows.0.entry(pg).or_default().insert(keys::upload(BUCKET, key, keys::UploadId(1)), meta);
    }
    rows
}

fn naive(keys_in: &BTreeSet<Vec<u8>>, query: &ListQuery) -> (Vec<Vec<u8>>, bool) {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for key in keys_in.iter().filter(|key| key.starts_with(&query.prefix)) {
        let entry = match common_prefix(key, &query.prefix, &query.delimiter) {
            Some(end) => key[..end].to_vec(),
            None => key.clone(),
        };
        let skipped = query.after.as_deref().is_some_and(|after| key.as_slice() <= after || entry == after);
        if !skipped && out.last() != Some(&entry) {
            out.push(entry);
        }
    }
    let more = out.len() > query.entries_max;
    out.truncate(query.entries_max);
    (out, more)
}

fn key_strategy() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'/'), Just(0xffu8), Just(0)], 0..6)
}

proptest! {
    #[test]
    fn pages_equal_the_model(
        keys_in in proptest::collection::btree_set(key_strategy(), 0..60),
        prefix in key_strategy(),
        use_prefix: bool,
        delimiter in prop_oneof![Just(&b""[..]), Just(&b"/"[..]), Just(&b"ab"[..])],
        after in proptest::option::of(key_strategy()),
        entries_max in 1usize..20,
        pgs in 1u16..5,
        cores in 1usize..4,
    ) {
        let rows = rows_of(&keys_in, pgs);
        let query = ListQuery {
            prefix: if use_prefix { prefix.into() } else { Box::default() },
            delimiter: delimiter.into(),
            after: after.map(Into::into),
            entries_max,
        };
        let all: Vec<PgId> = (0..pgs).map(PgId).collect();
        let pages = all
            .chunks(all.len().div_ceil(cores))
            .map(|mine| page(&rows, BUCKET, mine, &query))
            .collect();
        let (got, more) = merge(pages, entries_max);
        let got: Vec<Vec<u8>> = got.into_iter().map(|entry| entry.key.into_vec()).collect();
        prop_assert_eq!((got, more), naive(&keys_in, &query));
    }

    #[test]
    fn following_the_marker_visits_everything_once(
        keys_in in proptest::collection::btree_set(key_strategy(), 0..60),
        delimiter in prop_oneof![Just(&b""[..]), Just(&b"/"[..])],
        entries_max in 1usize..7,
    ) {
        let rows = rows_of(&keys_in, 3);
        let pgs = [PgId(0), PgId(1), PgId(2)];
        let mut query = ListQuery { delimiter: delimiter.into(), entries_max, ..ListQuery::default() };
        let whole = naive(&keys_in, &ListQuery { entries_max: usize::MAX, ..query.clone() }).0;
        let mut seen = Vec::new();
        loop {
            let (entries, more) = page(&rows, BUCKET, &pgs, &query);
            seen.extend(entries.iter().map(|entry| entry.key.to_vec()));
            if !more {
                break;
            }
            query.after = entries.last().map(|entry| entry.key.clone());
        }
        prop_assert_eq!(seen, whole);
    }
}
