//! What a power cut can leave of a snapshot.
//!
//! Invariant: every subset of the unflushed writes when they are few, else prefixes, single losses and chosen
//! subsets; and each write torn at sectors, the others all there or all gone. Pure.

use std::rc::Rc;

use crate::world::{DiskImage, Loose, PAGE_BYTES, Page, Rng, SECTOR_BYTES, Snapshot};

/// Up to so many unflushed writes every subset is a state.
const SUBSETS_WRITES_MAX: usize = 10;
/// Subsets chosen at random of more.
const SUBSETS_CHOSEN: u64 = 256;

/// What becomes of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it is there.
    Lost,
    /// All of it is there.
    Whole,
    /// Its first so many sectors are there.
    First(usize),
    /// All but its first so many sectors are there.
    Last(usize),
    /// Each sector is there or not, by this number.
    Scattered(u64),
}

impl Fate {
    fn keeps(self, sector: usize) -> bool {
        match self {
            Self::Lost => false,
            Self::Whole => true,
            Self::First(count) => sector < count,
            Self::Last(count) => sector >= count,
            Self::Scattered(seed) => Rng::new(seed ^ (sector as u64) << 32).chance(1, 2),
        }
    }
}

/// Calls `each` with the fates of `loose` that are looked at; `tears` scattered ones for each write.
pub fn each_fate(loose: &[Loose], tears: u64, seed: u64, mut each: impl FnMut(&[Fate])) {
    let count = loose.len();
    let mut fates = vec![Fate::Lost; count];
    if count <= SUBSETS_WRITES_MAX {
        for subset in 0..1u64 << count {
            for (nth, fate) in fates.iter_mut().enumerate() {
                *fate = if subset >> nth & 1 == 1 { Fate::Whole } else { Fate::Lost };
            }
            each(&fates);
        }
    } else {
        chosen_subsets(&mut fates, seed, &mut each);
    }
    let mut rng = Rng::new(seed);
    for torn in 0..count {
        let sectors = loose[torn].pages.len() * PAGE_BYTES / SECTOR_BYTES;
        let mut kinds =
            vec![Fate::First(1), Fate::First(sectors - 1), Fate::First(sectors / 2), Fate::Last(1)];
        kinds.extend((0..tears).map(|_| Fate::Scattered(rng.bits())));
        // The others: all gone, those before it there, all there.
        for there in [0, torn, count] {
            fates[..there].fill(Fate::Whole);
            fates[there..].fill(Fate::Lost);
            for kind in &kinds {
                fates[torn] = *kind;
                each(&fates);
            }
        }
    }
}

fn chosen_subsets(fates: &mut [Fate], seed: u64, each: &mut impl FnMut(&[Fate])) {
    let mut rng = Rng::new(seed);
    for there in 0..=fates.len() {
        fates[..there].fill(Fate::Whole);
        fates[there..].fill(Fate::Lost);
        each(fates);
    }
    for lost in 0..fates.len() {
        fates.fill(Fate::Whole);
        fates[lost] = Fate::Lost;
        each(fates);
    }
    for _ in 0..SUBSETS_CHOSEN {
        for fate in &mut *fates {
            *fate = if rng.chance(1, 2) { Fate::Whole } else { Fate::Lost };
        }
        each(fates);
    }
}

/// The drives after a cut.
#[must_use]
pub fn left(snapshot: &Snapshot, fates: &[Fate]) -> Vec<DiskImage> {
    let mut disks = snapshot.disks.clone();
    for (write, fate) in snapshot.loose.iter().zip(fates) {
        if *fate == Fate::Lost {
            continue;
        }
        let pages = &mut disks[write.disk].pages;
        let end = write.first_page + write.pages.len();
        if pages.len() < end {
            pages.resize(end, None);
        }
        for (nth, page) in write.pages.iter().enumerate() {
            let slot = &mut pages[write.first_page + nth];
            *slot = Some(after(slot.as_ref(), page, nth, *fate));
        }
    }
    disks
}

/// Page `nth` of a write after the cut, over `old`.
fn after(old: Option<&Page>, new: &Page, nth: usize, fate: Fate) -> Page {
    if fate == Fate::Whole {
        return new.clone();
    }
    let mut page = old.map_or([0; PAGE_BYTES], |old| **old);
    for sector in 0..PAGE_BYTES / SECTOR_BYTES {
        if fate.keeps(nth * PAGE_BYTES / SECTOR_BYTES + sector) {
            let bytes = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            page[bytes.clone()].copy_from_slice(&new[bytes]);
        }
    }
    Rc::new(page)
}

/// Hash of a page's content at a place.
fn page_hash(disk: usize, number: usize, page: &Page) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [disk as u64 + 1, number as u64 + 1, K, !K];
    for chunk in page.chunks_exact(32) {
        for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(8)) {
            let word = u64::from_le_bytes(word.try_into().expect("8 bytes"));
            *lane = (lane.rotate_left(5) ^ word).wrapping_mul(K);
        }
    }
    lanes.into_iter().fold(0, |hash, lane| (hash ^ lane ^ lane >> 32).wrapping_mul(K))
}

/// Hashes of states that share what is durable.
pub struct Hasher {
    base: u64,
}

impl Hasher {
    /// Of a snapshot.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut base = 0u64;
        for (disk, image) in snapshot.disks.iter().enumerate() {
            for (number, page) in image.pages.iter().enumerate() {
                base = base.wrapping_add(page.as_ref().map_or(0, |page| content(disk, number, page)));
            }
        }
        Self { base }
    }

    /// Of what `left` made of it.
    #[must_use]
    pub fn hash(&self, snapshot: &Snapshot, fates: &[Fate], disks: &[DiskImage]) -> u64 {
        let mut touched: Vec<(usize, usize)> = Vec::new();
        for (write, fate) in snapshot.loose.iter().zip(fates) {
            if *fate != Fate::Lost {
                touched.extend((0..write.pages.len()).map(|nth| (write.disk, write.first_page + nth)));
            }
        }
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().fold(self.base, |hash, (disk, number)| {
            let of = |image: &DiskImage| {
                let page = image.pages.get(number).and_then(Option::as_ref);
                page.map_or(0, |page| content(disk, number, page))
            };
            hash.wrapping_sub(of(&snapshot.disks[disk])).wrapping_add(of(&disks[disk]))
        })
    }
}

/// Zeros count like a page that was never written.
fn content(disk: usize, number: usize, page: &Page) -> u64 {
    if page.iter().all(|byte| *byte == 0) { 0 } else { page_hash(disk, number, page) }
}
