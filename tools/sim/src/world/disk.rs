//! A simulated volume: latency, reordering, and what a power cut leaves.
//!
//! Invariant: a write is certain to survive a cut only when it was durable when it completed, or when a
//! flush that began after its completion has completed. Of every other write each 512-byte sector
//! survives or not, as the generator decides.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    rc::Rc,
};

use stria_env::{Disk, Durability, disk::BLOCK_BYTES};

use super::{
    env::SimBuf,
    executor::World,
    record::{DiskImage, Recorder},
    rng::Rng,
};

/// What a drive writes whole.
pub const SECTOR_BYTES: usize = 512;
/// What an operation is a multiple of.
pub const PAGE_BYTES: usize = BLOCK_BYTES as usize;
/// Superblocks and device maps lie below.
const HEADER_BYTES: u64 = 4 << 20;
/// The two superblock copies that are written first.
const FIRST_COPIES_BYTES: u64 = 8192;

/// What may go wrong while the node runs. Each is "one in n operations", 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Writes that fail.
    pub write_error_one_in: u64,
    /// Flushes that fail. What they covered is then lost or kept at random, and reads still see it.
    pub flush_error_one_in: u64,
    /// Reads that fail once and succeed when repeated.
    pub read_error_one_in: u64,
    /// Operations that take 1,000 times as long.
    pub slow_one_in: u64,
}

/// Shared between the media, writes on their way to it and copies of it: content is copied once, when written.
pub type Page = Rc<[u8; PAGE_BYTES]>;

/// One thing that goes wrong at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// The write is said to have succeeded and never happens.
    LoseWrite,
    /// The write fails.
    FailWrite,
    /// The write is said to have succeeded; its first half happens.
    HalveWrite,
    /// Reads fail, each time.
    FailRead,
}

/// Where, and after how many writes there.
#[derive(Clone)]
struct Target {
    fault: Injected,
    pages: std::ops::Range<usize>,
    passes: u64,
}

struct Unflushed {
    number: u64,
    offset: u64,
    pages: Vec<Page>,
    is_complete: bool,
    /// A flush that failed gave it up: it can be read while the process lives, and is on no medium.
    is_given_up: bool,
}

struct Media {
    /// By number; `None` and what lies behind reads as zeros.
    pages: Vec<Option<Page>>,
    unflushed: Vec<Unflushed>,
    next_number: u64,
    len_bytes: u64,
    len_bytes_max: u64,
    faults: Faults,
    /// Writes that touch this range fail.
    broken: (u64, u64),
    target: Option<Target>,
    writes: u64,
    header_writes: u64,
    superblock_writes: u64,
    flushes: u64,
    failed_flushes: u64,
}

/// A volume. Clones are handles of the same one.
#[derive(Clone)]
pub struct SimDisk {
    world: Rc<World>,
    id: u64,
    media: Rc<RefCell<Media>>,
    /// Failed flushes this descriptor was told of.
    seen_failed: Rc<Cell<u64>>,
    recorder: Option<Rc<Recorder>>,
}

/// A volume's content, for the recorder.
pub(super) struct MediaRef(Rc<RefCell<Media>>);

impl MediaRef {
    /// What is durable, and the unflushed writes: first page and pages.
    pub(super) fn state(&self) -> (DiskImage, impl Iterator<Item = (usize, Vec<Page>)>) {
        let media = self.0.borrow();
        let image = DiskImage { pages: media.pages.clone(), len_bytes: media.len_bytes };
        let loose: Vec<_> =
            media.unflushed.iter().map(|write| (page_of(write.offset), write.pages.clone())).collect();
        (image, loose.into_iter())
    }
}

impl Media {
    fn put(&mut self, offset: u64, pages: &[Page]) {
        let first = page_of(offset);
        self.reach(first + pages.len());
        for (slot, page) in self.pages[first..].iter_mut().zip(pages) {
            *slot = Some(page.clone());
        }
    }

    fn reach(&mut self, pages: usize) {
        if self.pages.len() < pages {
            self.pages.resize(pages, None);
        }
    }

    /// Changes bytes within one page.
    fn patch(&mut self, offset: u64, bytes: &[u8]) {
        let (page, within) = (page_of(offset), (offset % BLOCK_BYTES) as usize);
        self.reach(page + 1);
        let page = self.pages[page].get_or_insert_with(|| Rc::new([0; PAGE_BYTES]));
        Rc::make_mut(page)[within..within + bytes.len()].copy_from_slice(bytes);
    }

    /// The page as reads see it, unflushed writes included.
    fn page(&self, number: usize) -> Option<&Page> {
        let cached = self.unflushed.iter().rev().find_map(|write| {
            let nth = number.checked_sub(page_of(write.offset))?;
            write.pages.get(nth)
        });
        cached.or_else(|| self.pages.get(number)?.as_ref())
    }

    fn get(&self, mut offset: u64, mut out: &mut [u8]) {
        while !out.is_empty() {
            let within = (offset % BLOCK_BYTES) as usize;
            let take = (PAGE_BYTES - within).min(out.len());
            let (now, rest) = out.split_at_mut(take);
            match self.page(page_of(offset)) {
                Some(page) => now.copy_from_slice(&page[within..within + take]),
                None => now.fill(0),
            }
            (offset, out) = (offset + take as u64, rest);
        }
    }

    /// The latest content wins over earlier cached writes of the same place.
    fn put_durable(&mut self, number: u64, offset: u64, pages: &[Page]) {
        self.put(offset, pages);
        let first = page_of(offset);
        for earlier in self.unflushed.iter_mut().filter(|write| write.number < number) {
            let earlier_first = page_of(earlier.offset);
            for (nth, slot) in earlier.pages.iter_mut().enumerate() {
                if let Some(page) = (earlier_first + nth).checked_sub(first).and_then(|at| pages.get(at)) {
                    *slot = page.clone();
                }
            }
        }
    }

    fn flush_numbers(&mut self, covered: &[u64]) {
        let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unflushed)
            .into_iter()
            .partition(|write| covered.contains(&write.number));
        self.unflushed = rest;
        for write in done {
            self.put_durable(write.number, write.offset, &write.pages);
        }
    }
}

impl Target {
    fn hits(&self, offset: u64, bytes: usize) -> bool {
        let end = page_of(offset) + bytes / PAGE_BYTES;
        page_of(offset) < self.pages.end && self.pages.start < end
    }
}

fn page_of(offset: u64) -> usize {
    (offset / BLOCK_BYTES) as usize
}

fn pages_of(bytes: &[u8]) -> Vec<Page> {
    bytes.chunks_exact(PAGE_BYTES).map(|page| Rc::new(page.try_into().expect("whole pages"))).collect()
}

impl SimDisk {
    /// An empty volume that can grow to `len_bytes_max`.
    #[must_use]
    pub fn new(world: Rc<World>, id: u64, len_bytes_max: u64) -> Self {
        let media = Media {
            pages: Vec::new(),
            unflushed: Vec::new(),
            next_number: 0,
            len_bytes: 0,
            len_bytes_max,
            faults: Faults::default(),
            broken: (0, 0),
            target: None,
            writes: 0,
            header_writes: 0,
            superblock_writes: 0,
            flushes: 0,
            failed_flushes: 0,
        };
        Self { world, id, media: Rc::new(RefCell::new(media)), seen_failed: Rc::default(), recorder: None }
    }

    /// A volume with content, watched by `recorder` if there is one.
    #[must_use]
    pub fn of_image(
        world: Rc<World>,
        id: u64,
        image: DiskImage,
        len_bytes_max: u64,
        recorder: Option<Rc<Recorder>>,
    ) -> Self {
        let disk = Self::new(world, id, len_bytes_max);
        {
            let mut media = disk.media.borrow_mut();
            (media.pages, media.len_bytes) = (image.pages, image.len_bytes);
        }
        if let Some(recorder) = &recorder {
            recorder.add(MediaRef(disk.media.clone()));
        }
        Self { recorder, ..disk }
    }

    /// What is durable now.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        MediaRef(self.media.clone()).state().0
    }

    fn snap(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.snap();
        }
    }

    /// The volume opened once more: a descriptor of its own.
    #[must_use]
    pub fn reopened(&self) -> Self {
        let seen_failed = Rc::new(Cell::new(self.media.borrow().failed_flushes));
        Self { seen_failed, ..self.clone() }
    }

    /// The process dies, the machine goes on: what completed stays cached, what was in flight is written or
    /// not, what a failed flush gave up is gone.
    pub fn process_kill(&self) {
        let mut media = self.media.borrow_mut();
        let unflushed = std::mem::take(&mut media.unflushed);
        self.world.rng(|rng| {
            for mut write in unflushed {
                if write.is_given_up || (!write.is_complete && rng.chance(1, 2)) {
                    continue;
                }
                write.is_complete = true;
                media.unflushed.push(write);
            }
        });
    }

    /// From now on `fault` strikes operations on `pages`; a fault of writes one of them, when `passes` went well.
    pub fn inject(&self, fault: Injected, pages: std::ops::Range<usize>, passes: u64) {
        self.media.borrow_mut().target = Some(Target { fault, pages, passes });
    }

    /// Whether what was injected has not struck.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.media.borrow().target.is_some()
    }

    /// Whether a read of `bytes` at `offset` fails.
    fn read_fails(&self, offset: u64, bytes: usize) -> bool {
        let media = self.media.borrow();
        media
            .target
            .as_ref()
            .is_some_and(|target| target.fault == Injected::FailRead && target.hits(offset, bytes))
    }

    /// What strikes a write of `bytes` at `offset`.
    fn write_fault(&self, offset: u64, bytes: usize) -> Option<Injected> {
        let mut media = self.media.borrow_mut();
        let target = media.target.as_mut()?;
        if target.fault == Injected::FailRead || !target.hits(offset, bytes) {
            return None;
        }
        if target.passes > 0 {
            target.passes -= 1;
            return None;
        }
        media.target.take().map(|target| target.fault)
    }

    /// What the struck write `number` leaves.
    fn strike(&self, number: u64, fault: Injected) -> io::Result<()> {
        let mut media = self.media.borrow_mut();
        let at = media.unflushed.iter().position(|write| write.number == number);
        let mut write = media.unflushed.remove(at.expect("a write stays unflushed until it completes"));
        if fault == Injected::HalveWrite {
            let half = write.pages.len() * PAGE_BYTES / SECTOR_BYTES / 2;
            for (nth, page) in write.pages.iter_mut().enumerate() {
                let mut old = [0; PAGE_BYTES];
                media.get(write.offset + (nth * PAGE_BYTES) as u64, &mut old);
                let kept =
                    (half.saturating_sub(nth * PAGE_BYTES / SECTOR_BYTES) * SECTOR_BYTES).min(PAGE_BYTES);
                Rc::make_mut(page)[kept..].copy_from_slice(&old[kept..]);
            }
            media.put(write.offset, &write.pages);
        }
        if fault == Injected::FailWrite { Err(error()) } else { Ok(()) }
    }

    /// Sets what may go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.media.borrow_mut().faults = faults;
    }

    /// From now on writes that touch `bytes` bytes at `offset` fail.
    pub fn break_range(&self, offset: u64, bytes: u64) {
        self.media.borrow_mut().broken = (offset, offset + bytes);
    }

    fn is_broken(&self, offset: u64, bytes: u64) -> bool {
        let (from, to) = self.media.borrow().broken;
        offset < to && from < offset + bytes
    }

    /// Writes and flushes so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let media = self.media.borrow();
        (media.writes, media.flushes)
    }

    /// Writes of superblocks and device maps so far.
    #[must_use]
    pub fn header_writes(&self) -> u64 {
        self.media.borrow().header_writes
    }

    /// Writes of the first two superblock copies so far.
    #[must_use]
    pub fn superblock_writes(&self) -> u64 {
        self.media.borrow().superblock_writes
    }

    /// The power is cut: of each unflushed write all, nothing, or some sectors survive.
    pub fn power_cut(&self) {
        let mut media = self.media.borrow_mut();
        let unflushed = std::mem::take(&mut media.unflushed);
        self.world.rng(|rng| {
            let general = rng.below(4);
            // The drive may well have taken the latest writes first.
            let latest = rng.below(unflushed.len().max(1) as u64) as usize;
            for (nth, write) in unflushed.into_iter().enumerate() {
                let fate = match general {
                    2 => rng.below(3),
                    3 => u64::from(nth >= latest),
                    _ => general,
                };
                survive(&mut media, &write, fate, rng);
            }
        });
    }

    /// Bytes as they lie on the media now. For tests and checks, without delay.
    #[must_use]
    pub fn peek(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        self.media.borrow().get(offset, &mut out);
        out
    }

    /// Changes bytes at rest: rot.
    pub fn poke(&self, offset: u64, bytes: &[u8]) {
        let (mut media, mut at) = (self.media.borrow_mut(), 0);
        while at < bytes.len() {
            let place = offset + at as u64;
            let take = (PAGE_BYTES - (place % BLOCK_BYTES) as usize).min(bytes.len() - at);
            media.patch(place, &bytes[at..at + take]);
            at += take;
        }
    }

    fn latency_ns(&self) -> u64 {
        let slow = self.media.borrow().faults.slow_one_in;
        self.world.rng(|rng| {
            let base = rng.between(5_000, 200_000);
            if slow > 0 && rng.chance(1, slow) { base * 1_000 } else { base }
        })
    }

    fn strikes(&self, one_in: impl Fn(&Faults) -> u64) -> bool {
        let n = one_in(&self.media.borrow().faults);
        n > 0 && self.world.rng(|rng| rng.chance(1, n))
    }

    /// What a failed write leaves: nothing, or a cached write like any other. Not a threat for later.
    fn failed_write(&self, number: u64) {
        let kept = self.world.rng(|rng| rng.chance(1, 2));
        let mut media = self.media.borrow_mut();
        if kept {
            media.unflushed.iter_mut().filter(|w| w.number == number).for_each(|w| w.is_complete = true);
        } else {
            media.unflushed.retain(|write| write.number != number);
        }
    }

    /// What a failed flush leaves: nobody knows, and no later flush will tell.
    fn failed_flush(&self, covered: &[u64]) {
        let mut media = self.media.borrow_mut();
        let kept = self.world.rng(|rng| rng.chance(1, 2));
        if kept {
            media.flush_numbers(covered);
        } else {
            // Readable now, and no later flush covers them, although it succeeds.
            for write in media.unflushed.iter_mut().filter(|write| covered.contains(&write.number)) {
                write.is_complete = false;
                write.is_given_up = true;
            }
        }
        // Every descriptor of a file hears of a failed write-back once (errseq of Linux).
        media.failed_flushes += 1;
    }
}

/// Fate of one write at a cut: 0 lost, 1 whole, 2 some sectors.
fn survive(media: &mut Media, write: &Unflushed, fate: u64, rng: &mut Rng) {
    match fate {
        0 => {}
        1 => media.put(write.offset, &write.pages),
        _ => {
            for (number, page) in write.pages.iter().enumerate() {
                for (index, sector) in page.chunks_exact(SECTOR_BYTES).enumerate() {
                    if rng.chance(1, 2) {
                        media.patch(
                            write.offset + (number * PAGE_BYTES + index * SECTOR_BYTES) as u64,
                            sector,
                        );
                    }
                }
            }
        }
    }
}

fn error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn check_aligned(offset: u64, len: usize) {
    assert!(
        offset.is_multiple_of(BLOCK_BYTES) && (len as u64).is_multiple_of(BLOCK_BYTES) && len > 0,
        "unaligned I/O: {len} bytes at {offset}"
    );
}

impl Disk for SimDisk {
    type Buf = SimBuf;

    fn read(&self, offset: u64, mut buf: SimBuf) -> impl Future<Output = (io::Result<()>, SimBuf)> + 'static {
        check_aligned(offset, buf.len());
        let disk = self.clone();
        let at_ns = disk.world.now_ns() + disk.latency_ns();
        async move {
            disk.world.sleep_until(at_ns).await;
            if disk.strikes(|faults| faults.read_error_one_in) || disk.read_fails(offset, buf.len()) {
                return (Err(error()), buf);
            }
            let media = disk.media.borrow();
            assert!(offset + buf.len() as u64 <= media.len_bytes, "read behind the end at {offset}");
            media.get(offset, &mut buf);
            drop(media);
            (Ok(()), buf)
        }
    }

    fn write(
        &self,
        offset: u64,
        buf: SimBuf,
        durability: Durability,
    ) -> impl Future<Output = (io::Result<()>, SimBuf)> + 'static {
        check_aligned(offset, buf.len());
        let disk = self.clone();
        let number = {
            let mut media = disk.media.borrow_mut();
            assert!(offset + buf.len() as u64 <= media.len_bytes, "write behind the end at {offset}");
            media.writes += 1;
            media.header_writes += u64::from(offset < HEADER_BYTES);
            media.superblock_writes += u64::from(offset < FIRST_COPIES_BYTES);
            let number = media.next_number;
            media.next_number += 1;
            let pages = pages_of(&buf);
            media.unflushed.push(Unflushed { number, offset, pages, is_complete: false, is_given_up: false });
            number
        };
        disk.world.note(disk.id, offset ^ buf.len() as u64);
        let at_ns = disk.world.now_ns() + disk.latency_ns();
        async move {
            disk.world.sleep_until(at_ns).await;
            if let Some(fault) = disk.write_fault(offset, buf.len()) {
                return (disk.strike(number, fault), buf);
            }
            let is_broken = disk.is_broken(offset, buf.len() as u64);
            if is_broken || disk.strikes(|faults| faults.write_error_one_in) {
                disk.failed_write(number);
                return (Err(error()), buf);
            }
            if durability == Durability::Durable {
                disk.snap();
            }
            let mut media = disk.media.borrow_mut();
            let index = media.unflushed.iter().position(|write| write.number == number);
            let index = index.expect("a write stays unflushed until it completes");
            match durability {
                Durability::Cached => media.unflushed[index].is_complete = true,
                Durability::Durable => {
                    let write = media.unflushed.remove(index);
                    media.put_durable(number, write.offset, &write.pages);
                }
            }
            drop(media);
            (Ok(()), buf)
        }
    }

    fn flush(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let disk = self.clone();
        let covered: Vec<u64> = {
            let mut media = disk.media.borrow_mut();
            media.flushes += 1;
            media.unflushed.iter().filter(|write| write.is_complete).map(|write| write.number).collect()
        };
        disk.world.note(disk.id, 0xf1_0511);
        let at_ns = disk.world.now_ns() + disk.latency_ns() * 4;
        async move {
            disk.world.sleep_until(at_ns).await;
            if disk.strikes(|faults| faults.flush_error_one_in) {
                disk.failed_flush(&covered);
            }
            let failed = disk.media.borrow().failed_flushes;
            if disk.seen_failed.replace(failed) != failed {
                return Err(error());
            }
            if !covered.is_empty() {
                disk.snap();
            }
            disk.media.borrow_mut().flush_numbers(&covered);
            Ok(())
        }
    }

    fn len_bytes(&self) -> u64 {
        self.media.borrow().len_bytes
    }

    fn grow(&self, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let disk = self.clone();
        async move {
            let mut media = disk.media.borrow_mut();
            if bytes > media.len_bytes_max {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            media.len_bytes = media.len_bytes.max(bytes);
            Ok(())
        }
    }

    fn len_bytes_max(&self) -> u64 {
        self.media.borrow().len_bytes_max
    }
}
